"""`bench accuracy`: the time that training takes to a target accuracy, from the same start.

For each seed every scenario starts from the same weights and gets the same batches in the same
order. They take turns, a few steps each, so that a slower machine slows all of them. Only steps
count as time, not reading images or evaluating, which cost every scenario the same. A compiled one
compiles in its first step, whose time is a column of its own: every process compiles anew.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench.analysis.judge import mean_ratio
from bench.errors import UsageError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status, Task
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.store.records import NoiseRow
from bench.studies.measured import Measured, failures_kept, measured_again
from bench.studies.page import Page, status_cell
from bench.studies.scenarios import STOCK_DEFAULT, Runnable, participants_of
from bench.studies.study_folder import workplace
from bench.text.wording import NOTHING, bounds, percent, seconds, times
from bench.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.analysis.comparison import Ratio
    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy
    from bench.studies.study_folder import StudyRequest


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """One evaluation."""

    run_id: str
    participant: str
    seed: int
    step: int
    train_s: float
    """Time of all steps so far."""
    loss: float | None
    accuracy: float
    first_step_s: float | None = None
    """Time of the first step, in which a compiled scenario compiles; `train_s` includes it."""


FILES: dict[str, type[Any]] = {"accuracy.csv": AccuracyRow, "noise.csv": NoiseRow}


@dataclass(frozen=True, kw_only=True)
class Reached:
    """When one scenario reached the target from one seed."""

    steps: int | None
    """None if it did not."""
    seconds: float | None


def participants(request: StudyRequest) -> list[Participant]:
    """Return a participant for each scenario, stock default first.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
    """
    steps = PROFILES["full"].training_batch_size
    runnable = Runnable(study="accuracy", task=Task.TRAINING, batch_size=steps)
    return participants_of(runnable.chosen(request))


@dataclass(kw_only=True)
class Trainer:
    """The state of one scenario during one seed."""

    participant: Participant
    worker: WorkerHandle
    step: int = 0
    train_s: float = 0.0
    first_step_s: float | None = None
    hits: int = 0
    done: bool = False


@dataclass(kw_only=True)
class TimeToAccuracy:
    """Trains every scenario from every seed; `failures` are those that could not go on."""

    run_id: str
    policy: Policy
    target: float
    max_steps: int
    launch: Callable[[Participant, int], WorkerHandle]
    record: Callable[[AccuracyRow], None]
    left_s: Callable[[], float]
    say: Callable[[str], None] = lambda _: None
    failures: dict[str, WorkerError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the budget left out."""
    prepared: dict[str, protocol.PrepareReply] = field(default_factory=dict)
    """By participant: its first worker's reply to `prepare`."""

    def measure(self, chosen: Sequence[Participant], seeds: Sequence[int]) -> None:
        """Train from one seed after the other, each in fresh processes.

        The first seed runs to its end whatever the budget is; `max_steps` limits it.
        """
        for done, seed in enumerate(seeds):
            if done and self.left_s() <= 0:
                self.notes.append(
                    f"The budget allowed {done} of {len(seeds)} seeds (raise --budget)."
                )
                return
            self._one_seed(chosen, seed, done)

    def _one_seed(self, chosen: Sequence[Participant], seed: int, launch: int) -> None:
        trainers: list[Trainer] = []
        try:
            for participant in chosen:
                if participant.name not in self.failures:
                    self._start(trainers, participant, seed, launch)
            order = random.Random(seed)  # noqa: S311 - an order, not a secret
            while running := [one for one in trainers if not one.done]:
                if launch and self.left_s() <= 0:
                    self.notes.append(f"Seed {seed} was cut by the budget (raise --budget).")
                    return
                order.shuffle(running)
                for trainer in running:
                    self._turn(trainer, seed)
        finally:
            for trainer in trainers:
                trainer.worker.stop()

    def _start(
        self, trainers: list[Trainer], participant: Participant, seed: int, launch: int
    ) -> None:
        self.say(f"seed {seed} · preparing {participant.name}")
        try:
            worker = self.launch(participant, launch)
            trainers.append(Trainer(participant=participant, worker=worker))
            worker.greet(self.policy.start_timeout_s)
            limit = self.policy.prepare_timeout_s
            reply = worker.ask("prepare", limit, scenario=protocol.encode(participant.scenario))
            self.prepared.setdefault(participant.name, cast("protocol.PrepareReply", reply))
            worker.ask("start_training", limit, seed=seed)
            self._evaluate(trainers[-1], seed, None)
        except WorkerError as error:
            self._failed(participant, error, trainers)

    def _turn(self, trainer: Trainer, seed: int) -> None:
        """Train some steps, then evaluate."""
        self.say(f"seed {seed} · {trainer.participant.name} · step {trainer.step}")
        limit = self.policy.call_timeout_s * STUDIES.accuracy_steps_a_turn
        try:
            reply = trainer.worker.ask(
                "train", limit, first=trainer.step, n=STUDIES.accuracy_steps_a_turn
            )
            if trainer.first_step_s is None:
                trainer.first_step_s = reply["wall_ns"][0] / 1e9
            trainer.step += STUDIES.accuracy_steps_a_turn
            trainer.train_s += sum(reply["wall_ns"]) / 1e9
            self._evaluate(trainer, seed, reply)
            if trainer.done:
                self._compare_evidence(trainer)
        except WorkerError as error:
            trainer.done = True
            self.failures.setdefault(trainer.participant.name, error)

    def _evaluate(self, trainer: Trainer, seed: int, reply: protocol.Message | None) -> None:
        found = trainer.worker.ask("evaluate", self.policy.prepare_timeout_s)["accuracy"]
        self.record(
            AccuracyRow(
                run_id=self.run_id,
                participant=trainer.participant.name,
                seed=seed,
                step=trainer.step,
                train_s=trainer.train_s,
                loss=reply["loss"] if reply else None,
                accuracy=found,
                first_step_s=trainer.first_step_s,
            )
        )
        trainer.hits = trainer.hits + 1 if found >= self.target else 0
        trainer.done = trainer.hits >= STUDIES.accuracy_in_a_row or trainer.step >= self.max_steps

    def _compare_evidence(self, trainer: Trainer) -> None:
        """Compare what a further step executes with the scenario's label.

        Raises:
            WorkerError: the label is untrue.
        """
        reply = trainer.worker.ask("kernels", self.policy.prepare_timeout_s)
        if reply.get("contradiction"):
            raise WorkerError(Status.UNSUPPORTED, reply["contradiction"])

    def _failed(
        self, participant: Participant, error: WorkerError, trainers: list[Trainer]
    ) -> None:
        self.failures.setdefault(participant.name, error)
        for trainer in trainers:
            if trainer.participant is participant:
                trainer.done = True


