"""Render a data set of pills with exact masks, in MVTec AD's layout.

    rendered = render_dataset(Path("data/pills"), RenderPlan(seed=0, size=224))

Every image has a seed of its own, derived from the plan's seed, split, class and index, so the bits
do not depend on how many processes render. The folder appears only when it is complete. A complete
data set of the same plan is reused; anything else at its place is left untouched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import shlex
import shutil
import tempfile
import zlib
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from pillqc.data import marker
from pillqc.data.images import GOOD
from pillqc.errors import RenderError, UsageError
from pillqc.limits import usable_cores
from pillqc.rendering.design import DEFAULT_DESIGN, SHAPES, PillDesign
from pillqc.rendering.imprint import GLYPHS
from pillqc.rendering.scene import DEFECTS, render
from pillqc.rendering.setting import OWN_PRODUCTS, SETTINGS, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RENDERER_VERSION: Final = 1
"""Raised whenever the same seed gives other pixels; older data sets are then not reused."""
MANIFEST: Final = "manifest.csv"
PLAN_FILE: Final = "dataset.json"
SOURCE: Final = "synthetic pills rendered by pillqc; no photograph was used"
"""What the cards of models say of rendered pills."""


@dataclass(frozen=True, kw_only=True)
class RenderPlan:
    """The contents of a data set; the command checks their ranges."""

    seed: int = 0
    size: int = 224
    train_good: int = 267
    """As many as MVTec AD's pill category has."""
    test_good: int = 26
    per_defect: int = 20
    """Images of each of the seven defects in `test`."""
    design: PillDesign = field(default_factory=lambda: DEFAULT_DESIGN)
    setting: str = SETTINGS[0]
    """How the pills are seen, and which products: `pillqc.rendering.setting`."""

    def __post_init__(self) -> None:
        if self.train_good + self.test_good + self.per_defect == 0:
            raise UsageError("there is nothing to render: at least one count must be above 0")
        imprint, shape = self.design.imprint, self.design.shape
        if not set(imprint) <= set(GLYPHS) or not 1 <= len(imprint) <= 3:
            known = "".join(sorted(GLYPHS))
            raise UsageError(f"imprint {imprint!r}: give 1 to 3 of the characters {known}")
        if shape not in SHAPES:
            raise UsageError(f"shape {shape!r} is unknown; choose {' or '.join(SHAPES)}")
        if self.setting not in SETTINGS:
            raise UsageError(f"setting {self.setting!r} is unknown; choose {', '.join(SETTINGS)}")
        if self.setting == OWN_PRODUCTS and self.design != DEFAULT_DESIGN:
            raise UsageError(
                f"setting {self.setting!r} has products of its own: leave out imprint,"
                " shape and colour"
            )

    @property
    def text(self) -> str:
        """The content of `dataset.json`."""
        plan = asdict(self)
        if self.setting == SETTINGS[0]:
            del plan["setting"]  # as in data sets of earlier versions, which stay reusable
        content = {"renderer": RENDERER_VERSION, "synthetic": True, "plan": plan}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    def command(self, out: str) -> str:
        """Return the command that renders it into the folder `out`."""
        options: dict[str, object] = {k: v for k, v in asdict(self).items() if k != "design"}
        if self.setting == SETTINGS[0]:
            del options["setting"]
        for name in ("imprint", "shape", "colour"):
            value = getattr(self.design, name)
            if value != getattr(DEFAULT_DESIGN, name):
                options[name] = value if isinstance(value, str) else ",".join(map(str, value))
        words = ["pillqc", "render", "--out", out]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class RenderedDataset:
    """A complete data set on disk."""

    root: Path
    images: int
    reused: bool
    """Whether it was there before."""


@dataclass(frozen=True)
class _Task:
    """One image to render."""

    split: str
    defect: str
    index: int

    @property
    def path(self) -> str:
        return f"{self.split}/{self.defect}/{self.index:03d}.png"

    @property
    def mask_path(self) -> str:
        return f"ground_truth/{self.defect}/{self.index:03d}_mask.png"

    @property
    def files(self) -> list[str]:
        return [self.path] if self.defect == GOOD else [self.path, self.mask_path]


