"""The rules by which sequential times are read, and the policy of the plain version."""

from __future__ import annotations

import pytest

from tests.microbench.against import differs, plain_policy


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
