"""Outputs of two scenarios are compared: decisions, losses, outputs of unknown meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.analysis.parity import Parity, compare, is_the_same
from bench.errors import BenchError
from bench.plan.scenario import Dtype, Task
from bench.plan.thresholds import ParityTolerance
from bench.store.records import ParityRow

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = ParityTolerance()


def decisions(path: Path, bad_probability: list[float], **more: Any) -> Path:
    """Inference outputs as a worker writes them."""
    bad = np.array(bad_probability)
    arrays: dict[str, Any] = {
        "probabilities": np.stack([1 - bad, bad], axis=1).astype(np.float32),
        "maps": np.zeros((len(bad), 2, 3, 3), np.float32),
        "bad": np.array([False, True, False, True][: len(bad)]),
        "paths": np.array(list("abcd")[: len(bad)]),
        "threshold": 0.5,
        "trained": True,
        **more,
    }
    np.savez(path, **arrays)
    return path


def losses(path: Path, values: list[float]) -> Path:
    """Training outputs as a worker writes them."""
    np.savez(path, losses=np.array(values), trained=True)
    return path


def compared(left: Path, right: Path, dtype: Dtype = Dtype.FP32) -> Parity:
    """Compare two inference files."""
    return compare(left, right, task=Task.INFERENCE, dtype=dtype, tolerance=TOLERANCE)


BEFORE = [0.1, 0.9, 0.2, 0.8]


def decided(
    tmp_path: Path, after: list[float], dtype: Dtype = Dtype.FP32, *, both: Any = None, **more: Any
) -> Parity:
    """Compare `after` with `BEFORE`; `both` are arrays of both files, `more` of the second."""
    left = decisions(tmp_path / "a.npz", BEFORE, **(both or {}))
    right = decisions(tmp_path / "b.npz", after, **{**(both or {}), **more})
    return compared(left, right, dtype)


def map_off_by(error: float) -> Any:
    """Maps of zeros but for one point."""
    maps = np.zeros((4, 2, 3, 3), np.float32)
    maps[2, 1, 0, 0] = error
    return maps


def test_equal_outputs_agree_in_everything(tmp_path: Path) -> None:
    """No error, no changed decision, and the labels give accuracy and recall."""
    assert decided(tmp_path, BEFORE) == Parity(
        images=4,
        max_abs_error=0.0,
        max_abs_map_error=0.0,
        decisions_changed=0,
        accuracy=1.0,
        recall_bad=1.0,
        tolerance=TOLERANCE.fp32,
        within_tolerance=True,
        trained=True,
        recall_bad_default=1.0,
    )


def test_a_parity_has_the_fields_of_its_row() -> None:
    """The parent adds the run and the scenario and nothing else."""
    row = set(ParityRow.__dataclass_fields__) - {"run_id", "scenario"}
    assert set(Parity.__dataclass_fields__) == row


def test_decisions_are_counted_at_the_models_threshold(tmp_path: Path) -> None:
    """A bad pill now called good: one decision changed, recall halved."""
    found = decided(tmp_path, [0.1, 0.69, 0.2, 0.8], both={"threshold": 0.7})
    assert (found.decisions_changed, found.accuracy, found.recall_bad) == (1, 0.75, 0.5)
    assert not found.within_tolerance


@pytest.mark.parametrize(
    ("dtype", "error", "within"),
    [
        (Dtype.FP32, 5e-4, True),
        (Dtype.FP32, 5e-3, False),
        (Dtype.BF16, 2e-2, True),
        (Dtype.BF16, 2e-1, False),
        (Dtype.FP16, 5e-3, True),
        (Dtype.FP16, 5e-2, False),
        (Dtype.INT8, 1e-1, True),
        (Dtype.INT8, 2e-1, False),
    ],
)
def test_dtypes_have_tolerances(tmp_path: Path, dtype: Dtype, error: float, within: bool) -> None:
    """What is rounding in bf16 is a bug in fp32."""
    found = decided(tmp_path, [BEFORE[0] + error, *BEFORE[1:]], dtype)
    assert found.within_tolerance is within


@pytest.mark.parametrize(
    ("dtype", "maps"),
    [
        (Dtype.FP32, map_off_by(0.5)),
        (Dtype.INT8, map_off_by(0.6)),  # ten times its tolerance is more than a map can differ by
        (Dtype.FP32, np.zeros((4, 2, 5, 5), np.float32)),
    ],
)
def test_maps_count_too(tmp_path: Path, dtype: Dtype, maps: Any) -> None:
    """Right decisions with a wrong heat map, or one of another size, are wrong output."""
    found = decided(tmp_path, BEFORE, dtype, maps=maps)
    assert not found.within_tolerance
    assert found.max_abs_map_error in (None, pytest.approx(maps.max()))


def test_images_are_matched_by_path(tmp_path: Path) -> None:
    """A slow scenario computed fewer, in whatever order."""
    found = decided(tmp_path, [0.8, 0.1], paths=np.array(["d", "a"]), bad=np.array([True, False]))
    assert found.images == 2
    assert found.max_abs_error == pytest.approx(0, abs=1e-7)
    assert found.accuracy == 1.0


def test_nan_is_never_within_tolerance(tmp_path: Path) -> None:
    """And is written as an empty cell, not as a number."""
    found = decided(tmp_path, [float("nan"), *BEFORE[1:]])
    assert not found.within_tolerance
    assert found.max_abs_error is None


def test_without_bad_images_there_is_no_recall(tmp_path: Path) -> None:
    """An empty cell instead of a division by zero."""
    assert decided(tmp_path, BEFORE, both={"bad": np.zeros(4, bool)}).recall_bad is None


@pytest.mark.parametrize(
    ("dtype", "later", "within"),
    [
        (Dtype.FP32, 0.603, True),
        (Dtype.FP32, 0.65, False),
        (Dtype.BF16, 0.615, True),
        (Dtype.BF16, 0.9, False),
    ],
)
def test_the_tolerance_of_losses_is_a_share_of_the_first(
    tmp_path: Path, dtype: Dtype, later: float, within: bool
) -> None:
    """Later losses go to zero, where a share of themselves would mean nothing."""
    left = losses(tmp_path / "a.npz", [0.7, 0.6])
    right = losses(tmp_path / "b.npz", [0.7, later])
    found = compare(left, right, task=Task.TRAINING, dtype=dtype, tolerance=TOLERANCE)
    assert found.within_tolerance is within
    assert found.max_abs_error == pytest.approx(later - 0.6)
    assert found.decisions_changed is None


def test_what_cannot_be_compared_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Missing, damaged, foreign, and disjoint files."""
    good = decisions(tmp_path / "a.npz", BEFORE)
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(good.read_bytes()[:100])
    other = decisions(tmp_path / "other.npz", BEFORE, paths=np.array(list("wxyz")))
    with pytest.raises(BenchError, match="cannot read the outputs"):
        compared(good, tmp_path / "none.npz")
    with pytest.raises(BenchError, match="cannot read the outputs"):
        compared(good, damaged)
    with pytest.raises(BenchError, match="has no array"):
        compared(good, losses(tmp_path / "l.npz", [1.0]))
    with pytest.raises(BenchError, match="share no image"):
        compared(good, other)


