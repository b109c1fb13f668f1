"""The lanes of one launch: opened until they are ready for rounds, and closed after them.

A lane that fails on the way is left out, and costs its own scenario only. What a first launch
learns of a scenario (preparation, outputs, evidence, memory) is not asked again in later ones, and
there workers are set up side by side, for only the first launch's figures are shown.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bench import conditions, parity, records, run_folder, variables
from bench.client import AccountedWorker
from bench.errors import WorkerError
from bench.lane import Lane
from bench.phrases import percent, spell_seconds
from bench.scenarios import Status, Task, group_name
from bench.time_use import MEASURING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.emulation import EmulatedShare
    from bench.outcome import Outcome
    from bench.policy import Policy
    from bench.pool import WorkerPool
    from bench.scenarios import Scenario
    from bench.time_use import TimeUse

_Answer = TypeVar("_Answer")


def spell_error(error: float | None) -> str:
    """A difference of outputs for a sentence; none means that it was not a number."""
    return "NaN or infinity" if error is None else f"{error:.3g}"


@dataclass(kw_only=True)
class Lanes:
    """Opens and closes the lanes of a run and tells the outcomes what was found.

    `record` takes every call's row, `keep` the rows of evidence; `note` takes sentences for the
    reader.
    """

    run_id: str
    folder: Path
    policy: Policy
    budget_s: float
    outcomes: Mapping[str, Outcome]
    at_once: int
    parity_s: float
    emulated: EmulatedShare
    use: TimeUse
    record: Callable[[records.IterationRow], None]
    keep: Callable[[records.KernelRow], None]
    note: Callable[[str], None]
    say: Callable[[str], None]

    # ---- opening ---------------------------------------------------------------------------

    def open(self, launch: int, outcomes: Sequence[Outcome], pool: WorkerPool) -> list[Lane]:
        """Lanes prepared, checked and warm."""
        outcomes = self.emulated.afforded(outcomes)
        wanted = [(outcome.scenario, False) for outcome in outcomes]
        wanted += [(o.scenario, True) for o in outcomes if o.scenario.is_stock_default]
        self.say(f"starting {len(wanted)} workers")
        with self.use.during("starting"):
            pool.start(wanted)
        found = [self._lane(launch, scenario, control, pool) for scenario, control in wanted]
        with self.use.during("preparing"):
            lanes = self._built([lane for lane in found if lane is not None])
            lanes = [lane for lane in lanes if self._goes_well(self._foresee, lane)]
        with self.use.during("first calls"):
            lanes = self._begun(lanes)
        with self.use.during(MEASURING):
            lanes = [lane for lane in lanes if self._goes_well(self._warm_up, lane)]
        self._compare_conditions(lanes)
        return lanes

    def _lane(
        self, launch: int, scenario: Scenario, is_control: bool, pool: WorkerPool
    ) -> Lane | None:
        outcome = self.outcomes[scenario.id]
        try:
            worker, hello = pool.get(scenario, control=is_control)
        except WorkerError as error:
            self._scenario_failed(launch, scenario, error, is_control=is_control)
            return None
        lane = Lane(
            run_id=self.run_id,
            scenario=scenario,
            launch=launch,
            worker=AccountedWorker(worker, self.use.parent),
            policy=self.policy,
            record=self.record,
            is_control=is_control,
            known_trend_calls=outcome.trend_calls,
            conditions=hello.get("conditions", {}),
        )
        if outcome.is_new and not is_control:
            outcome.import_s = hello.get("import_s")
            outcome.conditions = lane.conditions
            outcome.threads = outcome.conditions.get("threads")
        return lane

    def _built(self, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes whose worker set the model up."""
        return [lane for lane, _ in self._answers(lanes, "preparing", Lane.build)]

    def _begun(self, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes that made their first call and may go on."""
        answers = self._answers(lanes, "first call of", Lane.ask_first_call)
        for lane, reply in answers:
            lane.count_first_call(reply)
        default = next((lane for lane, _ in answers if lane.is_default), None)
        begin = partial(self._begin, default)
        return [lane for lane, _ in answers if self._goes_well(begin, lane)]

    def _answers(
        self, lanes: Sequence[Lane], what: str, ask: Callable[[Lane], _Answer]
    ) -> list[tuple[Lane, _Answer]]:
        """What each lane's worker answered, of those that did, in the lanes' order.

        One after the other while what it takes is still to be learnt, else side by side: loading,
        tracing, packing and compiling use one core for the most part. Nothing counts meanwhile.
        """

        def answered(lane: Lane) -> _Answer | WorkerError:
            self.say(f"{what} {lane.name}")
            try:
                return ask(lane)
            except WorkerError as error:
                return error

        alone = [lane for lane in lanes if self.at_once < 2 or self._is_new(lane)]
        found = {lane.name: answered(lane) for lane in alone}
        known = [lane for lane in lanes if lane.name not in found]
        if known:
            with ThreadPoolExecutor(self.at_once) as threads:
                names = [lane.name for lane in known]
                found.update(zip(names, threads.map(answered, known), strict=True))
        fine = []
        for lane in lanes:
            answer = found[lane.name]
            if isinstance(answer, WorkerError):
                self.failed(lane, answer)
            else:
                fine.append((lane, answer))
        return fine

    def _is_new(self, lane: Lane) -> bool:
        """Whether the lane's worker is the first to tell of its scenario."""
        return not lane.is_control and self.outcomes[lane.scenario.id].is_new

    def _goes_well(self, step: Callable[[Outcome, Lane], None], lane: Lane) -> bool:
        """Take a lane one step further; False where it takes no further part."""
        outcome = self.outcomes[lane.scenario.id]
        try:
            step(outcome, lane)
        except WorkerError as error:
            self.failed(lane, error)
            return False
        if not outcome.measurable:
            self._release(lane)
        return outcome.measurable

    def _begin(self, default: Lane | None, outcome: Outcome, lane: Lane) -> None:
        if self._is_new(lane):
            outcome.prepared = lane.prepared
            outcome.unchecked = True
        if lane.emulated:
            refusal = self.emulated.charge(lane, default=default, new=outcome.unchecked)
            if refusal is not None:
                outcome.fail(Status.UNAVAILABLE, refusal)

    def _foresee(self, outcome: Outcome, lane: Lane) -> None:
        refusal = self.emulated.foresee(lane) if lane.emulated and self._is_new(lane) else None
        if refusal is not None:
            outcome.prepared = lane.prepared
            outcome.fail(Status.UNAVAILABLE, refusal)

    def _warm_up(self, outcome: Outcome, lane: Lane) -> None:
        """Until steady. The outputs of inference come first, since their calls warm up too."""
        self.say(f"warming up {lane.name}")
        if outcome.unchecked and not (lane.is_control or lane.is_default or lane.emulated):
            self._leave_out_if_slow(outcome, lane)
            if not outcome.measurable:
                return
        no_reference = lane.is_default and not self._reference(lane).exists()
        check = not lane.is_control and (outcome.unchecked or no_reference)
        if check and lane.scenario.task is Task.INFERENCE:
            self._check_outputs(outcome, lane)
        if not outcome.measurable:
            return
        lane.warm_up()
        if check and lane.scenario.task is Task.TRAINING:
            self._check_outputs(outcome, lane)
        lane.read_conditions()
        variables.check(lane.scenario, lane.conditions)
        if lane.is_control:
            return
        if outcome.unchecked:
            outcome.conditions = lane.conditions
            outcome.unchecked = False
        if not lane.steady:
            outcome.unsteady(lane.launch + 1)
        elif outcome.trend_calls is None:
            outcome.trend_calls = lane.trend_calls

    def _leave_out_if_slow(self, outcome: Outcome, lane: Lane) -> None:
        """One scenario must not eat the budget of all others. A first call may have compiled.

        What is emulated has a share of its own; without stock default nothing can be told.
        """
        budget = self.policy.budget
        most_s = budget.one_scenario_share * self.budget_s / budget.least_calls
        most_s = max(most_s, budget.never_slow_s)
        if lane.first_call_ms <= 1000 * most_s:
            return
        call_s = lane.warm_up_once() / 1000
        if call_s > most_s:
            outcome.fail(
                Status.UNAVAILABLE,
                f"not measured: one call takes {spell_seconds(call_s)}, and a scenario may use "
                f"{percent(budget.one_scenario_share)} of the budget (raise BUDGET)",
            )

    def _compare_conditions(self, lanes: Sequence[Lane]) -> None:
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

    def _check_outputs(self, outcome: Outcome, lane: Lane) -> None:
        """Compare with the stock default's outputs; a scenario outside tolerance is not timed."""
        default = self._reference(lane)
        is_default = lane.scenario.is_stock_default
        path = default if is_default else default.with_suffix(".candidate.npz")
        lane.outputs(path, within_s=self.parity_s)
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

    # ---- closing ---------------------------------------------------------------------------

    def close(self, lanes: Sequence[Lane]) -> None:
        """Collect what an untimed look can tell, in the first launch, and free the models."""
        with self.use.during("evidence"):
            for lane in lanes:
                self._close(self.outcomes[lane.scenario.id], lane)

    def _close(self, outcome: Outcome, lane: Lane) -> None:
        if not lane.is_control:
            outcome.add_energy(lane.joules, lane.joules_images)
        if not lane.worker.alive:
            return
        try:
            self._compare_with_opening(outcome, lane)
            if not outcome.closed and not lane.is_control and outcome.measurable:
                outcome.closed = True  # a worker that cannot answer is not asked again
                outcome.memory = lane.memory()
                outcome.evidence = lane.kernels()
                for row in outcome.kernel_rows(self.run_id):
                    self.keep(row)
            lane.release()
        except WorkerError as error:
            self.note(f"{lane.name} was measured, but its evidence is missing: {error.reason}.")
            return
        contradiction = outcome.evidence.get("contradiction")
        if contradiction:
            outcome.fail(Status.UNSUPPORTED, f"the label is not what ran: {contradiction}")

    def _compare_with_opening(self, outcome: Outcome, lane: Lane) -> None:
        """Whether what it ran under still holds: a CPU may be taken away at any time."""
        before = lane.conditions
        lane.read_conditions()
        found = conditions.differences(before, lane.conditions)
        whose = "its control's " if lane.is_control else ""
        outcome.unlike([f"{whose}conditions changed while it was measured: {s}" for s in found])

    def _release(self, lane: Lane) -> None:
        try:
            lane.release()
        except WorkerError as error:
            self.note(f"{lane.name} could not be released: {error.reason}.")

    # ---- failing ---------------------------------------------------------------------------

    def failed(self, lane: Lane, error: WorkerError) -> None:
        """A lane broke: its scenario says why, or a note if it was the control."""
        self._scenario_failed(lane.launch, lane.scenario, error, is_control=lane.is_control)

    def _scenario_failed(
        self, launch: int, scenario: Scenario, error: WorkerError, *, is_control: bool
    ) -> None:
        if is_control:
            self.note(
                f"The control of {group_name(scenario.group)} failed in launch {launch + 1}: "
                f"{error.reason}."
            )
        else:
            where = f" (launch {launch + 1})" if launch else ""
            self.outcomes[scenario.id].fail(error.status, f"{error.reason}{where}")
