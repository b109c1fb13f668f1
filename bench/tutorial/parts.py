"""List the tutorial's parts: what each one states, and the commands that show it here.

A command is a list of words that begins with `bench` or `pillqc`; it can be run alone.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HELD_OUT = 16
"""Pills that part 8 inspects and draws: two of each kind of the rendered ones."""
SIZES = ("3.out", "4.out")
"""What part 8's commands about the smallest defects print to: stock default, and IPEX."""
_OPERATORS = (
    *("conv-relu-256x56x56", "linear-relu-4096-4096"),
    *("roi_align-7x7-no_grad", "nms-1000-no_grad"),
)
"""One case of each that the tutorial names; all of `bench operators` would take ten minutes."""
_TARGET = "0.95"
"""Training accuracy at which part 6 stops."""
_EPOCHS = "6"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tutorial lies and what it works on."""

    folder: Path
    """results/tutorial/<id>; each part has a folder below it."""
    reports: Path
    """reports/tutorial/<id>: the pages of the parts."""
    data: Path
    good: str | None = None
    """The folder of good pills, if it has another name."""
    has_bf16: bool
    """Whether the CPU computes bf16 itself."""
    seed: int = 0

    def of(self, part: str) -> Path:
        """Return the folder of a part."""
        return self.folder / part

    @property
    def model(self) -> Path:
        """The model that part 6 trains and parts 7 and 8 use."""
        return self.of("training") / "model.safetensors"

    @property
    def dtype(self) -> str:
        """The arithmetic of the training: bf16 where it is native."""
        return "bf16" if self.has_bf16 else "fp32"

    @property
    def pills(self) -> list[str]:
        """The options that name the data."""
        return ["--data", str(self.data), *(["--good", self.good] if self.good else [])]


Command = list[str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the tutorial."""

    key: str
    """Its folder's name and its anchor on the page."""
    title: str
    states: str
    """What the tutorial says, in our words."""
    seconds: float
    """About what it takes on two cores."""
    commands: Callable[[Place], list[Command]]
    needs: str = ""
    """The part whose files it uses."""
    of_pills: bool = True
    """Whether it works on the pills of `--data`."""


def _study(place: Place, key: str) -> Command:
    return ["--results", str(place.of(key)), "--reports", str(place.reports / key)]


def _speed(place: Place) -> list[Command]:
    only = [
        "inference/stock/eager/*/b1",
        "inference/stock/torchscript+fusion/*/b1",
        "inference/ipex/eager/*/b1",
        "inference/ipex/torchscript+fusion/fp32/*/b1",
        "inference/ipex/torchscript+fusion/bf16/*/b1",  # and not int8, which nothing here is about
    ]
    patterns = [word for pattern in only for word in ("--only", pattern)]
    command = ["bench", "run", "--profile", "standard", "--budget", "110", *patterns]
    return [[*command, *place.pills, *_study(place, "speed")]]


def _bf16(place: Place) -> list[Command]:
    """Return a training from several seeds, on images a quarter as large as the inspector's.

    At full size one seed would take all of the part's time, and a difference needs several. Small
    images are learnt later, so the target is lower.
    """
    command = ["bench", "accuracy", "--profile", "smoke", "--seeds", "2", "--max-steps", "48"]
    small = ["--image-size", "112", "--target", "0.8", "--seed", str(place.seed)]
    return [[*command, *small, *place.pills, *_study(place, "bf16")]]


def _operators(place: Place) -> list[Command]:
    cases = [word for case in _OPERATORS for word in ("--case", case)]
    return [
        ["bench", "operators", "--profile", "smoke", *cases, *_study(place, "operators")],
        ["bench", "operators", "--replaced"],
    ]


def _pills(place: Place) -> list[Command]:
    out = str(place.of("pills") / "figures")
    return [["pillqc", "explore", *place.pills, "--out", out, "--size", "112", "--json"]]


def _model(_place: Place) -> list[Command]:
    return [["pillqc", "summary"]]


def _training(place: Place) -> list[Command]:
    how = ["--backend", "ipex", "--dtype", place.dtype, "--target-accuracy", _TARGET]
    options = [*how, "--epochs", _EPOCHS, "--seed", str(place.seed), "--out", str(place.model)]
    return [["pillqc", "train", *place.pills, *options]]


