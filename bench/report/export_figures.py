"""The page's figures as separate files for slides: SVG and PNG of each, in the light scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import svg
from bench.report.page import charts_of
from bench.report.writing import write_file

if TYPE_CHECKING:
    from pathlib import Path

    from bench.report.facts import Facts


def export_figures(facts: Facts, folder: Path) -> list[Path]:
    """Write every figure that the run gives; returns the files.

    Raises:
        BenchError: one cannot be written.
    """
    written = []
    for drawing in charts_of(facts):
        for suffix, content in (
            (".svg", svg.alone(drawing.wide).encode()),
            (".png", drawing.png()),
        ):
            path = folder / f"{drawing.name}{suffix}"
            write_file(path, content)
            written.append(path)
    return written
