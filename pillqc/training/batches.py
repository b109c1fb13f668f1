"""Load batches of images, and compute the class scores that a model gives them.

    pipeline = BatchPipeline(model, source)
    for loaded in prefetch(lambda indices: pipeline.load(indices, epoch), batches, depth=2):
        scores = pipeline.scores(pipeline.inputs(loaded))    # files are read in another thread

Blocks 1 to 4 do nine tenths of VGG-16's arithmetic. While they are frozen and the images are the
same in every epoch, the pipeline computes their outputs once per image and keeps them as far as
memory allows. Those of a widened model (`pillqc.model.widening`) it computes in their narrow form,
a sixteenth of the arithmetic, and keeps one of each four equal channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.data.decoding_process import read_image
from pillqc.data.defects import presence
from pillqc.data.images import normalised, resized
from pillqc.data.masks import read_mask
from pillqc.errors import PillqcError
from pillqc.limits import free_memory
from pillqc.model.narrowing import narrow_blocks
from pillqc.model.network import BLOCK_5, CustomVGG
from pillqc.training.augmentation import augment, augment_masks
from pillqc.training.pasting import Move, draw_move, pasted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from pillqc.data.images import Sample

_SHARE_OF_MEMORY: Final = 0.25
"""Share of the free memory for kept outputs; MVTec AD's pill category takes some 170 MB at
full width."""
_SHARE_FOR_PICTURES: Final = 0.1
_TINY: Final = 1e-15
"""Gradients below this are nothing to Adam, which adds 1e-8 to their mean size."""
_PASTED_SHARE: Final = 0.7
"""Share of bad images whose defect lies on a good one; the others stay as they were taken."""
_PASTING: Final = 1
"""Sets the random numbers of pasting apart from those of augmentation."""


class Source(Protocol):
    """Where training images come from."""

    @property
    def labels(self) -> Tensor:
        """Class of every image, int64 (N,)."""

    @property
    def present(self) -> Tensor:
        """Which named defects every image has, float32 (N, K): 1 yes, 0 no, NaN not known."""

    @property
    def fixed(self) -> bool:
        """Whether an image is the same in every epoch."""

    @property
    def masked(self) -> Tensor:
        """Which images are good or have a mask, bool (N,)."""

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Return normalised float32 images (n, 3, H, W)."""

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Return where those images are defective, bool (n, H, W)."""


@dataclass(frozen=True, kw_only=True)
class TensorSource:
    """Images that are in memory already."""

    all_images: Tensor
    labels: Tensor
    fixed: bool = True
    all_masks: Tensor | None = None
    defects: Tensor | None = None

    @property
    def masked(self) -> Tensor:
        """Which images are good or have a mask, bool (N,)."""
        return self.labels == 0 if self.all_masks is None else torch.ones_like(self.labels).bool()

    @property
    def present(self) -> Tensor:
        """Which named defects the images have (N, K); without `defects` none is named."""
        return torch.empty(len(self.labels), 0) if self.defects is None else self.defects

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:  # noqa: ARG002 - the protocol
        """Return the images of the indices."""
        return self.all_images[torch.as_tensor(indices)]

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:  # noqa: ARG002 - the protocol
        """Return the masks of the indices."""
        if self.all_masks is None:
            raise PillqcError("these images have no masks")
        return self.all_masks[torch.as_tensor(indices)]


class FileSource:
    """Images read from disk when they are needed, so that memory does not grow with them.

    With `augment_seed`, images change in every epoch. How depends on the seed, the epoch and the
    image's index only, so it is the same however many processes share a batch. So it is with
    `paste_seed`, by which the defects of most bad images that have a mask lie on good ones.

    With `keep`, a file is decoded once, and its resized picture kept in a tenth of the free memory.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        size: int = 224,
        augment_seed: int | None = None,
        paste_seed: int | None = None,
        defects: Sequence[str] = (),
        keep: bool = False,
    ) -> None:
        self._samples = list(samples)
        self._size = size
        self._augment_seed, self._paste_seed = augment_seed, paste_seed
        self._room = int(free_memory() * _SHARE_FOR_PICTURES) if keep else 0
        self._pictures: dict[int, Image.Image] = {}
        self.fixed = augment_seed is None and paste_seed is None
        self.labels = torch.tensor([int(sample.bad) for sample in samples], dtype=torch.int64)
        self._good = [index for index, sample in enumerate(samples) if not sample.bad]
        self.present = torch.from_numpy(presence([sample.defect for sample in samples], defects))
        known = [not sample.bad or sample.mask is not None for sample in samples]
        self.masked = torch.tensor(known, dtype=torch.bool)
        self._packed_masks: dict[int, NDArray[np.uint8]] = {}

    def images(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Return the images of the indices, augmented for this epoch."""
        images = torch.stack([self._image(index, epoch) for index in indices])
        return self._augmented(augment, images, indices, epoch)

    def masks(self, indices: Sequence[int], epoch: int) -> Tensor:
        """Return the masks of the indices, moved as the images are."""
        masks = torch.stack([self._moved_mask(index, epoch) for index in indices])
        return self._augmented(augment_masks, masks, indices, epoch)

    def _image(self, index: int, epoch: int) -> Tensor:
        """Return the image, its defect perhaps on a good one (3, H, W)."""
        own = torch.from_numpy(normalised(self._picture(index), self._size))
        place = self._place(index, epoch)
        if place is None:
            return own
        onto, move = place
        good = torch.from_numpy(normalised(self._picture(onto), self._size))
        return pasted(good, own, torch.from_numpy(self._mask(index)), move)

    def _moved_mask(self, index: int, epoch: int) -> Tensor:
        mask, place = torch.from_numpy(self._mask(index)), self._place(index, epoch)
        return mask if place is None else place[1].of(mask)

    def _place(self, index: int, epoch: int) -> tuple[int, Move] | None:
        """Return on which good image the defect lies in this epoch, and how it gets there.

        None: it lies where it is.
        """
        if self._paste_seed is None or not self._good:
            return None
        if not self.labels[index] or not self.masked[index]:
            return None
        generator = _generator(self._paste_seed, epoch, index, _PASTING)
        if float(torch.rand((), generator=generator)) >= _PASTED_SHARE:
            return None
        chosen = int(torch.randint(len(self._good), (), generator=generator))
        move = draw_move(generator, side=self._size)
        if not move.keeps(torch.from_numpy(self._mask(index))):
            return None
        return self._good[chosen], move

    def _augmented(
        self,
        change: Callable[[Tensor, torch.Generator], Tensor],
        values: Tensor,
        indices: Sequence[int],
        epoch: int,
    ) -> Tensor:
        if self._augment_seed is None:
            return values
        changed = []
        for index, value in zip(indices, values, strict=True):
            changed.append(change(value[None], _generator(self._augment_seed, epoch, index)))
        return torch.cat(changed)

    def _picture(self, index: int) -> Image.Image:
        """Return the resized picture; it is decoded once where there is room to keep it."""
        kept = self._pictures.get(index)
        if kept is not None:
            return kept
        picture = resized(read_image(self._samples[index].path), self._size)
        size = 3 * self._size**2
        if size <= self._room:
            self._room -= size
            self._pictures[index] = picture
        return picture

    def _mask(self, index: int) -> NDArray[np.bool_]:
        """Return the image's mask; it is read once and kept with eight pixels in a byte."""
        if index not in self._packed_masks:
            mask = read_mask(self._samples[index], self._size)
            self._packed_masks[index] = np.packbits(mask)
        flat = np.unpackbits(self._packed_masks[index], count=self._size**2).astype(np.bool_)
        return flat.reshape(self._size, self._size)


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(numbers) % 2**63)  # Python salts text only


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch whose files have been read."""

    indices: Sequence[int]
    new: Sequence[int]
    """Those whose images were read; the others' outputs are known."""
    images: Tensor | None
    """The images of `new`."""
    masks: Tensor | None
    """The masks of `indices`, where a training learns from masks."""


