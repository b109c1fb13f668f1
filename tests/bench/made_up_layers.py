"""Kernels and logged calls that were never measured: VGG-16's, as oneDNN logs them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from bench.store.records import KernelRow, LoggedCallRow

if TYPE_CHECKING:
    from collections.abc import Sequence

VGG16 = (
    *((3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56)),
    *((256, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 28)),
    *((512, 512, 14), (512, 512, 14), (512, 512, 14)),
)
"""Channels in, channels out and side of each convolution."""
NAMES = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1"),
    *("conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"),
)
GFLOP = tuple(2 * 9 * taken * given * side**2 / 1e9 for taken, given, side in VGG16)
RATE = 200.0
"""GFLOP/s of every layer."""


def convolution(place: int, *, batch: int = 1, gflop_per_s: float = RATE) -> KernelRow:
    """The kernel of one layer of VGG-16, by its place from 0."""
    taken, given, side = VGG16[place]
    return KernelRow(
        run_id="run",
        scenario="s",
        position=place,
        primitive="convolution",
        implementation="brg_conv_fwd:avx512_core",
        isa="avx512_core",
        data_types="src:f32 wei:f32 bia:f32 dst:f32",
        layouts="src:acdb wei:Acdb64a bia:a dst:acdb",
        post_ops=None,
        problem=(
            f"mb{batch}_ic{taken}oc{given}_ih{side}oh{side}kh3sh1dh0ph1_"
            f"iw{side}ow{side}kw3sw1dw0pw1"
        ),
        ms=1000 * batch * GFLOP[place] / gflop_per_s,
        kind="forward_inference",
    )


def reorder(ms: float = 0.3) -> KernelRow:
    """A change of a layout."""
    return dataclasses.replace(
        convolution(0), primitive="reorder", isa=None, problem="64x64x3x3", ms=ms, kind="undef"
    )


def numbered(rows: Sequence[KernelRow], scenario: str, run_id: str = "run") -> list[KernelRow]:
    """The kernels as rows of one scenario, in order."""
    return [
        dataclasses.replace(row, run_id=run_id, scenario=scenario, position=place)
        for place, row in enumerate(rows)
    ]


def logged(  # a number for each thing that varies
    rows: Sequence[KernelRow],
    rng: np.random.Generator,
    *,
    calls: int = 5,
    outside_ms: float = 5.0,
    process: float = 0.0,
    spread: float = 0.02,
    cost_ms: float = 0.2,
) -> list[LoggedCallRow]:
    """Logged calls of these kernels.

    `process` is the process's own level and `spread` the standard deviation of each time, on the
    log scale; `cost_ms` is what the log adds to a call.
    """
    found = []
    for call in range(calls):
        times = [row.ms * float(np.exp(process + rng.normal(0, spread))) for row in rows]
        outside = outside_ms * float(np.exp(process + rng.normal(0, spread)))
        found.append(
            LoggedCallRow(
                run_id=rows[0].run_id,
                scenario=rows[0].scenario,
                launch=0,
                call=call,
                wall_ms=sum(times) + outside + cost_ms,
                unlogged_ms=sum(times) + outside,
                kernels_ms=" ".join(f"{ms:g}" for ms in times),
            )
        )
    return found
