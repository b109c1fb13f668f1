"""List the cases of `bench operators`: operators of Mask R-CNN, and patterns."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from bench.errors import UsageError
from bench.plan.scenario import Layout

CASE = "case"
"""Option of a scenario that names its case."""
ROI_ALIGN = "roi_align"
NMS = "nms"
NO_GRAD = "no_grad"
INFERENCE_MODE = "inference_mode"
LEVELS = (4, 8, 16, 32)
"""Strides of the pyramid's levels that ROIAlign pools from."""
CHANNELS = 256
CONV_RELU = "conv-relu"
CONV_ADD_RELU = "conv-add-relu"
LINEAR_RELU = "linear-relu"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call on one set of shapes."""

    name: str
    operator: str
    context: str
    """How autograd is off: `no_grad` or `inference_mode`."""
    layout: Layout = Layout.CONTIGUOUS
    usual: bool = True
    """Whether it is measured without `--case`."""

    @property
    def shapes(self) -> str:
        """The shapes in words."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Detection(Case):
    """An operator of Mask R-CNN, for which importing IPEX registers a kernel of its own."""

    proposals: int
    output_size: int = 0
    iou_threshold: float = 0.0

    @property
    def shapes(self) -> str:
        """The shapes in words."""
        if self.operator == NMS:
            return f"{self.proposals} boxes, IoU {self.iou_threshold:g}"
        size = f"{self.output_size}x{self.output_size}"
        return f"{self.proposals} proposals, {len(LEVELS)} levels of {CHANNELS} channels, {size}"


@dataclass(frozen=True, kw_only=True)
class Pattern(Case):
    """A convolution or linear layer and what follows it, which a library may run as one kernel."""

    context: str = INFERENCE_MODE
    layer: str
    """The layer of a known network that has these shapes."""
    inputs: int
    """Channels of a convolution, features of a linear layer."""
    outputs: int
    side: int = 0
    """Pixels a side; 0 for a linear layer."""
    kernel: int = 0

    @property
    def shapes(self) -> str:
        """The shapes in words; the batch has one input."""
        if self.operator == LINEAR_RELU:
            return f"{self.inputs} to {self.outputs} features, {self.layer}, batch 1"
        return (
            f"{self.inputs} to {self.outputs} channels, {self.kernel}x{self.kernel}, "
            f"{self.side} pixels a side, {self.layer}, batch 1"
        )


def _roi(size: int, context: str, layout: Layout = Layout.CONTIGUOUS) -> Detection:
    tail = "" if layout is Layout.CONTIGUOUS else f"-{layout}"
    return Detection(
        name=f"{ROI_ALIGN}-{size}x{size}-{context}{tail}",
        operator=ROI_ALIGN,
        context=context,
        proposals=1000,
        layout=layout,
        output_size=size,
    )


def _nms(boxes: int, threshold: float, context: str) -> Detection:
    return Detection(
        name=f"{NMS}-{boxes}-{context}",
        operator=NMS,
        context=context,
        proposals=boxes,
        iou_threshold=threshold,
    )


def _conv(operator: str, layer: str, inputs: int, outputs: int, side: int, kernel: int) -> Pattern:
    """Return a case in channels_last, which IPEX's convolutions have in any case."""
    return Pattern(
        name=f"{operator}-{outputs}x{side}x{side}",
        operator=operator,
        layout=Layout.CHANNELS_LAST,
        layer=layer,
        inputs=inputs,
        outputs=outputs,
        side=side,
        kernel=kernel,
    )


def _linear(layer: str, inputs: int, outputs: int, *, usual: bool = True) -> Pattern:
    return Pattern(
        name=f"{LINEAR_RELU}-{inputs}-{outputs}",
        operator=LINEAR_RELU,
        usual=usual,
        layer=layer,
        inputs=inputs,
        outputs=outputs,
    )


CASES: tuple[Case, ...] = (
    _roi(7, NO_GRAD),
    _roi(7, INFERENCE_MODE),
    _roi(7, NO_GRAD, Layout.CHANNELS_LAST),
    _roi(14, NO_GRAD),
    _roi(14, INFERENCE_MODE),
    _nms(1000, 0.5, NO_GRAD),
    _nms(1000, 0.5, INFERENCE_MODE),
    _nms(4000, 0.7, NO_GRAD),
    _conv(CONV_RELU, "VGG-16's conv1_2", 64, 64, 224, 3),
    _conv(CONV_RELU, "VGG-16's conv3_2", 256, 256, 56, 3),
    _conv(CONV_RELU, "VGG-16's conv5_2", 512, 512, 14, 3),
    _linear("VGG-16's second linear layer", 4096, 4096),
    _linear("VGG-16's first linear layer", 25088, 4096, usual=False),
    _conv(CONV_ADD_RELU, "the end of ResNet-50's first block", 64, 256, 56, 1),
)
"""Box head (7x7), mask head (14x14), detections (1000 boxes), proposals of all levels (4000). Then
patterns. VGG-16's first linear layer is measured only on request: its weights take 411 MB, several
times in each of nine processes."""


def case_named(name: str) -> Case:
    """Return the case of that name.

    Raises:
        UsageError: there is none.
    """
    return cases_matching([name])[0]


def cases_matching(patterns: list[str]) -> list[Case]:
    """Return the cases whose name matches a shell-style pattern; without one, the usual cases.

    Raises:
        UsageError: a pattern matches none.
    """
    for pattern in patterns:
        if not fnmatch.filter([case.name for case in CASES], pattern):
            known = ", ".join(case.name for case in CASES)
            raise UsageError(f"there is no case {pattern!r}: choose from {known}")
    return [
        case
        for case in CASES
        if any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)
        or (case.usual and not patterns)
    ]
