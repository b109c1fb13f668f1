"""Find the smallest defects that a model finds, on pills rendered over a ladder of sizes.

    report = evaluate_sizes(loaded, way=Way(dtype="bf16"), per_defect=120)
    report.defects["crack"].curve.a90_95

A defect's size is the diameter of a circle of its mask's area, in % of the image's side. Every call
renders the same pills, so that two ways of running a model are compared pill by pill.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from pillqc.data.images import GOOD
from pillqc.errors import PillqcError
from pillqc.evaluation.detectability import Detectability, detectability
from pillqc.evaluation.shares import Share, share
from pillqc.inspection.prediction import Unreadable, predict
from pillqc.model.acceleration import STOCK, accelerate
from pillqc.rendering.dataset import image_seed
from pillqc.rendering.scene import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pillqc.model.acceleration import Way
    from pillqc.model.network import LoadedModel
    from pillqc.rendering.scene import RenderedPill

SEED: Final = 3_000_000
"""Of pills that neither trained, nor chose, nor judged the shipped model."""
SIZED: Final = ("color", "contamination", "crack", "scratch")
"""Defects of any size; a faulty imprint has that of letters, another product none, and `combined`
has several."""
SCALES: Final = (0.08, 1.2)
"""From a twelfth of a mild real defect to more than a severe one."""


@dataclass(frozen=True, kw_only=True)
class SizedDefects:
    """One defect over the ladder of sizes."""

    sizes: tuple[float, ...]
    """In % of the image's side; without those that cover no pixel."""
    found: tuple[bool, ...]
    """Whether the pill was called bad."""
    curve: Detectability


@dataclass(frozen=True, kw_only=True)
class SizeReport:
    """What `pillqc evaluate --sizes` shows; a field's name is its key in the JSON."""

    model: str
    backend: str
    dtype: str
    trained: bool
    threshold: float
    side_px: int
    """Side of the images in pixels."""
    false_rejects: Share
    """Good pills that were called bad."""
    defects: dict[str, SizedDefects]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `pillqc evaluate --sizes --json`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Pill:
    defect: str
    size: float
    path: Path


def evaluate_sizes(
    loaded: LoadedModel,
    *,
    per_defect: int,
    way: Way = STOCK,
    on_progress: Callable[[int, int], None] | None = None,
) -> SizeReport:
    """Render good pills, and each defect over the ladder; let the model decide about all.

    Args:
        loaded: a model for rendered pills of the default product.
        per_defect: number of pills of each defect, and of good ones.
        way: backend and dtype that run it.
        on_progress: is called with the number of pills that are done, and of all.

    Raises:
        PillqcError: the backend cannot be used, or the disk is full.
    """
    model = accelerate(loaded, way).model
    total = per_defect * (1 + len(SIZED))
    pills: list[_Pill] = []
    called: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="pillqc-") as folder:

        def paths() -> Iterator[Path]:
            for pill in _rendered(Path(folder), loaded.size, per_defect):
                pills.append(pill)
                yield pill.path

        for result in predict(model, paths(), size=loaded.size):
            if isinstance(result, Unreadable):
                raise PillqcError(f"{result.path}: {result.reason}")
            called.append(result.bad >= loaded.threshold)
            result.path.unlink()
            if on_progress:
                on_progress(len(called), total)
    pairs = list(zip(pills, called, strict=True))
    good = [bad for pill, bad in pairs if pill.defect == GOOD]
    return SizeReport(
        model=loaded.name,
        backend=way.backend,
        dtype=way.dtype,
        trained=loaded.trained,
        threshold=loaded.threshold,
        side_px=loaded.size,
        false_rejects=share(sum(good), len(good)),
        defects={name: _sized([p for p in pairs if p[0].defect == name]) for name in SIZED},
    )


def _rendered(folder: Path, side: int, count: int) -> Iterator[_Pill]:
    """Render the pills one by one, good ones first."""
    for defect in (GOOD, *SIZED):
        for number in range(count):
            seed = image_seed(SEED, "sizes", defect, number)
            pill = render(seed=seed, size=side, defect=defect, defect_scale=_scale(number, count))
            path = folder / f"{defect}-{number}.png"
            Image.fromarray(pill.image).save(path, "PNG", compress_level=1)
            yield _Pill(defect=defect, size=_diameter(pill), path=path)


def _scale(number: int, count: int) -> float:
    """Return the scale of a pill's defect, evenly spaced in its logarithm."""
    low, high = map(math.log, SCALES)
    return math.exp(low + (high - low) * (number + 0.5) / count)


def _diameter(pill: RenderedPill) -> float:
    return 100.0 * 2.0 * math.sqrt(float(np.mean(pill.mask)) / math.pi)


def _sized(pairs: list[tuple[_Pill, bool]]) -> SizedDefects:
    visible = [(pill.size, bad) for pill, bad in pairs if pill.size > 0.0]
    sizes, found = tuple(size for size, _ in visible), tuple(bad for _, bad in visible)
    return SizedDefects(sizes=sizes, found=found, curve=detectability(sizes, found))
