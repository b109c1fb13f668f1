"""Measure the machine's speed by fixed work: now (`probe`), and at its best (`peak`)."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils import mkldnn as mkldnn_utils

from bench.machine import cpu, files
from bench.plan.scenario import Dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.worker import protocol

PROBE_SIDE, PROBE_PRODUCTS = 1024, 2
"""4.3 GFLOP: about 20 ms at the 200 GFLOP/s of two cloud cores."""
PROBE_MIB, PROBE_COPIES = 64, 2
"""Larger than most last-level caches, and about 20 ms at 13 GB/s."""
PEAK_SIDE = 2048
"""Large enough that a product runs at the machine's peak, small enough to try several times."""
PEAK_LAYERS = ((256, 56, 2), (512, 14, 8))
"""Channels, side and batch of two layers of VGG-16, 7.4 GFLOP each. Which one is faster depends on
the dtype, by a tenth; int8, which has no product, tries both."""
PEAK_SECONDS = 0.4
"""Time for each peak; the best of several tries counts."""
PEAK_MIB = 256
"""At least this much is copied, and four times the last-level cache if that is more."""
PEAK_MAX_MIB = 2048
_DTYPES = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16}


def probe() -> protocol.ProbeReply:
    """Time a fixed amount of arithmetic and of copying."""
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


def peak(dtypes: list[Dtype]) -> protocol.PeakReply:
    """Measure the best GFLOP/s of each dtype, and the best copy in GB/s read and written.

    A large matrix product (MKL's in fp32) and a large convolution (oneDNN's) are tried: on CPUs
    that are not Intel's, MKL alone stays a fifth below oneDNN and would refute true results. Where
    oneDNN cannot compute in the dtype (bf16 below AVX-512), PyTorch's own convolution is the best
    that a model gets; the product reached a twentieth of it. int8 uses two convolutions, because
    PyTorch's product has plain loops where VNNI is missing; int8 is left out where this PyTorch has
    no such convolution, and fp16 where the CPU has no instructions for it.
    """
    found = {str(dtype): rate for dtype in dtypes if (rate := _gflop_per_s(dtype)) is not None}
    source = torch.ones(copy_bytes(), dtype=torch.uint8)
    target = source.clone()
    seconds = _best(lambda: target.copy_(source))
    return {"gflop_per_s": found, "memory_gb_per_s": 2 * source.numel() / seconds / 1e9}


def onednn_computes_in(dtype: Dtype) -> bool:
    """Return whether oneDNN has kernels of this dtype for this CPU, native or emulated."""
    if dtype is not Dtype.BF16:
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public way to ask


def is_native(dtype: Dtype, root: Path = Path("/")) -> bool:
    """Return whether the CPU computes in this dtype itself, by its flags.

    Libraries do not answer this: "bf16 supported" means to oneDNN and IPEX that they can emulate.
    """
    found = cpu.parse_cpuinfo(files.text(root / "proc/cpuinfo") or "")
    if dtype is Dtype.BF16:
        return cpu.bf16_native(found.isa)
    if dtype is Dtype.FP16:
        return cpu.fp16_native(found.isa)
    eight_bit = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}
    return dtype is Dtype.FP32 or bool(eight_bit & found.flags)


def int8_convolution(channels: int, side: int, batch: int) -> Callable[[], torch.Tensor]:
    """Return a call of the 3 x 3 operator that Inductor uses for int8: u8 by s8, channels last.

    Raises:
        AttributeError: this PyTorch has no such operator.
        RuntimeError: oneDNN has no such kernel for this CPU.
    """
    images = torch.randint(0, 128, (batch, channels, side, side), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randint(-64, 64, (channels, channels, 3, 3), dtype=torch.int8)
    scales, zeros = torch.full((channels,), 0.01), torch.zeros(channels, dtype=torch.int64)
    taken, given = (0.02, 0), (0.1, 0, torch.uint8)  # scale and zero point, in and out; dtype out
    window = ([1, 1], [1, 1], [1, 1], 1)  # strides, padding, dilation, groups
    packed = torch.ops.onednn.qconv_prepack(weights, scales, *taken, *window, images.shape)
    filters, nothing_fused = (packed, scales, zeros, None), ("none", (), "")
    return lambda: torch.ops.onednn.qconv_pointwise(
        images, *taken, *filters, *window, *given, *nothing_fused
    )


def _gflop_per_s(dtype: Dtype) -> float | None:
    if dtype is Dtype.INT8:
        try:
            return max(_rate(int8_convolution(*layer), layer) for layer in PEAK_LAYERS)
        except (AttributeError, RuntimeError):
            return None
    if dtype is Dtype.FP16 and not is_native(dtype):
        return None
    channels, side, batch = PEAK_LAYERS[0]
    convolution = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
    images = torch.rand(batch, channels, side, side)
    kind = _DTYPES[dtype]
    if not onednn_computes_in(dtype):  # channels last is then five times as fast as contiguous
        convolution.to(dtype=kind, memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
        images = images.to(dtype=kind, memory_format=torch.channels_last)
        return _rate(partial(convolution, images), PEAK_LAYERS[0])
    packed = mkldnn_utils.to_mkldnn(convolution, kind)  # type: ignore[no-untyped-call] # PyTorch's
    rate = _rate(partial(packed, images.to(kind).to_mkldnn()), PEAK_LAYERS[0])
    matrix = torch.rand(PEAK_SIDE, PEAK_SIDE).to(kind)
    product = torch.mm(matrix, matrix)
    seconds = _best(partial(torch.mm, matrix, matrix, out=product))
    return float(max(rate, 2 * PEAK_SIDE**3 / seconds / 1e9))


def _rate(call: Callable[[], object], layer: tuple[int, int, int]) -> float:
    """Return the GFLOP/s of a 3 x 3 convolution with as many channels out as in."""
    with torch.inference_mode():
        seconds = _best(call)
    channels, side, batch = layer
    return 2 * 9 * channels**2 * batch * side**2 / seconds / 1e9


def _best(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of the calls that fit into `PEAK_SECONDS`, at least one."""
    best = float("inf")
    stop = time.perf_counter() + PEAK_SECONDS
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - start)
        if end >= stop:
            return best


def copy_bytes(cpu0: Path = Path("/sys/devices/system/cpu/cpu0")) -> int:
    """Return the bytes to copy so that no cache holds them; `cpu0` is its folder in sysfs."""
    size = (files.text(cpu0 / "cache/index3/size") or "").removesuffix("K")
    last_level_mib = int(size) // 1024 if size.isdecimal() else 0
    return min(max(PEAK_MIB, 4 * last_level_mib), PEAK_MAX_MIB) * 2**20
