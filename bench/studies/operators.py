"""`bench operators`: ROIAlign and NMS, stock torchvision against IPEX, on shapes of Mask R-CNN.

Each case is a comparison group of three participants: stock torchvision, its control, and the same
call in a process that imported IPEX.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.judge import level
from bench.engine.checks import Checks
from bench.engine.participants import Group, Participant, control_of
from bench.errors import BenchError
from bench.machine import frameworks
from bench.plan.operators import CASE, CASES, Case, case_named
from bench.plan.scenario import Mode, Scenario, Task
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records, run_folder
from bench.store.records import IterationRow, NoiseRow
from bench.studies.page import Page
from bench.studies.study_folder import OPERATORS, workplace
from bench.text.wording import NOTHING, bounds, finite, milliseconds, times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.analysis.judge import Judge
    from bench.engine.execution import Execution
    from bench.errors import WorkerError
    from bench.plan.thresholds import Policy
    from bench.studies.measured import Measured
    from bench.studies.study_folder import StudyRequest


@dataclass(frozen=True, kw_only=True)
class OperatorRow:  # more than 15 fields: the columns of operators.csv
    """One operator case in one backend."""

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
    """IPEX's own operators that the call went through; empty where torchvision's kernel served."""
    rounds: int
    launches: int
    median_ms: float | None
    speedup: float | None
    """Over stock torchvision, paired within rounds."""
    speedup_low: float | None
    speedup_high: float | None
    margin: float | None
    verdict: str
    max_abs_error: float | None
    """Of the outputs, against stock torchvision's; NMS: of the kept boxes' numbers."""
    same_output: bool | None


def groups(cases: Sequence[Case]) -> list[Group]:
    """Return a group for each case: stock, its control, IPEX."""
    found = []
    for case in cases:
        stock = _participant(case, "stock", "")
        found.append(
            Group(
                name=case.name,
                participants=(stock, control_of(stock), _participant(case, "ipex", stock.name)),
            )
        )
    return found


def _participant(case: Case, backend: str, base: str) -> Participant:
    scenario = Scenario(
        task=Task.INFERENCE,
        backend=backend,
        mode=Mode.EAGER,
        layout=case.layout,
        batch_size=1,
        options=(f"{CASE}={case.name}",),
    )
    return Participant(name=f"{case.name}/{backend}", scenario=scenario, worker=backend, base=base)


@dataclass(frozen=True)
class KeepOutputs(Checks):
    """Has every participant write its outputs to the folder, for `rows` to compare."""

    folder: Path

    def after_first_warm_up(self, execution: Execution) -> None:
        """Request the outputs, once a launch."""
        execution.outputs(output_path(self.folder, execution.participant))


def output_path(folder: Path, participant: Participant) -> Path:
    """Return the file of a participant's outputs."""
    return folder / f"{participant.name.replace('/', '-').replace('#', '-')}.npz"


def rows(
    run_id: str, cases: Sequence[Case], measured: Measured, outputs: Path, policy: Policy
) -> list[OperatorRow]:
    """Return a row for every case and backend, failed ones included."""
    found = []
    judge = measured.judge(policy)
    for group, case in zip(groups(cases), cases, strict=True):
        stock = group.participants[0]
        found += [
            _row(run_id, case, participant, stock, group.name, measured, outputs, judge)
            for participant in group.participants
        ]
    return found


def _row(
    run_id: str,
    case: Case,
    participant: Participant,
    stock: Participant,
    group: str,
    measured: Measured,
    outputs: Path,
    judge: Judge,
) -> OperatorRow:
    blocks = measured.groups.get(group, {}).get(participant.name, {})
    own = level(blocks, judge.policy)
    error = measured.failures.get(participant.name)
    difference = largest_difference(output_path(outputs, stock), output_path(outputs, participant))
    compared = (
        None if participant is stock else judge.compare(participant.name, stock.name, group=group)
    )
    ratio = compared.ratio if compared else None
    allowed = STUDIES.pooled_tolerance if case.output_size else 0
    same = None if difference is None else difference <= allowed
    verdict = "" if compared is None else str(compared.verdict)
    return OperatorRow(
        run_id=run_id,
        case=case.name,
        operator=case.operator,
        context=case.context,
        shapes=case.shapes,
        layout=str(case.layout),
        backend="stock#control" if participant.is_control else participant.scenario.backend,
        status="ok" if error is None else str(error.status),
        reason=_reason(error, compared, same=same),
        served_by=", ".join(measured.prepared.get(participant.name, {}).get("served_by", ()))
        or None,
        rounds=len(blocks),
        launches=len({launch for launch, _ in blocks}),
        median_ms=own.estimate if own else None,
        speedup=ratio.estimate if ratio else None,
        speedup_low=ratio.low if ratio else None,
        speedup_high=finite(ratio.high) if ratio else None,
        margin=compared.margin if compared else None,
        verdict="invalid" if same is False and not participant.is_control else verdict,
        max_abs_error=finite(difference),
        same_output=same,
    )


