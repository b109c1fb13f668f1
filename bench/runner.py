"""A run: launches of fresh workers, groups of scenarios, rounds of blocks, within a budget.

The order of things, and why, is METHOD's (docs/method.md). A launch visits every group, so that a
run that ends early has something of each; the first launch gives each group its minimum of rounds
and learns what a round costs, the later ones share out what the budget leaves. A failure costs its
own scenario only, and rows are on disk before the next block starts.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import confirmation, limits, memory_use, records, schedule
from bench.analysis.measurements import block_medians
from bench.analysis.speedups import speedup_rows
from bench.emulation import EmulatedShare
from bench.errors import WorkerError
from bench.lanes import Lanes
from bench.outcome import Outcome, calls_by_scenario
from bench.phrases import spell_seconds
from bench.pool import WorkerPool
from bench.progress import Progress
from bench.rounds import Rounds
from bench.scenarios import Group, Scenario, Status, Task, group_name
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.client import WorkerHandle
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.resume import Earlier
    from bench.scenarios import Profile

_OVERDRAWN = 0.05
"""The part of the budget that a run may pass it by without saying so: it is looked at between
blocks only."""


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
    _had_rounds: Counter[Group] = field(init=False, default_factory=Counter)
    _use: TimeUse = field(init=False)
    _started: float = field(init=False)
    _writer: records.RunWriter = field(init=False)
    _rounds: Rounds = field(init=False)
    _lanes: Lanes = field(init=False)
    _first: int = field(init=False, default=0)
    """Number of the first launch of this process."""
    _where: str = field(init=False, default="")
    _peak_memory_gib: float = field(init=False, default=0.0)
    _taking_part: frozenset[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.outcomes = {scenario.id: Outcome(scenario=scenario) for scenario in self.scenarios}
        self._started = self.clock()
        self._use = TimeUse(clock=self.clock)
        if self.earlier is not None:
            self.outcomes = dict(self.earlier.outcomes)
            self.iterations = list(self.earlier.iterations)
            self.noise_rows = list(self.earlier.noise)
            self._first = self.earlier.launches
            self._had = self._launches_had()

    def _launches_had(self) -> Counter[Group]:
        """Launches in which an earlier part of the run gave a group its minimum of rounds."""
        had: Counter[Group] = Counter()
        blocks = block_medians(self.iterations)
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
            if self.earlier is not None:  # until they are made again, the old ones say too little
                records.replace_rows(self.folder / "speedups.csv", [], records.SpeedupRow)
            self._lanes = Lanes(
                run_id=self.run_id,
                folder=self.folder,
                policy=self.policy,
                budget_s=self.budget_s,
                outcomes=self.outcomes,
                first=self._first,
                at_once=self.starts_at_once,
                parity_s=self.profile.parity_s,
                emulated=EmulatedShare(
                    policy=self.policy.budget,
                    budget_s=self.budget_s,
                    peak=self.peak.get("gflop_per_s", {}),
                ),
                use=self._use,
                record=self._record,
                keep=writer.append,
                note=self.notes.append,
                say=self._say,
            )
            self._rounds = Rounds(
                run_id=self.run_id,
                policy=self.policy,
                target_half_width=self.profile.target_half_width,
                min_rounds=self.profile.min_rounds,
                record=self._record_noise,
                failed=self._failed,
                note=self.notes.append,
                say=self._say,
                left_s=self._left,
                clock=self.clock,
                first_launch=self._first,
                blocks_ms=block_medians(self.iterations),
            )
            try:
                launch = self._first
                last = launch + max(self._wanting().values(), default=0)
                while launch < last and (rounds := self._plan(launch)):
                    self._run_launch(launch, rounds)
                    launch += 1
                self._note_cuts()
                self._settle_peak()
                self._narrow(self._confirm(launch))
                self.complete = True
            except KeyboardInterrupt:
                self.notes.append(
                    f"The run was interrupted after {spell_seconds(self._elapsed())}: it shows "
                    "what was measured until then."
                )
                raise
            finally:
                self.progress.clear()
                self.save(ended=True)
                self._save_speedups()

    def _plan(self, launch: int) -> dict[Group, int]:
        """Rounds of this launch for each group that takes part; empty when none can."""
        wanting = self._wanting()
        if launch == self._first:
            return dict.fromkeys(wanting, self.profile.max_rounds)
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
        """Say which groups had fewer launches than the profile wants, and what was overdrawn."""
        over_s = -self._left()
        if over_s > _OVERDRAWN * self.budget_s:
            self.notes.append(
                f"The budget of {spell_seconds(self.budget_s)} was passed by "
                f"{spell_seconds(over_s)}: the least that each task needs takes longer on this "
                "machine."
            )
        lacking, groups = self._wanting(), list(self._groups())
        if lacking:
            few = ", ".join(f"{group_name(group)} ({self._had[group]})" for group in lacking)
            self.notes.append(
                f"The budget of {spell_seconds(self.budget_s)} allowed fewer than "
                f"{self.profile.launches} launches of "
                f"{'every group' if len(lacking) == len(groups) else few}: less is seen of how "
                f"processes differ{self._should_do(lacking, len(groups))}."
            )

    def _should_do(self, lacking: Mapping[Group, int], groups: int) -> str:
        """The budget that gives all groups their launches, where what they cost is known.

        With a larger one the first launch spends more too, and no two runs take the same time.
        """
        if not lacking.keys() <= self._costs.keys():
            return ""
        rule, least = self.policy.budget, self.profile.min_rounds
        need_s = self._elapsed() + sum(
            launches * self._costs[group].launch_s(least) for group, launches in lacking.items()
        )
        first = min(0.5, rule.first_launch_share * groups)
        minutes = math.ceil(need_s * rule.spare / (1 - first) / 60)
        return f"; about {minutes} min should do (BUDGET={60 * minutes})"

    def _confirm(self, launch: int) -> int:
        """Measure what surprises and what is close once more, in fresh processes.

        Planned with the costs of whole groups although fewer workers take part, so that it fits.
        Returns the number of the next launch.
        """
        hopeless = {name for name, outcome in self.outcomes.items() if outcome.differs}
        chosen = confirmation.to_confirm(self._speedups(), self.policy.verdict, hopeless=hopeless)
        groups = [g for g in self._costs if chosen & {o.scenario.id for o in self._outcomes_of(g)}]
        if not groups or self._left() <= 0:
            return launch
        rounds = self._share_out(groups, 1)
        self._taking_part = chosen
        self._run_launch(launch, rounds)
        self._taking_part = None
        again = chosen & {o.scenario.id for group in rounds for o in self._outcomes_of(group)}
        if again:
            self.notes.append(
                "Measured in a further launch, because a result was refused or one more process "
                f"would decide it: {', '.join(sorted(again))}."
            )
        return launch + 1

    def _narrow(self, launch: int) -> None:
        """Further launches of groups whose intervals are still wide, while the budget has time.

        What processes differ by is most of an interval that is wide after a launch's last round,
        and only fresh processes narrow that.
        """
        most = self.policy.budget.most_launches * self.profile.launches
        for number in range(launch, launch + most):
            wide = {
                group: most - self._had[group]
                for group, cost in self._costs.items()
                if cost.wide and self._had[group] < most
            }
            rounds = self._share_out(tuple(wide), max(wide.values(), default=0))
            if not rounds:
                return
            self._run_launch(number, rounds)

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

    def _run_launch(self, launch: int, rounds: Mapping[Group, int]) -> None:
        for task in Task:
            groups = [group for group in rounds if group[0] is task]
            if not groups:
                continue
            pool = WorkerPool(
                launch=lambda key, control: self.launch(key, control, launch),
                start_timeout_s=self.policy.start_timeout_s,
                at_once=self.starts_at_once,
            )
            try:
                for group in groups:
                    if self._too_late(launch, group, groups):
                        self._give_up(group)
                    else:
                        self._run_group(launch, group, rounds[group], pool)
            finally:
                pool.close()

    def _failed(self, lane: Lane, error: WorkerError) -> None:
        """A lane broke in its rounds: on disk at once, or a kill would leave it a verdict."""
        self._lanes.failed(lane, error)
        self.save()

    # ---- one group in one launch -----------------------------------------------------------

    def _run_group(self, launch: int, group: Group, rounds: int, pool: WorkerPool) -> None:
        of = max(launch + 1, self.profile.launches)
        self._where = f"launch {launch + 1}/{of} · {group_name(group)}"
        outcomes = [o for o in self._outcomes_of(group) if self._takes_part(o)]
        began, set_up_s = self.clock(), self._set_up_s()
        lanes = self._lanes.open(launch, outcomes, pool)
        self.save()  # what was checked: a run killed in its rounds must know whom to believe
        set_up_s = self._set_up_s() - set_up_s
        opened = self.clock()
        with self._use.during(MEASURING):
            done = self._rounds.run(
                group_name(group), launch, lanes, rounds, within_s=self._within_s(launch)
            )
        rounds_s = self.clock() - opened
        later_s = set_up_s + sum(lane.later_opening_s for lane in lanes)
        held_gib = memory_use.held_gib(pool.pids())
        self._lanes.close(lanes)
        self._note_memory(held_gib, outcomes)
        self._had[group] += bool(lanes and done)
        self._had_rounds[group] += done
        if lanes and done and self._taking_part is None:  # a part of a group has not its cost
            whole_s = self.clock() - began - rounds_s
            self._costs[group] = schedule.GroupCost(
                fixed_s=later_s if launch == self._first else whole_s,
                round_s=rounds_s / done,
                wide=tuple(self._rounds.widest(lanes)),
                rounds=self._had_rounds[group],
                name=group_name(group),
            )
        self.save()

    def _too_late(self, launch: int, group: Group, groups: Sequence[Group]) -> bool:
        """Whether the budget was used up before a group's turn in the first launch.

        Never for a task's first group: on a machine several times slower than the profile was made
        for, inference alone would use the budget up, and nothing at all be said of training.
        """
        return launch == self._first and group != groups[0] and self._left() <= 0

    def _note_memory(self, held_gib: float, outcomes: Sequence[Outcome]) -> None:
        """All workers hold this at rest; one at a time computes, and goes up to its own peak."""
        looks = [(o.memory.get("peak_rss_mb"), o.memory.get("rss_mb")) for o in outcomes]
        above_mib = (peak - rest for peak, rest in looks if peak and rest)
        together_gib = held_gib + max(above_mib, default=0.0) / 1024
        self._peak_memory_gib = max(self._peak_memory_gib, together_gib)

    def _within_s(self, launch: int) -> float:
        """What a group's rounds beyond the minimum may take: in the first launch, a share."""
        share = self.policy.budget.first_launch_share
        return share * self.budget_s if launch == self._first else float("inf")

    def _set_up_s(self) -> float:
        """Spent on starting and preparing workers so far."""
        return self._use.spent_s["starting"] + self._use.spent_s["preparing"]

    def _give_up(self, group: Group) -> None:
        for outcome in self._outcomes_of(group):
            outcome.fail(
                Status.UNAVAILABLE,
                f"not measured: the budget of {spell_seconds(self.budget_s)} was used up before "
                "its turn (raise BUDGET or choose a smaller profile)",
            )

    def workers(self) -> dict[str, dict[str, Any]]:
        """What every scenario's worker ran under, for environment.json."""
        return {name: outcome.worker for name, outcome in self.outcomes.items()}

    # ---- files -----------------------------------------------------------------------------

    def save(self, *, ended: bool = False) -> None:
        """Write scenarios and parity from everything so far; each replaces its predecessor whole.

        Done before and after every group's rounds, because these may be the last; `ended` when no
        round will follow.
        """
        rows = self._rows(ended=ended)
        records.replace_rows(self.folder / "scenarios.csv", rows, records.ScenarioRow)
        records.replace_rows(self.folder / "parity.csv", self._parity_rows(), records.ParityRow)
        self.keep_workers(self.workers())

    def _save_speedups(self) -> None:
        path = self.folder / "speedups.csv"
        records.replace_rows(path, self._speedups(), records.SpeedupRow)

    def _speedups(self) -> list[records.SpeedupRow]:
        return speedup_rows(
            self.run_id,
            self._rows(),
            self.iterations,
            self.noise_rows,
            self._parity_rows(),
            self.policy,
            workers=self.workers(),
        )

    def _rows(self, *, ended: bool = True) -> list[records.ScenarioRow]:
        calls = calls_by_scenario(self.iterations)
        peak = self.peak.get("gflop_per_s", {})
        return [
            outcome.row(self.run_id, calls.get(name, []), peak, ended=ended)
            for name, outcome in self.outcomes.items()
        ]

    def _parity_rows(self) -> list[records.ParityRow]:
        return [o.parity for o in self.outcomes.values() if o.parity is not None]

    def self_use(self) -> dict[str, Any]:
        """The parent's CPU share while workers ran, and where the time went."""
        self._use.total_s = self._elapsed()
        return {
            "parent_cpu_share": self._use.parent.cpu_share,
            "peak_memory_gib": self._peak_memory_gib or None,
            "measuring_share": self._use.measuring_share,
            "rounds_share": self._use.rounds_share,
            "seconds": {"all": self._use.total_s, **self._use.spent_s},
        }

    def _record(self, row: records.IterationRow) -> None:
        self._writer.append(row)
        self.iterations.append(row)
        self._use.count(row)

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

    def _say(self, what: str) -> None:
        self.progress.show(f"{self._where} · {what}", max(0.0, self._left()))
