"""List the scenarios that the gate can compare, and those that it compares by default.

The model and the training step are scenarios of the matrix. The other parts of the product (reading
images, boxes, inspection, a backend's preparation) are scenarios of the gate alone, since a run
asks which way of running the model is fastest.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace

from bench.gate.result import NoVerdictError
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import (
    BOXES,
    INSPECTION,
    PREPARATION,
    PREPROCESSING,
    Scenario,
    Task,
    stock_default,
)

GATED = (
    "inference/stock/eager/fp32/contiguous/b1",
    "inference/ipex/eager/fp32/channels_last/b1",
    "training/stock/eager/fp32/contiguous/b1/frozen",
    "inference/stock/eager/fp32/contiguous/b8/preprocessing",
    "inference/stock/eager/fp32/contiguous/b8/boxes",
    "inference/stock/eager/fp32/contiguous/b2/inspection",
    "inference/ipex/eager/fp32/channels_last/b1/preparation",
    "inference/stock/torchscript+fusion/fp32/channels_last/b1/preparation",
)
"""The model with its map, by stock and IPEX; a training step; reading images, boxes from a map, a
whole inspection; and two backends' preparation."""
_PROFILES = ("smoke", "standard")
_BATCH_SIZE = {PREPROCESSING: 8, BOXES: 8, INSPECTION: 2}
"""Reading and boxes take a batch as `pillqc` reads it; an inspection takes a good pill and a bad
one, since boxes are searched on a bad one only."""


def known() -> dict[str, Scenario]:
    """Return every scenario that the gate can compare, by its id."""
    found = [s for name in _PROFILES for s in matrix(PROFILES[name])]
    return {scenario.id: scenario for scenario in (*found, *_parts(found))}


def _parts(found: list[Scenario]) -> list[Scenario]:
    stock = [stock_default(Task.INFERENCE, size, (part,)) for part, size in _BATCH_SIZE.items()]
    prepared = [
        replace(scenario, options=(*scenario.options, PREPARATION))
        for scenario in found
        if scenario.batch_size == 1 and not scenario.compiles  # when called, or for many seconds
    ]
    return [*stock, *prepared]


def gated(only: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Return the scenarios that match the patterns, or those compared by default.

    Raises:
        NoVerdictError: a pattern matches none.
    """
    all_known = known()
    chosen: dict[str, Scenario] = {}
    for pattern in only or GATED:
        matched = fnmatch.filter(all_known, pattern)
        if not matched:
            raise NoVerdictError(
                f"no scenario matches {pattern!r}, so nothing was compared (`bench gate --list` "
                "names what can be)"
            )
        chosen.update((name, all_known[name]) for name in matched)
    return tuple(chosen.values())
