"""Make the page of `bench operators` from operators.csv."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan.operators import NMS, ROI_ALIGN
from bench.plan.scenario import CONTROL_SUFFIX, Verdict
from bench.report.table import Cell, Row, Table, interval_cell, number
from bench.store import records
from bench.studies.operators import OperatorRow
from bench.studies.page import CONTROL_REMARK, Page
from bench.text.wording import NOTHING, bounds, milliseconds, mode_name, times, tiny

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DETECTION = (
    "ROIAlign and NMS: importing IPEX is enough, because it registers kernels under torchvision's "
    "operators. For ROIAlign it registers them with autograd, which `torch.inference_mode()` "
    "bypasses, so torchvision's own kernel runs there; `torch.no_grad()` reaches IPEX's. "
    '"Served by" is what PyTorch\'s profiler saw.'
)
_PATTERNS = (
    "Patterns: random weights, fp32, batch 1, on shapes of VGG-16 and ResNet-50. What served a "
    "scenario and what was fused is what oneDNN logged in one call, or the fused nodes of the "
    "graph where the arithmetic is MKL's, which logs nothing. Where the label says fusion and "
    "nothing was fused, the comparison is invalid. torch.compile fuses by itself and has no such "
    "label."
)

_UNTOLD = "that study did not keep why"
"""Of an earlier version."""


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    found, _ = records.read_rows(folder / "operators.csv", OperatorRow)
    return page(found)


def page(found: Sequence[OperatorRow]) -> Page:
    """Build the study's page."""
    return Page(
        title="Operators and fused patterns: stock PyTorch against IPEX",
        lead=tuple(_lead(found)),
        tables=(_table(found),),
        remarks=(_DETECTION, _PATTERNS, CONTROL_REMARK),
    )


def _is_pattern(row: OperatorRow) -> bool:
    return row.operator not in (ROI_ALIGN, NMS)


# ---- the answers ---------------------------------------------------------------------------------


def _lead(found: Sequence[OperatorRow]) -> list[str]:
    sentences = [
        _detection_sentence(row) for row in found if row.backend == "ipex" and not _is_pattern(row)
    ]
    sentences += [
        _pattern_sentence([row for row in found if row.case == case])
        for case in dict.fromkeys(row.case for row in found if _is_pattern(row))
    ]
    return sentences or ["No case was measured."]


def _detection_sentence(row: OperatorRow) -> str:
    if row.speedup is None:
        return f"{row.case}: not measured ({row.reason})."
    own = "its own kernel" if row.served_by else "torchvision's kernel, not its own"
    differ = "" if row.same_output else ", and its outputs differ"
    over = f"{times(row.speedup)} {bounds(row.speedup_low, row.speedup_high)}"
    return f"{row.case}: with IPEX ({own}) {over} over stock torchvision, {row.verdict}{differ}."


def _pattern_sentence(rows: Sequence[OperatorRow]) -> str:
    """Say what fusion gains in each library, and which scenario is fastest."""
    gains = [
        f"{_scenario(row)} {times(row.fusion_gain)} "
        f"{bounds(row.fusion_gain_low, row.fusion_gain_high)} ({row.fusion_verdict})"
        if row.fusion_gain is not None and row.fusion_verdict != Verdict.INVALID
        else f"{_scenario(row)} not known ({row.fusion_reason or row.reason or _UNTOLD})"
        for row in rows
        if row.fusion == "on"
    ]
    said = f"{rows[0].case}: over the same without fusion, {'; '.join(gains)}"
    valid = [
        row
        for row in rows
        if row.speedup is not None
        and row.verdict != Verdict.INVALID
        and not row.backend.endswith(CONTROL_SUFFIX)
    ]
    if not valid:
        return f"{said}."
    best = max(valid, key=lambda row: row.speedup or 0.0)
    over = f"{times(best.speedup)} {bounds(best.speedup_low, best.speedup_high)}"
    return f"{said}. Highest over stock eager: {_scenario(best)}, {over} ({best.verdict})."


def _scenario(row: OperatorRow) -> str:
    """Return backend, mode, fusion and options: `ipex TorchScript, fusion on`."""
    fusion = f", fusion {row.fusion}" if row.fusion else ""
    options = f", {row.options}" if row.options else ""
    return f"{row.backend} {mode_name(row.mode)}{fusion}{options}"


# ---- the table -----------------------------------------------------------------------------------


def _table(found: Sequence[OperatorRow]) -> Table:
    return Table(
        name="operators",
        caption="One call. Above 1 is faster than stock: torchvision's own kernel, or a pattern in "
        "eager mode.",
        columns=(
            "Case",
            "Scenario",
            "Served by",
            "Median",
            "Over stock",
            "Verdict",
            "Over no fusion",
            "Status",
        ),
        rows=tuple(_cells(row) for row in found),
        numeric=(3, 4, 6),
    )


def _cells(row: OperatorRow) -> Row:
    ok = row.status == "ok"
    served = row.served_by or ("torchvision" if ok and not _is_pattern(row) else NOTHING)
    return Row(
        cells=(
            Cell(text=row.case, note=f"{row.shapes} · {row.layout}"),
            Cell(text=_scenario(row) if _is_pattern(row) else row.backend),
            Cell(text=served, note=f"fused: {row.fused}" if row.fused else ""),
            number(milliseconds(row.median_ms), row.median_ms),
            interval_cell(row.speedup, row.speedup_low, row.speedup_high),
            _verdict(row.verdict),
            interval_cell(
                row.fusion_gain, row.fusion_gain_low, row.fusion_gain_high, row.fusion_verdict
            ),
            Cell(text=row.status, note=_why(row)),
        ),
    )


def _why(row: OperatorRow) -> str:
    """Return why a verdict is missing, else how far the outputs differ."""
    if row.reason is None and row.fusion_reason:
        return f"over no fusion: {row.fusion_reason}"
    return row.reason or _difference(row)


def _difference(row: OperatorRow) -> str:
    error = row.max_abs_error
    return "" if error is None else f"outputs differ by {tiny(error)}" if error else "same outputs"


def _verdict(verdict: str) -> Cell:
    return Cell(text="" if verdict else NOTHING, verdict=verdict)
