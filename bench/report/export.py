"""Write a run in the formats of pytest-benchmark and github-action-benchmark.

    text = pytest_benchmark(run)                    # `pytest-benchmark compare` reads it
    text = github_action_benchmark(run, "speedup")  # its tool is customBiggerIsBetter
    text = github_action_benchmark(run, "time")     # its tool is customSmallerIsBetter

Both formats hold one number and its spread a benchmark, without pairing, margins and verdicts. A
regression that these tools report is not one that `bench gate` confirmed.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.comparison_groups import group_label
from bench.analysis.measurements import counted_blocks
from bench.analysis.run_facts import Facts
from bench.errors import BenchError
from bench.plan.scenario import BaselineKind, Verdict
from bench.text.wording import count, rounds_in_launches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bench.store.records import Run, ScenarioRow

_PYTEST_BENCHMARK = "5.3.1"
"""The version whose files these are, and with which the test reads them."""
_WHISKER = 1.5
"""Tukey's: data farther than this many interquartile ranges from the quartiles are outliers."""


def pytest_benchmark(run: Run) -> str:
    """Return the run as pytest-benchmark saves a session; a round is one block's median.

    Raises:
        BenchError: nothing was timed.
    """
    metadata = run.metadata
    machine = metadata.machine
    benchmarks = [
        {
            "group": group_label(row),
            "name": row.scenario,
            "fullname": row.scenario,
            "params": None,
            "param": None,
            "extra_info": {"status": row.status, "launches": row.launches},
            "options": {"timer": "perf_counter_ns", "warmup": True, "disable_gc": True},
            "stats": _stats(blocks_ms / 1000),
        }
        for row, blocks_ms in _blocks(run)
    ]
    content = {
        "machine_info": {
            "node": machine.name or None,
            "processor": machine.cpu_model or None,
            "machine": machine.architecture or None,
            "system": "Linux",
            "release": machine.kernel or None,
            "cpu": {
                "vendor_id_raw": machine.vendor or None,
                "brand_raw": machine.cpu_model or None,
                "count": machine.usable_logical_cores,
            },
            "fingerprint": machine.fingerprint or None,
            "torch": machine.packages.get("torch"),
        },
        "commit_info": {
            "id": metadata.commit or None,
            "dirty": metadata.dirty,
            "time": metadata.started_utc or None,
            "author_time": None,
            "project": "pillqc-bench",
            "branch": None,
        },
        "benchmarks": benchmarks,
        "datetime": metadata.started_utc or None,
        "version": _PYTEST_BENCHMARK,
    }
    return _as_text(run, content, benchmarks)


def github_action_benchmark(run: Run, measure: str) -> str:
    """Return a list of named numbers: speedups over stock default, or median times in ms.

    Raises:
        BenchError: the run has none.
    """
    entries = list(_speedups(run) if measure == "speedup" else _times(run))
    return _as_text(run, entries, entries)


def _as_text(run: Run, content: object, entries: Sequence[object]) -> str:
    if not entries:
        raise BenchError(
            f"{run.folder} has nothing to export: no scenario was measured; `bench report` says why"
        )
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _blocks(run: Run) -> Iterator[tuple[ScenarioRow, NDArray[np.float64]]]:
    """Yield each measured scenario with the medians of its undisturbed blocks, in ms."""
    labels = {row.scenario: group_label(row) for row in run.scenarios}
    blocks = counted_blocks(run.iterations, run.noise, labels, run.metadata.policy.noise)
    for row in run.scenarios:
        if blocks.get(row.scenario):
            yield row, np.array(list(blocks[row.scenario].values()))


def _stats(seconds: NDArray[np.float64]) -> dict[str, Any]:
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    reach = _WHISKER * (high - low)
    inside = seconds[(seconds >= low - reach) & (seconds <= high + reach)]
    mean = float(seconds.mean())
    deviation = float(seconds.std(ddof=1)) if seconds.size > 1 else 0.0
    beyond = int((abs(seconds - mean) > deviation).sum())
    return {
        "min": float(seconds.min()),
        "max": float(seconds.max()),
        "mean": mean,
        "stddev": deviation,
        "rounds": int(seconds.size),
        "median": float(middle),
        "iqr": float(high - low),
        "q1": float(low),
        "q3": float(high),
        "iqr_outliers": int(seconds.size - inside.size),
        "stddev_outliers": beyond,
        "outliers": f"{beyond};{seconds.size - inside.size}",
        "ld15iqr": float(inside.min()),
        "hd15iqr": float(inside.max()),
        "ops": 1 / mean,
        "total": float(seconds.sum()),
        "data": seconds.tolist(),
        "iterations": 1,
    }


def _speedups(run: Run) -> Iterator[dict[str, Any]]:
    for row in Facts(run).speedup_rows:
        numbers = (row.speedup, row.speedup_low, row.speedup_high)
        is_wanted = row.baseline_kind == BaselineKind.STOCK_DEFAULT
        if not is_wanted or row.verdict == Verdict.INVALID:
            continue
        if not all(value is not None and math.isfinite(value) for value in numbers):
            continue
        half = ((row.speedup_high or 0.0) - (row.speedup_low or 0.0)) / 2
        yield {
            "name": row.scenario,
            "value": row.speedup,
            "unit": "times stock default",
            "range": f"± {half:.4g}",
            "extra": (
                f"95 %: {row.speedup_low:.4g} to {row.speedup_high:.4g}\n"
                f"{row.verdict}, {rounds_in_launches(row.rounds, row.launches)}"
            ),
        }


def _times(run: Run) -> Iterator[dict[str, Any]]:
    for row, times in _blocks(run):
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        yield {
            "name": row.scenario,
            "value": float(middle),
            "unit": "ms",
            "range": f"± {(high - low) / 2:.4g}",
            "extra": f"half of {count(times.size, 'round')}: {low:.4g} to {high:.4g} ms\n"
            f"{row.status}",
        }