def numbers(path: Path, *outputs: Any) -> Path:
    """Outputs of a model of which nothing else is known; fp32 unless they are arrays already."""
    arrays: dict[str, Any] = {
        f"output_{n}": o if isinstance(o, np.ndarray) else np.asarray(o, np.float32)
        for n, o in enumerate(outputs)
    }
    np.savez(path, images=2, trained=True, **arrays)
    return path


@pytest.mark.parametrize(
    ("found", "within"),
    [
        (([100.05, -3.0], [0.002]), True),
        (([100.2, -3.0], [0.002]), False),
        (([100.0, -3.0], [0.0021]), False),
        (([100.0, float("nan")], [0.002]), False),
        (([100.0, -3.0],), False),
        (([100.0, -3.0], [0.002], [1.0]), False),
        (([[100.0, -3.0]], [0.002]), False),
    ],
)
def test_unknown_outputs_have_a_scaled_tolerance(tmp_path: Path, found: Any, within: bool) -> None:
    """A logit of 100 and a tiny second output each have a thousandth of their own size."""
    left = numbers(tmp_path / "a.npz", [100.0, -3.0], [0.002])
    right = numbers(tmp_path / "b.npz", *found)
    row = compared(left, right)
    assert row.within_tolerance is within
    assert row.decisions_changed is None
    assert row.images == 2


