"""A fresh model for every scenario, and the same real images for all of them."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from itertools import cycle, islice, zip_longest
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import ndimage

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import FROZEN, Scenario, Status, Task
from bench.worker.workload.calls import flop_per_call
from bench.worker.workload.inputs import only_tensor
from bench.worker.workload.pictures import explored, predicted
from pillqc.data.folders import read_samples
from pillqc.data.images import UNSPLIT, load_images
from pillqc.data.splits import split_samples
from pillqc.inspection.inspector import Inspection, inspect
from pillqc.model.network import LoadedModel, load_model
from pillqc.rendering.dataset import MANIFEST
from pillqc.training.step import class_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.worker.workload.inputs import Inputs
    from pillqc.data.images import Sample
    from pillqc.model.network import CustomVGG

Loaded = LoadedModel
"""What `Workload.model` gives, under a name for those that must not import pillqc."""
JUDGING_SHARE = 0.7
"""Of the test folder, where it alone holds defects: six of twenty are left to learn from."""
CALIBRATION_IMAGES = 16
"""As many as int8's ranges are taken from: with 32 the shipped model's probabilities on rendered
pills came .005 nearer to fp32's (.057 at worst), and each costs a tenth of a second a scenario."""
_NEW_HEAD_STD = 0.01
"""As torchvision initialises linear layers: the first loss is near that of a guess."""
_HEAT_SIGMA = 9.0
"""Pixels: about as many hot regions in a map as a damaged pill shows, some ten."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one call takes, and what a training step also needs."""

    images: Inputs
    """A tensor of images; a model of the user's own may take several tensors."""
    labels: torch.Tensor
    class_weights: torch.Tensor

    @property
    def tensor(self) -> torch.Tensor:
        """The images as the one tensor that the inspector takes."""
        return only_tensor(self.images, "the inspector")


