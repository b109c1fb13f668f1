"""Fixed work that says how fast the machine is: just now (`probe`) and at best (`peak`)."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import mkldnn as mkldnn_utils

from bench.plan.scenario import Dtype

if TYPE_CHECKING:
    from collections.abc import Callable

PROBE_SIDE, PROBE_PRODUCTS = 1024, 2
"""4.3 GFLOP: about 20 ms at the 200 GFLOP/s of two cloud cores."""
PROBE_MIB, PROBE_COPIES = 64, 2
"""Above most last-level caches, and about 20 ms at 13 GB/s."""
PEAK_SIDE = 2048
"""Large enough that a product runs at the machine's peak, small enough to try several times."""
PEAK_LAYERS = ((256, 56, 2), (512, 14, 8))
"""Channels, side and batch of layers of VGG-16 itself: 7.4 GFLOP each. Which is faster depends on
the dtype, by a tenth; int8, for which no product is asked, tries both."""
PEAK_SECONDS = 0.4
"""How long each peak is looked for; the best of several tries counts."""
PEAK_MIB = 256
"""At least this much is copied, and four times the last-level cache if that is more."""
PEAK_MAX_MIB = 2048
_DTYPES = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16}


def probe() -> dict[str, Any]:
    """Time the same arithmetic and the same copying every time."""
    matrix = torch.rand(PROBE_SIDE, PROBE_SIDE)
    product = torch.mm(matrix, matrix)  # wakes the threads
    start = time.perf_counter_ns()
    for _ in range(PROBE_PRODUCTS):
        torch.mm(matrix, matrix, out=product)
    compute_ns = time.perf_counter_ns() - start
    source = torch.ones(PROBE_MIB * 2**20, dtype=torch.uint8)
    target = source.clone()
    start = time.perf_counter_ns()
    for _ in range(PROBE_COPIES):
        target.copy_(source)
    return {
        "compute_ns": compute_ns,
        "memory_ns": time.perf_counter_ns() - start,
        "gflop_per_s": 2 * PROBE_SIDE**3 * PROBE_PRODUCTS / compute_ns,
    }


def peak(dtypes: list[Dtype]) -> dict[str, Any]:
    """The best of two libraries per dtype in GFLOP/s, and the best copy in GB/s read and written.

    A large matrix product (MKL's in fp32) and a large convolution (oneDNN's): on CPUs that are not
    Intel's, MKL alone stays a fifth below what oneDNN reaches, and would refute true results.
    Where oneDNN cannot compute in the dtype (bf16 below AVX-512), PyTorch's own convolution is the
    best that a model gets: the product reached a twentieth of it. In int8 two convolutions are all,
    for PyTorch has plain loops for its product where VNNI is missing; int8 is left out where this
    PyTorch has no such convolution.
    """
    found = {str(dtype): rate for dtype in dtypes if (rate := _gflop_per_s(dtype)) is not None}
    source = torch.ones(_copy_bytes(), dtype=torch.uint8)
    target = source.clone()
    seconds = _best(lambda: target.copy_(source))
    return {"gflop_per_s": found, "memory_gb_per_s": 2 * source.numel() / seconds / 1e9}


def _gflop_per_s(dtype: Dtype) -> float | None:
    if dtype is Dtype.INT8:
        return _int8_gflop_per_s()
    if onednn_computes_in(dtype):
        return max(_product_gflop_per_s(dtype), _convolution_gflop_per_s(dtype))
    return _own_convolution_gflop_per_s(dtype)


def _product_gflop_per_s(dtype: Dtype) -> float:
    matrix = torch.rand(PEAK_SIDE, PEAK_SIDE).to(_DTYPES[dtype])
    product = torch.mm(matrix, matrix)
    seconds = _best(partial(torch.mm, matrix, matrix, out=product))
    return float(2 * PEAK_SIDE**3 / seconds / 1e9)


def _convolution_gflop_per_s(dtype: Dtype) -> float:
    """3 x 3, its weights packed beforehand so that arithmetic is all there is."""
    convolution, images = _layer()
    packed = mkldnn_utils.to_mkldnn(convolution, _DTYPES[dtype])  # type: ignore[no-untyped-call] # PyTorch's
    return _rate(partial(packed, images.to(_DTYPES[dtype]).to_mkldnn()), PEAK_LAYERS[0])


def _own_convolution_gflop_per_s(dtype: Dtype) -> float:
    """The same without oneDNN, channels last: five times as fast here as contiguous."""
    convolution, images = _layer()
    convolution.to(dtype=_DTYPES[dtype], memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    images = images.to(dtype=_DTYPES[dtype], memory_format=torch.channels_last)
    return _rate(partial(convolution, images), PEAK_LAYERS[0])


def _int8_gflop_per_s() -> float | None:
    """None where PyTorch was built without oneDNN's int8, or oneDNN has none for this CPU."""
    try:
        return max(_rate(int8_convolution(*layer), layer) for layer in PEAK_LAYERS)
    except (AttributeError, RuntimeError):
        return None


def int8_convolution(channels: int, side: int, batch: int) -> Callable[[], torch.Tensor]:
    """A call of 3 x 3 by the operator that Inductor itself calls for int8: u8 by s8, channels last.

    Raises:
        AttributeError: this PyTorch has no such operator.
        RuntimeError: oneDNN has no such kernel for this CPU.
    """
    images = torch.randint(0, 128, (batch, channels, side, side), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randint(-64, 64, (channels, channels, 3, 3), dtype=torch.int8)
    scales, zeros = torch.full((channels,), 0.01), torch.zeros(channels, dtype=torch.int64)
    taken, given = (0.02, 0), (0.1, 0, torch.uint8)  # scale, zero point, and what comes out
    window = ([1, 1], [1, 1], [1, 1], 1)  # strides, padding, dilation, groups
    packed = torch.ops.onednn.qconv_prepack(weights, scales, *taken, *window, images.shape)
    filters, nothing_fused = (packed, scales, zeros, None), ("none", (), "")
    return lambda: torch.ops.onednn.qconv_pointwise(
        images, *taken, *filters, *window, *given, *nothing_fused
    )


def _layer() -> tuple[torch.nn.Module, torch.Tensor]:
    channels, side, batch = PEAK_LAYERS[0]
    convolution = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
    return convolution, torch.rand(batch, channels, side, side)


def _rate(call: Callable[[], object], layer: tuple[int, int, int]) -> float:
    """GFLOP/s of a convolution of 3 x 3 with as many channels out as in."""
    with torch.inference_mode():
        seconds = _best(call)
    channels, side, batch = layer
    return 2 * 9 * channels**2 * batch * side**2 / seconds / 1e9


def onednn_computes_in(dtype: Dtype) -> bool:
    """Whether oneDNN has kernels of this dtype for this CPU, natively or emulated."""
    if dtype is not Dtype.BF16:
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public way to ask


def _best(call: Callable[[], object]) -> float:
    """Seconds of the fastest call: one at least, then as many as fit into the time."""
    best = float("inf")
    stop = time.perf_counter() + PEAK_SECONDS
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - start)
        if end >= stop:
            return best


def _copy_bytes(cpu: Path = Path("/sys/devices/system/cpu/cpu0")) -> int:
    try:
        text = (cpu / "cache/index3/size").read_text().strip()
        last_level_mib = int(text.removesuffix("K")) // 1024
    except (OSError, ValueError):
        last_level_mib = 0
    return min(max(PEAK_MIB, 4 * last_level_mib), PEAK_MAX_MIB) * 2**20
