"""`bench operators`: ROIAlign and NMS, stock torchvision against IPEX, on shapes of Mask R-CNN.

The tutorial names both as operators that IPEX speeds up. Here each case is a comparison group of
three seats: stock torchvision, a control of it, and the same call where IPEX was imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import records, run_folder
from bench.analysis.judge import level
from bench.engine import Checks
from bench.errors import UsageError
from bench.policy import STUDIES
from bench.records import IterationRow, NoiseRow
from bench.report.tables.table import Cell, Row, Table, number
from bench.report.wording import NOTHING, bounds, finite, milliseconds, times
from bench.scenarios import Layout, Mode, Scenario, Task
from bench.seats import Group, Seat, control_of
from bench.studies import comparing
from bench.studies.page import Page
from bench.studies.workplace import OPERATORS, workplace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.analysis.judge import Judge
    from bench.errors import WorkerError
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.studies.study import Measured
    from bench.studies.workplace import StudyRequest

CASE = "case"
"""Option of a scenario that names its case."""
ROI_ALIGN = "roi_align"
NMS = "nms"
NO_GRAD = "no_grad"
INFERENCE_MODE = "inference_mode"
LEVELS = (4, 8, 16, 32)
"""Strides of the pyramid's levels that ROIAlign pools from."""
CHANNELS = 256


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call on one set of shapes."""

    name: str
    operator: str
    context: str
    """How autograd is switched off: `no_grad` or `inference_mode`."""
    proposals: int
    layout: Layout = Layout.CONTIGUOUS
    output_size: int = 0
    iou_threshold: float = 0.0

    @property
    def shapes(self) -> str:
        """The shapes for people."""
        if self.operator == NMS:
            return f"{self.proposals} boxes, IoU {self.iou_threshold:g}"
        size = f"{self.output_size}x{self.output_size}"
        return f"{self.proposals} proposals, {len(LEVELS)} levels of {CHANNELS} channels, {size}"


def _roi(size: int, context: str, layout: Layout = Layout.CONTIGUOUS) -> Case:
    tail = "" if layout is Layout.CONTIGUOUS else f"-{layout}"
    return Case(
        name=f"{ROI_ALIGN}-{size}x{size}-{context}{tail}",
        operator=ROI_ALIGN,
        context=context,
        proposals=1000,
        layout=layout,
        output_size=size,
    )


def _nms(boxes: int, threshold: float, context: str) -> Case:
    return Case(
        name=f"{NMS}-{boxes}-{context}",
        operator=NMS,
        context=context,
        proposals=boxes,
        iou_threshold=threshold,
    )


CASES: tuple[Case, ...] = (
    _roi(7, NO_GRAD),
    _roi(7, INFERENCE_MODE),
    _roi(7, NO_GRAD, Layout.CHANNELS_LAST),
    _roi(14, NO_GRAD),
    _roi(14, INFERENCE_MODE),
    _nms(1000, 0.5, NO_GRAD),
    _nms(1000, 0.5, INFERENCE_MODE),
    _nms(4000, 0.7, NO_GRAD),
)
"""Box head (7x7), mask head (14x14), detections (1000 boxes), and the proposals of all levels."""


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
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


def case_named(name: str) -> Case:
    """The case of that name.

    Raises:
        UsageError: there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise UsageError(f"there is no case {name!r}: choose from {', '.join(c.name for c in CASES)}")


def groups(cases: Sequence[Case]) -> list[Group]:
    """A group for each case: stock, its control, IPEX."""
    found = []
    for case in cases:
        stock = _seat(case, "stock", "")
        found.append(
            Group(name=case.name, seats=(stock, control_of(stock), _seat(case, "ipex", stock.name)))
        )
    return found


def _seat(case: Case, backend: str, base: str) -> Seat:
    scenario = Scenario(
        task=Task.INFERENCE,
        backend=backend,
        mode=Mode.EAGER,
        layout=case.layout,
        batch_size=1,
        options=(f"{CASE}={case.name}",),
    )
    return Seat(name=f"{case.name}/{backend}", scenario=scenario, worker=backend, base=base)


@dataclass(frozen=True)
class KeepOutputs(Checks):
    """Has every seat's outputs written to the folder, for `rows` to compare."""

    folder: Path

    def opened(self, lane: Lane) -> None:
        """Ask for them once."""
        lane.outputs(output_path(self.folder, lane.seat))


