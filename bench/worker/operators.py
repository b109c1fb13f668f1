"""Call operators of Mask R-CNN and patterns that libraries fuse, as a scenario's model is.

A pattern is set up by the backend, as a model is (see `bench.worker.patterns`). ROIAlign and NMS
need no setting up: importing IPEX registers its kernels for some of torchvision's operators. Which
kernel runs depends on how autograd is switched off: `no_grad` still goes through the kernels
registered for autograd, `inference_mode` does not. So both are cases, and PyTorch's profiler shows
which kernels ran.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from torch.profiler import profile

from bench.errors import WorkerError
from bench.plan.operators import (
    CASE,
    CHANNELS,
    LEVELS,
    NMS,
    NO_GRAD,
    ROI_ALIGN,
    Case,
    Detection,
    Pattern,
    case_named,
)
from bench.plan.scenario import Scenario, Status
from bench.worker import patterns, workload
from bench.worker.backends import Prepared
from bench.worker.outputs import save
from bench.worker.prepared_scenario import ActiveScenario
from bench.worker.session import Session
from bench.worker.workload.inputs import in_layout, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.worker import protocol
    from bench.worker.backends import Backend

IMAGE = (800, 1344)
"""Height and width of Mask R-CNN's usual input, padded to a multiple of 32."""
_CANONICAL = 224
"""Pixels: a proposal of this size belongs to level 4 of the pyramid (FPN's equation 1)."""
_SEED = 20_251_124


class OperatorSession(Session):
    """A session whose scenarios are operators: `case=NAME` among the options says which."""

    def __init__(self, name: str, backend: Backend) -> None:
        super().__init__(name, backend, work=None)

    def prepare(
        self, scenario: Scenario, *, before: Callable[[torch.nn.Module], None] | None = None
    ) -> protocol.PrepareReply:
        """Create the case's weights and inputs, the same in every worker."""
        del before  # the weights are the case's own
        self.release()
        self._memory.start()
        case = case_of(scenario)
        torch.manual_seed(_SEED)
        prepared, inputs = self._set_up_case(case, scenario)
        self._active = ActiveScenario(
            scenario=scenario,
            prepared=prepared,
            batch=workload.Batch(images=inputs, labels=inputs, class_weights=inputs),
            threshold=0.5,
            trained=True,
        )
        gc.collect()
        own = isinstance(case, Detection)
        return {
            "layers_replaced": prepared.layers_replaced,
            "native_dtype": True,
            "served_by": served_by(lambda: prepared.model(inputs)) if own else [],
        }

    def _set_up_case(self, case: Case, scenario: Scenario) -> tuple[Prepared, torch.Tensor]:
        """Return what a call runs, and its first input.

        Raises:
            NotImplementedError: the backend cannot run a pattern this way; the text says why.
        """
        if isinstance(case, Pattern):
            inputs = in_layout(patterns.inputs_of(case), scenario.layout)
            return self._backend.prepare(patterns.model_of(case), scenario, inputs), inputs
        operator = operator_of(case)
        return Prepared(model=operator), operator.inputs(scenario)

    def outputs(
        self,
        path: Path,
        *,
        within_s: float | None = None,  # noqa: ARG002 - one call
        most_images: int | None = None,  # noqa: ARG002
    ) -> protocol.OutputsReply:
        """Write the operator's result."""
        active = self.active
        with self._memory.left_out(), active.context():
            result = active.call()
            parts = tensors_of(result)
            values = [part.detach().double().numpy().reshape(-1) for part in parts]
            save(path, {"values": np.concatenate(values)})
        return {"images": 1, "trained": True}


@dataclass(eq=False)
class _Operator(torch.nn.Module):
    """An operator that holds all its inputs but the first."""

    case: Detection

    def __post_init__(self) -> None:
        super().__init__()

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the operator with autograd off, by the case's context."""
        if self.case.context == NO_GRAD:
            with torch.inference_mode(mode=False), torch.no_grad():
                return self.run(inputs)
        with torch.inference_mode():
            return self.run(inputs)

    def inputs(self, scenario: Scenario) -> torch.Tensor:
        raise NotImplementedError

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise NotImplementedError


class _RoiAlign(_Operator):
    """ROIAlign as in torchvision's Mask R-CNN: every level pools the proposals of its size."""

    def inputs(self, scenario: Scenario) -> torch.Tensor:
        height, width = IMAGE
        self.features = [
            in_layout(torch.randn(1, CHANNELS, height // stride, width // stride), scenario.layout)
            for stride in LEVELS
        ]
        boxes = proposals(self.case.proposals)
        levels = level_of(boxes)
        first = torch.zeros(len(boxes), 1)
        rois = torch.cat([first, boxes], dim=1)
        self.rois = [rois[levels == number] for number in range(len(LEVELS))]
        return self.features[0]

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        del inputs  # the first level is among the features
        size = self.case.output_size
        pooled = [
            torchvision.ops.roi_align(
                features, rois, size, 1 / stride, sampling_ratio=2, aligned=False
            )
            for features, rois, stride in zip(self.features, self.rois, LEVELS, strict=True)
        ]
        return tuple(pooled)


class _Nms(_Operator):
    """Non-maximum suppression: no two of the boxes that it keeps overlap by the threshold."""

    def inputs(self, scenario: Scenario) -> torch.Tensor:
        del scenario
        self.scores = torch.rand(self.case.proposals)
        return proposals(self.case.proposals)

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torchvision.ops.nms(inputs, self.scores, self.case.iou_threshold),)


def operator_of(case: Case) -> _Operator:
    """Return the module of a case of Mask R-CNN.

    Raises:
        TypeError: the case is a pattern, which a backend sets up.
    """
    if not isinstance(case, Detection):
        raise TypeError(f"{case.name} is no operator of its own")
    return {ROI_ALIGN: _RoiAlign, NMS: _Nms}[case.operator](case)


def proposals(count: int) -> torch.Tensor:
    """Return random boxes (x1, y1, x2, y2) in clusters, as a detector proposes them."""
    height, width = IMAGE
    objects = max(1, count // 20)
    centre = torch.rand(objects, 2) * torch.tensor([width, height])
    size = 16 * 2 ** (torch.rand(objects, 2) * 5)
    which = torch.randint(objects, (count,))
    middle = centre[which] + torch.randn(count, 2) * size[which] * 0.15
    extent = size[which] * (1 + 0.2 * torch.randn(count, 2)).clamp(0.3, 2)
    boxes = torch.cat([middle - extent / 2, middle + extent / 2], dim=1)
    limit = torch.tensor([width, height, width, height])
    return torch.minimum(boxes.clamp_min(0), limit).float()


def level_of(boxes: torch.Tensor) -> torch.Tensor:
    """Return the index of the level that pools each box: a larger box has a coarser level."""
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp_min(1)
    level = torch.floor(2 + torch.log2(area.sqrt() / _CANONICAL))
    return level.clamp(0, len(LEVELS) - 1).long()


def served_by(call: Callable[[], object]) -> list[str]:
    """Return IPEX's operators that one call runs; empty where torchvision's own kernels run."""
    with profile() as seen:
        call()
    return sorted({event.name for event in seen.events() if event.name.startswith("torch_ipex::")})


def case_of(scenario: Scenario) -> Case:
    """Return the case that the options name.

    Raises:
        WorkerError: they name none.
    """
    name = scenario.option(CASE)
    if name is None:
        raise WorkerError(Status.CRASHED, f"{scenario.id} names no case")
    return case_named(name)
