"""Renders a whole data set of pills with exact masks, in MVTec AD's layout.

    plan = RenderPlan(seed=0, size=224, train_good=267, test_good=26, per_defect=20)
    rendered = render_dataset(Path("data/pills"), plan)

Every image has its own seed, derived from the plan's seed, split, class and index, so the bits do
not depend on how many processes render. A data set appears under its name only when it is whole; an
existing whole one of the same plan is used again at once, anything else there is never touched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import shutil
import tempfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.data import marker
from pillqc.errors import RenderError, UsageError
from pillqc.limits import usable_cores
from pillqc.rendering.design import DEFAULT_DESIGN, SHAPES, PillDesign
from pillqc.rendering.imprint import GLYPHS
from pillqc.rendering.scene import DEFECTS, GOOD, RenderedPill, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "DEFECTS",
    "GOOD",
    "PillDesign",
    "RenderPlan",
    "RenderedDataset",
    "RenderedPill",
    "image_seed",
    "render",
    "render_dataset",
]

RENDERER_VERSION: Final = 1
"""Raised whenever the same seed gives other pixels; older data sets are then not used again."""
MANIFEST: Final = "manifest.csv"
PLAN_FILE: Final = "dataset.json"
SIZES: Final = (32, 1600)
_MANIFEST_COLUMNS: Final = ("path", "sha256", "defect", "severity", "mask_area", "seed")


@dataclass(frozen=True, kw_only=True)
class RenderPlan:
    """What a data set consists of; checked on construction."""

    seed: int = 0
    size: int = 224
    train_good: int = 267
    """As many as MVTec AD's pill category has."""
    test_good: int = 26
    per_defect: int = 20
    """Images of each of the seven defects in `test`."""
    design: PillDesign = field(default_factory=lambda: DEFAULT_DESIGN)

    def __post_init__(self) -> None:
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise UsageError(f"size {self.size} is outside {SIZES[0]} to {SIZES[1]} px")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is negative; seeds count from 0")
        counts = (self.train_good, self.test_good, self.per_defect)
        if min(counts) < 0 or sum(counts) == 0:
            raise UsageError("counts must not be negative, and at least one must be above 0")
        _check_design(self.design)