def output_path(folder: Path, seat: Seat) -> Path:
    """Where a seat's outputs lie while the study runs."""
    return folder / f"{seat.name.replace('/', '-').replace('#', '-')}.npz"


def rows(
    run_id: str, cases: Sequence[Case], measured: Measured, outputs: Path, policy: Policy
) -> list[OperatorRow]:
    """A row for every case and backend, whatever became of it."""
    found = []
    judge = comparing.judge_of(measured, policy)
    for group, case in zip(groups(cases), cases, strict=True):
        stock = group.seats[0]
        found += [
            _row(run_id, case, seat, stock, group.name, measured, outputs, judge)
            for seat in group.seats
        ]
    return found


def _row(
    run_id: str,
    case: Case,
    seat: Seat,
    stock: Seat,
    group: str,
    measured: Measured,
    outputs: Path,
    judge: Judge,
) -> OperatorRow:
    blocks = measured.groups.get(group, {}).get(seat.name, {})
    own = level(blocks, judge.policy)
    error = measured.failures.get(seat.name)
    difference = largest_difference(output_path(outputs, stock), output_path(outputs, seat))
    compared = None if seat is stock else judge.compare(seat.name, stock.name, group=group)
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
        backend="stock#control" if seat.is_control else seat.scenario.backend,
        status="ok" if error is None else str(error.status),
        reason=_reason(error, compared, same=same),
        served_by=", ".join(measured.prepared.get(seat.name, {}).get("served_by", ())) or None,
        rounds=len(blocks),
        launches=len({launch for launch, _ in blocks}),
        median_ms=own.estimate if own else None,
        speedup=ratio.estimate if ratio else None,
        speedup_low=ratio.low if ratio else None,
        speedup_high=finite(ratio.high) if ratio else None,
        margin=compared.margin if compared else None,
        verdict="invalid" if same is False and not seat.is_control else verdict,
        max_abs_error=finite(difference),
        same_output=same,
    )


def _reason(
    error: WorkerError | None, compared: Comparison | None, *, same: bool | None
) -> str | None:
    """Why there is no verdict, the gravest first."""
    if error is not None:
        return error.reason
    if same is False:
        return "its outputs differ from stock torchvision's"
    return compared.reason if compared else None


def largest_difference(stock: Path, other: Path) -> float | None:
    """Of two files of outputs; infinity where the shapes differ, None where one is missing."""
    if not (stock.exists() and other.exists()):
        return None
    with np.load(stock) as left, np.load(other) as right:
        one, two = left["values"], right["values"]
    if one.shape != two.shape:
        return float("inf")
    return float(np.max(np.abs(one.astype(np.float64) - two.astype(np.float64)), initial=0.0))


_REMARK = (
    "Importing IPEX is all it takes: it registers kernels under torchvision's operators. For "
    "ROIAlign it registers them with autograd, so `torch.inference_mode()` passes them by and "
    "torchvision's own kernel runs, whatever was imported; `torch.no_grad()` reaches IPEX's. The "
    "column says which one served, as PyTorch's profiler saw it."
)


def page(found: Sequence[OperatorRow]) -> Page:
    """What the rows say."""
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


def facts(cases: Sequence[Case]) -> dict[str, Any]:
    """What environment.json keeps of the study."""
    return {"cases": [case.name for case in cases]}


FILES: dict[str, type[Any]] = {
    "iterations.csv": IterationRow,
    "noise.csv": NoiseRow,
    "operators.csv": OperatorRow,
}


def measure(names: Sequence[str], asked: StudyRequest) -> Path:
    """Measure these cases, or all, and return the study's folder.

    Raises:
        UsageError: there is no such case.
        BenchError: it cannot be measured.
    """
    cases = [case_named(name) for name in names] or list(CASES)
    with workplace("operators", asked, FILES, work=OPERATORS, facts=facts(cases)) as place:
        study = place.study(groups(cases))
        outputs = place.folder / run_folder.OUTPUTS
        study.checks = KeepOutputs(outputs)
        with place.finished(study):
            study.measure()
        for row in rows(place.run_id, cases, study.measured, outputs, place.policy):
            place.writer.append(row)
        return place.folder


def read_page(folder: Path) -> Page:
    """The page of a study that was measured."""
    found, _ = records.read_rows(folder / "operators.csv", OperatorRow)
    return page(found)
