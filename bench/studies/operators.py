"""`bench operators`: compare IPEX's operators of Mask R-CNN and fused patterns with stock's.

Each case is a comparison group. ROIAlign and NMS have three participants: stock torchvision, its
control, and the same call in a process that imported IPEX. A pattern has stock in eager mode, its
control, and what each library offers with and without fusion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.analysis.judge import level
from bench.engine.participants import Group, Participant, control_of
from bench.errors import WorkerError
from bench.plan.operators import (
    CASE,
    LINEAR_RELU,
    ROI_ALIGN,
    Case,
    Pattern,
    case_named,
    cases_matching,
)
from bench.plan.scenario import AUTO_KERNELS, Mode, Scenario, Status, Task
from bench.plan.thresholds import STUDIES
from bench.store import run_folder
from bench.studies.evidence import EvidenceChecks
from bench.studies.study_folder import OPERATORS, workplace
from bench.text.wording import finite
from bench.worker.kernels import arithmetic, fused_operators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.analysis.judge import Judge
    from bench.engine.execution import Execution
    from bench.plan.thresholds import Policy
    from bench.studies.measured import Measured
    from bench.studies.study_folder import StudyRequest
    from bench.worker.protocol import KernelsReply

OTHER_OUTPUTS = "its outputs differ from stock's"
NOTHING = "nothing"
"""Value of the column `fused`: the evidence was read, and shows nothing fused."""
_NO_TURN = WorkerError(Status.UNAVAILABLE, "the study was cut before its turn")
NOTHING_FUSED = "fusion is on, but neither oneDNN's log nor the graph shows anything fused"


@dataclass(frozen=True, kw_only=True)
class OperatorRow:  # more than 15 fields: the columns of operators.csv
    """One case in one scenario."""

    run_id: str
    case: str
    operator: str
    context: str
    shapes: str
    layout: str
    backend: str
    status: str
    reason: str | None
    served_by: str | None
    """IPEX's own operators that the call went through, empty where torchvision's kernel served; of
    a pattern: oneDNN's implementations, empty where its log names none."""
    rounds: int
    launches: int
    median_ms: float | None
    speedup: float | None
    """Over stock torchvision or stock eager, paired within rounds."""
    speedup_low: float | None
    speedup_high: float | None
    margin: float | None
    verdict: str
    max_abs_error: float | None
    """Of the outputs, against stock's; NMS: of the kept boxes' numbers."""
    same_output: bool | None
    mode: str = "eager"
    fusion: str | None = None
    """`on` or `off` in TorchScript."""
    fused: str | None = None
    """What the evidence shows as fused, or `nothing`; empty where it was not read: a control, a
    case that is no pattern, a study that was cut."""
    fusion_gain: float | None = None
    """Over the same library and mode without fusion, paired within rounds."""
    fusion_gain_low: float | None = None
    fusion_gain_high: float | None = None
    fusion_verdict: str = ""
    options: str | None = None
    """Options of the scenario, joined by `+`, beside the case."""
    fusion_reason: str | None = None
    """Why there is no verdict over no fusion."""


# ---- what is compared ----------------------------------------------------------------------------


def groups(cases: Sequence[Case]) -> list[Group]:
    """Return a group for each case: stock, its control, and the others."""
    found = []
    for case in cases:
        scenarios = _of_pattern(case) if isinstance(case, Pattern) else _of_detection(case)
        stock, *others = (
            Participant(
                name=f"{case.name}/{worker}",
                scenario=scenario,
                worker=worker,
                base="" if worker == "stock" else f"{case.name}/stock",
            )
            for worker, scenario in scenarios.items()
        )
        found.append(Group(name=case.name, participants=(stock, control_of(stock), *others)))
    return found


def _eager(case: Case) -> Scenario:
    return Scenario(
        task=Task.INFERENCE,
        backend="stock",
        mode=Mode.EAGER,
        layout=case.layout,
        batch_size=1,
        options=(f"{CASE}={case.name}",),
    )


def _of_detection(case: Case) -> dict[str, Scenario]:
    """Return the scenarios by the name of their worker: a call needs IPEX's import alone."""
    stock = _eager(case)
    return {"stock": stock, "ipex": replace(stock, backend="ipex")}


