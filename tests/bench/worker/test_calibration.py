"""The machine's peak on small work, and the CPU's native dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from bench.plan.scenario import Dtype
from bench.worker import calibration, kernels, logged_calls
from bench.worker.backends import stock
from tests.hardware import ONEDNN_HAS_BF16

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of each kind, and little to do in it."""
    for name, value in (
        ("PEAK_SECONDS", 0.0),
        ("PEAK_SIDE", 64),
        ("PEAK_LAYERS", ((16, 16, 2), (32, 8, 8))),
        ("PEAK_MIB", 1),
    ):
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.setattr(calibration, "copy_bytes", lambda: 1 << 20)


def test_a_dtype_without_kernels_of_onednn_has_a_peak_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing bf16 weights raises on a CPU without AVX-512, which must not end the run."""
    monkeypatch.setattr(calibration, "onednn_computes_in", lambda dtype: dtype is Dtype.FP32)

    def packing(_module: object, dtype: object) -> None:
        raise RuntimeError(f"mkldnn_reorder_conv2d_weight: {dtype} path needs the cpu support")

    monkeypatch.setattr("torch.utils.mkldnn.to_mkldnn", packing)
    found = calibration.peak([Dtype.BF16])
    assert found["gflop_per_s"]["bf16"] > 0
    assert found["memory_gb_per_s"] > 0


def test_what_onednn_computes_in_agrees_with_the_cpus_flags() -> None:
    """PyTorch's answer decides; the flags are what oneDNN's own texts name."""
    assert calibration.onednn_computes_in(Dtype.FP32)
    assert calibration.onednn_computes_in(Dtype.BF16) == ONEDNN_HAS_BF16


def test_the_peak_in_int8_is_of_8_bit_kernels() -> None:
    """The log says what was timed: on every CPU, with VNNI or without."""
    call = calibration.int8_convolution(*calibration.PEAK_LAYERS[0])
    log = logged_calls.capture(call, stock.verbose())
    (ran,) = kernels.parse(log)
    assert (ran.primitive, ran.data_type("src"), ran.data_type("wei")) == (
        "convolution",
        "u8",
        "s8",
    )
    assert ran.layout("src") == "acdb"
    assert calibration.peak([Dtype.INT8])["gflop_per_s"]["int8"] > 0


@pytest.mark.parametrize("error", [AttributeError("onednn"), RuntimeError("unimplemented")])
def test_int8_that_cannot_run_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A dtype without a peak gets no percent of it, and ends no run."""

    def convolution(*_layer: int) -> None:
        raise error

    monkeypatch.setattr(calibration, "int8_convolution", convolution)
    assert set(calibration.peak([Dtype.FP32, Dtype.INT8])["gflop_per_s"]) == {"fp32"}


@pytest.mark.parametrize(
    ("flags", "dtype", "expected"),
    [
        ("fma avx512f avx512_bf16", Dtype.BF16, True),
        ("fma amx_tile amx_bf16", Dtype.BF16, True),
        ("fma avx512f avx512_vnni", Dtype.BF16, False),
        ("fma avx512f avx512_fp16", Dtype.FP16, True),
        ("fma amx_tile amx_fp16", Dtype.FP16, True),
        ("fma avx512f avx512_bf16 amx_tile amx_bf16", Dtype.FP16, False),
        ("fma avx512f avx512_vnni", Dtype.INT8, True),
        ("fma avx2", Dtype.INT8, False),
        ("", Dtype.FP32, True),
    ],
)
def test_native_by_the_cpus_flags(tmp_path: Path, flags: str, dtype: Dtype, expected: bool) -> None:
    """OneDNN and IPEX call bf16 supported where they can only emulate it."""
    cpuinfo = tmp_path / "proc" / "cpuinfo"
    cpuinfo.parent.mkdir()
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: x\n")
    assert calibration.is_native(dtype, tmp_path) is expected


def test_fp16_has_a_peak_only_where_the_cpu_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nothing is measured in it, and timing it could take minutes."""
    asked: list[float] = []

    def rate(*_: object) -> float:
        asked.append(1.0)
        return 1.0

    monkeypatch.setattr(calibration, "_rate", rate)
    monkeypatch.setattr(calibration, "_best", lambda _: 1.0)
    monkeypatch.setattr(calibration, "onednn_computes_in", lambda _: False)  # packs nothing
    monkeypatch.setattr(calibration, "is_native", lambda _: False)
    assert "fp16" not in calibration.peak([Dtype.FP16])["gflop_per_s"]
    assert asked == []
    monkeypatch.setattr(calibration, "is_native", lambda _: True)
    assert calibration.peak([Dtype.FP16])["gflop_per_s"]["fp16"] > 0
    assert asked == [1.0]


def test_native_bf16_agrees_with_pytorch() -> None:
    """PyTorch asks the CPU itself."""
    supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert calibration.is_native(Dtype.BF16) == supported


def test_a_host_without_cpuinfo_computes_natively_in_fp32_alone(tmp_path: Path) -> None:
    """Not every system has the file."""
    assert [calibration.is_native(dtype, tmp_path) for dtype in Dtype] == [
        True,
        False,
        False,
        False,
    ]
