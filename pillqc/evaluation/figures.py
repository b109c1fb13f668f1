"""Draw an evaluation's figures.

draw_figures(report, Path("figures"))    # curves.png, reliability.png, confusion.png, ...
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from sklearn import calibration, metrics

from pillqc.data.marker import MARK, write_whole
from pillqc.errors import shown, writing
from pillqc.evaluation.evaluate import CALIBRATION_BINS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pillqc.evaluation.evaluate import Evaluation

_BLUE: Final = "#2b6cb0"
_GREY: Final = "#8a8f98"
_DPI: Final = 120


def draw_figures(report: Evaluation, folder: Path) -> list[Path]:
    """Write all figures as PNG and return their paths.

    Raises:
        PillqcError: they cannot be written.
    """
    drawings: dict[str, Callable[[Evaluation], Figure]] = {
        "curves": _curves,
        "reliability": _reliability,
        "confusion": _confusion,
        "recall_by_defect": _recall_by_defect,
    }
    if report.naming is not None:
        drawings["confusion_by_class"] = _confusion_by_class
    paths = []
    for name, draw in drawings.items():
        figure = draw(report)
        figure.text(0.005, 0.005, caption(report), fontsize=6, color=_GREY)
        paths.append(save_figure(figure, folder / f"{name}.png"))
    return paths


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG with pillqc's mark, and return its path.

    Raises:
        PillqcError: it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, metadata={"Comment": MARK})
    with writing(path):
        write_whole(path, picture.getvalue())
    return path


def caption(report: Evaluation) -> str:
    """Return the line below every figure, with what makes the figures doubtful."""
    doubts = "" if report.trained else "UNTRAINED MODEL. "
    if report.seen_in_training:
        doubts += f"TOO GOOD: {report.seen_in_training} images were seen in training. "
    return f"{doubts}{report.model}, {report.good} good and {report.bad} bad images"


def _curves(report: Evaluation) -> Figure:
    """Draw ROC beside precision and recall, with a dot at the model's threshold."""
    figure, (left, right) = _axes(9.0, 4.5, columns=2)
    false, true, _ = metrics.roc_curve(report.truth, report.scores)
    left.plot(false, true, color=_BLUE)
    left.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    left.plot(report.false_rejects.share or 0.0, report.recall_bad.share or 0.0, "ko")
    _label(
        left, f"ROC, area {report.image_auroc:.4f}", "good called bad", "bad called bad (recall)"
    )
    precision, recall, _ = metrics.precision_recall_curve(report.truth, report.scores)
    right.plot(recall, precision, color=_BLUE, drawstyle="steps-post")
    base = report.bad / report.images
    right.axhline(base, color=_GREY, linewidth=0.8, linestyle=":")
    right.text(0.02, base, "calling everything bad", fontsize=7, color=_GREY, va="bottom")
    title = f"Precision and recall, average precision {report.average_precision:.4f}"
    _label(right, title, "bad called bad (recall)", "called bad that are bad (precision)")
    return figure


def _reliability(report: Evaluation) -> Figure:
    """Draw how often pills are bad by their probability of bad; the diagonal is perfect."""
    figure, (top, below) = _axes(5.0, 6.0, rows=2, heights=(3, 1))
    frequency, probability = calibration.calibration_curve(
        report.truth, report.scores, n_bins=CALIBRATION_BINS
    )
    top.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    top.plot(probability, frequency, "o-", color=_BLUE)
    title = f"Reliability, ECE {report.ece:.4f}, Brier score {report.brier:.4f}"
    _label(top, title, "", "share that is bad")
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    below.hist(report.scores, bins=edges.tolist(), color=_BLUE)
    _label(below, "", "probability of bad", "images")
    return figure


def _confusion(report: Evaluation) -> Figure:
    """Draw the counts at the threshold, with their shares of the row."""
    counts = np.array(
        [
            [report.confusion["good_called_good"], report.confusion["good_called_bad"]],
            [report.confusion["bad_called_good"], report.confusion["bad_called_bad"]],
        ]
    )
    return _matrix(counts, ["good", "bad"], f"At threshold {report.threshold:.3g}", size=4.4)


def _confusion_by_class(report: Evaluation) -> Figure:
    """Draw what pills are called, good or a defect, by what they are."""
    confusion = report.naming.confusion if report.naming else {}
    counts = np.array([list(row.values()) for row in confusion.values()])
    names = [shown(name).replace("_", " ") for name in confusion]
    title = f"Named, at threshold {report.threshold:.3g}"
    return _matrix(counts, names, title, size=2.0 + 0.7 * len(names))


def _matrix(counts: NDArray[np.int64], names: list[str], title: str, *, size: float) -> Figure:
    """Draw a confusion matrix, with the shares of each row."""
    figure, (axes,) = _axes(size, size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{count}\n{shares[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    slanted = 0 if len(names) == 2 else 45
    axes.set_xticks(range(len(names)), names, rotation=slanted)
    axes.set_yticks(range(len(names)), names)
    _label(axes, title, "called", "is")
    return figure


def _recall_by_defect(report: Evaluation) -> Figure:
    """Draw the share of each defect that is found, with its exact interval."""
    names = list(report.recall_by_defect)
    figure, (axes,) = _axes(6.5, 1.2 + 0.45 * len(names))
    for row, (name, share) in enumerate(report.recall_by_defect.items()):
        axes.plot([share.low, share.high], [row, row], color=_BLUE, linewidth=2)
        axes.plot(share.share or 0.0, row, "o", color=_BLUE)
        axes.text(1.02, row, f"{share.count} of {share.n}", va="center", fontsize=8)
        names[row] = shown(name).replace("_", " ")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0.0, 1.0)
    _label(axes, f"Found at threshold {report.threshold:.3g}, 95 % intervals", "recall", "")
    return figure


def _axes(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: tuple[int, ...] = ()
) -> tuple[Figure, tuple[Axes, ...]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights or None)
    return figure, tuple(grid.ravel())


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
