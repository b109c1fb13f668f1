"""What a training step is fed: images, or what the frozen blocks make of them.

    feed = feed_for(model, source)
    for loaded in prefetch(feed.load, batches, depth=2):   # reads files, in another thread
        scores = feed.scores(feed.inputs(loaded))       # computes, in this one

Blocks 1 to 4 hold nine tenths of VGG-16's arithmetic. While they are frozen, and the images the
same in every epoch, their outputs are the same too: they are computed when an image is first seen,
kept as long as there is room, and used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from pillqc.data.images import load_images
from pillqc.data.masks import read_mask
from pillqc.errors import PillqcError
from pillqc.limits import free_memory
from pillqc.model.network import FROZEN_LAYERS, CustomVGG
from pillqc.training.augmentation import augment, moved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

_SHARE_OF_MEMORY: Final = 0.25
"""Of what is available when training begins; a part of MVTec AD's size takes some 170 MB."""


class Source(Protocol):
    """Where training images come from."""

    @property
    def labels(self) -> Tensor:
        """Class of every image, int64 (N,)."""

    @property
    def fixed(self) -> bool:
        """Whether an image is the same in every epoch."""

    @property
    def masked(self) -> Tensor | None:
        """Whether it is known where an image is defective, bool (N,); None: of no image."""

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Images of the given indices, normalised float32 (n, 3, H, W)."""

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Where those images are defective, bool (n, H, W)."""


@dataclass(frozen=True, kw_only=True)
class TensorSource:
    """Images that are in memory already."""

    all_images: Tensor
    labels: Tensor
    fixed: bool = True
    all_masks: Tensor | None = None

    @property
    def masked(self) -> Tensor | None:
        """All of them, where there are masks."""
        return None if self.all_masks is None else torch.ones(len(self.labels), dtype=torch.bool)

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:  # noqa: ARG002 - the protocol
        """Images of the given indices."""
        return self.all_images[torch.as_tensor(indices)]

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:  # noqa: ARG002 - the protocol
        """Masks of the given indices."""
        if self.all_masks is None:
            raise PillqcError("these images have no masks")
        return self.all_masks[torch.as_tensor(indices)]


class FileSource:
    """Images that are read from disk when they are needed, so memory does not grow with them."""

    def __init__(
        self, samples: Sequence[Sample], *, size: int = 224, augment_seed: int | None = None
    ) -> None:
        self._samples = list(samples)
        self._size = size
        self._augment_seed = augment_seed
        self.fixed = augment_seed is None
        self.labels = torch.tensor([int(sample.bad) for sample in samples], dtype=torch.int64)
        known = [not sample.bad or sample.mask is not None for sample in samples]
        self.masked: Tensor | None = torch.tensor(known, dtype=torch.bool)
        self._kept_masks: dict[int, NDArray[np.uint8]] = {}

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Images of the given indices; changed anew in every epoch if that was asked for.

        How an image is changed depends on the seed, the epoch and its own index, and not on the
        batch that it is in: so it is the same however many processes share a batch.
        """
        images = load_images([self._samples[index].path for index in indices], self._size)
        if self._augment_seed is None:
            return images
        changed = [
            augment(image[None], self._generator(index, epoch))[0]
            for index, image in zip(indices, images, strict=True)
        ]
        return torch.cat(changed)

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Masks of the given indices, moved as their images are."""
        masks = torch.from_numpy(np.stack([self._mask(index) for index in indices]))
        if self._augment_seed is None:
            return masks
        return torch.cat(
            [
                moved(mask[None], self._generator(index, epoch))
                for index, mask in zip(indices, masks, strict=True)
            ]
        )

    def _mask(self, index: int) -> NDArray[np.bool_]:
        """Read once and kept, eight pixels in a byte."""
        packed = self._kept_masks.get(index)
        if packed is None:
            packed = self._kept_masks[index] = np.packbits(
                read_mask(self._samples[index], self._size)
            )
        flat = np.unpackbits(packed, count=self._size**2).astype(np.bool_)
        return flat.reshape(self._size, self._size)

    def _generator(self, index: int, epoch: int) -> torch.Generator:
        seed = hash((self._augment_seed, epoch, index)) % 2**63  # of numbers: the same everywhere
        return torch.Generator().manual_seed(seed)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch whose files were read."""

    indices: Sequence[int]
    images: Tensor | None
    """Those that are not known yet, in the order of `indices`; None if all are."""
    masks: Tensor | None = None
    """Of all of them, where a step learns from masks."""


class Feed(Protocol):
    """How a model gets its images."""

    def load(self, indices: Sequence[int], epoch: int) -> Loaded:
        """Read what this batch needs; may run in another thread."""

    def inputs(self, loaded: Loaded) -> Tensor:
        """What `scores` takes."""

    def scores(self, inputs: Tensor) -> Tensor:
        """Class scores (N, C)."""

    def cells(self, inputs: Tensor) -> Tensor:
        """Class scores of every window of the map (N, C, h, w)."""


@dataclass(frozen=True, kw_only=True)
class ImageFeed:
    """Every image through the whole model, every time."""

    model: nn.Module
    source: Source
    masks: bool = False

    def load(self, indices: Sequence[int], epoch: int) -> Loaded:
        """Read the images."""
        images = self.source.images(indices, epoch) if indices else None
        masks = _masks(self.source, indices, epoch, wanted=self.masks)
        return Loaded(indices=indices, images=images, masks=masks)

    def inputs(self, loaded: Loaded) -> Tensor:
        """The images."""
        return cast("Tensor", loaded.images)

    def scores(self, inputs: Tensor) -> Tensor:
        """The model's, in training mode."""
        if isinstance(self.model, CustomVGG):
            return _exact(self.model, self.model.features(inputs), self.model.scores)
        return cast("Tensor", self.model(inputs))

    def cells(self, inputs: Tensor) -> Tensor:
        """The model's."""
        model = cast("CustomVGG", self.model)
        return _exact(model, model.features(inputs), model.cells)


