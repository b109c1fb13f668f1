"""Load the pill inspector: a new model for every scenario, the same images for all."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass, replace
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import ndimage

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import FROZEN, Layout, Scenario, Status, Task
from bench.worker.workload.calls import flop_per_call, step
from bench.worker.workload.inputs import in_layout, mapped, only_tensor
from bench.worker.workload.pictures import explored, predicted
from pillqc.data.folders import read_samples
from pillqc.data.images import UNSPLIT, load_images
from pillqc.data.splits import content_hash, split_samples
from pillqc.inspection.inspector import Inspection, inspect
from pillqc.model.network import LoadedModel, load_model, with_defects
from pillqc.rendering.dataset import MANIFEST
from pillqc.training.step import class_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bench.worker.backends import Prepared
    from bench.worker.workload.inputs import Inputs
    from pillqc.data.images import Sample
    from pillqc.model.network import CustomVGG

Loaded = LoadedModel
"""The result of `Workload.model`, named for modules that must not import pillqc."""
JUDGING_SHARE = 0.7
"""The share of the test folder that is judged by, where it alone holds defects: six of twenty
images are left to learn from."""
CALIBRATION_IMAGES = 16
"""Images that int8's ranges come from. With 32 the shipped model's probabilities on rendered pills
came .005 nearer to fp32's (.057 at worst), at a tenth of a second an image and scenario."""
_NEW_HEAD_STD = 0.01
"""As torchvision initialises linear layers: the first loss is near that of a guess."""
_HEAT_SIGMA = 9.0
"""In pixels: gives some ten hot regions a map, as a damaged pill shows."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The inputs of one call, and what a training step needs beside them."""

    images: Inputs
    """A tensor of images; a model of the user's may take several tensors."""
    labels: torch.Tensor
    class_weights: torch.Tensor
    given: object = None
    """What the user's own function returned, for `--train-step`."""

    @property
    def tensor(self) -> torch.Tensor:
        """The images as the one tensor that the inspector takes."""
        return only_tensor(self.images, "the inspector")

    def in_layout(self, layout: Layout) -> Batch:
        """Return the batch with its images in that memory layout."""
        given = mapped(self.given, lambda tensor: in_layout(tensor, layout))
        return replace(self, images=in_layout(self.images, layout), given=given)


