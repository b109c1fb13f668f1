"""Run `pillqc evaluate --sizes`: how small a defect is found?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import Progress, loaded_model
from pillqc.errors import shown

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.evaluation.sizes import SizeReport


def report_sizes(
    model: str | None,
    way: tuple[str, str],
    per_defect: int,
    figures: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the smallest defects found, and draw them if a folder is given.

    Args:
        model: as for `--model`.
        way: backend and dtype.
        per_defect: number of pills of each defect.
        figures: folder for the picture.
        as_json: whether to print JSON in place of a table.
    """
    from pillqc.evaluation.sizes import evaluate_sizes
    from pillqc.model.acceleration import STOCK, Way

    backend, dtype = way
    chosen = Way(backend=backend, dtype=dtype, layout="channels_last")
    if way == (STOCK.backend, STOCK.dtype):
        chosen = STOCK
    with Progress("evaluating") as progress:
        report = evaluate_sizes(
            loaded_model(model), per_defect=per_defect, way=chosen, on_progress=progress
        )
    click.echo(json.dumps(report.as_dict()) if as_json else sizes_table(report))
    if figures:
        from pillqc.evaluation.size_figure import draw_sizes

        click.echo(f"{figures}: {draw_sizes(report, figures).name}", err=True)


def sizes_table(report: SizeReport) -> str:
    """Return the smallest defects found as a table for a terminal."""
    rejects, way = report.false_rejects, f"{report.backend} in {report.dtype}"
    interval = f"95 % interval {rejects.low:.1%} to {rejects.high:.1%}"
    lines = [] if report.trained else ["UNTRAINED MODEL: these figures say nothing about pills"]
    lines += [
        f"model {report.model}, {way}, threshold {report.threshold:.4f}",
        f"synthetic pills of {report.side_px} px; sizes in % of the image's side",
        f"false rejects: {rejects.count} of {rejects.n} good pills ({interval})",
        "found in half of the pills (a50), in nine of ten (a90), and that with 95 % confidence",
        f"  {'defect':<23}{'a50':>8}{'a90':>8}{'a90/95':>8}",
    ]
    for name, defect in report.defects.items():
        curve = defect.curve
        sizes = "".join(
            f"{'none' if value is None else format(value, '.2f'):>8}"
            for value in (curve.centre, curve.a90, curve.a90_95)
        )
        lines.append(f"  {shown(name):<23}{sizes}   {curve.found} of {curve.defects} found")
    return "\n".join(lines)