MASKED = np.array([1.0, -np.inf, 2.0])


@pytest.mark.parametrize(
    ("expected", "found", "within"),
    [
        (np.arange(1000), np.arange(1000), True),
        (np.arange(1000), np.arange(1000) + 1, False),  # near by number, and wrong everywhere
        (np.array([True, False]), np.array([True, True]), False),
        (np.array([1, 2]), np.array([1.0, 2.0]), False),
        (MASKED, MASKED.copy(), True),
        (MASKED, np.array([1.0, 2.0, -np.inf]), False),
        (MASKED, np.array([1.0, 0.0, 2.0]), False),
        (np.array([1 + 2j]), np.array([1 + 2j]), True),
        (np.array([1 + 2j]), np.array([1 - 2j]), False),
    ],
)
def test_outputs_that_are_no_fractions_are_compared_as_what_they_are(
    tmp_path: Path, expected: Any, found: Any, within: bool
) -> None:
    """Names of classes, masks with infinities, complex numbers."""
    left = numbers(tmp_path / "a.npz", expected)
    right = numbers(tmp_path / "b.npz", found)
    assert compared(left, right).within_tolerance is within


def test_labels_are_counted_beside_the_numbers(tmp_path: Path) -> None:
    """As far as both have them: a slow scenario labelled fewer items."""

    def labelled(name: str, *labels: str) -> Path:
        path = tmp_path / name
        more: dict[str, Any] = {"labels": np.array(labels)} if labels else {}
        np.savez(path, output_0=np.ones(2), images=2, trained=True, **more)
        return path

    left = labelled("a.npz", "cat", "dog", "dog", "cat")
    found = compared(left, labelled("b.npz", "cat", "cow", "dog"))
    assert (found.images, found.decisions_changed, found.within_tolerance) == (3, 1, True)
    same = compared(left, left)
    assert (same.images, same.decisions_changed) == (4, 0)
    without = compared(left, labelled("c.npz"))
    assert (without.images, without.decisions_changed) == (2, None)


@pytest.mark.parametrize(
    ("found", "same"),
    [
        ({"output_0": np.arange(9.0), "output_1": np.arange(3)}, True),
        ({"output_0": np.arange(9.0), "output_1": np.arange(3) + 1}, True),
        ({"output_0": np.nextafter(np.arange(9.0), 99), "output_1": np.arange(3)}, False),
        ({"output_1": np.arange(3)}, False),
    ],
)
def test_fractions_that_agree_bit_for_bit_are_the_same(
    tmp_path: Path, found: dict[str, Any], same: bool
) -> None:
    """Whole numbers say nothing of the dtype that gave them."""
    left, right = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(left, output_0=np.arange(9.0), output_1=np.arange(3), images=1, trained=True)
    np.savez(right, images=1, trained=True, **found)
    assert is_the_same(left, right) is same


def test_few_numbers_may_agree_by_rounding(tmp_path: Path) -> None:
    """A mask of zeros and ones is one in every dtype; the inspector's file has no such outputs."""
    path = numbers(tmp_path / "a.npz", np.array([0.0, 1.0] * 9))
    assert not is_the_same(path, path)
    assert not is_the_same(*[decisions(tmp_path / "b.npz", BEFORE)] * 2)