class Workload:
    """The model and the images of one run; all workers with the same seed see the same ones.

    `samples` are the test images, good and bad in turn. `decides` says whether the outputs are
    (probabilities, maps) with decisions to compare.

    Raises (from the constructor):
        BenchError: there are no test images under `data`.
    """

    decides = True
    layouts = frozenset(Layout)
    """Those that convolutions must read where a label names them."""

    def __init__(
        self,
        data: Path,
        *,
        seed: int,
        weights: str | None = None,
        image_size: int = 224,
        good: str | None = None,
    ) -> None:
        self._notes: list[str] = []
        found = read_samples(data, good=good, on_note=self._notes.append)
        self.training_samples, judging = _sides(found)
        if not judging:
            raise BenchError(f"{data} holds no test images: render some with `make data`")
        self.samples = mixed(judging, seed)
        self.image_size = image_size
        self._root = data
        self._seed = seed
        self._weights = weights

    def facts(self) -> dict[str, Any]:
        """Return the source, number and checksum of the test images, and that of a weights' file.

        `notes` say how folder names were read and what is not used. Images are `synthetic` if
        `pillqc render` left its manifest beside them.
        """
        weights = Path(self._weights or "")
        digest = hashlib.sha256()
        for path in sorted(sample.path for sample in self.samples):
            digest.update(os.fsencode(path.relative_to(self._root).as_posix()) + b"\0")
            digest.update(path.read_bytes())
        return {
            "source": "synthetic" if (self._root / MANIFEST).is_file() else "folder",
            "root": str(self._root),
            "images": len(self.samples),
            "sha256": digest.hexdigest(),
            "weights_sha256": content_hash(weights) if weights.is_file() else "",
            "notes": self._notes,
        }

    def model(self, scenario: Scenario) -> LoadedModel:
        """Return a new model for this scenario, the same in every worker.

        It is always a new one, because `ipex.optimize` and layout changes alter the model. Before
        training its head is set to random weights, as where the tutorial starts: a trained model's
        loss is so small that rounding would be a large share of it, and a step that does nothing
        could not be distinguished from one that works.

        It says good or bad alone, whatever else the weights name: so runs of all weights measure
        the same work, and parity is that of decisions. (In int8, probabilities of the shipped
        model's names are off by up to .15, those of its good and bad by .004.)
        """
        loaded = load_model(self._weights, freeze=FROZEN in scenario.options, seed=self._seed)
        card = replace(loaded.card, defects=()) if loaded.card else None
        loaded = replace(loaded, model=with_defects(loaded.model, 0), card=card)
        if scenario.task is Task.TRAINING:
            head, generator = loaded.model.head, torch.Generator().manual_seed(self._seed)
            with torch.no_grad():
                head.weight.normal_(0.0, _NEW_HEAD_STD, generator=generator)
                head.bias.zero_()
        return loaded

    def batch(self, size: int) -> Batch:
        """Return the first `size` test images, repeated from the start if there are fewer."""
        return self._batch(self.first(size), weighted_among=self.samples)

    def training_batch(self, samples: Sequence[Sample]) -> Batch:
        """Return these images, weighted as their classes are among all training images."""
        return self._batch(samples, weighted_among=self.training_samples)

    def _batch(self, samples: Sequence[Sample], weighted_among: Sequence[Sample]) -> Batch:
        return Batch(
            images=self.load(samples),
            labels=_labels(samples),
            class_weights=class_weights(_labels(weighted_among)),
        )

    def flop(self, model: torch.nn.Module, images: Inputs, *, training: bool) -> int | None:
        """Count the floating point operations of a call; None where they cannot be counted."""
        return flop_per_call(model, only_tensor(images, "the inspector"), training=training)

    def calibration(self, size: int) -> Sequence[Inputs]:
        """Return training images in batches of `size`, good and bad in turn.

        Test images are never used: their range would be in the model that they judge.

        Raises:
            WorkerError: there are no training images.
        """
        if not self.training_samples:
            raise WorkerError(
                Status.UNAVAILABLE,
                "int8 is calibrated on images that no decision is judged by, and "
                f"{self._root} holds too few images for that",
            )
        chosen = mixed(self.training_samples, self._seed)[:CALIBRATION_IMAGES]
        filled = [*islice(cycle(chosen), -(-len(chosen) // size) * size)]
        return [self.load(filled[i : i + size]) for i in range(0, len(filled), size)]

    def step(self, prepared: Prepared, batch: Batch) -> torch.Tensor:
        """Do one optimiser step; return the loss from before the update."""
        return step(prepared, batch)

    def labels(self, result: object, size: int) -> list[str] | None:  # noqa: ARG002 - own models
        """Return a label for each item, where the outputs are not decisions themselves."""
        return None

    def batches(self, size: int) -> Iterator[Inputs]:
        """Yield inputs of that size to compare labels on, the timed ones first."""
        yield self.batch(size).images

    def rehearse(self, training_batch: int | None) -> None:
        """Call the user's functions; the inspector has none."""

    def first(self, size: int) -> list[Sample]:
        """Return the samples of `batch(size)`."""
        return list(islice(cycle(self.samples), size))

    def load(self, samples: Sequence[Sample]) -> torch.Tensor:
        """Read these images as one batch."""
        return load_images([sample.path for sample in samples], size=self.image_size)

    def inspected(self, loaded: LoadedModel, samples: Sequence[Sample]) -> list[Inspection]:
        """Inspect these files in one batch, as `pillqc inspect` does.

        Raises:
            WorkerError: a file has no decision; skipping it would look fast.
        """
        paths = [sample.path for sample in samples]
        found = list(inspect(loaded, paths, size=self.image_size, batch_size=len(paths)))
        failed = next((result for result in found if result.decision == "error"), None)
        if failed is not None:
            raise WorkerError(
                Status.WRONG_OUTPUT, f"{failed.path} has no decision: {failed.reason}"
            )
        return found

    def heat_maps(self, count: int) -> NDArray[np.float32]:
        """Return smooth maps from 0 to 1 with some hot regions each, the same for the same seed.

        They are not the model's, so that a change of the model does not change the time of finding
        boxes.
        """
        rng = np.random.default_rng(self._seed)
        noise = rng.standard_normal((count, self.image_size, self.image_size))
        smooth = ndimage.gaussian_filter(noise, sigma=(0, _HEAT_SIGMA, _HEAT_SIGMA))
        low, high = (edge(smooth, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
        heat: NDArray[np.float32] = ((smooth - low) / (high - low)).astype(np.float32)
        return heat

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Write pictures of the data and of some decisions to `folder`; return what each shows."""
        loaded = load_model(self._weights, seed=self._seed)
        items = [
            *explored(self.samples, folder),
            *predicted(loaded, self.samples, self.image_size, folder),
        ]
        return {"items": items, "trained": loaded.trained, **self.facts()}


def given_model(model: torch.nn.Module, name: str, *, trained: bool) -> LoadedModel:
    """Wrap a user's model as a session takes it; there is no threshold to decide by."""
    return LoadedModel(model=cast("CustomVGG", model), trained=trained, threshold=0.0, name=name)


def _labels(samples: Sequence[Sample]) -> torch.Tensor:
    return torch.tensor([int(sample.bad) for sample in samples])


def _sides(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Divide the samples into those to train and calibrate on, and those to judge by.

    The folders `train` and `validation` are the first side if they hold good and bad pills. In
    MVTec AD's layout all defects lie under `test`; then a part of them, chosen by content, moves to
    the first side, because a model calibrated on good pills alone clips, and misses, what only a
    defect activates. Images outside these folders are divided in the same way.
    """
    train = [sample for sample in samples if sample.split in ("train", "validation")]
    test = [sample for sample in samples if sample.split in ("test", UNSPLIT)]
    if {sample.bad for sample in train} == {False, True}:
        return train, test
    parts = split_samples(test, shares={"judging": JUDGING_SHARE, "learning": 1 - JUDGING_SHARE})
    return [*train, *parts["learning"]], parts["judging"]


def mixed(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Order the samples: good and bad in turn, and the bad ones by defect in turn.

    So every prefix of the list is as mixed as it can be. The seed shuffles within a defect.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.defect if sample.bad else "", []).append(sample)
    shuffle = random.Random(seed)  # noqa: S311 - an order, not a secret
    for name in sorted(groups):
        shuffle.shuffle(groups[name])
    good = groups.pop("", [])
    return _in_turn([good, _in_turn([groups[name] for name in sorted(groups)])])


def _in_turn(lists: Sequence[Sequence[Sample]]) -> list[Sample]:
    return [item for row in zip_longest(*lists) for item in row if item is not None]
