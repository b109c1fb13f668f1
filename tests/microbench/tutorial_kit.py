"""Compare how fast `pillqc` trains with the plain loop of the tutorial's kit, on the same images.

\b
PYTHONPATH=. python tests/microbench/tutorial_kit.py train --out data/kit
PYTHONPATH=. python tests/microbench/tutorial_kit.py train --out data/few --epochs 3 --rounds 1
PYTHONPATH=. python tests/microbench/tutorial_kit.py render

The kit's loop reads files of 800 px in every epoch and computes the whole network for each batch of
10, with all blocks frozen but the last. It stands here in full and uses nothing of `pillqc`'s loop.
Every time is that of a process of its own; in a round each one runs once, in an order that turns
round from round to round. What was measured stays in the folder, so that the same command resumes
after a kill and adds rounds; other options need another folder. Run nothing else on the machine.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any, Final

import click
import torch
from PIL import Image
from scipy import stats
from torch import nn
from torchvision import transforms
from torchvision.models import vgg

from pillqc.data.folders import read_samples
from pillqc.data.images import MEAN, STD
from pillqc.data.read_options import read_options
from pillqc.memory import keep_heap
from pillqc.model.narrowing import narrow_form, wide_form
from pillqc.model.network import load_model
from pillqc.model.optimizing import ipex_optimize
from pillqc.training.batches import FileSource
from pillqc.training.loop import TrainingOptions, train
from pillqc.training.step import LEARNING_RATE, class_weights
from tests.microbench.start_weights import pillqc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pillqc.data.images import Sample

KIT: Final = "the kit's loop"
LOOPS: Final[dict[str, str | None]] = {
    KIT: "random",
    "pillqc, plain": None,
    "pillqc, weights of full width": "random",
    "pillqc, shipped weights": None,
    "pillqc, shipped weights, --narrow": None,
}
"""Loop -> the weights it starts from; None: the shipped ones. Random ones take the time of
ImageNet's, because neither have equal channels."""
_SAME_START: Final = {
    "pillqc, weights of full width": KIT,
    "pillqc, shipped weights": "pillqc, plain",
    "pillqc, shipped weights, --narrow": "pillqc, plain",
}
"""Loop -> another that starts from the same weights, so that their losses can be compared."""
WAYS: Final = ("stock/fp32", "ipex/fp32", "stock/bf16", "ipex/bf16")
_COLUMNS: Final = (
    "way",
    "loop",
    "images/s",
    "times the kit's loop, same way",
    "times it in stock fp32",
    "losses apart by at most",
)
SIZE: Final = 224
BATCH: Final = 10


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one process trains."""

    loop: str
    way: str
    data: str
    epochs: int
    size: int = SIZE

    @property
    def key(self) -> str:
        """Its name in the file of times."""
        return f"{self.way}: {self.loop}"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A speedup, paired within rounds."""

    estimate: float
    low: float | None = None
    """Bounds of the 95 % interval (Student's t of the logarithms); None with one round."""
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.estimate:.2f}"
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


def paired(baseline: Sequence[float], seconds: Sequence[float]) -> Ratio:
    """Return how many times as fast as the baseline; both have a time for each round."""
    logs = [math.log(one / other) for one, other in zip(baseline, seconds, strict=True)]
    if len(logs) < 2:
        return Ratio(estimate=math.exp(logs[0]))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    middle = mean(logs)
    return Ratio(
        estimate=math.exp(middle), low=math.exp(middle - half), high=math.exp(middle + half)
    )


def table(rounds: Sequence[Mapping[str, Mapping[str, Any]]], images: int) -> str:
    """Return a Markdown table; a round has seconds and losses by key, `images` is of all epochs."""
    first = rounds[0]
    reference = f"{WAYS[0]}: {KIT}"
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for key in first:
        way, loop = key.split(": ", 1)
        seconds = [one[key]["seconds"] for one in rounds]
        cells = [way, loop, f"{images / median(seconds):.1f}"]
        for baseline in (f"{way}: {KIT}", reference):
            known = baseline in first and baseline != key
            against = [one[baseline]["seconds"] for one in rounds] if known else []
            cells.append(str(paired(against, seconds)) if known else "")
        same = f"{way}: {_SAME_START.get(loop)}"
        cells.append(f"{_apart(first[key], first[same]):.2%}" if same in first else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest difference of an epoch's loss, as a share of the first epoch's."""
    pairs = zip(one["losses"], other["losses"], strict=True)
    return float(max(abs(a - b) for a, b in pairs) / other["losses"][0])


def train_kit(training: Training) -> dict[str, Any]:
    """Train as the tutorial's kit does."""
    samples, backend, dtype = _given(training)
    start = load_model(LOOPS[training.loop]).model
    model = nn.Sequential(
        *vgg.make_layers(vgg.cfgs["D"], batch_norm=False)[:-1],
        *(nn.MaxPool2d(2), nn.AvgPool2d(training.size // 32), nn.Flatten(), nn.Linear(512, 2)),
    )
    model[:30].load_state_dict(start.features.state_dict())
    model[-1].load_state_dict(start.head.state_dict())
    model[:23].requires_grad_(requires_grad=False)
    labels = torch.tensor([int(sample.bad) for sample in samples])
    generator = torch.Generator().manual_seed(0)
    files = _Files(samples, training.size)
    losses = []
    began = time.perf_counter()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], LEARNING_RATE)
    model.train()
    if backend == "ipex":
        import intel_extension_for_pytorch as ipex

        model, optimizer = ipex.optimize(model, optimizer=optimizer, dtype=dtype)
    loss_of = nn.CrossEntropyLoss(weight=class_weights(labels))
    for _ in range(training.epochs):
        order = torch.randperm(len(samples), generator=generator).tolist()
        summed = 0.0
        for images, truth in torch.utils.data.DataLoader(files, batch_size=BATCH, sampler=order):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is torch.bfloat16):
                scores = model(images)
            loss = loss_of(scores.float(), truth)
            loss.backward()
            optimizer.step()
            summed += float(loss.detach()) * len(truth)
        losses.append(summed / len(samples))
    return {"seconds": time.perf_counter() - began, "losses": losses}


