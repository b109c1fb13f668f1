"""One image from disk to its decision, stage by stage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from pillqc.data.decoding_process import read_image
from pillqc.data.images import normalised
from pillqc.inspection.boxes import find_boxes
from pillqc.inspection.inspector import decide
from pillqc.model.network import BAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAGES = ("read", "decode", "resize", "model", "map", "boxes")
"""From disk to decision. `resize` normalises too; `model` makes the map, `map` takes it out."""


def inspect_in_stages(
    path: Path, call: Callable[[torch.Tensor], Any], *, size: int, threshold: float
) -> dict[str, Any]:
    """One image from disk to its decision and boxes, as `pillqc inspect` does it, stage by stage.

    Decoding opens the file again, since that is how the inspector reads: its bytes are in memory by
    then, so `decode` holds a copy of them and not the disk. `call` lays the batch out and runs the
    model, which makes probabilities and map in one call. Returns the nanoseconds of each stage, and
    the decision.
    """
    clock = time.perf_counter_ns
    marks = [clock()]
    path.read_bytes()
    marks.append(clock())
    image = read_image(path)
    marks.append(clock())
    pixels = torch.from_numpy(normalised(image, size)[None])
    marks.append(clock())
    probabilities, maps = call(pixels)
    marks.append(clock())
    bad, heat = float(probabilities[0, BAD]), maps[0, BAD].float().numpy()
    decision = decide(bad, threshold)
    marks.append(clock())
    if decision != "good":
        width, height = image.width / heat.shape[1], image.height / heat.shape[0]
        for box in find_boxes(heat):
            box.scaled(width, height)
    marks.append(clock())
    stages = {name: marks[i + 1] - marks[i] for i, name in enumerate(STAGES)}
    return {**stages, "decision": decision}
