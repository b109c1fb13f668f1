"""Compare the outputs of one scenario with stock default's: does it make the same decisions?

Workers write their outputs to `.npz` files; the parent compares two of them here, with numpy alone,
as they may come from different PyTorch versions.

Inference file: `probabilities` (N, C) float32, `maps` (N, C, h, w) float32, `bad` (N,) bool,
`paths` (N,), `threshold`, `trained`. Training file: `losses` (steps,) float64, `trained`. Images
are matched by path, so a slow scenario may have computed fewer. A model of the user's own:
`output_0`, `output_1`, ... of two batches, `images`, `trained`, and `labels` (N,) of N items if it
has any; a slow scenario may have labelled fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from bench.errors import BenchError
from bench.plan.scenario import Dtype, Task
from bench.text.wording import finite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.plan.thresholds import ParityTolerance

_TELLING = 8
"""Distinct numbers, among which rounding to fewer bits cannot leave every one as it was."""
BAD = 1
"""The column of `probabilities` that says bad."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The fields of `ParityRow` without run and scenario."""

    images: int
    max_abs_error: float | None
    max_abs_map_error: float | None = None
    decisions_changed: int | None = None
    accuracy: float | None = None
    recall_bad: float | None = None
    tolerance: float
    within_tolerance: bool
    trained: bool
    recall_bad_default: float | None = None


def compare(
    reference: Path, candidate: Path, *, task: Task, dtype: Dtype, tolerance: ParityTolerance
) -> Parity:
    """Compare two files of outputs. NaN is outside every tolerance.

    Raises:
        BenchError: a file is missing or damaged, or the two share nothing to compare.
    """
    left, right = _load(reference), _load(candidate)
    try:
        if task is Task.TRAINING:
            return _losses(left, right, dtype, tolerance)
        if "output_0" in left:
            return _numbers(left, right, dtype, tolerance)
        return _decisions(left, right, dtype, tolerance)
    except KeyError as error:
        raise BenchError(f"{candidate} or {reference} has no array {error}") from error


def is_the_same(reference: Path, candidate: Path) -> bool:
    """Return whether two files of a user's model hold the same numbers, bit for bit.

    Arithmetic in less than fp32 never gives the same ones. A few numbers say nothing: a sigmoid may
    return 0 and 1 in any dtype. Of other models, False.

    Raises:
        BenchError: a file is missing or damaged.
    """
    left, right = _load(reference), _load(candidate)
    floats = [n for n in left if n.startswith("output_") and left[n].dtype.kind in "fc"]
    if not floats or not all(np.array_equal(left[n], right.get(n, np.empty(0))) for n in floats):
        return False
    return any(np.unique(left[name]).size >= _TELLING for name in floats)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BenchError(f"cannot read the outputs in {path}: {error}") from error


def _losses(
    reference: Mapping[str, NDArray[Any]],
    candidate: Mapping[str, NDArray[Any]],
    dtype: Dtype,
    tolerance: ParityTolerance,
) -> Parity:
    """Compare losses; the tolerance is a share of the reference's first loss.

    Later losses go to zero, since the model trains on one batch.
    """
    steps = min(len(reference["losses"]), len(candidate["losses"]))
    if steps == 0:
        raise BenchError("the outputs have no loss to compare")
    expected, found = reference["losses"][:steps], candidate["losses"][:steps]
    error = float(np.max(np.abs(expected - found)))
    relative = tolerance.training_loss if dtype is Dtype.FP32 else tolerance.training_loss_bf16
    allowed = relative * abs(float(expected[0]))
    return Parity(
        images=steps,
        max_abs_error=finite(error),
        tolerance=allowed,
        within_tolerance=bool(error <= allowed),
        trained=bool(candidate["trained"]),
    )


