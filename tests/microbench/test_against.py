"""The rules by which sequential times are read, and the policy of the plain version."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.calls import timed_call
from tests.microbench.against import block_variance, differs, plain_policy


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        ([1.0, 1.0], "same"),
        ([1.0, 1.049], "same"),
        ([1.0, 1.051], "slower"),
        ([1.049, 1.0], "same"),
        ([1.051, 1.0], "faster"),
    ],
)
def test_sequential_times_read_the_same_both_ways(times: list[float], verdict: str) -> None:
    """5 % slower and 5 % faster are the same distance."""
    assert differs(times) == verdict


def test_the_plain_version_has_blocks_of_four_after_one() -> None:
    """However long a call is."""
    block = plain_policy().block
    assert (block.min_calls, block.max_calls, block.settle_calls) == (4, 4, 1)
    assert block.settle_below_ms > 1e9


def test_a_block_of_more_calls_varies_less() -> None:
    """Calls of 3 % each, independent of each other; the first one alone is that block."""
    draw = np.random.default_rng(5)
    calls = [
        timed_call(name, 0, number, ms)
        for number in range(400)
        for name in ("one", "other", "third")
        for ms in 100 * draw.normal(1, 0.03, size=4)
    ]
    found = [block_variance(calls, number) ** 0.5 for number in (1, 2, 4)]
    assert found[0] == pytest.approx(0.03, rel=0.1)
    assert found[1] == pytest.approx(0.03 / 2**0.5, rel=0.1)
    assert found[2] < 0.6 * found[0]