def _layers(place: Place) -> list[Command]:
    how = ["--optimize", "ipex", "--dtype", place.dtype]
    return [["pillqc", "summary", "--model", str(place.model), *how]]


def _predictions(place: Place) -> list[Command]:
    folder = place.of("predictions")
    tray = folder / "held-out"
    lay_out_held_out(place, tray)
    model = ["--model", str(place.model)]
    ways = (("stock", "fp32"), ("ipex", place.dtype))
    return [
        ["pillqc", "inspect", str(tray), *model, "--pictures", str(folder / "marked"), "--json"],
        [
            "pillqc",
            "evaluate",
            *place.pills,
            *model,
            "--json",
            "--figures",
            str(folder / "figures"),
        ],
        *(_smallest(backend, dtype) for backend, dtype in ways),
    ]


def _smallest(backend: str, dtype: str) -> Command:
    """Return how small a defect the shipped model finds; it was trained on such pills."""
    how = ["--backend", backend, "--dtype", dtype, "--per-defect", "30", "--json"]
    return ["pillqc", "evaluate", "--sizes", *how]


def lay_out_held_out(place: Place, tray: Path) -> None:
    """Copy pills that the training did not see to `tray`, as evenly over the kinds as possible.

    Each has a name of its own there, also where two folders have files of one name.

    Raises:
        BenchError: the split of the training cannot be read.
    """
    manifest = place.model.with_suffix(".split.csv")
    by_kind: dict[str, list[str]] = {}
    try:
        with manifest.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                if row["split"] == "test":
                    by_kind.setdefault(row["defect"], []).append(row["path"])
    except (OSError, KeyError) as error:
        raise BenchError(f"{manifest}: the training's split cannot be read ({error})") from error
    tray.mkdir(parents=True, exist_ok=True)
    turns = max(map(len, by_kind.values()), default=0)
    chosen = [
        (kind, paths[turn])
        for turn in range(turns)
        for kind, paths in sorted(by_kind.items())
        if turn < len(paths)
    ]
    for name, path in _named(chosen[:HELD_OUT]).items():
        shutil.copyfile(place.data / path, tray / name)


def _named(chosen: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the paths, each by its kind and file name, with a number where that repeats."""
    named: dict[str, str] = {}
    for kind, path in chosen:
        file = PurePosixPath(path)
        stem = f"{kind}-{file.stem}".replace("/", "-")
        name, number = f"{stem}{file.suffix}", 1
        while name in named:
            number += 1
            name = f"{stem}-{number}{file.suffix}"
        named[name] = path
    return named


PARTS = (
    Part(
        key="speed",
        title="Prediction time, stock PyTorch against IPEX",
        states="IPEX makes predictions faster than stock PyTorch, on one image most of all.",
        seconds=150,
        commands=_speed,
    ),
    Part(
        key="bf16",
        title="bf16, and training in it",
        states="3rd Gen Xeon computes in bf16; training in it is faster and as accurate.",
        seconds=240,
        commands=_bf16,
    ),
    Part(
        key="operators",
        title="Fused and replaced operators",
        states="IPEX fuses convolution + ReLU and linear + ReLU, and has its own ROIAlign and NMS.",
        seconds=150,
        commands=_operators,
        of_pills=False,
    ),
    Part(
        key="pills",
        title="Good and bad pills",
        states="Bad pills differ from good ones, and the mean images show where.",
        seconds=15,
        commands=_pills,
    ),
    Part(
        key="model",
        title="The model",
        states="VGG-16 without its last pooling and classifier, a head of one linear layer; all "
        "blocks but the last are frozen.",
        seconds=8,
        commands=_model,
        of_pills=False,
    ),
    Part(
        key="training",
        title="Training by transfer with ipex.optimize",
        states="ipex.optimize takes model, optimiser and dtype; class-weighted loss and Adam reach "
        "the target accuracy, sooner than stock.",
        seconds=90,
        commands=_training,
    ),
    Part(
        key="layers",
        title="The layers after optimising",
        states="IPEX's layers show in the model's listing.",
        seconds=10,
        commands=_layers,
        needs="training",
        of_pills=False,
    ),
    Part(
        key="predictions",
        title="Predictions on pills that it has not seen",
        states="Red boxes and heat maps show the defects.",
        seconds=100,
        commands=_predictions,
        needs="training",
    ),
)
BY_KEY = {part.key: part for part in PARTS}
