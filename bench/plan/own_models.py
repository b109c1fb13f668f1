"""Make the matrix of a model of the user's own, of which only some things are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.plan.matrix import EXCLUSIONS, Exclusion
from bench.plan.scenario import FROZEN, FULL, Dtype, Layout, Scenario, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FROZEN = Exclusion(
    what="training/*/frozen of a model of your own",
    reason="which blocks are shallow is known of the inspector alone: everything trains",
)
_TRAINING = Exclusion(
    what="training/* of a model of your own",
    reason="its loss is not known here: --train-step MODULE:FUNCTION gives it",
)
_INT8 = Exclusion(
    what="*/int8 of a model of your own",
    reason="int8 is calibrated on your data: --calibration MODULE:FUNCTION gives it",
)
_INT8_WAYS = Exclusion(
    what="int8 beyond stock compile and IPEX TorchScript with fusion",
    reason="static quantisation is an inference path, and each library has one way of its own to "
    "run it",
)
_LAYOUT = Exclusion(
    what="inference/stock/eager/fp32/channels_last of this model",
    reason="neither inputs nor weights have 4 or 5 dimensions, so it is stock default once more; "
    "in other scenarios' names `channels_last` has no effect",
)


def of_own_model(
    scenarios: Iterable[Scenario], *, int8: bool = False, training: bool = False
) -> tuple[Scenario, ...]:
    """Return the scenarios that make sense for a user's model, each once.

    int8 needs its calibration data, and training its loss; all of it trains, because frozen blocks
    are the inspector's.
    """
    kept = (
        scenario
        for scenario in scenarios
        if (scenario.dtype is not Dtype.INT8 or int8)
        and (scenario.task is not Task.TRAINING or training)
    )
    return tuple(dict.fromkeys(map(_all_trained, kept)))


def _all_trained(scenario: Scenario) -> Scenario:
    options = tuple(FULL if tag == FROZEN else tag for tag in scenario.options)
    return replace(scenario, options=options)


def exclusions(*, int8: bool = False, training: bool = False) -> tuple[Exclusion, ...]:
    """Return what the matrix of a user's model leaves out, and why."""
    found = [_FROZEN if training else _TRAINING, _INT8_WAYS if int8 else _INT8]
    replaced = ("int8 ",) if training else ("int8 ", "training/")
    return (*found, *(one for one in EXCLUSIONS if not one.what.startswith(replaced)))


def without_repeats(
    scenarios: Iterable[Scenario], data: Mapping[str, Any]
) -> tuple[tuple[Scenario, ...], tuple[Exclusion, ...]]:
    """Leave out stock eager in channels_last where no tensor has a layout: it is stock default.

    `data` is what the worker said of the inputs.
    """
    every = tuple(scenarios)
    form = data.get("form") or {}
    if has_layouts([*form.get("dims", ()), *form.get("weight_dims", ())]):
        return every, ()
    return tuple(one for one in every if not _repeats_default(one)), (_LAYOUT,)


def has_layouts(dims: Iterable[int]) -> bool:
    """Return whether tensors of so many dimensions have a memory layout to choose, or may have.

    Images and volumes do, and their filters. Where no tensor is known, one may.
    """
    known = {*dims}
    return not known or bool(known & {4, 5})


def _repeats_default(scenario: Scenario) -> bool:
    plain = replace(scenario, layout=Layout.CONTIGUOUS)
    return scenario.layout is Layout.CHANNELS_LAST and plain.is_stock_default
