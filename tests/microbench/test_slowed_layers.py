"""What is planted, and what counts as named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.microbench.slowed_layers import PLACES, SHARES, Try, planted, table

A_TRY = {
    "seed": 0,
    "threads": 2,
    "number": 0,
    "commit": None,
    "difference": "1.30 [1.25, 1.35], slower",
    "share": 0.9,
    "accounted": (0.99, 0.94),
    "sentence": "",
}


def a_try(layer: str, way: str, named: str) -> Try:
    """A try that was explained so."""
    return Try(**A_TRY, layer=layer, way=way, named=named)  # type: ignore[arg-type] # its fields


def test_what_is_planted_shows() -> None:
    """Another layer or way each time, in an order that the seed draws, and none too small."""
    first = planted(0)
    assert len(set(first)) == len(first) >= 20
    assert sorted(first) == sorted(planted(1))
    assert first != planted(1)
    assert ("conv3_2", "2") in first
    assert ("conv3_2", "alone") in first
    assert not any(way == "alone" for _, way in planted(0, threads=1))
    assert ("conv5_1", "2") not in first
    assert all(name != "conv1_1" for name, _ in first)
    assert len(PLACES) == len(SHARES) == 13


@pytest.mark.parametrize(
    ("named", "right", "alone"),
    [
        ("conv3_2", True, True),
        ("conv3_2 to conv3_3", True, False),
        ("conv3_3", False, False),
        ("reorders", False, False),
    ],
)
def test_a_layer_is_named_alone_or_with_its_like(named: str, *, right: bool, alone: bool) -> None:
    """Layers of the same arithmetic are one part where one of them runs more often."""
    found = a_try("conv3_2", "3", named)
    assert (found.is_right, found.is_alone) == (right, alone)


def test_the_table_counts() -> None:
    """Right ones, those alone, and those whose time is accounted for."""
    unsure = replace(a_try("conv4_1", "alone", "reorders"), difference="0.95, inconclusive")
    found = table([a_try("conv3_2", "3", "conv3_2"), unsure])
    assert "first in 1 of 2 tries, in 1 of them alone" in found
    assert "names a cause, in 1: the slowed layer in 1 of these" in found
    assert found.endswith("account for 95% of both sides in 0.")
    assert "conv4_1, on one thread" in found
    assert "reorders **(wrong)**" in found