class FrozenFeed:
    """Outputs of the frozen blocks, each computed once as far as there is room."""

    def __init__(
        self, model: CustomVGG, source: Source, *, room_bytes: int, masks: bool = False
    ) -> None:
        self._model = model
        self._masks = masks
        self._source = source
        self._room = room_bytes
        self._known: dict[int, Tensor] = {}

    def load(self, indices: Sequence[int], epoch: int) -> Loaded:
        """Read the images whose outputs are not known."""
        unknown = [index for index in indices if index not in self._known]
        images = self._source.images(unknown, epoch) if unknown else None
        masks = _masks(self._source, indices, epoch, wanted=self._masks)
        return Loaded(indices=indices, images=images, masks=masks)

    def inputs(self, loaded: Loaded) -> Tensor:
        """Outputs of the frozen blocks (N, 512, h, w), in the dtype of an autocast around it."""
        if loaded.images is None:
            return torch.stack([self._known[index] for index in loaded.indices])
        with torch.no_grad():
            fresh = self._model.frozen_outputs(loaded.images)
        if len(fresh) == len(loaded.indices):  # as in the plain loop, and without a copy
            for index, output in zip(loaded.indices, fresh, strict=True):
                self._keep(index, output)
            return fresh
        rest = iter(fresh)
        outputs = []
        for index in loaded.indices:
            output = self._known.get(index)
            if output is None:
                output = next(rest)
                self._keep(index, output)
            outputs.append(output)
        return torch.stack(outputs)

    def scores(self, inputs: Tensor) -> Tensor:
        """The model's, from where the frozen blocks end."""
        model = self._model
        return _exact(model, model.features[FROZEN_LAYERS:](inputs), model.scores)

    def cells(self, inputs: Tensor) -> Tensor:
        """The model's, from where the frozen blocks end."""
        model = self._model
        return _exact(model, model.features[FROZEN_LAYERS:](inputs), model.cells)

    def _keep(self, index: int, output: Tensor) -> None:
        size = output.numel() * output.element_size()
        if size <= self._room:
            self._room -= size
            self._known[index] = output.clone()


def feed_for(model: nn.Module, source: Source, *, reuse: bool = True, masks: bool = False) -> Feed:
    """The frozen blocks' outputs where that is possible, the images otherwise."""
    if reuse and source.fixed and isinstance(model, CustomVGG) and model.is_frozen():
        room = int(free_memory() * _SHARE_OF_MEMORY)
        return FrozenFeed(model, source, room_bytes=room, masks=masks)
    return ImageFeed(model=model, source=source, masks=masks)


def _exact(model: CustomVGG, features: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """What the head makes of features, in fp32 under an autocast too.

    Evidence is a sum of hundreds, and bf16 rounds sums of 64 to quarters. A head that IPEX has
    packed takes what IPEX made of it.
    """
    if type(model.head) is not nn.Linear or model.head.weight.dtype != torch.float32:
        return head(features)
    with torch.autocast("cpu", enabled=False):
        return head(features.float())


def _masks(source: Source, indices: Sequence[int], epoch: int, *, wanted: bool) -> Tensor | None:
    return source.masks(indices, epoch) if wanted and indices else None