def _of_pattern(case: Case) -> dict[str, Scenario]:
    """Return the scenarios by the name of their worker: each library with and without fusion."""
    stock = _eager(case)
    script = replace(stock, mode=Mode.TORCHSCRIPT, fusion=False)
    fused = replace(script, fusion=True)
    ipex = {
        "ipex-torchscript": replace(script, backend="ipex"),
        "ipex-torchscript-fusion": replace(fused, backend="ipex"),
    }
    if case.operator == LINEAR_RELU:  # fused by oneDNN only, and MKL is IPEX's default
        ipex |= {
            f"{name}-{AUTO_KERNELS}": replace(one, options=(*one.options, AUTO_KERNELS))
            for name, one in ipex.items()
        }
    return {
        "stock": stock,
        "stock-torchscript": script,
        "stock-torchscript-fusion": fused,
        "stock-compile": replace(stock, mode=Mode.COMPILE),
        **ipex,
    }


@dataclass(kw_only=True)
class CaseChecks(EvidenceChecks):
    """Has every participant write its outputs to `folder`; reads the evidence of patterns."""

    folder: Path

    def after_first_warm_up(self, execution: Execution) -> None:
        """Request the outputs, once."""
        execution.outputs(output_path(self.folder, execution.participant))

    def wants(self, execution: Execution) -> bool:
        """Return whether it is a pattern's; PyTorch's profiler names other operators' kernels."""
        case = case_named(str(execution.scenario.option(CASE)))
        return isinstance(case, Pattern) and super().wants(execution)

    def contradiction(self, execution: Execution, reply: KernelsReply) -> str | None:
        """Require of a scenario with fusion that something was fused, convolution or not."""
        found = super().contradiction(execution, reply)
        if found is None and execution.scenario.fusion and not fused_operators(reply):
            return NOTHING_FUSED
        return found


def output_path(folder: Path, participant: Participant) -> Path:
    """Return the file of a participant's outputs."""
    return folder / f"{participant.name.replace('/', '-').replace('#', '-')}.npz"


# ---- rows ----------------------------------------------------------------------------------------


def rows(
    run_id: str, cases: Sequence[Case], checks: CaseChecks, policy: Policy
) -> list[OperatorRow]:
    """Return a row for every case and scenario, failed ones included.

    Other outputs than stock's count as a contradiction, so that nothing is compared with them.
    """
    found = list(zip(groups(cases), cases, strict=True))
    differences = {
        participant.name: largest_difference(
            output_path(checks.folder, group.participants[0]),
            output_path(checks.folder, participant),
        )
        for group, _ in found
        for participant in group.participants
    }
    for group, case in found:
        for participant in group.participants:
            difference = differences[participant.name]
            if difference is not None and not difference <= tolerance(case):  # NaN differs
                checks.measured.contradictions[participant.name] = OTHER_OUTPUTS
    maker = _RowMaker(
        run_id=run_id,
        measured=checks.measured,
        judge=checks.measured.judge(policy),
        evidence=checks.evidence,
        differences=differences,
    )
    return [
        maker.row(case, participant, group)
        for group, case in found
        for participant in group.participants
    ]


