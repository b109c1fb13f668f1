"""Time one image from disk to its decision, stage by stage."""

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
"""In order. `resize` also normalises; `model` computes the map, `map` copies it out."""


def inspect_in_stages(
    path: Path, call: Callable[[torch.Tensor], Any], *, size: int, threshold: float
) -> dict[str, Any]:
    """Inspect one image as `pillqc inspect` does; return the ns of each stage, and the decision.

    `call` lays the batch out and runs the model, which returns (probabilities, maps). Decoding
    opens the file again, because the inspector does: by then the bytes are in memory, so `decode`
    includes copying them and not the disk.
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
