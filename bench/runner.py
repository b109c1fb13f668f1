"""A run: launches of fresh workers, groups of scenarios, rounds of blocks, within a budget.

The order of things, and why, is METHOD's (docs/method.md). A launch visits every group, so that a
run that ends early has something of each; the first launch gives each group its minimum of rounds
and learns what a round costs, the later ones share out what the budget leaves. A failure costs its
own scenario only, and rows are on disk before the next block starts.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench import (
    conditions,
    confirmation,
    limits,
    parity,
    records,
    run_folder,
    schedule,
    speedups,
    statistics,
    variables,
)
from bench.client import AccountedWorker, ParentUse
from bench.errors import WorkerError
from bench.lane import Lane
from bench.outcome import Outcome, calls_by_scenario
from bench.pool import WorkerPool
from bench.progress import Progress, spell_seconds
from bench.rounds import Rounds
from bench.scenarios import Scenario, Status, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.client import WorkerHandle
    from bench.policy import Policy
    from bench.resume import Earlier
    from bench.scenarios import Profile

Group = tuple[Task, int, str]


def group_name(group: Group) -> str:
    """How rows and sentences call a comparison group: `inference/b8`, `training/b8/frozen`."""
    task, batch_size, trained = group
    return "/".join(part for part in (str(task), f"b{batch_size}", trained) if part)


def spell_error(error: float | None) -> str:
    """A difference of outputs for a sentence; none means that it was not a number."""
    return "NaN or infinity" if error is None else f"{error:.3g}"


def _check_variables(lane: Lane) -> None:
    """A variable that did not take would be measured under a label that is not true.

    Raises:
        WorkerError: the worker says that it did not.
    """
    denied = variables.contradiction(lane.scenario, lane.conditions)
    if denied:
        raise WorkerError(Status.UNSUPPORTED, denied)


@dataclass(kw_only=True)
class Runner:
    """Measures `scenarios` into `folder`.

    `launch(scenario, is_control, launch_number)` starts a worker. `peak` is what the machine can do
    (`gflop_per_s` by dtype, `memory_gb_per_s`) as known at the start; `peak_again` measures it once
    more at the end, and the higher reading counts. `earlier` is what a run that was cut had
    measured: it goes on with launches of new numbers. `keep_workers` gets the workers' conditions
    after every group. Nothing here imports torch.
    """

    run_id: str
    folder: Path
    profile: Profile
    scenarios: tuple[Scenario, ...]
    policy: Policy
    budget_s: float
    launch: Callable[[Scenario, bool, int], WorkerHandle]
    peak: Mapping[str, Any] = field(default_factory=dict)
    peak_again: Callable[[], Mapping[str, Any]] | None = None
    earlier: Earlier | None = None
    keep_workers: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None
    starts_at_once: int = 1
    clock: Callable[[], float] = time.monotonic
    progress: Progress = field(default_factory=Progress)

    outcomes: dict[str, Outcome] = field(init=False)
    iterations: list[records.IterationRow] = field(init=False, default_factory=list)
    noise_rows: list[records.NoiseRow] = field(init=False, default_factory=list)
    notes: list[str] = field(init=False, default_factory=list)
    complete: bool = field(init=False, default=False)
    _had: Counter[Group] = field(init=False, default_factory=Counter)
    """Launches in which a group was measured."""
    _costs: dict[Group, schedule.GroupCost] = field(init=False, default_factory=dict)
    _emulated_s: float = field(init=False, default=0.0)
    _parent_use: ParentUse = field(init=False, default_factory=ParentUse)
    _started: float = field(init=False)
    _writer: records.RunWriter = field(init=False)
    _rounds: Rounds = field(init=False)
    _first: int = field(init=False, default=0)
    """Number of the first launch of this process."""
    _called_s: float = field(init=False, default=0.0)
    _where: str = field(init=False, default="")
    _taking_part: frozenset[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.outcomes = {scenario.id: Outcome(scenario=scenario) for scenario in self.scenarios}
        self._started = self.clock()
        if self.earlier is not None:
            self.outcomes = dict(self.earlier.outcomes)
            self.iterations = list(self.earlier.iterations)
            self.noise_rows = list(self.earlier.noise)
            self._first = self.earlier.launches
            self._had = self._launches_had()

    def _launches_had(self) -> Counter[Group]:
        """Launches in which an earlier part of the run gave a group its minimum of rounds."""
        had: Counter[Group] = Counter()
        blocks = speedups.block_medians(self.iterations)
        for name, outcome in self.outcomes.items():
            rounds = Counter(launch for launch, _ in blocks.get(name, ()))
            whole = sum(count >= self.profile.min_rounds for count in rounds.values())
            group = outcome.scenario.group
            had[group] = max(had[group], whole)
        return had

    # ---- the run ---------------------------------------------------------------------------

    def measure(self) -> None:
        """Run everything; whatever ends it, the summaries are written from what was measured.

        Raises:
            RecordError: the folder can no longer be written.
            KeyboardInterrupt: passed on, after the summaries are written.
        """
        with records.RunWriter(self.folder) as writer:
            self._writer = writer
            self._rounds = Rounds(
                run_id=self.run_id,
                policy=self.policy,
                target_half_width=self.profile.target_half_width,
                min_rounds=self.profile.min_rounds,
                record=self._record_noise,
                failed=self._lane_failed,
                note=self.notes.append,
                say=self._say,
                left_s=self._left,
                clock=self.clock,
                blocks_ms=speedups.block_medians(self.iterations),
            )
            try:
                launch = self._first
                last = launch + max(self._wanting().values(), default=0)
                while launch < last and (rounds := self._plan(launch)):
                    self._run_launch(launch, rounds)
                    launch += 1
                self._note_cuts()
                self._settle_peak()
                self._confirm(launch)
                self.complete = True
            except KeyboardInterrupt:
                self.notes.append(
                    f"The run was interrupted after {spell_seconds(self._elapsed())}: it shows "
                    "what was measured until then."
                )
                raise
            finally:
                self.progress.clear()
                self.save()
                self._save_speedups()

    def _plan(self, launch: int) -> dict[Group, int]:
        """Rounds of this launch for each group that takes part; empty when none can."""
        wanting = self._wanting()
        if launch == self._first:
            return dict.fromkeys(wanting, self.profile.min_rounds)
        known = [group for group in wanting if group in self._costs]
        return self._share_out(known, max((wanting[group] for group in known), default=0))

    def _wanting(self) -> dict[Group, int]:
        """The groups that have not had all their launches, and how many they lack."""
        lacking = {group: self.profile.launches - self._had[group] for group in self._groups()}
        return {group: launches for group, launches in lacking.items() if launches > 0}

    def _share_out(self, groups: Sequence[Group], launches: int) -> dict[Group, int]:
        """What is left of the budget, as rounds of the next launch."""
        rounds = schedule.next_launch(
            self._left(),
            launches,
            [self._costs[group] for group in groups],
            min_rounds=self.profile.min_rounds,
            max_rounds=self.profile.max_rounds,
        )
        return {group: count for group, count in zip(groups, rounds, strict=True) if count}

    def _note_cuts(self) -> None:
        """Say which groups had fewer launches than the profile wants."""
        few = [
            f"{group_name(group)} ({self._had[group]})"
            for group in self._groups()
            if self._had[group] < self.profile.launches
        ]
        if few:
            self.notes.append(
                f"The budget of {spell_seconds(self.budget_s)} allowed fewer than "
                f"{self.profile.launches} launches of {', '.join(few)}: differences between "
                "processes are seen less well there."
            )

    def _confirm(self, launch: int) -> None:
        """Measure what surprises and what is close once more, in fresh processes.

        Planned with the costs of whole groups although fewer workers take part, so that it fits.
        """
        hopeless = {name for name, outcome in self.outcomes.items() if outcome.differs}
        chosen = confirmation.to_confirm(self._speedups(), self.policy.verdict, hopeless=hopeless)
        groups = [g for g in self._costs if chosen & {o.scenario.id for o in self._outcomes_of(g)}]
        if not groups or self._left() <= 0:
            return
        rounds = self._share_out(groups, 1)
        self._taking_part = chosen
        self._run_launch(launch, rounds)
        again = chosen & {o.scenario.id for group in rounds for o in self._outcomes_of(group)}
        if again:
            close = statistics.percent(self.policy.verdict.close_call)
            self.notes.append(
                "Measured in a further launch, because a result was refused or an interval ended "
                f"within {close} of the margin: {', '.join(sorted(again))}."
            )

    def _takes_part(self, outcome: Outcome) -> bool:
        """Whether a scenario is in this launch: all are, unless it is there to confirm some."""
        scenario = outcome.scenario
        chosen = self._taking_part is None or scenario.id in self._taking_part
        return outcome.measurable and (chosen or scenario.is_stock_default)

    def _settle_peak(self) -> None:
        """A reading taken while the machine was slowed would refute true results."""
        if not self.peak:
            return
        self._say("measuring the peak again")
        try:
            again = self.peak_again() if self.peak_again else self.peak
        except WorkerError as error:
            self.notes.append(f"The peak could not be measured again: {error.reason}.")
            again = self.peak
        probes = {"fp32": self._rounds.best_gflop_per_s}
        self.peak = limits.larger_peak(
            limits.larger_peak(self.peak, again), {"gflop_per_s": probes, "memory_gb_per_s": 0.0}
        )

    def _note_missing_launches(self, had: int) -> None:
        self.notes.append(
            f"The budget of {spell_seconds(self.budget_s)} allowed {had} of "
            f"{self.profile.launches} launches: differences between processes are seen less well."
        )

    def _run_launch(self, launch: int, rounds: Mapping[Group, int]) -> None:
        for task in Task:
            groups = [group for group in rounds if group[0] is task]
            if not groups:
                continue
            pool = WorkerPool(
                launch=lambda key, control: self.launch(key, control, launch),
                start_timeout_s=self.policy.start_timeout_s,
                at_once=1 if launch == 0 and self.profile.cold_starts else self.starts_at_once,
            )
            try:
                for group in groups:
                    self._run_group(launch, group, rounds[group], pool)
            finally:
                pool.close()

    # ---- one group in one launch -----------------------------------------------------------

    def _run_group(self, launch: int, group: Group, rounds: int, pool: WorkerPool) -> None:
        if launch == self._first and self._left() <= 0:
            self._give_up(group)
            return
        started = self.clock()
        lanes = self._open_lanes(launch, group, pool)
        fixed_s = self.clock() - started
        done = self._rounds.run(group_name(group), launch, lanes, rounds)
        rounds_s = self.clock() - started - fixed_s
        for lane in lanes:
            self._close_lane(lane)
        closing_s = self.clock() - started - fixed_s - rounds_s
        self._had[group] += bool(lanes and done)
        if lanes and done:
            self._costs[group] = schedule.GroupCost(
                fixed_s=fixed_s + (0.0 if launch == self._first else closing_s),
                round_s=rounds_s / done,
                name=group_name(group),
            )
        self.save()

    def _give_up(self, group: Group) -> None:
        for outcome in self._outcomes_of(group):
            outcome.fail(
                Status.UNAVAILABLE,
                f"not measured: the budget of {spell_seconds(self.budget_s)} was used up before "
                "its turn (raise BUDGET or choose a smaller profile)",
            )

    def _open_lanes(self, launch: int, group: Group, pool: WorkerPool) -> list[Lane]:
        """Workers prepared, checked and warm; a scenario that fails on the way is left out."""
        outcomes = [o for o in self._outcomes_of(group) if self._takes_part(o)]
        if launch and self._emulated_spent():
            outcomes = [o for o in outcomes if o.prepared.get("native_dtype") is not False]
        wanted = [(outcome.scenario, False) for outcome in outcomes]
        wanted += [(o.scenario, True) for o in outcomes if o.scenario.is_stock_default]
        self._where = f"launch {launch + 1}/{self.profile.launches} · {group_name(group)}"
        self._say(f"starting {len(wanted)} workers")
        pool.start(wanted)
        lanes: list[Lane] = []
        for number, (scenario, is_control) in enumerate(wanted, start=1):
            self._say(f"preparing {number}/{len(wanted)} {scenario.id}")
            lane = self._open_lane(launch, scenario, is_control=is_control, pool=pool)
            if lane is not None:
                lanes.append(lane)
        self._compare_conditions(lanes)
        return lanes

    def _open_lane(
        self, launch: int, scenario: Scenario, *, is_control: bool, pool: WorkerPool
    ) -> Lane | None:
        outcome = self.outcomes[scenario.id]
        try:
            worker, hello = pool.get(scenario, control=is_control)
            lane = Lane(
                run_id=self.run_id,
                scenario=scenario,
                launch=launch,
                worker=AccountedWorker(worker, self._parent_use),
                policy=self.policy,
                record=self._record,
                is_control=is_control,
                conditions=hello.get("conditions", {}),
            )
            lane.prepare()
            is_new = outcome.is_new and not is_control
            if is_new:
                self._note_facts(outcome, lane, hello)
            if lane.emulated:
                self._charge_emulated(outcome, lane)
            if outcome.measurable:
                lane.warm_up()
                lane.read_conditions()
                _check_variables(lane)
            if is_new:
                outcome.conditions = lane.conditions
            no_reference = lane.is_default and not self._reference(lane).exists()
            if outcome.measurable and (is_new or no_reference):
                self._check_outputs(outcome, lane)
        except WorkerError as error:
            self._scenario_failed(launch, scenario, error, is_control=is_control)
            return None
        if not lane.steady and not is_control:
            outcome.unsteady(launch + 1)
        if outcome.measurable:
            return lane
        self._release(lane)
        return None

    def _charge_emulated(self, outcome: Outcome, lane: Lane) -> None:
        """Admit an emulated lane while its kind has budget left.

        Its cost is foreseen from the first call: warm-up, outputs and rounds are about as many
        calls as rounds and three more.
        """
        cost_s = lane.spent_s * (self.policy.budget.emulated_rounds + 3)
        allowed_s = self.policy.budget.emulated_share * self.budget_s
        if lane.launch == self._first and self._emulated_s + cost_s > allowed_s:
            outcome.fail(
                Status.UNAVAILABLE,
                f"not measured: {lane.scenario.dtype} is emulated on this CPU, one call takes "
                f"{spell_seconds(lane.spent_s)}, and emulated scenarios may use "
                f"{spell_seconds(allowed_s)} of the budget (raise BUDGET)",
            )
            return
        self._emulated_s += cost_s

    def _compare_conditions(self, lanes: list[Lane]) -> None:
        """Hold every worker's conditions against stock default's of this launch.

        A control that differs counts against its baseline: its spread would be no noise floor.
        """
        default = next((lane for lane in lanes if lane.is_default), None)
        for lane in lanes:
            outcome = self.outcomes[lane.scenario.id]
            if default is not None:
                found = conditions.differences(
                    default.conditions,
                    lane.conditions,
                    allowed=variables.may_differ(lane.scenario),
                    same_packages=lane.scenario.environment == default.scenario.environment,
                )
                whose = "of its control, " if lane.is_control else ""
                outcome.unlike([f"{whose}{sentence}" for sentence in found])

    def workers(self) -> dict[str, dict[str, Any]]:
        """What every scenario's worker ran under, for environment.json."""
        return {name: outcome.worker for name, outcome in self.outcomes.items()}

    def _note_facts(self, outcome: Outcome, lane: Lane, hello: Mapping[str, Any]) -> None:
        outcome.prepared = lane.prepared
        outcome.import_s = hello.get("import_s")
        outcome.conditions = hello.get("conditions", {})
        outcome.threads = outcome.conditions.get("threads")

    def _check_outputs(self, outcome: Outcome, lane: Lane) -> None:
        """Compare with the stock default's outputs; a scenario outside tolerance is not timed."""
        default = self._reference(lane)
        is_default = lane.scenario.is_stock_default
        path = default if is_default else default.with_suffix(".candidate.npz")
        lane.outputs(path)
        if not default.exists():
            return
        found = parity.compare(
            default,
            path,
            task=lane.scenario.task,
            dtype=lane.scenario.dtype,
            tolerance=self.policy.parity,
        )
        outcome.parity = records.ParityRow(
            run_id=self.run_id, scenario=lane.scenario.id, **asdict(found)
        )
        if not found.within_tolerance:
            outcome.fail(
                Status.WRONG_OUTPUT,
                f"outputs differ from the stock default's by {spell_error(found.max_abs_error)}, "
                f"maps by {spell_error(found.max_abs_map_error)}; {found.tolerance:g} is allowed",
            )

    def _reference(self, lane: Lane) -> Path:
        """Where the outputs of its group's stock default lie."""
        group = group_name(lane.scenario.group).replace("/", "-")
        return self.folder / run_folder.OUTPUTS / f"{group}.npz"

    def _lane_failed(self, lane: Lane, error: WorkerError) -> None:
        self._scenario_failed(lane.launch, lane.scenario, error, is_control=lane.is_control)

    def _scenario_failed(
        self, launch: int, scenario: Scenario, error: WorkerError, *, is_control: bool
    ) -> None:
        if is_control:
            self.notes.append(
                f"The control of {group_name(scenario.group)} failed in launch {launch + 1}: "
                f"{error.reason}."
            )
        else:
            where = f" (launch {launch + 1})" if launch else ""
            self.outcomes[scenario.id].fail(error.status, f"{error.reason}{where}")

    def _release(self, lane: Lane) -> None:
        try:
            lane.release()
        except WorkerError as error:
            self.notes.append(f"{lane.name} could not be released: {error.reason}.")

    def _close_lane(self, lane: Lane) -> None:
        """Collect what an untimed look can tell, in the first launch, and free the model."""
        outcome = self.outcomes[lane.scenario.id]
        if not lane.is_control:
            outcome.add_energy(lane.joules, lane.joules_images)
        if not lane.worker.alive:
            return
        try:
            if not outcome.evidence and not lane.is_control and outcome.measurable:
                outcome.memory = lane.memory()
                outcome.evidence = lane.kernels()
                for row in outcome.kernel_rows(self.run_id):
                    self._writer.append(row)
            lane.release()
        except WorkerError as error:
            self.notes.append(
                f"{lane.name} was measured, but its evidence is missing: {error.reason}."
            )
            return
        contradiction = outcome.evidence.get("contradiction")
        if contradiction:
            outcome.fail(Status.UNSUPPORTED, f"the label is not what ran: {contradiction}")

    # ---- files -----------------------------------------------------------------------------

    def save(self) -> None:
        """Write scenarios and parity from everything so far; each replaces its predecessor whole.

        Done after every group, because a later one may be the last.
        """
        records.replace_rows(self.folder / "scenarios.csv", self._rows(), records.ScenarioRow)
        records.replace_rows(self.folder / "parity.csv", self._parity_rows(), records.ParityRow)
        self.keep_workers(self.workers())

    def _save_speedups(self) -> None:
        path = self.folder / "speedups.csv"
        records.replace_rows(path, self._speedups(), records.SpeedupRow)

    def _speedups(self) -> list[records.SpeedupRow]:
        return speedups.speedup_rows(
            self.run_id,
            self._rows(),
            self.iterations,
            self.noise_rows,
            self._parity_rows(),
            self.policy,
            workers=self.workers(),
        )

    def _rows(self) -> list[records.ScenarioRow]:
        calls = calls_by_scenario(self.iterations)
        return [
            outcome.row(self.run_id, calls.get(name, []), self.peak.get("gflop_per_s", {}))
            for name, outcome in self.outcomes.items()
        ]

    def _parity_rows(self) -> list[records.ParityRow]:
        return [o.parity for o in self.outcomes.values() if o.parity is not None]

    def self_use(self) -> dict[str, float | None]:
        """The parent's CPU share while workers ran, and the share of time that went into calls."""
        elapsed = self._elapsed()
        return {
            "parent_cpu_share": self._parent_use.cpu_share,
            "measuring_share": self._called_s / elapsed if elapsed else None,
        }

    def _record(self, row: records.IterationRow) -> None:
        self._writer.append(row)
        self.iterations.append(row)
        self._called_s += row.wall_ns / 1e9

    def _record_noise(self, row: records.NoiseRow) -> None:
        self._writer.append(row)
        self.noise_rows.append(row)

    # ---- small things ----------------------------------------------------------------------

    def _groups(self) -> Iterator[Group]:
        yield from dict.fromkeys(scenario.group for scenario in self.scenarios)

    def _outcomes_of(self, group: Group) -> list[Outcome]:
        return [o for o in self.outcomes.values() if o.scenario.group == group]

    def _elapsed(self) -> float:
        return self.clock() - self._started

    def _left(self) -> float:
        return self.budget_s - self._elapsed()

    def _emulated_spent(self) -> bool:
        """Whether another launch of emulated scenarios would pass their share of the budget."""
        return self._emulated_s * 2 > self.policy.budget.emulated_share * self.budget_s

    def _say(self, what: str) -> None:
        self.progress.show(f"{self._where} · {what}", max(0.0, self._left()))
