"""The machine's peak, on small work: that each library is asked what it can do."""

from __future__ import annotations

import pytest

from bench.plan.scenario import Dtype
from bench.worker import calibration, kernels
from bench.worker.backends import stock
from tests.hardware import ONEDNN_HAS_BF16


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
    monkeypatch.setattr(calibration, "_copy_bytes", lambda: 1 << 20)


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
    log = kernels.capture(call, stock.verbose())
    (ran,) = kernels.parse(log)
    assert (ran.primitive, ran.data_type("src"), ran.data_type("wei")) == (
        "convolution",
        "u8",
        "s8",
    )
    assert ran.layout("src") == "acdb"
    assert calibration.peak([Dtype.INT8])["gflop_per_s"]["int8"] > 0


@pytest.mark.parametrize("error", [AttributeError("onednn"), RuntimeError("unimplemented")])
def test_int8_that_this_pytorch_cannot_do_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A dtype without a peak gets no percent of it, and ends no run."""

    def convolution(*_layer: int) -> None:
        raise error

    monkeypatch.setattr(calibration, "int8_convolution", convolution)
    assert set(calibration.peak([Dtype.FP32, Dtype.INT8])["gflop_per_s"]) == {"fp32"}
