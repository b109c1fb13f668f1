"""Two ways of working are timed alternately; here by a scripted clock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pillqc.benchmark import compare
from pillqc.commands.main import main
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


def test_both_ways_take_turns_and_the_ratio_is_that_of_their_throughputs() -> None:
    """Ours takes a quarter more time than the plain one, so it has .8 of its throughput."""
    now, order = [0.0], []

    def work(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += seconds

    done = compare(
        lambda: work("plain", 4.0),
        lambda: work("ours", 5.0),
        images=20,
        rounds=2,
        clock=lambda: now[0],
    )
    assert order == ["plain", "ours", "ours", "plain"]
    assert done.ratio == pytest.approx(0.8)
    assert done.spread == pytest.approx((0.8, 0.8))
    assert done.images_per_s == pytest.approx((5.0, 4.0))


@pytest.mark.parametrize("what", ["inspect", "train"])
def test_the_command_measures_on_real_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It prints both throughputs and their ratio."""
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 32)
    root = tmp_path / "pills"
    render_dataset(root, RenderPlan(size=32, train_good=2, test_good=1, per_defect=1), jobs=1)
    words = ("benchmark", what, "--data", str(root), "--model", "random", "--size", "32")
    done = CliRunner().invoke(main, [*words, "--images", "4", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    speedup = figures["images_per_s"] / figures["plain_images_per_s"]
    assert figures["ratio"] == pytest.approx(speedup)
    keys = "what images rounds plain_images_per_s images_per_s ratio ratio_low ratio_high"
    assert " ".join(figures) == keys