def measure(target: float, max_steps: int, request: StudyRequest) -> Path:
    """Measure, and return the study's folder.

    Raises:
        UsageError: a number is wrong, or a pattern selects nothing that this study can run.
        BenchError: it cannot be measured.
    """
    if not 0.5 < target <= 1:
        raise UsageError(f"the target must be above 0.5, which guessing reaches, not {target:g}")
    if max_steps < STUDIES.accuracy_steps_a_turn:
        raise UsageError(
            f"at least {STUDIES.accuracy_steps_a_turn} steps are needed, not {max_steps}"
        )
    facts = {"target": target, "max_steps": max_steps}
    chosen = participants(request)
    with workplace("accuracy", request, FILES, facts=facts) as place:
        ends = place.clock() + request.budget
        study = TimeToAccuracy(
            run_id=place.run_id,
            policy=place.policy,
            target=target,
            max_steps=max_steps,
            launch=lambda one, number: place.start(
                one, number, place.cpus, cache=f"launch{number + 1}/{one.process}"
            ),
            record=place.writer.append,
            left_s=lambda: ends - place.clock(),
            say=place.progress.show,
        )
        seeds = [
            request.seed + number for number in range(STUDIES.accuracy_seeds[request.profile.name])
        ]
        try:
            study.measure(chosen, seeds)
            place.environment["complete"] = not study.notes
        finally:
            place.environment.update(
                notes=[*study.notes, *Measured(prepared=study.prepared).caveats()],
                failures=failures_kept(study.failures),
            )
        return place.folder


# ---- what it means -------------------------------------------------------------------------------


