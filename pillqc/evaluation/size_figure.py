"""Draw which sizes of defects are found.

draw_sizes(report, Path("figures"))    # sizes.png
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure

from pillqc.errors import shown
from pillqc.evaluation.figures import save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from pillqc.evaluation.sizes import SizedDefects, SizeReport

_BLUE: Final = "#2b6cb0"
_GREY: Final = "#8a8f98"
_TICKS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


def draw_sizes(report: SizeReport, folder: Path) -> Path:
    """Write `sizes.png`: hits, misses and the fitted curve of each defect.

    Raises:
        PillqcError: it cannot be written.
    """
    figure = Figure(figsize=(7.0, 1.0 + 1.6 * len(report.defects)), layout="constrained")
    grid = figure.subplots(len(report.defects), 1, sharex=True, squeeze=False)
    for axes, (name, defect) in zip(grid[:, 0], report.defects.items(), strict=True):
        _draw_one(axes, shown(name).replace("_", " "), defect)
    grid[-1, 0].set_xlabel("size in % of the image's side", fontsize=8)
    doubt = "" if report.trained else "UNTRAINED MODEL. "
    caption = f"{doubt}{report.model}, {report.backend} {report.dtype}, synthetic pills"
    figure.text(0.005, 0.002, caption, fontsize=6, color=_GREY)
    return save_figure(figure, folder / "sizes.png")


def _draw_one(axes: Axes, name: str, defect: SizedDefects) -> None:
    sizes, found = np.asarray(defect.sizes), np.asarray(defect.found)
    axes.plot(sizes, found.astype(float), "|", color=_GREY, markersize=8)
    curve = defect.curve
    ladder = np.geomspace(sizes.min(), sizes.max(), 200)
    probabilities = [curve.probability(float(size)) for size in ladder]
    if curve.a90 is not None:
        axes.plot(ladder, np.array(probabilities, float), color=_BLUE)
    title = f"{name}: a90 {_number(curve.a90)}, a90/95 {_number(curve.a90_95)}"
    if curve.a90_95 is not None:
        axes.axvline(curve.a90_95, color=_BLUE, linestyle=":", linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_xticks([], minor=True)
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("found", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _number(size: float | None) -> str:
    return "none" if size is None else f"{size:.2f}"
