"""What a run looks at beside the times: outputs, evidence, memory, and what may not cost so much.

A scenario that is refused is left out, and its outcome says why. What the first worker tells of a
scenario (import, preparation, outputs, evidence, memory) holds for all and is not asked again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench.analysis import parity
from bench.engine.engine import Checks
from bench.errors import RefusalError, WorkerError
from bench.plan.scenario import Status, Task, group_name
from bench.store import records, run_folder
from bench.text.numbers import percent, spell_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.engine.participants import Participant
    from bench.plan.thresholds import Policy
    from bench.run.emulation import EmulatedShare
    from bench.run.outcomes import Outcome
    from bench.worker.protocol import Hello


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

    def _of(self, execution: Execution) -> Outcome:
        return self.outcomes[execution.scenario.id]

    def _is_new(self, execution: Execution) -> bool:
        """Whether the execution's worker is the first to tell of its scenario."""
        return not execution.is_control and self._of(execution).is_new

    # ---- until it is warm ------------------------------------------------------------------

    def starts_alone(self, participant: Participant) -> bool:
        """The first of each backend and environment: what importing costs is a result."""
        return _imported(participant) not in self._import_s

    def greeted(self, participant: Participant, hello: Hello) -> None:
        """Keep what importing took of the worker that started alone."""
        self._import_s.setdefault(_imported(participant), hello.get("import_s"))

    def started(self, execution: Execution) -> None:
        """Keep under what the first worker runs."""
        outcome = self._of(execution)
        if self._is_new(execution):
            outcome.import_s = self._import_s.get(_imported(execution.participant))
            outcome.conditions = execution.conditions
            outcome.threads = execution.conditions.get("threads")

    def prepared(self, execution: Execution) -> None:
        """Refuse what is emulated and so slow that its first call is not worth making."""
        if execution.emulated and self._is_new(execution):
            refusal = self.emulated.foresee(execution)
            if refusal is not None:
                self._of(execution).prepared = execution.prepared
                raise RefusalError(Status.UNAVAILABLE, refusal)

    def begun(self, execution: Execution, base: Execution | None) -> None:
        """Refuse what is emulated and would take more than its share of the budget."""
        outcome = self._of(execution)
        if self._is_new(execution):
            outcome.prepared = execution.prepared
            outcome.unchecked = True
        if execution.emulated:
            refusal = self.emulated.charge(execution, default=base, new=outcome.unchecked)
            if refusal is not None:
                raise RefusalError(Status.UNAVAILABLE, refusal)

    def warming(self, execution: Execution) -> None:
        """The outputs of inference come before warming up, since their calls warm up too."""
        unchecked = self._of(execution).unchecked and not execution.is_control
        if unchecked and not (execution.is_base or execution.emulated):
            self._leave_out_if_slow(execution)
        if self._wants_outputs(execution) and execution.scenario.task is Task.INFERENCE:
            self._check_outputs(execution)

    def unsettled(self, execution: Execution) -> list[str]:
        """Its status says it."""
        if not execution.is_control:
            self._of(execution).unsteady(execution.launch + 1)
        return []

    def warm(self, execution: Execution) -> None:
        """Outputs of training, and conditions now that all is loaded."""
        if self._wants_outputs(execution) and execution.scenario.task is Task.TRAINING:
            self._check_outputs(execution)
        outcome = self._of(execution)
        if outcome.unchecked and not execution.is_control:
            outcome.conditions = execution.conditions
            outcome.unchecked = False

    def _leave_out_if_slow(self, execution: Execution) -> None:
        """One scenario must not eat the budget of all others. A first call may have compiled.

        What is emulated has a share of its own; without stock default nothing can be told.
        """
        budget = self.policy.budget
        most_s = budget.one_scenario_share * self.budget_s / budget.least_calls
        most_s = max(most_s, budget.never_slow_s)
        if execution.first_call_ms <= 1000 * most_s:
            return
        call_s = execution.warm_up_once() / 1000
        if call_s > most_s:
            raise RefusalError(
                Status.UNAVAILABLE,
                f"not measured: one call takes {spell_seconds(call_s)}, and a scenario may use "
                f"{percent(budget.one_scenario_share)} of the budget (raise BUDGET)",
            )

    def _wants_outputs(self, execution: Execution) -> bool:
        no_reference = execution.is_base and not self._reference(execution).exists()
        wanted = self._of(execution).unchecked or execution.scenario.id in self.thorough
        return not execution.is_control and (wanted or no_reference)

    def _check_outputs(self, execution: Execution) -> None:
        """Compare with the stock default's outputs; a scenario outside tolerance is not timed."""
        reference = self._reference(execution)
        path = reference if execution.is_base else reference.with_suffix(".candidate.npz")
        thorough = execution.scenario.id in self.thorough
        execution.outputs(path, within_s=self.thorough_s if thorough else self.parity_s)
        if not reference.exists():
            return
        found = parity.compare(
            reference,
            path,
            task=execution.scenario.task,
            dtype=execution.scenario.dtype,
            tolerance=self.policy.parity,
        )
        self._of(execution).parity = records.ParityRow(
            run_id=self.run_id, scenario=execution.scenario.id, **asdict(found)
        )
        if not found.within_tolerance:
            raise RefusalError(
                Status.WRONG_OUTPUT,
                f"outputs differ from the stock default's by {spell_error(found.max_abs_error)}, "
                f"maps by {spell_error(found.max_abs_map_error)}; {found.tolerance:g} is allowed",
            )

    def _reference(self, execution: Execution) -> Path:
        """Where the outputs of its group's stock default lie."""
        group = group_name(execution.scenario.group).replace("/", "-")
        return self.folder / run_folder.OUTPUTS / f"{group}.npz"

    # ---- afterwards ------------------------------------------------------------------------

    def unlike(self, execution: Execution, sentences: Sequence[str]) -> None:
        """A control that differs counts against its base: its spread would be no noise floor."""
        whose = "of its control, " if execution.is_control else ""
        self._of(execution).unlike([f"{whose}{sentence}" for sentence in sentences])

    def closing(self, execution: Execution) -> None:
        """What an untimed look can tell, once."""
        outcome = self._of(execution)
        if outcome.closed or execution.is_control:
            return
        outcome.closed = True  # a worker that cannot answer is not asked again
        outcome.memory = execution.memory()
        outcome.evidence = execution.kernels()
        for row in outcome.kernel_rows(self.run_id):
            self.keep(row)
        contradiction = outcome.evidence.get("contradiction")
        if contradiction:
            raise RefusalError(Status.UNSUPPORTED, f"the label is not what ran: {contradiction}")

    def failed(self, participant: Participant, launch: int, error: WorkerError) -> None:
        """Its scenario says why, or a note if it was the control."""
        scenario = participant.scenario
        if participant.is_control:
            group = group_name(scenario.group)
            self.note(f"The control of {group} failed in launch {launch + 1}: {error.reason}.")
            return
        where = f" (launch {launch + 1})" if launch and not isinstance(error, RefusalError) else ""
        self.outcomes[scenario.id].fail(error.status, f"{error.reason}{where}")
        self.failed_one()


def _imported(participant: Participant) -> tuple[str, str]:
    """What a worker imports: its backend, from its environment's packages."""
    return (participant.scenario.backend, participant.scenario.environment)