def reached(rows: Sequence[AccuracyRow], target: float) -> dict[str, dict[int, Reached]]:
    """Return participant -> seed -> the first of enough evaluations in a row at the target."""
    found: dict[str, dict[int, list[AccuracyRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row.participant][row.seed].append(row)
    return {
        participant: {seed: _first(points, target) for seed, points in by_seed.items()}
        for participant, by_seed in found.items()
    }


def _first(points: Sequence[AccuracyRow], target: float) -> Reached:
    ordered = sorted(points, key=lambda row: row.step)
    for place in range(len(ordered) - STUDIES.accuracy_in_a_row + 1):
        window = ordered[place : place + STUDIES.accuracy_in_a_row]
        if all(row.accuracy >= target for row in window):
            return Reached(steps=window[0].step, seconds=window[0].train_s)
    return Reached(steps=None, seconds=None)


def over_default(
    found: dict[str, dict[int, Reached]], participant: str, policy: Policy
) -> Ratio | None:
    """Return stock default's time over the participant's, paired by seed; intervals are over seeds.

    None where no seed has both times.
    """
    logs = [
        math.log(base.seconds / own.seconds)
        for seed, own in found.get(participant, {}).items()
        if (base := found.get(STOCK_DEFAULT, {}).get(seed)) and base.seconds and own.seconds
    ]
    return mean_ratio(logs, policy)


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    rows, _ = records.read_rows(folder / "accuracy.csv", AccuracyRow)
    measured, policy = measured_again(folder, {})
    target = records.read_environment(folder)["target"]
    return page(rows, float(target), measured.failures, policy)


_REMARK = (
    "The shallow blocks come from the model file and are frozen; the deep block and the head "
    "start from the seed's random weights. Above 1 is sooner than stock default. Intervals "
    "are over seeds; one seed has none, and a difference may be the seed's own. The time of steps "
    "includes the first, in which a compiled scenario compiles; evaluations run uncompiled."
)


def page(
    rows: Sequence[AccuracyRow],
    target: float,
    failures: dict[str, WorkerError],
    policy: Policy,
) -> Page:
    """Build the study's page."""
    found = reached(rows, target)
    made = [
        _row(participant, found, rows, failures, policy) for participant in {**found, **failures}
    ]
    return Page(
        title=f"Time to an accuracy of {percent(target)}",
        lead=tuple(sentence for sentence, _ in made) or ("Nothing was measured.",),
        tables=(
            Table(
                name="accuracy",
                caption=f"From the same start to an accuracy of {percent(target)} on test images.",
                columns=(
                    "Scenario",
                    "Seeds that reached it",
                    "Steps, median",
                    "Time of steps, median",
                    "Of which the first step",
                    "Over stock default",
                    "Best accuracy",
                    "Status and reason",
                ),
                rows=tuple(row for _, row in made),
                numeric=(1, 2, 3, 4, 5, 6),
            ),
        ),
        remarks=(_REMARK,),
    )


def _row(
    participant: str,
    found: dict[str, dict[int, Reached]],
    rows: Sequence[AccuracyRow],
    failures: dict[str, WorkerError],
    policy: Policy,
) -> tuple[str, Row]:
    own = found.get(participant, {})
    steps = [one.steps for one in own.values() if one.steps is not None]
    took = [one.seconds for one in own.values() if one.seconds is not None]
    firsts = {row.seed: row.first_step_s for row in rows if row.participant == participant}
    first = [one for one in firsts.values() if one is not None]
    error = failures.get(participant)
    no_ratio = participant == STOCK_DEFAULT or error is not None
    ratio = None if no_ratio else over_default(found, participant, policy)
    best = max((row.accuracy for row in rows if row.participant == participant), default=None)
    several = ratio is not None and ratio.rounds > 1
    interval = bounds(ratio.low, ratio.high) if ratio and several else ""
    said = f"reached from {len(steps)} of {len(own)} seeds"
    if took:
        said += f", {seconds(float(np.median(took)))} of steps"
    if ratio:
        said += f", {times(ratio.estimate)} {interval}".rstrip() + " over stock default"
    if error and not own:
        said = f"not measured: {error.reason}"
    cells = (
        Cell(text=participant),
        number(f"{len(steps)} of {len(own)}", len(steps)),
        number(f"{np.median(steps):g}" if steps else NOTHING, None),
        number(seconds(float(np.median(took))) if took else NOTHING, None),
        number(seconds(float(np.median(first))) if first else NOTHING, None),
        number(times(ratio.estimate if ratio else None), None, interval),
        number(percent(best), best),
        status_cell(error),
    )
    return f"{participant}: {said}.", Row(cells=cells)