def _without_tiny(gradients: Tensor) -> Tensor:
    """Return the gradients with 0 for those that move no weight, but would take longest.

    An image that a trained model is sure of has gradients of e^-100 and less. CPUs compute with
    such (denormal) numbers many times slower than with others: steps took twice as long, and with
    IPEX two and a half times, once most images were learnt.
    """
    return torch.where(gradients.abs() < _TINY, 0.0, gradients)


class BatchPipeline:
    """Loads a model's batches and computes their scores, from the frozen blocks' outputs on."""

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        *,
        readable: nn.Module | None = None,
        reuse: bool = True,
        masks: bool = False,
        room_bytes: int | None = None,
    ) -> None:
        """Prepare the frozen blocks.

        Args:
            model: what runs, perhaps packed by IPEX.
            source: the images.
            readable: the same model with plain weights; None: `model` itself.
            reuse: whether outputs of frozen blocks may be kept.
            masks: whether masks are loaded too.
            room_bytes: memory for kept outputs; None: a share of what is free.
        """
        self._model, self._source, self._masks = model, source, masks
        self.reuses: bool = (
            reuse and source.fixed and isinstance(model, CustomVGG) and model.is_frozen()
        )
        """Whether outputs of the frozen blocks are kept."""
        narrow: tuple[nn.Sequential | None, int] = (None, 1)
        if self.reuses:
            narrow = narrow_blocks(cast("CustomVGG", readable or model)) or narrow
        self._narrow, self._copies = narrow
        self._outputs: dict[int, Tensor] = {}
        share_of_memory = int(free_memory() * _SHARE_OF_MEMORY)
        self._room = share_of_memory if room_bytes is None else room_bytes

    def load(self, indices: Sequence[int], epoch: int) -> Loaded:
        """Read the files that a batch needs; may run in another thread."""
        new = [index for index in indices if index not in self._outputs]
        return Loaded(
            indices=indices,
            new=new,
            images=self._source.images(new, epoch) if new else None,
            masks=self._source.masks(indices, epoch) if self._masks and indices else None,
        )

    def inputs(self, loaded: Loaded) -> Tensor:
        """Return the tensor that `scores` and `cells` take: images, or frozen blocks' outputs."""
        if not self.reuses:
            return cast("Tensor", loaded.images)
        if loaded.images is None:
            return torch.stack([self._outputs[index] for index in loaded.indices])
        with torch.no_grad():
            outputs = self._blocks(loaded.images)
        fresh = dict(zip(loaded.new, outputs, strict=True))
        for index, output in fresh.items():
            size = output.numel() * output.element_size()
            if size <= self._room:
                self._room -= size
                self._outputs[index] = output.clone()
        if len(fresh) == len(loaded.indices):
            return outputs
        return torch.stack([fresh[i] if i in fresh else self._outputs[i] for i in loaded.indices])

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores (N, C), as the model gives them in training mode."""
        if not isinstance(self._model, CustomVGG):
            return cast("Tensor", self._model(inputs))
        return self._head(self._model.scores, inputs)

    def cells(self, inputs: Tensor) -> Tensor:
        """Return class scores of every window of the map (N, C, h+1, w+1)."""
        return self._head(cast("CustomVGG", self._model).cells, inputs)

    def _head(self, head: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Apply the trained layers and then the head, which computes in fp32 under autocast too.

        Evidence is a sum of hundreds, and bf16 rounds sums of 64 to quarters. A head that IPEX has
        packed computes in the dtype that IPEX chose.
        """
        model = cast("CustomVGG", self._model)
        features = self._features(inputs)
        if features.requires_grad:
            features.register_hook(_without_tiny)  # type: ignore[no-untyped-call] # PyTorch's
        if type(model.head) is not nn.Linear or model.head.weight.dtype != torch.float32:
            return head(features)
        with torch.autocast("cpu", enabled=False):
            return head(features.float())

    def _blocks(self, images: Tensor) -> Tensor:
        """Return the frozen blocks' outputs; of equal channels, which a widened model has, one."""
        if self._narrow is None:
            return cast("CustomVGG", self._model).frozen_outputs(images)
        return cast("Tensor", self._narrow(images))

    def _features(self, inputs: Tensor) -> Tensor:
        layers = cast("CustomVGG", self._model).features
        if self._narrow is None:
            return cast("Tensor", layers[BLOCK_5 if self.reuses else 0 :](inputs))
        first = layers[BLOCK_5]
        if type(first) is nn.Conv2d:
            # equal inputs: one of them times the sum of their weights, at a part of the arithmetic
            weight = first.weight
            weight = weight.reshape(len(weight), -1, self._copies, *weight.shape[2:]).sum(dim=2)
            outputs = F.conv2d(inputs, weight, first.bias, padding=first.padding)
        else:  # only the layer can read the weights that IPEX has packed
            outputs = first(inputs.repeat_interleave(self._copies, dim=1))
        return cast("Tensor", layers[BLOCK_5 + 1 :](outputs))