@dataclass(frozen=True, kw_only=True)
class RenderedDataset:
    """What `render_dataset` left on disk."""

    root: Path
    images: int
    reused: bool
    """True: it was there already, whole and of the same plan."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    split: str
    defect: str
    index: int
    plan: RenderPlan

    @property
    def path(self) -> str:
        return f"{self.split}/{self.defect}/{self.index:03d}.png"


@dataclass(frozen=True, kw_only=True)
class _Row:
    path: str
    sha256: str
    defect: str
    severity: float
    mask_area: float
    """Share of the image, 0 to 1."""
    seed: int


def image_seed(seed: int, split: str, defect: str, index: int) -> int:
    """Seed of one image: depends on these four values only."""
    words = (seed, zlib.crc32(split.encode()), zlib.crc32(defect.encode()), index)
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def render_dataset(
    root: Path,
    plan: RenderPlan,
    *,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> RenderedDataset:
    """Render `plan` to `root`, in `jobs` processes (None: one for each usable core).

    Raises:
        RenderError: something else is at `root`, or it cannot be written.
    """
    tasks = list(_tasks(plan))
    if root.exists() and not _is_empty_folder(root):
        _check_same(root, plan)
        return RenderedDataset(root=root, images=len(tasks), reused=True)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".part", dir=root.parent))
    except OSError as error:
        raise RenderError(
            f"{root}: cannot be written ({error.strerror}); choose another"
        ) from error
    try:
        _render_into(partial, plan, tasks, jobs or usable_cores(), on_progress)
        partial.chmod((partial / tasks[0].split).stat().st_mode)  # as the umask says
        partial.replace(root)
    except OSError as error:
        raise RenderError(f"{root}: rendering failed ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return RenderedDataset(root=root, images=len(tasks), reused=False)


def _render_into(
    folder: Path,
    plan: RenderPlan,
    tasks: list[_Task],
    jobs: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    for task in tasks:
        (folder / task.path).parent.mkdir(parents=True, exist_ok=True)
        if task.defect != GOOD:
            _mask_path(folder, task).parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in _rows(folder, tasks, jobs):
        rows.append(row)
        if on_progress:
            on_progress(len(rows), len(tasks))
    _write_manifest(folder / MANIFEST, rows)
    (folder / PLAN_FILE).write_text(_plan_text(plan), encoding="utf-8")


def _rows(folder: Path, tasks: list[_Task], jobs: int) -> Iterator[_Row]:
    if jobs == 1 or len(tasks) < 2 * jobs:
        yield from (_render_one(folder, task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            chunk = max(1, min(16, len(tasks) // (4 * jobs)))
            yield from pool.map(_render_one, [folder] * len(tasks), tasks, chunksize=chunk)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _render_one(folder: Path, task: _Task) -> _Row:
    seed = image_seed(task.plan.seed, task.split, task.defect, task.index)
    pill = render(seed=seed, size=task.plan.size, defect=task.defect, design=task.plan.design)
    encoded = _png(Image.fromarray(pill.image))
    (folder / task.path).write_bytes(encoded)
    if task.defect != GOOD:
        mask = Image.fromarray(pill.mask.astype(np.uint8) * np.uint8(255))
        _mask_path(folder, task).write_bytes(marker.encode_marked(mask, "PNG"))
    return _Row(
        path=task.path,
        sha256=hashlib.sha256(encoded).hexdigest(),
        defect=task.defect,
        severity=pill.severity,
        mask_area=round(float(pill.mask.mean()), 6),
        seed=seed,
    )


def _mask_path(folder: Path, task: _Task) -> Path:
    return folder / "ground_truth" / task.defect / f"{task.index:03d}_mask.png"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _tasks(plan: RenderPlan) -> Iterator[_Task]:
    for split, count in (("train", plan.train_good), ("test", plan.test_good)):
        for index in range(count):
            yield _Task(split=split, defect=GOOD, index=index, plan=plan)
    for defect in DEFECTS:
        for index in range(plan.per_defect):
            yield _Task(split="test", defect=defect, index=index, plan=plan)


def _write_manifest(path: Path, rows: Iterable[_Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _plan_text(plan: RenderPlan) -> str:
    content = {"renderer": RENDERER_VERSION, "synthetic": True, "plan": asdict(plan)}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _is_empty_folder(root: Path) -> bool:
    return root.is_dir() and not any(root.iterdir())


def _check_same(root: Path, plan: RenderPlan) -> None:
    """Accept only a whole data set of the same plan."""
    try:
        same = (root / PLAN_FILE).read_text(encoding="utf-8") == _plan_text(plan)
        with (root / MANIFEST).open(encoding="utf-8", newline="") as file:
            missing = [r["path"] for r in csv.DictReader(file) if not (root / r["path"]).is_file()]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise RenderError(
            f"{root}: exists and is not a rendered data set; choose another folder or remove it"
        ) from error
    if not same:
        raise RenderError(
            f"{root}: holds pills rendered with other settings; choose another folder or remove it"
        )
    if missing:
        raise RenderError(f"{root}: {missing[0]} is gone; remove the folder and render it again")


def _check_design(design: PillDesign) -> None:
    unknown = sorted(set(design.imprint) - set(GLYPHS))
    if unknown or not 1 <= len(design.imprint) <= 3:
        raise UsageError(
            f"imprint {design.imprint!r}: 1 to 3 of {''.join(sorted(GLYPHS))} are known"
        )
    if design.shape not in SHAPES:
        raise UsageError(f"shape {design.shape!r} is unknown; choose {' or '.join(SHAPES)}")
