"""Loop over the visits of a run, until its claims are decided or its budget is spent.

A visit is one launch of one comparison group: fresh workers are started, prepared, checked and
warmed up, share paired rounds, and end. `bench.run.planner` decides what each visit measures,
`bench.engine` measures it, and `bench.run.checks` checks outputs and evidence. A failure costs its
own scenario only, and rows are on disk before the next block starts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.analysis.claims import Claims
from bench.engine.engine import Engine
from bench.engine.participants import Group, Participant, control_of
from bench.engine.progress import Progress
from bench.engine.time_use import TimeUse
from bench.engine.worker_process import AccountedWorker
from bench.errors import WorkerError
from bench.plan.scenario import Task, Verdict, group_name, stock_default, worker_key
from bench.run import forecast, limits, memory_use
from bench.run.checks import RunChecks
from bench.run.emulation import EmulatedShare, slow_dtypes
from bench.run.open_claims import decided_claims
from bench.run.outcomes import Outcome
from bench.run.planner import Known, Planner
from bench.run.resume import Earlier
from bench.run.state import RunState
from bench.store import records
from bench.store.events import Event, EventKind, to_environment
from bench.text.wording import count

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.analysis.speedups import RunAnalysis
    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.run.planner import Visit

_EXCESS = 0.05
"""Share of the budget by which a run may exceed it unreported: blocks are never cut."""


@dataclass(kw_only=True)
class Runner:
    """Measures `scenarios` into `folder`.

    `launch(scenario, is_control, launch)` starts a worker. `peak_again` measures the machine's peak
    at the end, and the higher reading counts. `keep_metadata` gets the entries of environment.json
    after every visit. It has many fields because everything of one run meets here.
    """

    run_id: str
    folder: Path
    profile: Profile
    scenarios: tuple[Scenario, ...]
    policy: Policy
    budget_s: float
    """With what a run had used before it was cut."""
    launch: Callable[[Scenario, bool, int], WorkerHandle]
    peak: Mapping[str, Any] = field(default_factory=dict)
    """`gflop_per_s` by dtype and `memory_gb_per_s`."""
    peak_again: Callable[[], Mapping[str, Any]] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """The images and the model file, as the greeting of the run's first worker has them."""
    earlier: Earlier = field(default_factory=Earlier)
    """What a run that was cut had measured."""
    keep_metadata: Callable[[dict[str, Any]], None] = lambda _: None
    events: list[Event] = field(default_factory=list)
    starts_at_once: int = 1
    clock: Callable[[], float] = time.monotonic
    progress: Progress = field(default_factory=Progress)

    state: RunState = field(init=False)
    complete: bool = field(init=False, default=False)
    _visits: Counter[str] = field(init=False)
    """Launches in which each scenario took part."""
    _costs: dict[str, forecast.Cost] = field(init=False, default_factory=dict)
    _decided_s: dict[str, float] = field(init=False)
    """By claim: seconds into measuring at which it was first seen decided."""
    _thorough: set[str] = field(init=False, default_factory=set)
    """Scenarios whose outputs were compared on many images."""
    _use: TimeUse = field(init=False)
    _started: float = field(init=False)
    _checks: RunChecks = field(init=False)
    _engine: Engine = field(init=False)
    _planner: Planner = field(init=False)
    _headlines: int = field(init=False, default=0)
    _next_launch: int = field(init=False)
    _first_task: Task | None = field(init=False, default=None)
    """The task whose first visits share their workers now."""
    _where: str = field(init=False, default="")
    _peak_memory_gib: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._use = TimeUse(clock=self.clock)
        self._planner = Planner(
            self.scenarios,
            profile=self.profile,
            policy=self.policy,
            budget_s=self.budget_s,
            slow_dtypes=slow_dtypes(self.peak.get("gflop_per_s", {}), self.policy.budget),
        )
        self.state = RunState(
            run_id=self.run_id,
            folder=self.folder,
            policy=self.policy,
            outcomes={one.id: Outcome(scenario=one) for one in self.scenarios}
            | dict(self.earlier.outcomes),
            peak=self.peak,
            iterations=[*self.earlier.iterations],
            noise=[*self.earlier.noise],
        )
        self._visits = self.state.visits()
        self._next_launch = self.earlier.launches
        self._decided_s = dict(self.earlier.decided_s)

    # ---- the run ---------------------------------------------------------------------------

    def measure(self) -> None:
        """Run everything; the summaries are written from what was measured, whatever ends it.

        Raises:
            RecordError: the folder can no longer be written.
            KeyboardInterrupt: passed on, after the summaries are written.
        """
        with records.RunWriter(self.folder) as writer:
            self._set_up(writer)
            if self.earlier.outcomes:
                self.state.clear_answers()
            try:
                self._engine.rounds.probe = self._start_probe()
                known = self._known()
                while (visit := self._planner.next(known)) is not None:
                    self._run_visit(visit)
                    known = self._known()
                    self._note_decided(known.analysis())
                self.state.fail_unmeasured(self._visits, self.budget_s)
                self._measure_peak_again()
                self._report_budget(self.state.analyse(ended=True))
                self.complete = True
            except KeyboardInterrupt:
                self.events.append(Event(kind=EventKind.INTERRUPTED, seconds=self._elapsed()))
                raise
            finally:
                self._engine.end()
                if self._engine.rounds.probe is not None:
                    self._engine.rounds.probe.stop()
                self.progress.clear()
                self.state.save_answers(self._decided_s)
                self.save(ended=True)

    def _set_up(self, writer: records.RunWriter) -> None:
        self._checks = RunChecks(
            run_id=self.run_id,
            folder=self.folder,
            data=self.data,
            policy=self.policy,
            budget_s=self.budget_s,
            outcomes=self.state.outcomes,
            parity_s=self.profile.parity_s,
            thorough_s=self.profile.recommended_parity_s,
            emulated=EmulatedShare(
                policy=self.policy.budget,
                budget_s=self.budget_s - self.earlier.used_s,
                peak=self.peak.get("gflop_per_s", {}),
            ),
            record_evidence=writer.append,
            record_event=self.events.append,
            save=self.save,
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
            record_event=self.events.append,
            say=self._say,
            at_once=self.starts_at_once,
            clock=self.clock,
            use=self._use,
            calls=self.state.iterations,
            noise=self.state.noise,
        )

    def _start_probe(self) -> WorkerHandle | None:
        """Start a worker of stock PyTorch for the probe alone; None where it fails."""
        worker: WorkerHandle | None = None
        try:
            worker = self.launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
            worker.greet(self.policy.start_timeout_s)
        except WorkerError as error:
            self.events.append(Event(kind=EventKind.PROBE_FAILED, reason=error.reason))
            if worker is not None:
                worker.stop()
            return None
        return AccountedWorker(worker, self._use.parent)

    def _known(self) -> Known:
        return Known(
            measurable={name for name, one in self.state.outcomes.items() if one.measurable},
            visits=self._visits,
            costs=self._costs,
            left_s=self._left(),
            analysis=cache(partial(self.state.analyse, ended=False)),
            thorough=self._thorough,
            hopeless={name for name, one in self.state.outcomes.items() if one.differs},
        )

    # ---- one visit -------------------------------------------------------------------------

    def _run_visit(self, visit: Visit) -> None:
        number, self._next_launch = self._next_launch, self._next_launch + 1
        self._where = (
            f"launch {number + 1} · {group_name(visit.group)} · {len(self._decided_s)} of "
            f"{count(self._headlines, 'headline')} decided"
        )
        self._visits.update(visit.scenarios)
        group = self._group(visit, number)
        engine, started, started_s = self._engine, self.clock(), self._use.spent_s["starting"]
        self._checks.thorough = visit.thorough
        engine.failures.clear()  # a scenario that failed for good is in no visit
        try:
            executions = engine.open(number, group)
            self.save()  # a run that is killed in the rounds needs the results of the checks
            opening_s = self.clock() - started
            first_s = min(self.policy.budget.first_rounds_share * opening_s, self._left())
            done = engine.measure(
                number,
                group,
                executions,
                visit.rounds,
                within_s=first_s if visit.is_first else self._left(),
                at_least=self.profile.min_rounds if visit.is_first else 0,
            )
            self._note_memory(visit)
            engine.close(executions)
        finally:
            if not visit.is_first:
                engine.end([participant.process for participant in group.participants])
        self._thorough |= visit.thorough
        for one in executions:
            if not one.is_control:
                self.state.outcomes[one.scenario.id].add_energy(one.joules, one.joules_images)
        if done:
            # what failed took its part of the opening, too
            lived = len(executions) / len(group.participants)
            self._costs |= forecast.observed_costs(
                self._costs,
                executions,
                self._start_s,
                is_first=visit.is_first,
                starting_s=lived * (self._use.spent_s["starting"] - started_s),
                opening_s=lived * (self.clock() - started - engine.rounds_s),
                round_s=engine.rounds_s / done,
                least_ms=self.policy.block.min_block_ms,
            )
        self.save()

    def _group(self, visit: Visit, number: int) -> Group:
        """Return the visit's participants, stock default's control last.

        A repeated visit has fresh workers. The first visits of one task share theirs, because
        starting costs seconds and other batch sizes are other scenarios; but stock default of a
        group that was visited before has fresh ones, or one process would count as two.
        """
        if visit.is_first and self._first_task is not visit.group[0]:
            self._engine.end()
            self._first_task = visit.group[0]
        fresh = "" if visit.is_first else f"@{number}"
        outcomes = self._checks.emulated.afforded(
            [self.state.outcomes[name] for name in visit.scenarios]
        )
        task, batch_size, trained = visit.group
        default = stock_default(task, batch_size, (trained,) if trained else ()).id
        participants = [
            Participant(
                name=scenario.id,
                scenario=scenario,
                worker=worker_key(scenario).id + fresh,
                base="" if scenario.is_stock_default else default,
            )
            for scenario in (outcome.scenario for outcome in outcomes)
        ]
        participants += [control_of(one) for one in participants if one.scenario.is_stock_default]
        if visit.is_first:
            self._engine.end([p.process for p in participants if self._visits[p.scenario.id] > 1])
        waiting_for = {
            worker_key(one.scenario).id
            for one in self.state.outcomes.values()
            if one.measurable and not self._visits[one.scenario.id]
        }
        self._engine.pool.make_room(participants, self.policy.budget.most_workers, waiting_for)
        return Group(name=group_name(visit.group), participants=tuple(participants))

    def _start_s(self, execution: Execution) -> float:
        """Return a scenario's part of the time that starting and preparing takes."""
        outcome = self.state.outcomes[execution.scenario.id]
        spent_s = (outcome.import_s or 0.0) + (outcome.prepared.get("prepare_s") or 0.0)
        return float(spent_s / self.starts_at_once)

    def _note_memory(self, visit: Visit) -> None:
        """Note what all workers hold idle, plus one worker's rise to its peak in a call."""
        seen = [self.state.outcomes[name].memory for name in visit.scenarios]
        pairs = [(one.get("peak_rss_mb"), one.get("rss_mb")) for one in seen]
        above_mib = max((peak - idle for peak, idle in pairs if peak and idle), default=0.0)
        held_gib = memory_use.held_gib(self._engine.pool.pids()) + above_mib / 1024
        self._peak_memory_gib = max(self._peak_memory_gib, held_gib)

    def _note_decided(self, analysis: RunAnalysis) -> None:
        """Note when each headline was decided; forget it for one that is open again."""
        self._headlines = len(Claims(analysis).all)
        decided = dict.fromkeys(decided_claims(analysis, self.policy), self._elapsed())
        self._decided_s = {name: self._decided_s.get(name, s) for name, s in decided.items()}

    # ---- the end ---------------------------------------------------------------------------

    def _measure_peak_again(self) -> None:
        """Raise the peak to the best reading: a slow one would contradict true results."""
        if not self.peak:
            return
        self._say("measuring the peak again")
        probe = {"fp32": self._engine.rounds.best_gflop_per_s}
        peak = limits.larger_peak(self.peak, {"gflop_per_s": probe, "memory_gb_per_s": 0.0})
        try:
            peak = limits.larger_peak(peak, self.peak_again() if self.peak_again else peak)
        except WorkerError as error:
            self.events.append(Event(kind=EventKind.PEAK_NOT_REPEATED, reason=error.reason))
        self.state.peak = peak

    def _report_budget(self, analysis: RunAnalysis) -> None:
        """Report a budget that was exceeded, and headlines that it left open."""
        if (excess_s := -self._left()) > _EXCESS * self.budget_s:
            self.events.append(
                Event(kind=EventKind.BUDGET_EXCEEDED, budget_s=self.budget_s, seconds=excess_s)
            )
        rows = Claims(analysis).rows(self._decided_s)
        if left_open := [row for row in rows if row.verdict == Verdict.INCONCLUSIVE]:
            needed_s = [row.seconds_to_decide for row in left_open if row.seconds_to_decide]
            minutes = (max(self._elapsed(), self.budget_s) + sum(needed_s)) // 60 + 1
            self.events.append(
                Event(
                    kind=EventKind.HEADLINES_OPEN,
                    budget_s=self.budget_s,
                    open=len(left_open),
                    headlines=len(rows),
                    enough_s=60 * minutes if len(needed_s) == len(left_open) else None,
                )
            )

    # ---- files -----------------------------------------------------------------------------

    def save(self, *, ended: bool = False) -> None:
        """Replace scenarios.csv and parity.csv, and keep the metadata; `ended` after all rounds.

        Done before and after the rounds of every visit, because these may be the last.
        """
        self.state.save_scenarios(ended=ended)
        self.keep_metadata(self.metadata())

    def metadata(self) -> dict[str, Any]:
        """Return the entries of environment.json that measuring fills."""
        self._use.total_s = self._elapsed() - self.earlier.used_s
        return {
            "complete": self.complete,
            "peak": dict(self.state.peak),
            "self": {
                "parent_cpu_share": self._use.parent.cpu_share,
                "peak_memory_gib": self._peak_memory_gib or None,
                "measuring_share": self._use.measuring_share,
                "rounds_share": self._use.rounds_share,
                "seconds": {"all": self._use.total_s, **self._use.spent_s},
            },
            "workers": self.state.workers(),
            **to_environment(self.events),
        }

    def _left(self) -> float:
        return self.budget_s - self._elapsed()

    def _elapsed(self) -> float:
        """Return the seconds of measuring so far, with those before it was cut."""
        return self.earlier.used_s + self.clock() - self._started

    def _say(self, what: str) -> None:
        self.progress.show(f"{self._where} · {what}", max(0.0, self._left()))