def image_seed(seed: int, split: str, defect: str, index: int) -> int:
    """Return the seed of one image; it depends on these four values only."""
    words = (seed, zlib.crc32(split.encode()), zlib.crc32(defect.encode()), index)
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def render_dataset(
    root: Path,
    plan: RenderPlan,
    *,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> RenderedDataset:
    """Render the plan to `root`, in `jobs` processes (None: one for each usable core).

    Raises:
        RenderError: something else is at `root`, or it cannot be written.
    """
    tasks = [_Task("train", GOOD, index) for index in range(plan.train_good)]
    tasks += [_Task("test", GOOD, index) for index in range(plan.test_good)]
    tasks += [_Task("test", defect, i) for defect in DEFECTS for i in range(plan.per_defect)]
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        _check_same(root, plan, tasks)
        return RenderedDataset(root=root, images=len(tasks), reused=True)
    place = root.resolve() if root.is_symlink() else root
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.rmdir()  # no folder replaces a mounted one: say so before the work
        unfinished = Path(
            tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
        )
    except OSError as error:
        raise RenderError(
            f"{root}: cannot be written ({error.strerror}); choose another"
        ) from error
    try:
        _render_into(unfinished, plan, tasks, jobs or usable_cores(), on_progress)
        unfinished.chmod((unfinished / tasks[0].split).stat().st_mode)  # as the umask says
        unfinished.replace(place)
    except OSError as error:
        raise RenderError(f"{root}: rendering failed ({error.strerror or error})") from error
    except BrokenExecutor as error:
        raise RenderError(
            f"{root}: a process that rendered was ended, perhaps because memory was full; give a"
            " smaller --jobs"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return RenderedDataset(root=root, images=len(tasks), reused=False)


def rendered_plan(root: Path) -> RenderPlan | None:
    """Return the plan by which `pillqc render` can render this folder again; None for others."""
    text, about = _about(root)
    try:
        values = dict(about["plan"])
        look = values.pop("design")
        colour = tuple(look["colour"])
        design = PillDesign(imprint=look["imprint"], shape=look["shape"], colour=colour)
        plan = RenderPlan(**values, design=design)
    except (KeyError, TypeError, ValueError, UsageError):
        return None
    return plan if plan.text == text else None


def source_of(root: Path) -> dict[str, Any]:
    """Return what a model's card says of the source of rendered pills; nothing of other folders."""
    _, about = _about(root)
    if about.get("synthetic") is not True:
        return {}
    plan = rendered_plan(root)
    command = {"rendered_by": plan.command(root.resolve().name)} if plan else {}
    return {"source": SOURCE, "renderer": about.get("renderer"), **command}


def _about(root: Path) -> tuple[str, dict[str, Any]]:
    """Return the content of `dataset.json`, as text and as values; empty where there is none."""
    try:
        text = (root / PLAN_FILE).read_text(encoding="utf-8")
        about = json.loads(text)
    except (OSError, ValueError):
        return "", {}
    return text, about if isinstance(about, dict) else {}


def _render_into(
    folder: Path,
    plan: RenderPlan,
    tasks: list[_Task],
    jobs: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    for path in (path for task in tasks for path in task.files):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in _rows(partial(_render_one, folder, plan), tasks, jobs):
        rows.append(row)
        if on_progress:
            on_progress(len(rows), len(tasks))
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / PLAN_FILE).write_text(plan.text, encoding="utf-8")


def _rows(
    work: Callable[[_Task], dict[str, object]], tasks: list[_Task], jobs: int
) -> Iterator[dict[str, object]]:
    if jobs == 1 or len(tasks) < 2 * jobs:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            yield from pool.map(work, tasks, chunksize=max(1, min(16, len(tasks) // (4 * jobs))))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _render_one(folder: Path, plan: RenderPlan, task: _Task) -> dict[str, object]:
    """Write the image, and the mask of a bad pill; return the image's row of the manifest."""
    seed = image_seed(plan.seed, task.split, task.defect, task.index)
    design, setting = seen(plan.setting, seed, task.defect, plan.design)
    pill = render(seed=seed, size=plan.size, defect=task.defect, design=design, setting=setting)
    buffer = io.BytesIO()
    Image.fromarray(pill.image).save(buffer, "PNG", compress_level=3)
    (folder / task.path).write_bytes(buffer.getvalue())
    if task.defect != GOOD:
        mask = Image.fromarray(pill.mask.astype(np.uint8) * np.uint8(255))
        (folder / task.mask_path).write_bytes(marker.encode_marked(mask, "PNG"))
    return {
        "path": task.path,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "defect": task.defect,
        "severity": pill.severity,
        "mask_area": round(float(pill.mask.mean()), 6),
        "seed": seed,
    }


def _check_same(root: Path, plan: RenderPlan, tasks: list[_Task]) -> None:
    """Raise an error unless `root` is a complete data set of the plan."""
    try:
        same = (root / PLAN_FILE).read_text(encoding="utf-8") == plan.text
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(
            f"{root}: exists and is not a rendered data set; choose another folder or remove it"
        ) from error
    if not same:
        raise RenderError(
            f"{root}: holds pills rendered with other settings; choose another folder or remove it"
        )
    for path in (MANIFEST, *(path for task in tasks for path in task.files)):
        if not (root / path).is_file():
            raise RenderError(f"{root}: {path} is missing; remove the folder and render it again")