@dataclass(frozen=True, kw_only=True)
class _RowMaker:
    """Makes rows of what was measured."""

    run_id: str
    measured: Measured
    judge: Judge
    evidence: Mapping[str, KernelsReply]
    differences: Mapping[str, float | None]

    def row(self, case: Case, participant: Participant, group: Group) -> OperatorRow:
        """Return the row of one participant."""
        scenario, stock = participant.scenario, group.participants[0]
        blocks = self.measured.groups.get(group.name, {}).get(participant.name, {})
        own = level(blocks, self.judge.policy)
        error = self.measured.failures.get(participant.name, None if blocks else _NO_TURN)
        difference = self.differences[participant.name]
        same = None if difference is None else difference <= tolerance(case)
        compared = self._compare(participant, None if participant is stock else stock, group)
        unfused = self._compare(participant, _without_fusion(participant, group), group)
        ratio = compared.ratio if compared else None
        gain = unfused.ratio if unfused else None
        evidence = self.evidence.get(participant.name, {})
        return OperatorRow(
            run_id=self.run_id,
            case=case.name,
            operator=case.operator,
            context=case.context,
            shapes=case.shapes,
            layout=str(case.layout),
            backend=f"{scenario.backend}#control" if participant.is_control else scenario.backend,
            status="ok" if error is None else str(error.status),
            reason=_reason(error, compared),
            served_by=self._served_by(participant, evidence),
            rounds=len(blocks),
            launches=len({launch for launch, _ in blocks}),
            median_ms=own.estimate if own else None,
            speedup=ratio.estimate if ratio else None,
            speedup_low=ratio.low if ratio else None,
            speedup_high=finite(ratio.high) if ratio else None,
            margin=compared.margin if compared else None,
            verdict=str(compared.verdict) if compared else "",
            max_abs_error=finite(difference),
            same_output=same,
            mode=str(scenario.mode),
            fusion={None: None, True: "on", False: "off"}[scenario.fusion],
            fused=(", ".join(fused_operators(evidence)) or NOTHING) if evidence else None,
            fusion_gain=gain.estimate if gain else None,
            fusion_gain_low=gain.low if gain else None,
            fusion_gain_high=finite(gain.high) if gain else None,
            fusion_verdict=str(unfused.verdict) if unfused else "",
            options="+".join(tag for tag in scenario.options if "=" not in tag) or None,
            fusion_reason=_reason(error, unfused) if unfused else None,
        )

    def _served_by(self, participant: Participant, evidence: KernelsReply) -> str | None:
        """Return the kernels that PyTorch's profiler or oneDNN's log named."""
        own = self.measured.prepared.get(participant.name, {}).get("served_by", ())
        logged = [kernel.implementation for kernel in arithmetic(evidence)]
        return ", ".join(dict.fromkeys([*own, *logged])) or None

    def _compare(
        self, participant: Participant, base: Participant | None, group: Group
    ) -> Comparison | None:
        """Compare a participant with another of its group, or with none."""
        if base is None:
            return None
        return self.judge.compare(participant.name, base.name, group=group.name)


def _without_fusion(participant: Participant, group: Group) -> Participant | None:
    """Return the participant of the same library and mode without fusion, for one with it."""
    if not participant.scenario.fusion:
        return None
    wanted = replace(participant.scenario, fusion=False)
    return next((one for one in group.participants if one.scenario == wanted), None)


def _reason(error: WorkerError | None, compared: Comparison | None) -> str | None:
    """Return why there is no verdict, the gravest reason first."""
    if error is not None:
        return error.reason
    return compared.reason if compared else None


def tolerance(case: Case) -> float:
    """Return how far outputs may differ: kept boxes not at all."""
    if isinstance(case, Pattern):
        return STUDIES.pattern_tolerance
    return STUDIES.pooled_tolerance if case.operator == ROI_ALIGN else 0.0


def largest_difference(stock: Path, other: Path) -> float | None:
    """Return the largest difference of two files: infinity for other shapes, None if missing."""
    if not (stock.exists() and other.exists()):
        return None
    with np.load(stock) as left, np.load(other) as right:
        one, two = left["values"], right["values"]
    if one.shape != two.shape:
        return float("inf")
    return float(np.max(np.abs(one.astype(np.float64) - two.astype(np.float64)), initial=0.0))


# ---- measuring -----------------------------------------------------------------------------------


def measure(patterns: Sequence[str], request: StudyRequest) -> Path:
    """Measure the cases that match, or the usual ones, and return the study's folder.

    Raises:
        UsageError: a pattern matches no case.
        BenchError: it cannot be measured.
    """
    cases = cases_matching(list(patterns))
    facts = {"cases": [case.name for case in cases]}
    with workplace("operators", request, OperatorRow, work=OPERATORS, facts=facts) as place:
        study = place.study(groups(cases))
        checks = CaseChecks(folder=place.folder / run_folder.OUTPUTS, measured=study.measured)
        study.checks = checks
        with place.finished(study.measured):
            study.measure()
        for row in rows(place.run_id, cases, checks, place.policy):
            place.writer.append(row)
        return place.folder
