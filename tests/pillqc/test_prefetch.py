"""`prefetch` keeps the order, bounds its memory and raises errors in place."""

from __future__ import annotations

import itertools
import threading

import pytest

from pillqc.prefetch import prefetch


@pytest.mark.parametrize("depth", [0, 1, 3, 99])
def test_results_come_in_order(depth: int) -> None:
    """At every depth."""
    assert list(prefetch(lambda n: n * n, range(7), depth=depth)) == [n * n for n in range(7)]


def test_no_more_than_depth_items_are_taken_before_they_are_needed() -> None:
    """Memory does not grow with the number of items, and no thread is left behind."""
    items = itertools.count()
    results = prefetch(lambda n: n, items, depth=3)
    assert [next(results), next(results)] == [0, 1]
    assert next(items) <= 5
    results.close()  # type: ignore[attr-defined] # a generator
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_an_error_arrives_in_its_place() -> None:
    """Results before it are still delivered."""
    results = prefetch(lambda n: 1 // n, [1, 0, 1], depth=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
