"""A run: visit after visit, until its claims are decided or its budget is spent.

A visit is one launch of one comparison group: fresh workers are started, prepared, checked and
warmed up, share paired rounds, and end. What each visit measures is the planner's business
(`bench.run.planner`); how it is measured, the engine's (`bench.engine`); what is looked at beside
the times, that of `bench.run.checks`. A failure costs its own scenario only, and rows are on disk
before the next block starts.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.analysis.claims import Claims
from bench.analysis.measurements import block_medians
from bench.analysis.speedups import RunAnalysis
from bench.engine.engine import Engine
from bench.engine.participants import Group, Participant, control_of
from bench.engine.progress import Progress
from bench.engine.time_use import TimeUse
from bench.engine.worker_process import AccountedWorker
from bench.errors import WorkerError
from bench.plan.scenario import (
    Scenario,
    Status,
    Task,
    Verdict,
    group_name,
    stock_default,
    worker_key,
)
from bench.run import limits, memory_use
from bench.run.checks import RunChecks
from bench.run.emulation import EmulatedShare
from bench.run.outcomes import Outcome, calls_by_scenario
from bench.run.planner import Cost, Known, Planner
from bench.store import records
from bench.text.numbers import spell_seconds
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.profiles import Profile
    from bench.plan.thresholds import Policy
    from bench.run.planner import Visit
    from bench.run.resume import Earlier

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
    after every visit. Nothing here imports torch.
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
    _visits: Counter[str] = field(init=False, default_factory=Counter)
    """Launches in which each scenario took part."""
    _costs: dict[str, Cost] = field(init=False, default_factory=dict)
    _decided_s: dict[str, float] = field(init=False, default_factory=dict)
    """Seconds into measuring at which each claim was first seen decided, by its id."""
    _use: TimeUse = field(init=False)
    _started: float = field(init=False)
    _checks: RunChecks = field(init=False)
    _engine: Engine = field(init=False)
    _planner: Planner = field(init=False)
    _claims: int = field(init=False, default=0)
    _next_launch: int = field(init=False, default=0)
    _thorough: set[str] = field(init=False, default_factory=set)
    """Scenarios whose outputs were compared on many images."""
    _first_task: Task | None = field(init=False, default=None)
    """Whose first visits share their workers."""
    _where: str = field(init=False, default="")
    _peak_memory_gib: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.outcomes = {scenario.id: Outcome(scenario=scenario) for scenario in self.scenarios}
        self._started = self.clock()
        self._use = TimeUse(clock=self.clock)
        self._planner = Planner(
            self.scenarios, profile=self.profile, policy=self.policy, budget_s=self.budget_s
        )
        if self.earlier is not None:
            self.outcomes = dict(self.earlier.outcomes)
            self.iterations = list(self.earlier.iterations)
            self.noise_rows = list(self.earlier.noise)
            self._next_launch = self.earlier.launches
            self._visits = self._visits_had()

    def _visits_had(self) -> Counter[str]:
        """Launches that an earlier part of the run measured of what need not start over."""
        blocks = block_medians(self.iterations)
        return Counter(
            {
                name: len({launch for launch, _ in blocks.get(name, ())})
                for name, outcome in self.outcomes.items()
                if not outcome.is_new
            }
        )

    # ---- the run ---------------------------------------------------------------------------

    def measure(self) -> None:
        """Run everything; whatever ends it, the summaries are written from what was measured.

        Raises:
            RecordError: the folder can no longer be written.
            KeyboardInterrupt: passed on, after the summaries are written.
        """
        with records.RunWriter(self.folder) as writer:
            self._set_up(writer)
            if self.earlier is not None:  # until they are made again, the old ones say too little
                for name in ("speedups.csv", "claims.csv"):
                    records.replace_rows(self.folder / name, [], records.FILES[name])
            try:
                self._engine.rounds.probe = self._start_probe()
                known = self._known()
                while (visit := self._planner.next(known)) is not None:
                    self._run_visit(visit)
                    known = self._known()
                    self._note_decided(known.analysis())
                self._give_up_the_rest()
                self._settle_peak()
                self._note_open(self._analyse(ended=True))
                self.complete = True
            except KeyboardInterrupt:
                self.notes.append(
                    f"The run was interrupted after {spell_seconds(self._elapsed())}: it shows "
                    "what was measured until then."
                )
                raise
            finally:
                self._engine.end()
                if self._engine.rounds.probe is not None:
                    self._engine.rounds.probe.stop()
                self.progress.clear()
                self.save(ended=True)
                self._save_answers()

    def _set_up(self, writer: records.RunWriter) -> None:
        self._checks = RunChecks(
            run_id=self.run_id,
            folder=self.folder,
            policy=self.policy,
            budget_s=self.budget_s,
            outcomes=self.outcomes,
            parity_s=self.profile.parity_s,
            thorough_s=self.profile.recommended_parity_s,
            emulated=EmulatedShare(
                policy=self.policy.budget,
                budget_s=self.budget_s,
                peak=self.peak.get("gflop_per_s", {}),
            ),
            keep=writer.append,
            note=self.notes.append,
            failed_one=self.save,  # at once, or a kill would leave it a verdict
        )
        self._engine = Engine(
            run_id=self.run_id,
            policy=self.policy,
            start=lambda participant, number: self.launch(
                worker_key(participant.scenario), participant.is_control, number
            ),
            checks=self._checks,
            record_call=writer.append,
            record_noise=writer.append,
            say=self._say,
            at_once=self.starts_at_once,
            clock=self.clock,
            use=self._use,
            calls=self.iterations,
            noise=self.noise_rows,
            notes=self.notes,
        )

    def _start_probe(self) -> WorkerHandle | None:
        """A worker of stock PyTorch for the probe alone; None where there can be none."""
        key = worker_key(stock_default(Task.INFERENCE, 1))
        worker: WorkerHandle | None = None
        try:
            worker = self.launch(key, False, -1)
            worker.greet(self.policy.start_timeout_s)
        except WorkerError as error:
            self.notes.append(f"The machine's speed was not probed: {error.reason}.")
            if worker is not None:
                worker.stop()
            return None
        return AccountedWorker(worker, self._use.parent)

    def _known(self) -> Known:
        return Known(
            measurable={name for name, outcome in self.outcomes.items() if outcome.measurable},
            visits=self._visits,
            costs=self._costs,
            left_s=self._left(),
            analysis=cache(partial(self._analyse, ended=False)),
            thorough=self._thorough,
            hopeless={name for name, outcome in self.outcomes.items() if outcome.differs},
        )

    # ---- one visit -------------------------------------------------------------------------

    def _run_visit(self, visit: Visit) -> None:
        launch, self._next_launch = self._next_launch, self._next_launch + 1
        label = group_name(visit.group)
        self._where = f"launch {launch + 1} · {label} · {self._spell_claims()}"
        self._visits.update(visit.scenarios)
        group = self._group(visit, label, launch)
        engine, began = self._engine, self.clock()
        self._checks.thorough = visit.thorough
        engine.failures.clear()  # whoever may not go on is in no visit
        try:
            executions = engine.open(launch, group)
            self.save()  # what was checked: a run killed in its rounds must know whom to believe
            done = engine.measure(
                launch,
                group,
                executions,
                visit.rounds,
                within_s=self._within_s(visit, self.clock() - began),
                at_least=self.profile.min_rounds if visit.is_first else 0,
            )
            held_gib = memory_use.held_gib(engine.pids())
            engine.close(executions)
        finally:
            if not visit.is_first:
                engine.end([participant.process for participant in group.participants])
        self._thorough |= visit.thorough
        for execution in executions:
            if not execution.is_control:
                self.outcomes[execution.scenario.id].add_energy(
                    execution.joules, execution.joules_images
                )
        self._note_memory(held_gib, [self.outcomes[name] for name in visit.scenarios])
        if done:
            self._note_costs(
                visit, executions, self.clock() - began - engine.rounds_s, engine.rounds_s / done
            )
        self.save()

    def _group(self, visit: Visit, label: str, launch: int) -> Group:
        """Who takes part, stock default's control last.

        What is measured again gets fresh workers. First visits of one task share theirs: another
        batch size is another scenario, never compared with the one that the process had before, and
        starting costs seconds. Stock default of a group that was visited before has fresh ones all
        the same, or one process would count as two.
        """
        if visit.is_first and self._first_task is not visit.group[0]:
            self._engine.end()
            self._first_task = visit.group[0]
        fresh = "" if visit.is_first else f"@{launch}"
        outcomes = self._checks.emulated.afforded([self.outcomes[name] for name in visit.scenarios])
        scenarios = [outcome.scenario for outcome in outcomes]
        task, batch_size, trained = visit.group
        default = stock_default(task, batch_size, (trained,) if trained else ()).id
        participants = [
            Participant(
                name=one.id,
                scenario=one,
                worker=worker_key(one).id + fresh,
                base="" if one.is_stock_default else default,
            )
            for one in scenarios
        ]
        participants += [
            control_of(participant)
            for participant in participants
            if participant.scenario.is_stock_default
        ]
        if visit.is_first:
            self._engine.end([s.process for s in participants if self._visits[s.scenario.id] > 1])
        return Group(name=label, participants=tuple(participants))

    def _within_s(self, visit: Visit, opening_s: float) -> float:
        """What the rounds of a visit may take: of a first one, a share of its opening."""
        if visit.is_first:
            return self.policy.budget.first_rounds_share * opening_s
        return self._left()

    def _note_costs(
        self, visit: Visit, executions: Sequence[Execution], opening_s: float, round_s: float
    ) -> None:
        """What one more process of each scenario will take, and what its first one took.

        A first visit has cold caches and looks at outputs and kernels, so a later one is foreseen
        from what its calls take, and a later one's own time is shared out as that was.
        """
        own_s = {
            execution.name: self._started_s(execution) + execution.opening_s
            for execution in executions
        }
        foreseen = {execution.name: self._later_opening_s(execution) for execution in executions}
        factor = 1.0 if visit.is_first else opening_s / max(1e-9, sum(foreseen.values()))
        least_ms = self.policy.block.min_block_ms
        typical = {execution.name: max(execution.typical_ms, least_ms) for execution in executions}
        for execution in executions:
            if not execution.is_control:
                known = self._costs.get(execution.scenario.id)
                first_s = opening_s * own_s[execution.name] / sum(own_s.values())
                self._costs[execution.scenario.id] = Cost(
                    first_s=first_s if known is None else known.first_s,
                    open_s=foreseen[execution.name] * factor,
                    round_s=round_s * typical[execution.name] / sum(typical.values()),
                )

    def _later_opening_s(self, execution: Execution) -> float:
        return self._started_s(execution) + execution.later_opening_s

    def _started_s(self, execution: Execution) -> float:
        """What importing and preparing takes of its visit."""
        outcome = self.outcomes[execution.scenario.id]
        spent_s = (outcome.import_s or 0.0) + (outcome.prepared.get("prepare_s") or 0.0)
        return float(spent_s / self.starts_at_once)

    def _note_memory(self, held_gib: float, outcomes: Sequence[Outcome]) -> None:
        """All workers hold this at rest; one at a time computes, and goes up to its own peak."""
        looks = [(o.memory.get("peak_rss_mb"), o.memory.get("rss_mb")) for o in outcomes]
        above_mib = (peak - rest for peak, rest in looks if peak and rest)
        together_gib = held_gib + max(above_mib, default=0.0) / 1024
        self._peak_memory_gib = max(self._peak_memory_gib, together_gib)

    # ---- its end ---------------------------------------------------------------------------

    def _give_up_the_rest(self) -> None:
        """What never had its turn says why."""
        for name, outcome in self.outcomes.items():
            if outcome.measurable and not self._visits[name]:
                outcome.fail(
                    Status.UNAVAILABLE,
                    f"not measured: the budget of {spell_seconds(self.budget_s)} was used up "
                    "before its turn (raise BUDGET or choose a smaller profile)",
                )

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
        probes = {"fp32": self._engine.rounds.best_gflop_per_s}
        self.peak = limits.larger_peak(
            limits.larger_peak(self.peak, again), {"gflop_per_s": probes, "memory_gb_per_s": 0.0}
        )

    def _note_open(self, analysis: RunAnalysis) -> None:
        """Say what was overdrawn, which headlines stayed open, and what budget should do."""
        over_s = -self._left()
        if over_s > _OVERDRAWN * self.budget_s:
            self.notes.append(
                f"The budget of {spell_seconds(self.budget_s)} was passed by "
                f"{spell_seconds(over_s)}: the least that each task needs takes longer on this "
                "machine."
            )
        rows = Claims(analysis).rows(self._decided_s)
        still_open = [row for row in rows if row.verdict == Verdict.INCONCLUSIVE]
        if not still_open:
            return
        known_s = [row.seconds_to_decide for row in still_open if row.seconds_to_decide]
        more = ""
        if len(known_s) == len(still_open):
            minutes = math.ceil((self._elapsed() + sum(known_s)) / 60)
            more = f"; about {minutes} min should do (BUDGET={60 * minutes})"
        self.notes.append(
            f"The budget of {spell_seconds(self.budget_s)} left {len(still_open)} of "
            f"{count(len(rows), 'headline')} open{more}."
        )

    def _note_decided(self, analysis: RunAnalysis) -> None:
        """When each headline was decided; one that opens again was not."""
        decided = self._planner.decided(analysis)
        self._claims = len(Claims(analysis).all)
        for name in self._decided_s.keys() - decided:
            del self._decided_s[name]
        for name in decided:
            self._decided_s.setdefault(name, self._elapsed())

    def _spell_claims(self) -> str:
        """For the progress line."""
        return f"{len(self._decided_s)} of {count(self._claims, 'headline')} decided"

    def workers(self) -> dict[str, dict[str, Any]]:
        """What every scenario's worker ran under, for environment.json."""
        return {name: outcome.worker for name, outcome in self.outcomes.items()}

    # ---- files -----------------------------------------------------------------------------

    def save(self, *, ended: bool = False) -> None:
        """Write scenarios and parity from everything so far; each replaces its predecessor whole.

        Done before and after the rounds of every visit, because these may be the last; `ended` when
        no round will follow.
        """
        rows = self._rows(ended=ended)
        records.replace_rows(self.folder / "scenarios.csv", rows, records.ScenarioRow)
        records.replace_rows(self.folder / "parity.csv", self._parity_rows(), records.ParityRow)
        self.keep_workers(self.workers())

    def _save_answers(self) -> None:
        analysis = self._analyse(ended=True)
        claims = Claims(analysis).rows(self._decided_s)
        records.replace_rows(self.folder / "speedups.csv", analysis.rows(), records.SpeedupRow)
        records.replace_rows(self.folder / "claims.csv", claims, records.ClaimRow)

    def _analyse(self, *, ended: bool) -> RunAnalysis:
        """What all rows so far show; `ended` when no round will follow."""
        return RunAnalysis(
            self.run_id,
            self._rows(ended=ended),
            self.iterations,
            self.noise_rows,
            self._parity_rows(),
            self.policy,
            workers=self.workers(),
        )

    def _rows(self, *, ended: bool) -> list[records.ScenarioRow]:
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

    # ---- small things ----------------------------------------------------------------------

    def _elapsed(self) -> float:
        return self.clock() - self._started

    def _left(self) -> float:
        return self.budget_s - self._elapsed()

    def _say(self, what: str) -> None:
        self.progress.show(f"{self._where} · {what}", max(0.0, self._left()))
