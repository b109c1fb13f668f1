"""Check outputs, evidence, memory and slow scenarios of a run, beside the times.

A refused scenario is left out, and its outcome says why. What the first worker of a scenario
provides (import time, preparation, outputs, evidence, memory) holds for all and is read once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis import parity
from bench.engine.checks import Checks
from bench.errors import BenchError, RefusalError, WorkerError
from bench.plan import variables
from bench.plan.scenario import Dtype, Status, Task, group_name
from bench.store import records, run_folder
from bench.store.events import Event, EventKind
from bench.text.numbers import spell_seconds
from bench.text.wording import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.engine.participants import Participant
    from bench.plan.thresholds import Policy
    from bench.run.emulation import EmulatedShare
    from bench.run.outcomes import Outcome
    from bench.worker.protocol import Hello, KernelsReply


@dataclass(kw_only=True)
class RunChecks(Checks):
    """Fills the outcomes of a run.

    `record_evidence` takes the rows of evidence; `save` is called when a scenario was taken out, or
    a kill would leave it a verdict.
    """

    run_id: str
    folder: Path
    data: Mapping[str, Any]
    """The images and the model file, as the run's first worker found them."""
    policy: Policy
    budget_s: float
    outcomes: Mapping[str, Outcome]
    parity_s: float
    thorough_s: float
    thorough: frozenset[str] = frozenset()
    """Scenarios whose outputs are compared for `thorough_s` instead of `parity_s` now."""
    emulated: EmulatedShare
    record_evidence: Callable[[records.KernelRow | records.LoggedCallRow], None]
    record_event: Callable[[Event], None]
    save: Callable[[], None]
    _compared: dict[Path, int | None] = field(default_factory=dict)
    """By file: of how many images it has stock default's outputs."""
    _import_s: dict[tuple[str, str], float | None] = field(default_factory=dict)
    """By backend and environment, of the worker that started alone."""
    _asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests for a logged call after a block, by scenario and launch."""
    _logged: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Logged calls that were kept, by scenario and launch."""

    def _outcome(self, execution: Execution) -> Outcome:
        return self.outcomes[execution.scenario.id]

    def _is_new(self, execution: Execution) -> bool:
        """Return whether it is the first worker of its scenario."""
        return not execution.is_control and self._outcome(execution).is_new

    def _is_unchecked(self, execution: Execution) -> bool:
        return not execution.is_control and self._outcome(execution).unchecked

    # ---- until it is warm ------------------------------------------------------------------

    def starts_alone(self, participant: Participant) -> bool:
        """Return whether it is its backend's and environment's first: import time is a result."""
        return _imported(participant) not in self._import_s

    def after_greeting(self, participant: Participant, hello: Hello) -> None:
        """Keep the import time of the worker that started alone; refuse other images.

        Raises:
            BenchError: images or model file are not those that the run began with.
        """
        self._import_s.setdefault(_imported(participant), hello.get("import_s"))
        _check_unchanged(self.data, hello.get("data", {}))

    def after_start(self, execution: Execution) -> None:
        """Keep the conditions of the first worker."""
        if self._is_new(execution):
            outcome = self._outcome(execution)
            outcome.import_s = self._import_s.get(_imported(execution.participant))
            outcome.conditions = execution.conditions
            outcome.threads = execution.conditions.get("threads")

    def after_prepare(self, execution: Execution) -> None:
        """Keep what holds for all workers; refuse, or limit, a first call that may be too slow."""
        if not self._is_new(execution):
            return
        outcome = self._outcome(execution)
        outcome.prepared = execution.prepared
        outcome.unchecked = True
        if execution.emulated:
            refusal = self.emulated.foresee(execution)
            if refusal is not None:
                raise RefusalError(Status.UNAVAILABLE, refusal)
            execution.first_call_limit = self.emulated.limit_first_call(execution)

    def after_first_call(self, execution: Execution, base: Execution | None) -> None:
        """Refuse an emulated scenario that would take more than its share of the budget."""
        if execution.emulated:
            new = self._outcome(execution).unchecked
            refusal = self.emulated.charge(execution, base=base, new=new)
            if refusal is not None:
                raise RefusalError(Status.UNAVAILABLE, refusal)

    def before_warm_up(self, execution: Execution) -> None:
        """Refuse what is too slow; compare outputs of inference, whose calls warm up too."""
        if self._is_unchecked(execution) and not (execution.is_base or execution.emulated):
            self._refuse_if_slow(execution)
        if self._wants_outputs(execution) and execution.scenario.task is Task.INFERENCE:
            self._compare_outputs(execution)

    def without_steady_state(self, execution: Execution) -> bool:
        """Flag the scenario; its status says so, and no event is needed."""
        if not execution.is_control:
            self._outcome(execution).flag_unsteady(execution.launch + 1)
        return False

    def after_warm_up(self, execution: Execution) -> None:
        """Compare outputs of training; keep the conditions now that everything is loaded."""
        if self._wants_outputs(execution) and execution.scenario.task is Task.TRAINING:
            self._compare_outputs(execution)
        if self._is_unchecked(execution):
            outcome = self._outcome(execution)
            outcome.conditions = execution.conditions
            outcome.unchecked = False

    def _refuse_if_slow(self, execution: Execution) -> None:
        """Refuse a scenario that would use up the budget of all others.

        The first call may have compiled, so a second one decides. Emulated scenarios have a share
        of their own, and nothing can be compared without stock default.
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
        thorough = execution.scenario.id in self.thorough
        wanted = self._outcome(execution).unchecked or thorough or no_reference
        return wanted and not execution.is_control

    def _compare_outputs(self, execution: Execution) -> None:
        """Compare with stock default's outputs; a scenario outside the tolerance is not timed."""
        reference = self._reference(execution)
        path = reference if execution.is_base else reference.with_suffix(".candidate.npz")
        thorough = execution.scenario.id in self.thorough
        reply = execution.outputs(
            path,
            within_s=self.thorough_s if thorough else self.parity_s,
            most_images=None if execution.is_base else self._compared.get(reference),
        )
        if execution.is_base:
            self._compared[reference] = reply.get("images")
        if not reference.exists():
            return
        found = parity.compare(
            reference,
            path,
            task=execution.scenario.task,
            dtype=variables.tolerated(execution.scenario),
            tolerance=self.policy.parity,
        )
        self._outcome(execution).parity = records.ParityRow(
            run_id=self.run_id, scenario=execution.scenario.id, **asdict(found)
        )
        if not found.within_tolerance:
            on_maps = parity.allowed_on_maps(found.tolerance, self.policy.parity)
            maps = f", maps by {_spell_error(found.max_abs_map_error)}; {on_maps:.3g} is allowed"
            maps = maps if found.accuracy is not None else ""  # the inspector's alone
            raise RefusalError(
                Status.WRONG_OUTPUT,
                f"outputs differ from the stock default's by {_spell_error(found.max_abs_error)}; "
                f"{found.tolerance:.3g} is allowed{maps}",
            )
        label = execution.scenario.dtype
        if label is not Dtype.FP32 and parity.is_the_same(reference, path):
            raise RefusalError(
                Status.UNSUPPORTED,
                f"its label is not what was run: the label says {label}, but its outputs are those "
                "of fp32 bit for bit",
            )

    def _reference(self, execution: Execution) -> Path:
        """Return the file of the outputs of its group's stock default."""
        group = group_name(execution.scenario.group).replace("/", "-")
        return self.folder / run_folder.OUTPUTS / f"{group}.npz"

    # ---- after the rounds ------------------------------------------------------------------

    def on_differences(self, execution: Execution, sentences: Sequence[str]) -> None:
        """Record them; a control that differs counts against its base, whose spread it measures."""
        whose = "of its control, " if execution.is_control else ""
        self._outcome(execution).add_differences([f"{whose}{sentence}" for sentence in sentences])

    def after_block(self, execution: Execution, block_ms: float) -> None:
        """Log the call that follows the block, until enough of them are.

        So the logged calls lie among the timed ones, in the machine's state of the moment, and
        those of a headline, which is measured again, in several processes.
        """
        log, name = self.policy.log, execution.scenario.id
        seen = self._outcome(execution).evidence
        if execution.is_control or (seen and not _sequence(seen)):  # there is no log to add to
            return
        here = self._asked[name, execution.launch]
        in_all = sum(count for (scenario, _), count in self._asked.items() if scenario == name)
        longest_s = (1 + here) * execution.typical_ms / 1000
        fits = not here or longest_s <= log.a_launch_s
        if fits and here < log.a_launch and in_all < log.calls:
            self._asked[name, execution.launch] += 1
            self._log(execution, block_ms)

    def after_rounds(self, execution: Execution) -> None:
        """Read memory, once; refuse a scenario whose label its kernels contradict."""
        outcome = self._outcome(execution)
        if execution.is_control or outcome.closed:
            return
        outcome.closed = True  # before the requests: a worker that cannot answer is not asked again
        outcome.memory = execution.memory()
        if not outcome.evidence:  # no block counted, or none could be logged
            self._log(execution)
        contradiction = outcome.evidence.get("contradiction")
        if contradiction:
            raise RefusalError(
                Status.UNSUPPORTED, f"its label is not what was run: {contradiction}"
            )

    def _log(self, execution: Execution, block_ms: float | None = None) -> None:
        """Log a call; keep the first one's evidence, and the times of all that executed the same.

        `block_ms` is the time of the unlogged calls just before.
        """
        outcome, evidence = self._outcome(execution), execution.kernels()
        if not outcome.evidence:
            outcome.evidence = evidence
            for kernel in outcome.kernel_rows(self.run_id):
                self.record_evidence(kernel)
        if _sequence(evidence) != _sequence(outcome.evidence):
            return
        place = (execution.scenario.id, execution.launch)
        for call in evidence.get("calls", ()) if evidence.get("kernels") else ():
            self.record_evidence(
                records.LoggedCallRow(
                    run_id=self.run_id,
                    scenario=execution.scenario.id,
                    launch=execution.launch,
                    call=self._logged[place],
                    wall_ms=call["wall_ms"],
                    unlogged_ms=block_ms,
                    kernels_ms=" ".join(f"{ms:g}" for ms in call["kernels_ms"]),
                )
            )
            self._logged[place] += 1

    def on_failure(self, participant: Participant, launch: int, error: WorkerError) -> None:
        """Record the reason in the scenario's outcome, or as an event for a control."""
        scenario = participant.scenario
        if participant.is_control:
            self.record_event(
                Event(
                    kind=EventKind.CONTROL_FAILED,
                    subject=group_name(scenario.group),
                    launch=launch,
                    reason=error.reason,
                )
            )
            return
        where = f" (launch {launch + 1})" if launch and not isinstance(error, RefusalError) else ""
        self.outcomes[scenario.id].fail(error.status, f"{error.reason}{where}")
        self.save()


def _check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a `BenchError` if the inspector's images or its model file have changed.

    Inputs of a user's own model may be other random numbers in every process.
    """
    if before.get("source") not in ("synthetic", "folder"):
        return
    for key, what in (
        ("sha256", f"the test images in {before.get('root')}"),
        ("weights_sha256", "the model file of --weights"),
    ):
        if key in before and before[key] != now.get(key, before[key]):
            raise BenchError(
                f"{what} changed after the run began: put back what it began with and continue it "
                "with --resume, or start a new run"
            )


def _sequence(evidence: KernelsReply) -> list[tuple[object, ...]]:
    """Return what a call executed, in order; empty if it is not known."""
    wanted = ("primitive", "kind", "problem")
    return [tuple(kernel.get(key) for key in wanted) for kernel in evidence.get("kernels", ())]


def _imported(participant: Participant) -> tuple[str, str]:
    """Return what a worker imports: its backend, from the packages of its environment."""
    return (participant.scenario.backend, participant.scenario.environment)


def _spell_error(error: float | None) -> str:
    """Return a difference of outputs for a sentence; None means that no number can say it."""
    return "NaN, infinity or their shape" if error is None else f"{error:.3g}"