class Workload:
    """The model and the images of one run, seeded: every worker of a run sees the same.

    `decides` says whether the outputs are (probabilities, maps) with decisions to compare.

    Raises (from the constructor):
        BenchError: there are no test images under `data`.
    """

    decides = True

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
        self._root = data
        self._seed = seed
        self._weights = weights
        self._size = image_size

    def facts(self) -> dict[str, Any]:
        """Where the images come from, how many test images there are, and their checksum.

        `notes` say what the names of folders were taken for, and what is not used.

        `pillqc render` leaves a manifest beside its images: they are synthetic then.
        """
        digest = hashlib.sha256()
        for path in sorted(sample.path for sample in self.samples):
            digest.update(os.fsencode(path.relative_to(self._root).as_posix()) + b"\0")
            digest.update(path.read_bytes())
        return {
            "source": "synthetic" if (self._root / MANIFEST).is_file() else "folder",
            "root": str(self._root),
            "images": len(self.samples),
            "sha256": digest.hexdigest(),
            "notes": self._notes,
        }

    def model(self, scenario: Scenario) -> LoadedModel:
        """A model of its own for this scenario, the same in every worker.

        Always a new one: `ipex.optimize` and layout changes alter the model that they are given.
        """
        loaded = load_model(self._weights, freeze=FROZEN in scenario.options, seed=self._seed)
        if scenario.task is Task.TRAINING:
            self._renew_head(loaded)
        return loaded

    def _renew_head(self, loaded: LoadedModel) -> None:
        """Give the model a head that has learnt nothing, as where the tutorial starts.

        A trained model's loss is next to nothing: rounding alone would be a large share of it, and
        a step that does nothing could not be told from one that works.
        """
        head, generator = loaded.model.head, torch.Generator().manual_seed(self._seed)
        with torch.no_grad():
            head.weight.normal_(0.0, _NEW_HEAD_STD, generator=generator)
            head.bias.zero_()

    def batch(self, size: int) -> Batch:
        """The first `size` images of the mixed test set, from its start again if it is shorter."""
        samples = self.first(size)
        labels = torch.tensor([int(sample.bad) for sample in samples])
        return Batch(
            images=self._load(samples),
            labels=labels,
            class_weights=class_weights(torch.tensor([int(s.bad) for s in self.samples])),
        )

    def flop(self, model: torch.nn.Module, images: Inputs, *, training: bool) -> int | None:
        """Floating point operations of a call; None where they cannot be counted."""
        return flop_per_call(model, only_tensor(images, "the inspector"), training=training)

    def parity_samples(self) -> list[Sample]:
        """The images on which outputs are compared, good and bad in turn: all that judge."""
        return self.samples

    def calibration(self, size: int) -> list[torch.Tensor]:
        """Images to learn from in batches of `size`, good and bad in turn.

        Never a test image: its range would be in the model that is judged by it.

        Raises:
            WorkerError: there are none.
        """
        if not self.training_samples:
            raise WorkerError(
                Status.UNAVAILABLE,
                "int8 is calibrated on images that no decision is judged by, and "
                f"{self._root} holds too few images for that",
            )
        chosen = mixed(self.training_samples, self._seed)[:CALIBRATION_IMAGES]
        whole = islice(cycle(chosen), -(-len(chosen) // size) * size)
        return [self._load(batch) for batch in _batches(list(whole), size)]

    def first(self, size: int) -> list[Sample]:
        """The samples of `batch(size)`."""
        return list(islice(cycle(self.samples), size))

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self._size

    def training_batch(self, samples: Sequence[Sample]) -> Batch:
        """These images with their labels, weighted as their classes are among all that train."""
        return Batch(
            images=self._load(samples),
            labels=torch.tensor([int(sample.bad) for sample in samples]),
            class_weights=class_weights(
                torch.tensor([int(sample.bad) for sample in self.training_samples])
            ),
        )

    def load(self, samples: Sequence[Sample]) -> torch.Tensor:
        """These images as a batch."""
        return self._load(samples)

    def inspected(self, loaded: LoadedModel, samples: Sequence[Sample]) -> list[Inspection]:
        """What `pillqc inspect` does with these files, in one batch.

        Raises:
            WorkerError: a file has no decision: what is skipped must not look fast.
        """
        paths = [sample.path for sample in samples]
        found = list(inspect(loaded, paths, size=self._size, batch_size=len(paths)))
        failed = next((result for result in found if result.decision == "error"), None)
        if failed is not None:
            raise WorkerError(
                Status.WRONG_OUTPUT, f"{failed.path} has no decision: {failed.reason}"
            )
        return found

    def heat_maps(self, count: int) -> NDArray[np.float32]:
        """Smooth maps from 0 to 1 with some hot regions each, the same for the same seed.

        Not the model's own: a change of the model must not change what finding boxes is given.
        """
        rng = np.random.default_rng(self._seed)
        noise = rng.standard_normal((count, self._size, self._size))
        smooth = ndimage.gaussian_filter(noise, sigma=(0, _HEAT_SIGMA, _HEAT_SIGMA))
        low, high = (edge(smooth, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
        heat: NDArray[np.float32] = ((smooth - low) / (high - low)).astype(np.float32)
        return heat

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Draw what the data looks like and what the model says of some of it.

        Small files go to `folder`; what each shows comes back, for the report to say.
        """
        loaded = load_model(self._weights, seed=self._seed)
        items = [
            *explored(self.samples, folder),
            *predicted(loaded, self.samples, self._size, folder),
        ]
        return {"items": items, "trained": loaded.trained, **self.facts()}

    def _load(self, samples: Sequence[Sample]) -> torch.Tensor:
        return load_images([sample.path for sample in samples], size=self._size)


def given_model(model: torch.nn.Module, name: str) -> LoadedModel:
    """A model of the user's own in the form that a session takes; nothing is known to decide by."""
    return LoadedModel(model=cast("CustomVGG", model), trained=True, threshold=0.0, name=name)


def _batches(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _sides(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Images to learn and calibrate from, and others to judge by.

    The folders `train` and `validation`, and `test`, where the former show both kinds of pills. In
    MVTec AD's layout all defects lie under `test`, so a part of them, chosen by content, goes to
    the other side, as it does of images that no folders split. A model calibrated on good pills
    alone clips what only a defect excites, and misses it.
    """
    train = [sample for sample in samples if sample.split in ("train", "validation")]
    test = [sample for sample in samples if sample.split in ("test", UNSPLIT)]
    if {sample.bad for sample in train} == {False, True}:
        return train, test
    parts = split_samples(test, shares={"judging": JUDGING_SHARE, "learning": 1 - JUDGING_SHARE})
    return [*train, *parts["learning"]], parts["judging"]


def mixed(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Good and bad in turn, and the bad ones one defect after the other.

    So every start of the list is as mixed as it can be. The seed shuffles within a defect.
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