def _reason(
    error: WorkerError | None, compared: Comparison | None, *, same: bool | None
) -> str | None:
    """Return why there is no verdict, the gravest reason first."""
    if error is not None:
        return error.reason
    if same is False:
        return "its outputs differ from stock torchvision's"
    return compared.reason if compared else None


def largest_difference(stock: Path, other: Path) -> float | None:
    """Return the largest difference of two files: infinity for other shapes, None if missing."""
    if not (stock.exists() and other.exists()):
        return None
    with np.load(stock) as left, np.load(other) as right:
        one, two = left["values"], right["values"]
    if one.shape != two.shape:
        return float("inf")
    return float(np.max(np.abs(one.astype(np.float64) - two.astype(np.float64)), initial=0.0))


_REMARK = (
    "Importing IPEX is enough: it registers kernels under torchvision's operators. For ROIAlign it "
    "registers them with autograd, which `torch.inference_mode()` bypasses, so torchvision's own "
    "kernel runs there; `torch.no_grad()` reaches IPEX's. \"Served by\" is what PyTorch's "
    "profiler saw."
)


def page(found: Sequence[OperatorRow]) -> Page:
    """Build the study's page."""
    return Page(
        title="ROIAlign and NMS: stock torchvision against IPEX",
        lead=tuple(_lead(found)),
        tables=(_table(found),),
        remarks=(_REMARK,),
    )


def _lead(found: Sequence[OperatorRow]) -> list[str]:
    sentences = []
    for row in found:
        if row.backend != "ipex":
            continue
        if row.speedup is None:
            sentences.append(f"{row.case}: not measured ({row.reason}).")
            continue
        own = "its own kernel" if row.served_by else "torchvision's kernel, not its own"
        sentences.append(
            f"{row.case}: with IPEX ({own}) {times(row.speedup)} "
            f"{bounds(row.speedup_low, row.speedup_high)} over stock torchvision, {row.verdict}"
            f"{'' if row.same_output else ', and its outputs differ'}."
        )
    return sentences or ["No case was measured."]


def _table(found: Sequence[OperatorRow]) -> Table:
    return Table(
        name="operators",
        caption="One call on the shapes of Mask R-CNN. Above 1 is faster than stock torchvision.",
        columns=(
            "Case",
            "Backend",
            "Served by",
            "Median",
            "Over stock",
            "Verdict",
            "Largest difference",
            "Status and reason",
        ),
        rows=tuple(_cells(row) for row in found),
        numeric=(3, 4, 6),
    )


def _cells(row: OperatorRow) -> Row:
    served: str = row.served_by or ("torchvision" if row.status == "ok" else NOTHING)
    return Row(
        cells=(
            Cell(text=row.case, note=f"{row.shapes} · {row.layout}"),
            Cell(text=row.backend),
            Cell(text=served),
            number(milliseconds(row.median_ms), row.median_ms),
            number(
                times(row.speedup),
                row.speedup,
                bounds(row.speedup_low, row.speedup_high) if row.speedup else "",
            ),
            Cell(text="" if row.verdict else NOTHING, verdict=row.verdict),
            number(
                NOTHING if row.max_abs_error is None else f"{row.max_abs_error:.2g}",
                row.max_abs_error,
            ),
            Cell(text=row.status, note=row.reason or ""),
        ),
    )


def replaced_operators() -> str:
    """Return a Markdown table of the operators that importing IPEX replaces in PyTorch.

    Raises:
        BenchError: IPEX or torchvision cannot be imported here.
    """
    answer = frameworks.ask("ask_operators", sys.executable)
    if answer.result is None:
        raise BenchError(f"what IPEX replaces cannot be listed: {answer.reason}")
    found = answer.result
    added = ", ".join(f"{count} of `{name}`" for name, count in found["added"].items())
    rows = [f"| `{name}` | {', '.join(keys)} |" for name, keys in found["replaced"].items()]
    first = (
        f"IPEX {found['ipex']} replaces kernels of {len(rows)} operators of PyTorch "
        f"{found['torch']} and torchvision {found['torchvision']}, and adds {added}."
    )
    return "\n".join([first, "", "| operator | replaced for |", "|---|---|", *rows])


def facts(cases: Sequence[Case]) -> dict[str, Any]:
    """Return what environment.json keeps of the study."""
    return {"cases": [case.name for case in cases]}


FILES: dict[str, type[Any]] = {
    "iterations.csv": IterationRow,
    "noise.csv": NoiseRow,
    "operators.csv": OperatorRow,
}


def measure(names: Sequence[str], request: StudyRequest) -> Path:
    """Measure these cases, or all, and return the study's folder.

    Raises:
        UsageError: there is no such case.
        BenchError: it cannot be measured.
    """
    cases = [case_named(name) for name in names] or list(CASES)
    with workplace("operators", request, FILES, work=OPERATORS, facts=facts(cases)) as place:
        study = place.study(groups(cases))
        outputs = place.folder / run_folder.OUTPUTS
        study.checks = KeepOutputs(outputs)
        with place.finished(study):
            study.measure()
        for row in rows(place.run_id, cases, study.measured, outputs, place.policy):
            place.writer.append(row)
        return place.folder


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    found, _ = records.read_rows(folder / "operators.csv", OperatorRow)
    return page(found)
