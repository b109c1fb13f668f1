"""The ways of running that studies compare: stock default, and the best of stock and IPEX."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.engine.participants import Group, Participant, control_of
from bench.plan.matrix import further
from bench.plan.scenario import (
    FROZEN,
    FUSED_ADAM,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
    stock_default,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.profiles import Profile

DEFAULT = "stock-default"


def inference(
    profile: Profile, batch_size: int = 1, backends: Iterable[str] = ()
) -> dict[str, Scenario]:
    """Return ways by name, stock default first; `smoke` has the fused TorchScript of both only.

    Further `backends` follow, each in fp32.

    Raises:
        UsageError: there is no such further backend.
    """
    default = stock_default(Task.INFERENCE, batch_size)
    eager = replace(default, layout=Layout.CHANNELS_LAST)
    fused = replace(eager, mode=Mode.TORCHSCRIPT, fusion=True)
    ways = {
        DEFAULT: default,
        "stock-channels-last": eager,
        "stock-torchscript": fused,
        "ipex-eager": replace(eager, backend="ipex"),
        "ipex-torchscript": replace(fused, backend="ipex"),
    }
    if not profile.whole_matrix:
        ways = {name: ways[name] for name in (DEFAULT, "stock-torchscript", "ipex-torchscript")}
    added = {way.backend: way for name in backends for way in further(name, batch_size)}
    return {**ways, **{name: replace(way, dtype=Dtype.FP32) for name, way in added.items()}}


def group(name: str, ways: dict[str, Scenario]) -> Group:
    """Return a group of stock default, its control, and the other ways, each in its own process."""
    participants = participants_of(ways)
    return Group(
        name=name, participants=(participants[0], control_of(participants[0]), *participants[1:])
    )


def participants_of(ways: dict[str, Scenario]) -> list[Participant]:
    """Return a participant for each way, with stock default as base."""
    return [
        Participant(name=name, scenario=way, worker=name, base="" if name == DEFAULT else DEFAULT)
        for name, way in ways.items()
    ]


def training(profile: Profile) -> dict[str, Scenario]:
    """Return stock default, stock tuned and IPEX, in fp32 and bf16, the shallow blocks frozen."""
    default = stock_default(Task.TRAINING, 8, (FROZEN,))
    tuned = replace(default, layout=Layout.CHANNELS_LAST, options=(FROZEN, FUSED_ADAM))
    ipex = replace(default, backend="ipex", layout=Layout.CHANNELS_LAST)
    ways = {DEFAULT: default, "stock-tuned": tuned, "ipex": ipex}
    bf16 = {f"{name}-bf16": replace(way, dtype=Dtype.BF16) for name, way in ways.items()}
    if profile.whole_matrix:
        return {**ways, **bf16}
    return {DEFAULT: default, "ipex": ipex, "ipex-bf16": bf16["ipex-bf16"]}
