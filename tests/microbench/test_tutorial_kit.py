"""The plain loop of the tutorial's kit learns what pillqc's loop learns; ratios are paired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.microbench.tutorial_kit import (
    KIT,
    LOOPS,
    Training,
    paired,
    table,
    train_kit,
    train_pillqc,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ratio_is_taken_within_rounds() -> None:
    """A round that is twice as slow for both changes nothing; one round has no interval."""
    same = paired([6.0, 12.0, 6.0], [2.0, 4.0, 2.0])
    assert (same.estimate, same.low, same.high) == pytest.approx((3.0, 3.0, 3.0))
    apart = paired([6.0, 6.0], [2.0, 3.0])
    assert apart.low is not None
    assert apart.low < apart.estimate == pytest.approx(6.0**0.5)
    assert str(paired([6.0], [2.0])) == "3.00"


def test_the_table_compares_with_the_kit_of_the_same_way_and_of_stock() -> None:
    """A loop in bf16 has both ratios, and how far its losses are from those of its start."""
    ours = "pillqc, weights of full width"
    one = {
        f"stock/fp32: {KIT}": {"seconds": 60.0, "losses": [2.0, 1.0]},
        f"stock/bf16: {KIT}": {"seconds": 40.0, "losses": [2.0, 1.0]},
        f"stock/bf16: {ours}": {"seconds": 10.0, "losses": [2.0, 1.1]},
    }
    last = table([one], 300).splitlines()[-1]
    assert last == f"| stock/bf16 | {ours} | 30.0 | 4.00 | 6.00 | 5.00% |"


@pytest.mark.torch
def test_the_kit_learns_what_pillqc_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same images, weights and order: the losses of two epochs agree."""
    monkeypatch.setattr("tests.microbench.tutorial_kit.keep_heap", lambda: False)
    plan = RenderPlan(size=40, train_good=0, test_good=5, per_defect=1)
    data = str(render_dataset(tmp_path / "pills", plan, jobs=1).root)
    ours, kit = (
        Training(loop=loop, way="stock/fp32", data=data, epochs=2, size=32)
        for loop in ("pillqc, weights of full width", KIT)
    )
    assert LOOPS[ours.loop] == LOOPS[KIT]
    expected = train_kit(kit)["losses"]
    assert train_pillqc(ours)["losses"] == pytest.approx(expected, rel=1e-3)
    assert expected[1] < expected[0]