class _Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Reads, decodes and resizes a file whenever it is asked for, as torchvision's folders do."""

    def __init__(self, samples: Sequence[Sample], size: int) -> None:

        self._samples = samples
        steps = [transforms.Resize((size, size)), transforms.ToTensor()]
        self._prepared = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:

        sample = self._samples[index]
        with Image.open(sample.path) as image:
            return self._prepared(image.convert("RGB")), int(sample.bad)


def train_pillqc(training: Training) -> dict[str, Any]:
    """Train as `pillqc train` does with its defaults."""
    samples, backend, dtype = _given(training)
    keep_heap()
    model = load_model(LOOPS[training.loop]).model
    options = TrainingOptions(
        epochs=training.epochs,
        batch_size=BATCH,
        target_accuracy=None,
        autocast_dtype=torch.bfloat16 if dtype is torch.bfloat16 else None,
        plain=training.loop.endswith("plain"),
    )
    began = time.perf_counter()
    if training.loop.endswith("--narrow"):
        model = narrow_form(model, freeze=True)
    if backend == "stock" and dtype is torch.bfloat16:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    optimize = ipex_optimize(dtype) if backend == "ipex" else None
    with read_options():  # decodes in a child process, as the command does
        source = FileSource(samples, size=training.size)
        result = train(model, source, options, optimize=optimize)
    wide_form(model)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "losses": [epoch.loss for epoch in result.history]}


def _given(training: Training) -> tuple[list[Sample], str, torch.dtype]:
    """Return the images, which the system then has in memory, the backend and the dtype."""
    samples = read_samples(Path(training.data))
    for sample in samples:
        sample.path.read_bytes()
    backend, dtype = training.way.split("/")
    return samples, backend, torch.bfloat16 if dtype == "bf16" else torch.float32


def _measured(training: Training) -> dict[str, Any]:
    """Train in a fresh process."""
    words = [sys.executable, "-m", "tests.microbench.tutorial_kit", "one"]
    done = subprocess.run(
        [*words, json.dumps(asdict(training))], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{training.key}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.group(help=__doc__)
def main() -> None:
    """Group the commands."""


@main.command(hidden=True)
@click.argument("text")
def one(text: str) -> None:
    """Train as the JSON says, and print seconds and losses."""
    training = Training(**json.loads(text))
    work = train_kit if training.loop == KIT else train_pillqc
    click.echo(json.dumps(work(training)))


@main.command("train")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--images", default=42, show_default=True, help="Half of them are bad.")
@click.option("--side", default=800, show_default=True, help="Of the files, in pixels.")
@click.option("--size", default=SIZE, show_default=True, help="What they are resized to.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--way", "ways", type=click.Choice(WAYS), multiple=True, default=WAYS)
@click.option("--loop", "loops", type=click.Choice([*LOOPS]), multiple=True, default=[*LOOPS])
def train_command(
    out: Path,
    images: int,
    side: int,
    size: int,
    epochs: int,
    rounds: int,
    ways: tuple[str, ...],
    loops: tuple[str, ...],
) -> None:
    """Time all loops in every round, and print the table."""
    data = out / "pills"
    each = images // 14
    counts = ("--train-good", 0, "--test-good", images - 7 * each, "--per-defect", each)
    pillqc("render", "--out", data, "--size", side, "--seed", 77, *counts)
    form = Training(loop="", way="", data=str(data), epochs=epochs, size=size)
    trainings = [replace(form, loop=loop, way=way) for way in ways for loop in loops]
    done: list[dict[str, Any]] = []
    for number in range(rounds):
        kept = out / f"round-{number}.json"
        times: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
        for training in trainings if number % 2 == 0 else trainings[::-1]:
            if training.key not in times:
                times[training.key] = _measured(training)
                kept.write_text(json.dumps(times), encoding="utf-8")
        done.append({training.key: times[training.key] for training in trainings})
        click.echo(f"round {number + 1} of {rounds} is done", err=True)
    click.echo(table(done, images * epochs))


@main.command()
@click.option("--each", default=100, show_default=True, help="Pills of each of seven defects.")
def render(each: int) -> None:
    """Print how many pills of 224 px `pillqc render` makes a second, as many good as bad ones."""
    counts = ("--train-good", 0, "--test-good", 7 * each, "--per-defect", each)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        pillqc("render", "--out", Path(folder) / "pills", "--size", SIZE, *counts)
        seconds = time.perf_counter() - began
    click.echo(f"{14 * each} pills in {seconds:.1f} s: {14 * each / seconds:.1f} a second")


if __name__ == "__main__":
    main()
