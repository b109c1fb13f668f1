"""Compare this harness with the usual ways of measuring the same calls in the same time.

\b
PYTHONPATH=. python tests/microbench/against.py tools --share 0     who calls equals different
PYTHONPATH=. python tests/microbench/against.py tools --share 0.05  who finds 5 %
PYTHONPATH=. python tests/microbench/against.py plain               half-widths in the same time
PYTHONPATH=. python tests/microbench/against.py calls               how many calls a block is best

Run nothing else on the machine. docs/selfcheck.md and docs/method.md explain the figures.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from bench.analysis.measurements import timed_blocks
from bench.analysis.noise_model import fit
from bench.engine.participants import Participant
from bench.gate.thresholds import Effort
from bench.plan.scenario import SLOWED, Layout, Mode, Task, Verdict, stock_default
from bench.plan.thresholds import DEFAULT
from bench.selfcheck.check import verdict_of
from bench.selfcheck.experiment import Experiment
from bench.selfcheck.real import Workers
from bench.store import run_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.plan.thresholds import Policy
    from bench.selfcheck.experiment import Measured
    from bench.store.records import IterationRow

MANY = 10_000
FAIL_OVER = 0.05
"""The rule of pytest-benchmark's own example, `--benchmark-compare-fail=mean:5%`, and about what a
reader of torch.utils.benchmark's table takes for a difference."""
STOCK = stock_default(Task.INFERENCE, 1)
LAST = replace(STOCK, layout=Layout.CHANNELS_LAST)
IPEX = replace(LAST, backend="ipex")
SCRIPT = replace(IPEX, mode=Mode.TORCHSCRIPT, fusion=True)
FIVE = [
    Participant(name=name, scenario=scenario)
    for name, scenario in (
        ("stock", STOCK),
        ("control", STOCK),
        ("channels_last", LAST),
        ("ipex", IPEX),
        ("ipex_torchscript", SCRIPT),
    )
]
"""The participants of the plain version in docs/selfcheck.md."""

_MODELS = """
import json, os
import torch
from bench.worker.backends.planted import Slowed, _seconds, calibrated
from pillqc.model.network import load_model
share, size, threads, seconds = json.loads(os.environ["AGAINST"])
torch.set_num_threads(threads)
image = torch.rand(1, 3, size, size)
one = load_model("random").model.eval()
other = Slowed(load_model("random").model.eval())
def call(model):
    with torch.inference_mode():
        return model(image)
if share:
    with torch.inference_mode():
        other.units = calibrated(
            share, call=lambda: other.inner(image), burn=other.burn, seconds=_seconds
        )
"""
_BY_TORCH = """
from torch.utils.benchmark import Timer
def median(model):
    timer = Timer("call(model)", globals={"call": call, "model": model}, num_threads=threads)
    return timer.blocked_autorange(min_run_time=seconds / 2).median
print(json.dumps([median(one), median(other)]))
"""
_BY_PYTEST = """
def test_one(benchmark):
    benchmark(call, one)
def test_other(benchmark):
    benchmark(call, other)
"""
"""One process, one model after the other, each tool as its documentation uses it."""


def differs(times: list[float]) -> str:
    """Return the verdict of a user of a sequential tool who reads two times."""
    slower = times[1] / times[0] - 1
    if slower > FAIL_OVER:
        return "slower"
    return "faster" if 1 / (1 + slower) - 1 > FAIL_OVER else "same"


def plain_policy() -> Policy:
    """Return the policy of the plain version: blocks of four calls after one that is discarded."""
    block = replace(DEFAULT.block, min_calls=4, max_calls=4, settle_below_ms=math.inf)
    return replace(DEFAULT, block=block)


@click.group(help=__doc__)
def main() -> None:
    """Group the commands."""


_DATA = click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)


@main.command()
@_DATA
@click.option("--share", type=float, default=0.0, show_default=True, help="Planted slowdown.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="A comparison.")
@click.option("--times", type=int, default=20, show_default=True)
@click.option("--size", type=int, default=64, show_default=True, help="Pixels a side.")
def tools(data: Path, share: float, seconds: float, times: int, size: int) -> None:
    """Count the verdicts of three tools in the same time, starts included."""
    counts: dict[str, list[str]] = {"harness": [], "torch": [], "pytest-benchmark": []}
    with run_folder.only_run_here(), tempfile.TemporaryDirectory() as folder:
        workers = Workers(data=data, folder=Path(folder))
        for _ in range(times):
            counts["harness"].append(_by_harness(workers, share, seconds, size))
            settings = [share, size, len(workers.cpus), seconds]
            counts["torch"].append(differs(_by_torch(settings)))
            counts["pytest-benchmark"].append(differs(_by_pytest(settings, Path(folder))))
    click.echo(json.dumps({"share": share, "seconds": seconds, **_shares(counts)}, indent=2))


def _by_torch(settings: list[float]) -> list[float]:
    done = _run(["-c", _MODELS + _BY_TORCH], settings)
    found: list[float] = json.loads(done.splitlines()[-1])
    return found


def _by_pytest(settings: list[float], folder: Path) -> list[float]:
    """Return its means; each test has half of the time."""
    tests, kept = folder / "test_participants.py", folder / "participants.json"
    tests.write_text(_MODELS + _BY_PYTEST)
    options = ["--benchmark-json", str(kept), "--benchmark-max-time", str(settings[-1] / 2)]
    plugins = ["-c", "/dev/null", "--rootdir", str(folder), "-p", "no:cacheprovider"]
    _run(["-m", "pytest", "-q", *plugins, *options, str(tests)], settings)
    return [one["stats"]["mean"] for one in json.loads(kept.read_text())["benchmarks"]]


def _run(arguments: list[str], settings: list[float]) -> str:
    """Run a fresh process with this checkout's packages; return its output."""
    paths = {"AGAINST": json.dumps(settings), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **paths},
    )
    return done.stdout


