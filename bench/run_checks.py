"""What a run looks at beside the times: outputs, evidence, memory, and what may not cost so much.

A scenario that is refused is left out, and its outcome says why. What the first worker tells of a
scenario (import, preparation, outputs, evidence, memory) holds for all and is not asked again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench import parity, records, run_folder
from bench.engine import Checks
from bench.errors import RefusalError, WorkerError
from bench.phrases import percent, spell_seconds
from bench.scenarios import Status, Task, group_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.emulation import EmulatedShare
    from bench.lane import Lane
    from bench.outcome import Outcome
    from bench.policy import Policy
    from bench.protocol import Message
    from bench.seats import Seat


def spell_error(error: float | None) -> str:
    """A difference of outputs for a sentence; none means that it was not a number."""
    return "NaN or infinity" if error is None else f"{error:.3g}"


@dataclass(kw_only=True)
class RunChecks(Checks):
    """Tells the outcomes of a run what was found.

    `keep` takes the rows of evidence, `note` sentences for the reader; `failed_one` is called when
    a scenario was taken out.
    """

    run_id: str
    folder: Path
    policy: Policy
    budget_s: float
    outcomes: Mapping[str, Outcome]
    parity_s: float
    thorough_s: float
    thorough: frozenset[str] = frozenset()
    """Scenarios whose outputs are compared for `thorough_s`, and not `parity_s`, in this launch."""
    emulated: EmulatedShare
    keep: Callable[[records.KernelRow], None]
    note: Callable[[str], None]
    failed_one: Callable[[], None]
    _import_s: dict[tuple[str, str], float | None] = field(default_factory=dict)
    """By backend and environment, of the worker that started alone."""

    def _of(self, lane: Lane) -> Outcome:
        return self.outcomes[lane.scenario.id]

    def _is_new(self, lane: Lane) -> bool:
        """Whether the lane's worker is the first to tell of its scenario."""
        return not lane.is_control and self._of(lane).is_new

    # ---- until it is warm ------------------------------------------------------------------

    def starts_alone(self, seat: Seat) -> bool:
        """The first of each backend and environment: what importing costs is a result."""
        return _imported(seat) not in self._import_s

    def greeted(self, seat: Seat, hello: Message) -> None:
        """Keep what importing took of the worker that started alone."""
        self._import_s.setdefault(_imported(seat), hello.get("import_s"))

    def seated(self, lane: Lane) -> None:
        """Keep under what the first worker runs."""
        outcome = self._of(lane)
        if self._is_new(lane):
            outcome.import_s = self._import_s.get(_imported(lane.seat))
            outcome.conditions = lane.conditions
            outcome.threads = lane.conditions.get("threads")

    def prepared(self, lane: Lane) -> None:
        """Refuse what is emulated and so slow that its first call is not worth making."""
        if lane.emulated and self._is_new(lane):
            refusal = self.emulated.foresee(lane)
            if refusal is not None:
                self._of(lane).prepared = lane.prepared
                raise RefusalError(Status.UNAVAILABLE, refusal)

    def begun(self, lane: Lane, base: Lane | None) -> None:
        """Refuse what is emulated and would take more than its share of the budget."""
        outcome = self._of(lane)
        if self._is_new(lane):
            outcome.prepared = lane.prepared
            outcome.unchecked = True
        if lane.emulated:
            refusal = self.emulated.charge(lane, default=base, new=outcome.unchecked)
            if refusal is not None:
                raise RefusalError(Status.UNAVAILABLE, refusal)

    def warming(self, lane: Lane) -> None:
        """The outputs of inference come before warming up, since their calls warm up too."""
        unchecked = self._of(lane).unchecked and not lane.is_control
        if unchecked and not (lane.is_base or lane.emulated):
            self._leave_out_if_slow(lane)
        if self._wants_outputs(lane) and lane.scenario.task is Task.INFERENCE:
            self._check_outputs(lane)

    def unsettled(self, lane: Lane) -> list[str]:
        """Its status says it."""
        if not lane.is_control:
            self._of(lane).unsteady(lane.launch + 1)
        return []

    def warm(self, lane: Lane) -> None:
        """Outputs of training, and conditions now that all is loaded."""
        if self._wants_outputs(lane) and lane.scenario.task is Task.TRAINING:
            self._check_outputs(lane)
        outcome = self._of(lane)
        if outcome.unchecked and not lane.is_control:
            outcome.conditions = lane.conditions
            outcome.unchecked = False

    def _leave_out_if_slow(self, lane: Lane) -> None:
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
            raise RefusalError(
                Status.UNAVAILABLE,
                f"not measured: one call takes {spell_seconds(call_s)}, and a scenario may use "
                f"{percent(budget.one_scenario_share)} of the budget (raise BUDGET)",
            )

    def _wants_outputs(self, lane: Lane) -> bool:
        no_reference = lane.is_base and not self._reference(lane).exists()
        wanted = self._of(lane).unchecked or lane.scenario.id in self.thorough
        return not lane.is_control and (wanted or no_reference)

    def _check_outputs(self, lane: Lane) -> None:
        """Compare with the stock default's outputs; a scenario outside tolerance is not timed."""
        reference = self._reference(lane)
        path = reference if lane.is_base else reference.with_suffix(".candidate.npz")
        thorough = lane.scenario.id in self.thorough
        lane.outputs(path, within_s=self.thorough_s if thorough else self.parity_s)
        if not reference.exists():
            return
        found = parity.compare(
            reference,
            path,
            task=lane.scenario.task,
            dtype=lane.scenario.dtype,
            tolerance=self.policy.parity,
        )
        self._of(lane).parity = records.ParityRow(
            run_id=self.run_id, scenario=lane.scenario.id, **asdict(found)
        )
        if not found.within_tolerance:
            raise RefusalError(
                Status.WRONG_OUTPUT,
                f"outputs differ from the stock default's by {spell_error(found.max_abs_error)}, "
                f"maps by {spell_error(found.max_abs_map_error)}; {found.tolerance:g} is allowed",
            )

    def _reference(self, lane: Lane) -> Path:
        """Where the outputs of its group's stock default lie."""
        group = group_name(lane.scenario.group).replace("/", "-")
        return self.folder / run_folder.OUTPUTS / f"{group}.npz"

    # ---- afterwards ------------------------------------------------------------------------

    def unlike(self, lane: Lane, sentences: Sequence[str]) -> None:
        """A control that differs counts against its base: its spread would be no noise floor."""
        whose = "of its control, " if lane.is_control else ""
        self._of(lane).unlike([f"{whose}{sentence}" for sentence in sentences])

    def closing(self, lane: Lane) -> None:
        """What an untimed look can tell, once."""
        outcome = self._of(lane)
        if outcome.closed or lane.is_control:
            return
        outcome.closed = True  # a worker that cannot answer is not asked again
        outcome.memory = lane.memory()
        outcome.evidence = lane.kernels()
        for row in outcome.kernel_rows(self.run_id):
            self.keep(row)
        contradiction = outcome.evidence.get("contradiction")
        if contradiction:
            raise RefusalError(Status.UNSUPPORTED, f"the label is not what ran: {contradiction}")

    def failed(self, seat: Seat, launch: int, error: WorkerError) -> None:
        """Its scenario says why, or a note if it was the control."""
        scenario = seat.scenario
        if seat.is_control:
            group = group_name(scenario.group)
            self.note(f"The control of {group} failed in launch {launch + 1}: {error.reason}.")
            return
        where = f" (launch {launch + 1})" if launch and not isinstance(error, RefusalError) else ""
        self.outcomes[scenario.id].fail(error.status, f"{error.reason}{where}")
        self.failed_one()


def _imported(seat: Seat) -> tuple[str, str]:
    """What a worker imports: its backend, from its environment's packages."""
    return (seat.scenario.backend, seat.scenario.environment)
