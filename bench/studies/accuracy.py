"""`bench accuracy`: measure how long training takes to a target accuracy, from the same start.

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
from typing import TYPE_CHECKING, cast

from bench.analysis.judge import mean_ratio
from bench.errors import UsageError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Dtype, Status, Task
from bench.plan.thresholds import STUDIES
from bench.studies.measured import Measured
from bench.studies.scenarios import STOCK_DEFAULT, Runnable, participants_of
from bench.studies.study_folder import workplace
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
    """Trains every scenario from every seed; `measured` has those that could not go on."""

    run_id: str
    policy: Policy
    target: float
    max_steps: int
    launch: Callable[[Participant, int], WorkerHandle]
    record: Callable[[AccuracyRow], None]
    left_s: Callable[[], float]
    say: Callable[[str], None] = lambda _: None
    measured: Measured = field(default_factory=Measured)
    """Failures, what the budget left out, and the data; the evaluations are rows."""
    images: int | None = None
    """On which accuracy is taken."""

    def measure(self, chosen: Sequence[Participant], seeds: Sequence[int]) -> None:
        """Train from one seed after the other, each in fresh processes.

        The first seed runs to its end whatever the budget is; `max_steps` limits it.
        """
        whole = 0
        for launch, seed in enumerate(seeds):
            if launch and self.left_s() <= 0:
                self.measured.notes.append(
                    f"The budget allowed {whole} of {len(seeds)} seeds (raise --budget)."
                )
                return
            whole += self._one_seed(chosen, seed, launch)

    def _one_seed(self, chosen: Sequence[Participant], seed: int, launch: int) -> bool:
        """Train from one seed; return whether the budget let it end."""
        trainers: list[Trainer] = []
        try:
            for participant in chosen:
                if participant.name not in self.measured.failures:
                    self._start(trainers, participant, seed, launch)
            order = random.Random(seed)  # noqa: S311 - an order, not a secret
            while running := [one for one in trainers if self._goes_on(one)]:
                if launch and self.left_s() <= 0:
                    self.measured.notes.append(
                        f"Seed {seed} was cut by the budget (raise --budget)."
                    )
                    return False
                order.shuffle(running)
                for trainer in running:
                    self._turn(trainer, seed)
            return True
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
            hello = worker.greet(self.policy.start_timeout_s).get("hello", {})
            self.measured.data = self.measured.data or hello.get("data", {})
            limit = self.policy.prepare_timeout_s
            reply = worker.ask("prepare", limit, scenario=protocol.encode(participant.scenario))
            self.images = worker.ask("start_training", limit, seed=seed)["evaluated"]
            prepared = cast("protocol.PrepareReply", reply)
            self.measured.prepared.setdefault(participant.name, prepared)
            self._evaluate(trainers[-1], seed, None)
        except WorkerError as error:
            self.measured.failures.setdefault(participant.name, error)

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
            self.measured.failures.setdefault(trainer.participant.name, error)

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

    def _goes_on(self, trainer: Trainer) -> bool:
        return not trainer.done and trainer.participant.name not in self.measured.failures


def seeds_and_budget(seeds: int | None, request: StudyRequest) -> tuple[range, float]:
    """Return the seeds to train from and the seconds after which no other begins.

    Only a budget that was given cuts a number of seeds that was given.
    """
    number = STUDIES.accuracy_seeds[request.profile.name] if seeds is None else seeds
    budget_s = math.inf if seeds and request.budget_s is None else request.budget
    return range(request.seed, request.seed + number), budget_s


def measure(target: float, max_steps: int, seeds: int | None, request: StudyRequest) -> Path:
    """Measure from so many seeds, by default the profile's, and return the study's folder.

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
    facts = {"target": target, "max_steps": max_steps, "image_size": request.image_size}
    chosen = participants(request)
    planned, budget_s = seeds_and_budget(seeds, request)
    with workplace("accuracy", request, AccuracyRow, facts=facts) as place:
        ends = place.clock() + budget_s
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
        with place.finished(study.measured):
            study.measure(chosen, planned)
        place.environment["evaluated"] = study.images
        place.environment["complete"] &= not study.measured.notes
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


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The accuracy of one scenario minus another's, after the same steps from the same seeds."""

    minus: str
    """The other participant."""
    seeds: int
    mean: float
    """Of the seeds, as a share of the decisions."""
    low: float
    """Infinite, as `high`, with one seed."""
    high: float


def less_fp32(
    rows: Sequence[AccuracyRow], participant: str, images: int, policy: Policy
) -> Difference | None:
    """Return a scenario's accuracy minus that of the same in fp32, or else of stock default.

    Each seed gives the difference at the last step that both evaluated: who reaches the target
    trains no further, so their last evaluations follow different numbers of steps. The interval is
    over seeds; it is never narrower than one of the `images` either way, because a few seeds with
    equal differences do not make the difference exact.

    None for a scenario in fp32, and where no seed has both.
    """
    before, dtype, after = _around_dtype(participant)
    if dtype in ("", Dtype.FP32):
        return None
    ours, same = _accuracies(rows, participant), f"{before}/{Dtype.FP32}/{after}"
    fp32 = _accuracies(rows, same)
    minus = same if fp32 else STOCK_DEFAULT
    fp32 = fp32 or _accuracies(rows, STOCK_DEFAULT)
    last = {seed: step for seed, step in sorted(ours.keys() & fp32.keys()) if step}
    found = [ours[place] - fp32[place] for place in last.items()]
    ratio = mean_ratio(found, policy)  # a mean with its interval, of differences as of logarithms
    if ratio is None:
        return None
    mean = math.log(ratio.estimate)
    reach = max(math.log(ratio.high) - mean, 1 / images)
    return Difference(minus=minus, seeds=len(found), mean=mean, low=mean - reach, high=mean + reach)


def _around_dtype(participant: str) -> tuple[str, str, str]:
    """Split a scenario's id at its dtype, which is empty in a name that is no id."""
    parts = participant.split("/")
    return "/".join(parts[:3]), "".join(parts[3:4]), "/".join(parts[4:])


def _accuracies(rows: Sequence[AccuracyRow], participant: str) -> dict[tuple[int, int], float]:
    """Return (seed, step) -> accuracy."""
    return {(row.seed, row.step): row.accuracy for row in rows if row.participant == participant}