def _by_harness(workers: Workers, share: float, seconds: float, size: int) -> str:
    stock = [Participant(name=f"stock-{place}", scenario=STOCK) for place in range(2)]
    slow = replace(STOCK, backend="planted", options=(f"{SLOWED}={share:g}",))
    participant = Participant(name="other", scenario=slow if share else STOCK)
    measured = _measured(
        workers, [*stock, participant], size, DEFAULT, allowed_s=seconds, rounds=MANY
    )
    verdict, _ = verdict_of(measured, participant, stock[0], stock[1], DEFAULT)
    return str(verdict)


def half_width(measured: Measured, participant: Participant) -> float | None:
    """Return the half-width of the participant's speedup over the first one, with its control."""
    _, ratio = verdict_of(measured, participant, FIVE[0], FIVE[1], DEFAULT)
    return ratio.half_width if ratio else None


def _measured(
    workers: Workers,
    participants: list[Participant],
    size: int,
    policy: Policy,
    *,
    allowed_s: float,
    rounds: int,
) -> Measured:
    least = rounds if allowed_s == math.inf else 2
    effort = Effort(launches=3, min_rounds=least, max_rounds=rounds, budget_s=allowed_s)
    return Experiment(
        name="against",
        participants=participants,
        effort=effort,
        policy=policy,
        launch=partial(workers.launch, size),
        starts_at_once=min(2, len(workers.cpus)),
    ).measure()


def _shares(counts: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    words = [*(str(verdict) for verdict in Verdict)]
    return {
        name: {word: found.count(word) / len(found) for word in words if word in found}
        for name, found in counts.items()
    }


@main.command()
@_DATA
@click.option("--times", type=int, default=2, show_default=True)
def plain(data: Path, times: int) -> None:
    """Compare half-widths of the plain version and of the harness in the same seconds, in turns."""
    with run_folder.only_run_here(), tempfile.TemporaryDirectory() as folder:
        workers = Workers(data=data, folder=Path(folder))
        for _ in range(times):
            began = time.monotonic()
            first = _measured(workers, FIVE, 224, plain_policy(), allowed_s=math.inf, rounds=12)
            seconds = time.monotonic() - began
            began = time.monotonic()
            second = _measured(workers, FIVE, 224, DEFAULT, allowed_s=seconds, rounds=MANY)
            click.echo(json.dumps({"plain_s": seconds, "own_s": time.monotonic() - began}))
            for participant in FIVE[1:]:
                widths = [half_width(one, participant) for one in (first, second)]
                click.echo(
                    json.dumps(
                        {"participant": participant.name, "plain": widths[0], "own": widths[1]}
                    )
                )


@main.command()
@_DATA
@click.option("--rounds", type=int, default=30, show_default=True, help="In each of 3 launches.")
def calls(data: Path, rounds: int) -> None:
    """Tell the variance of a block by its number of calls, and what the same precision costs.

    All come from the same blocks of eight calls after one that is discarded.
    """
    block = replace(DEFAULT.block, min_calls=8, settle_below_ms=math.inf)
    with run_folder.only_run_here(), tempfile.TemporaryDirectory() as folder:
        measured = _measured(
            Workers(data=data, folder=Path(folder)),
            FIVE,
            224,
            replace(DEFAULT, block=block),
            allowed_s=math.inf,
            rounds=rounds,
        )
    variances = {number: block_variance(measured.calls, number) for number in range(1, 9)}
    for number, variance in variances.items():
        cost = variance * (1 + number) / (variances[1] * 2)
        click.echo(f"{number} timed: {100 * math.sqrt(variance):.2f} %, {cost:.2f} of the time")


def block_variance(calls: Sequence[IterationRow], number: int) -> float:
    """Return the model's variance of a block, with the first calls of each that are so many."""
    blocks = {
        name: {key: median(row.wall_ns for row in rows[:number]) for key, rows in found.items()}
        for name, found in timed_blocks(calls).items()
    }
    return fit({"": blocks}, DEFAULT.model).groups[""].block_variance


if __name__ == "__main__":
    main()
