"""Exact bounds of a share, against their definition and known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.analysis import shares


def test_none_in_299_proves_one_percent_and_298_do_not() -> None:
    """The number that the selfcheck is made for."""
    assert shares.at_most(0, 299) < 0.01 < shares.at_most(0, 298)


def test_all_of_59_found_prove_95_percent() -> None:
    """The mirror image."""
    assert shares.at_least(58, 58) < 0.95 < shares.at_least(59, 59)


def test_no_trial_says_nothing() -> None:
    """Neither bound may claim anything then."""
    assert (shares.at_most(0, 0), shares.at_least(0, 0)) == (1.0, 0.0)


@given(trials=st.integers(1, 400), events=st.integers(0, 400))
def test_a_true_share_at_the_bound_gives_so_few_in_one_of_twenty(trials: int, events: int) -> None:
    """That is what the bound means."""
    events = min(events, trials)
    bound = shares.at_most(events, trials)
    if events < trials:
        assert stats.binom.cdf(events, trials, bound) == pytest.approx(0.05, rel=1e-6)
    else:
        assert bound == 1.0
