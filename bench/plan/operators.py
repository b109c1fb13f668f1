"""The cases of `bench operators`: ROIAlign and NMS on shapes of Mask R-CNN."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call on one set of shapes."""

    name: str
    operator: str
    context: str
    """How autograd is off: `no_grad` or `inference_mode`."""
    proposals: int
    layout: Layout = Layout.CONTIGUOUS
    output_size: int = 0
    iou_threshold: float = 0.0

    @property
    def shapes(self) -> str:
        """The shapes in words."""
        if self.operator == NMS:
            return f"{self.proposals} boxes, IoU {self.iou_threshold:g}"
        size = f"{self.output_size}x{self.output_size}"
        return f"{self.proposals} proposals, {len(LEVELS)} levels of {CHANNELS} channels, {size}"


def _roi(size: int, context: str, layout: Layout = Layout.CONTIGUOUS) -> Case:
    tail = "" if layout is Layout.CONTIGUOUS else f"-{layout}"
    return Case(
        name=f"{ROI_ALIGN}-{size}x{size}-{context}{tail}",
        operator=ROI_ALIGN,
        context=context,
        proposals=1000,
        layout=layout,
        output_size=size,
    )


def _nms(boxes: int, threshold: float, context: str) -> Case:
    return Case(
        name=f"{NMS}-{boxes}-{context}",
        operator=NMS,
        context=context,
        proposals=boxes,
        iou_threshold=threshold,
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
)
"""Box head (7x7), mask head (14x14), detections (1000 boxes), proposals of all levels (4000)."""


def case_named(name: str) -> Case:
    """Return the case of that name.

    Raises:
        UsageError: there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise UsageError(f"there is no case {name!r}: choose from {', '.join(c.name for c in CASES)}")