def _decisions(
    reference: Mapping[str, NDArray[Any]],
    candidate: Mapping[str, NDArray[Any]],
    dtype: Dtype,
    tolerance: ParityTolerance,
) -> Parity:
    _shared, here, there = np.intersect1d(
        reference["paths"], candidate["paths"], return_indices=True
    )
    if len(here) == 0:
        raise BenchError("the outputs share no image to compare")
    expected, found = reference["probabilities"][here], candidate["probabilities"][there]
    error = _largest_difference(expected, found)
    map_error = _largest_difference(reference["maps"][here], candidate["maps"][there])
    allowed = _allowed(dtype, tolerance)
    allowed_map = allowed_on_maps(allowed, tolerance)
    bad = candidate["bad"][there].astype(bool)
    threshold = float(reference["threshold"])
    called, called_before = found[:, BAD] >= threshold, expected[:, BAD] >= threshold
    return Parity(
        images=len(here),
        max_abs_error=finite(error),
        max_abs_map_error=finite(map_error),
        decisions_changed=int(np.sum(called != called_before)),
        accuracy=float(np.mean(called == bad)),
        recall_bad=float(np.mean(called[bad])) if bad.any() else None,
        recall_bad_default=float(np.mean(called_before[bad])) if bad.any() else None,
        tolerance=allowed,
        within_tolerance=bool(error <= allowed and map_error <= allowed_map),
        trained=bool(candidate["trained"]),
    )


def allowed_on_maps(allowed: float, tolerance: ParityTolerance) -> float:
    """Return how far maps may differ where probabilities may differ by `allowed`."""
    return min(allowed * tolerance.map_factor, tolerance.max_map_error)


def _numbers(
    reference: Mapping[str, NDArray[Any]],
    candidate: Mapping[str, NDArray[Any]],
    dtype: Dtype,
    tolerance: ParityTolerance,
) -> Parity:
    """Compare outputs of unknown meaning; the tolerance is a share of each one's largest value.

    Of whole numbers and booleans, which may be classes, that share of the values may differ. The
    result is that of the output nearest to its limit, or furthest beyond it.
    """
    names = [name for name in reference if name.startswith("output_")]
    share = _allowed(dtype, tolerance)
    worst, error, allowed = -1.0, 0.0, share
    for name in names:
        difference, scale = _difference(reference[name], candidate.get(name, np.empty(0)))
        used = difference / scale if np.isfinite(difference) else float("inf")
        if used > worst:
            worst, error, allowed = used, difference, share * scale
    before, after = reference.get("labels", np.empty(0)), candidate.get("labels", np.empty(0))
    shared = min(len(before), len(after))
    same_number = len(names) == sum(name.startswith("output_") for name in candidate)
    return Parity(
        images=shared or int(reference["images"]),
        max_abs_error=finite(error),
        decisions_changed=int(np.sum(before[:shared] != after[:shared])) if shared else None,
        tolerance=allowed,
        within_tolerance=same_number and worst <= share,
        trained=bool(candidate["trained"]),
    )


def _difference(expected: NDArray[Any], found: NDArray[Any]) -> tuple[float, float]:
    """Return the difference of one output and its scale; NaN if the two cannot be compared.

    Infinities (of a mask, say) must be at the same places.
    """
    exact = "iub"
    if expected.dtype.kind in exact or found.dtype.kind in exact:
        if (expected.shape, expected.dtype.kind) != (found.shape, found.dtype.kind):
            return float("nan"), 1.0
        return (float(np.mean(expected != found)) if expected.size else 0.0), 1.0
    if expected.shape != found.shape:
        return float("nan"), 1.0
    known = np.isfinite(expected)
    if not np.array_equal(expected[~known], found[~known]):
        return float("nan"), 1.0
    scale = float(np.max(np.abs(expected[known]), initial=0.0)) or 1.0
    return float(np.max(np.abs(expected[known] - found[known]), initial=0.0)), scale


def _allowed(dtype: Dtype, tolerance: ParityTolerance) -> float:
    return float(getattr(tolerance, dtype.value))


def _largest_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape:
        return float("nan")
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    return float(np.max(difference, initial=0.0))
