"""Time functions that run inside one process: `make microbench`.

The file is not named `test_*.py`, so `make test` does not collect it. One process and no pairing
show what a change to one function did, and cannot compare ways of running the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench.analysis.judge import Judge
from bench.plan.thresholds import DEFAULT
from bench.store import records
from pillqc.data.decoding_process import read_image
from pillqc.data.images import GOOD, normalised
from pillqc.evaluation.evaluate import judge
from pillqc.evaluation.pixels import PixelGatherer
from pillqc.inspection.boxes import find_boxes
from tests.bench.analysis.simulation import BASE, Noise, participant_names, run
from tests.bench.calls import timed_call

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

SIDE = 224
ROWS = 5000


@pytest.fixture
def heat() -> Any:
    """Return a map with a dozen peaks on low noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    found = rng.random((SIDE, SIDE)) * 0.2
    for row, column in rng.integers(10, SIDE - 10, (12, 2)):
        found += np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
    return np.clip(found, 0, 1).astype(np.float32)


def iteration(number: int) -> records.IterationRow:
    """Return a row of iterations.csv."""
    scenario = "inference/ipex/torchscript+fusion/bf16/channels_last/b8"
    return timed_call(scenario, number % 3, number % 12, 100.0, iteration=number)


def test_decode_and_resize(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Read one photo of MVTec's size and turn it into the model's input."""
    path = tmp_path / "pill.png"
    noise = np.random.default_rng(0).integers(0, 255, (800, 800, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    pixels = benchmark(lambda: normalised(read_image(path), SIDE))
    assert pixels.shape == (3, SIDE, SIDE)


def test_map_to_boxes(benchmark: BenchmarkFixture, heat: Any) -> None:
    """Find the boxes of one map."""
    assert benchmark(find_boxes, heat)


def test_pixel_metrics(benchmark: BenchmarkFixture, heat: Any) -> None:
    """Compare eight maps with their masks."""

    def metrics() -> Any:
        gathered = PixelGatherer()
        for _ in range(8):
            gathered.add(heat, heat > 0.6)
        return gathered.metrics()

    assert benchmark(metrics) is not None


def test_image_metrics(benchmark: BenchmarkFixture, heat: Any) -> None:
    """Compare a thousand decisions with their labels."""
    bad = np.random.default_rng(0).random(1000)
    gathered = PixelGatherer()
    gathered.add(heat, heat > 0.6)
    fixed: dict[str, Any] = {
        "model": "m",
        "trained": True,
        "threshold": 0.5,
        "bad": bad,
        "defects": [GOOD if number % 2 else "crack" for number in range(1000)],
        "pixels": gathered.metrics(),
    }
    assert benchmark(lambda: judge(**fixed)).images == 1000


def test_model_of_a_run(benchmark: BenchmarkFixture) -> None:
    """Fit the model of a run with twenty participants in two groups; compute every speedup."""

    def judged() -> int:
        one = run(Noise(), np.random.default_rng(0), processes=1, rounds=8)
        judge = Judge(one.judge.measurements, DEFAULT)
        return sum(judge.compare(name, BASE).rounds for name in participant_names()[2:])

    assert benchmark(judged) == 8 * 18


def test_append_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Append a hundred rows, one write each, as while measuring."""
    rows = [iteration(number) for number in range(100)]
    with records.RunWriter(tmp_path) as writer:

        def append() -> None:
            for row in rows:
                writer.append(row)

        benchmark(append)


def test_read_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Read a run's iterations."""
    path = tmp_path / "iterations.csv"
    records.replace_rows(path, map(iteration, range(ROWS)), records.IterationRow)
    rows, warnings = benchmark(records.read_rows, path, records.IterationRow)
    assert (len(rows), warnings) == (ROWS, [])
