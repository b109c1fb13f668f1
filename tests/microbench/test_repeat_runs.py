"""The rule by which two runs contradict each other."""

from __future__ import annotations

import pytest

from bench.store.records import ClaimRow
from tests.microbench.repeat_runs import contradict


def row(verdict: str, low: float, high: float) -> ClaimRow:
    """Return a headline with this verdict and interval."""
    return ClaimRow(
        run_id="run",
        claim="best/inference/b1",
        kind="best",
        group="inference/b1",
        dtype=None,
        environment="ipex-2.8",
        candidates="a",
        opponents="b",
        best="a",
        best_opponent="b",
        speedup=(low + high) / 2,
        speedup_low=low,
        speedup_high=high,
        confidence=0.99,
        verdict=verdict,
        reason=None,
        decided_s=None,
        processes_to_decide=None,
        seconds_to_decide=None,
    )


FASTER = row("faster", 1.05, 1.1)
BARELY = row("faster", 1.01, 1.04)
SLOWER = row("slower", 0.9, 0.95)
SAME = row("same", 0.99, 1.02)
OPEN = row("inconclusive", 0.9, 1.2)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (FASTER, SLOWER, True),
        (FASTER, SAME, True),
        (SLOWER, SAME, True),
        (BARELY, SAME, False),
        (FASTER, BARELY, False),
        (FASTER, OPEN, False),
        (SAME, SAME, False),
    ],
)
def test_runs_contradict_if_one_must_be_wrong(
    one: ClaimRow, other: ClaimRow, expected: bool
) -> None:
    """A small difference and `same` do not contradict each other."""
    assert contradict(one, other) is contradict(other, one) is expected
