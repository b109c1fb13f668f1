"""Two ways of working are timed alternately; here by a scripted clock."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from pillqc import benchmark
from pillqc.benchmark import compare
from pillqc.data.images import Sample
from tests.pillqc.command import run

pytestmark = pytest.mark.torch


def test_both_ways_take_turns_and_the_ratio_is_that_of_their_throughputs() -> None:
    """Ours takes a quarter more time than the plain one, so it has .8 of its throughput."""
    now, order = [0.0], []

    def work(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += seconds

    ways = (lambda: work("plain", 4.0), lambda: work("ours", 5.0))
    done = compare(*ways, images=20, rounds=2, clock=lambda: now[0])
    assert order == ["plain", "ours", "ours", "plain"]
    assert done.ratio == pytest.approx(0.8)
    assert done.spread == pytest.approx((0.8, 0.8))
    assert done.images_per_s == pytest.approx((5.0, 4.0))


def test_the_first_training_of_a_process_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports the backend, which took seconds from the plain loop of the first round."""
    calls: list[str] = []
    monkeypatch.setattr(benchmark, "train", lambda *_, **__: calls.append("train"))
    monkeypatch.setattr(benchmark, "load_model", mock.Mock())
    monkeypatch.setattr(benchmark, "compare", lambda *_, **__: calls.append("timed"))
    pills = [Sample(path=Path(), defect="", bad=bad, mask=None, split="") for bad in (False, True)]
    benchmark.compare_training(pills, backend="stock", size=32, rounds=1)
    assert calls == ["train", "timed"]


@pytest.mark.parametrize("what", ["inspect", "train"])
def test_the_command_measures(rendered: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It prints both throughputs and their ratio."""
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 32)
    small = ("--model", "random", "--size", 32, "--images", 4, "--rounds", 1)
    done = run("benchmark", what, "--data", rendered, *small, "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    speedup = figures["images_per_s"] / figures["plain_images_per_s"]
    assert figures["ratio"] == pytest.approx(speedup)
    keys = "what images rounds plain_images_per_s images_per_s ratio ratio_low ratio_high"
    assert " ".join(figures) == keys
