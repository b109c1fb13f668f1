"""The matrix of a user's own model: what its functions make possible, and nothing twice."""

from __future__ import annotations

from bench.plan.matrix import matrix
from bench.plan.own_models import exclusions, of_own_model, without_repeats
from bench.plan.profiles import PROFILES
from bench.plan.scenario import FULL, Dtype, Task

STANDARD = matrix(PROFILES["standard"])
TOKENS = {"form": {"dims": [2], "weight_dims": [1, 2]}}


def test_without_further_functions_there_is_neither_training_nor_int8() -> None:
    """Its loss and its data are not known; the reasons name the options."""
    kept = of_own_model(STANDARD)
    assert {s.task for s in kept} == {Task.INFERENCE}
    assert {s.dtype for s in kept} == {Dtype.FP32, Dtype.BF16}
    assert len(kept) > 30
    reasons = " ".join(one.reason for one in exclusions())
    assert "--train-step" in reasons
    assert "--calibration" in reasons


def test_calibration_data_make_int8_possible() -> None:
    """The same scenarios as the inspector's."""
    kept = {s.id for s in of_own_model(STANDARD, int8=True)}
    assert {s.id for s in STANDARD if s.dtype is Dtype.INT8} <= kept
    assert "--calibration" not in " ".join(one.reason for one in exclusions(int8=True))


def test_a_loss_makes_training_possible_once_with_everything_trained() -> None:
    """Frozen blocks are the inspector's, and its two groups would be the same here."""
    for name in ("smoke", "standard"):
        kept = of_own_model(matrix(PROFILES[name]), training=True)
        trained = [s for s in kept if s.task is Task.TRAINING]
        assert len({s.id for s in kept}) == len(kept)
        assert {FULL in s.options for s in trained} == {True}
        assert {s.backend for s in trained} == {"stock", "ipex"}
        assert {s.dtype for s in trained} == {Dtype.FP32, Dtype.BF16}
    assert "--train-step" not in " ".join(one.reason for one in exclusions(training=True))


def test_stock_default_is_not_measured_twice_where_no_tensor_has_a_layout() -> None:
    """Token ids and matrices have none; one convolution's weight has."""
    twin = "inference/stock/eager/fp32/channels_last/b1"
    kept, (left_out,) = without_repeats(STANDARD, TOKENS)
    assert {s.id for s in STANDARD} - {s.id for s in kept} == {
        f"inference/stock/eager/fp32/channels_last/b{size}" for size in (1, 8, 32)
    }
    assert twin.removesuffix("/b1") in left_out.what
    for data in ({}, {"form": {"dims": [2], "weight_dims": [1, 4]}}):
        assert without_repeats(STANDARD, data) == (STANDARD, ())
