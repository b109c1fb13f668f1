"""Measure how often the gate is wrong, how often it finds a planted slowdown, and its time.

    PYTHONPATH=. .venv/bin/python tests/microbench/gate_figures.py          # all: some three hours
    PYTHONPATH=. .venv/bin/python tests/microbench/gate_figures.py --part clean --runs 3

Run nothing else on the machine. docs/measured/gate.md has the bounds. Each run is `bench gate
--against HEAD` in a clone of the last commit, whose `CustomVGG` has extra compute where some is
planted. The table is printed and written to reports/gate-figures.md, and every run to
reports/gate-figures.json: runs of the same commit add up, so that the hours can be split.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench.gate.result import NO_VERDICT, PASS, REGRESSION
from bench.gate.thresholds import DEFAULT as GATE
from bench.machine.worker_settings import kept_heap
from bench.plan.thresholds import SELFCHECK
from bench.selfcheck.burner import bursts

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = "inference/stock/eager/fp32/contiguous/b1"
PLANT = """

import torch as _torch

_image, _weight = _torch.rand(1, {channels}, 14, 14), _torch.rand({channels}, {channels}, 3, 3)
_unplanted = CustomVGG.forward


def _planted(self, images):
    result = _unplanted(self, images)
    for _ in range({units}):
        _torch.nn.functional.conv2d(_image, _weight, padding=1)
    return result


CustomVGG.forward = _planted
"""
CHANNELS = 128
"""The extra compute is a convolution like the model's, so that its share is constant: that of small
matrix products was 6 % in one hour and 3 % in the next. One unit is .2 % of the model."""
CALIBRATE = """
import statistics, sys, torch
from bench.worker.backends import planted
from pillqc.model.network import load_model
share, channels = float(sys.argv[1]), int(sys.argv[2])
model = load_model("random").model
images = torch.rand(1, 3, 224, 224)
image, weight = torch.rand(1, channels, 14, 14), torch.rand(channels, channels, 3, 3)
def burn(units):
    for _ in range(units):
        torch.nn.functional.conv2d(image, weight, padding=1)
with torch.inference_mode():
    found = [
        planted.calibrated(
            share, call=lambda: model(images), burn=burn, seconds=planted._seconds
        )
        for _ in range(3)
    ]
print(round(statistics.median(found)))
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One case with its bound."""

    runs: int
    share: float = 0.0
    burning: bool = False
    bound: str

    def is_wrong(self, code: int) -> bool:
        """Return whether the exit code is a wrong answer; no verdict is not wrong.

        Between the margin and what a pass rules out, a pass and a regression are both right.
        """
        passes, regresses = self.share < GATE.ruled_out, self.share > GATE.margin
        return (code == PASS and not passes) or (code == REGRESSION and not regresses)


PARTS = {
    "clean": Part(runs=20, bound="no 10; 60 s"),
    "burner": Part(runs=20, burning=True, bound="a verdict in 8 of 10, none wrong"),
    "burner-tenth": Part(runs=10, share=0.10, burning=True, bound="no 0 (11 is allowed)"),
    "tenth": Part(runs=10, share=0.10, bound="10 in 10 of 10; 5 minutes"),
    "twentieth": Part(runs=10, share=0.05, bound="10 in 9 of 10; 5 minutes"),
    "three": Part(runs=6, share=0.03, bound="10 as often as can be had; 5 minutes"),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One gate."""

    part: str
    code: int
    seconds: float
    speed: float | None
    """Head over base, as measured."""
    commit: str
    units: int
    """Extra compute in every call."""
    case: dict[str, Any] | None
    """The gate's JSON."""


@click.command()
@click.option(
    "--part", "names", multiple=True, type=click.Choice(list(PARTS)), help="Default: all."
)
@click.option(
    "--runs", type=click.IntRange(min=1), help="Of each part now; default: all that it lacks."
)
@click.option("--data", type=click.Path(path_type=Path), default=ROOT / "data" / "pills")
def main(names: tuple[str, ...], runs: int | None, data: Path) -> None:
    """Repeat the gate on known cases and count its answers."""
    kept, measured = kept_runs(), commit()
    found = [run for run in kept if run.commit == measured]
    others = [run for run in kept if run.commit != measured]
    for name in names or tuple(PARTS):
        lacking = PARTS[name].runs - sum(run.part == name for run in found)
        if lacking <= 0:
            continue
        with tempfile.TemporaryDirectory(prefix="gate-figures-") as folder:
            clone = Path(folder) / "clone"
            subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True)
            units = plant(clone, PARTS[name].share)
            for left in range(min(runs or lacking, lacking), 0, -1):
                found.append(gate(name, clone, data.resolve(), units))
                last = found[-1]
                line = f"exit {last.code} in {last.seconds} s, speed {last.speed}"
                click.echo(f"{name}, {left - 1} to come now: {line}", err=True)
                keep(others, found)
    click.echo(table(found))


def commit() -> str:
    """Return the commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip()


def kept_runs() -> list[Run]:
    """Read the runs that earlier calls wrote, of any commit."""
    file = ROOT / "reports" / "gate-figures.json"
    return [Run(**one) for one in json.loads(file.read_text())] if file.exists() else []


def plant(clone: Path, share: float) -> int:
    """Give the clone's model extra compute of this share; return its units."""
    if not share:
        return 0
    done = subprocess.run(
        [sys.executable, "-c", CALIBRATE, str(share), str(CHANNELS)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | kept_heap(os.environ),  # as the gate's own workers
    )
    units = int(done.stdout)
    model = clone / "pillqc" / "model" / "network.py"
    model.write_text(model.read_text() + PLANT.format(channels=CHANNELS, units=units))
    return units


def gate(name: str, clone: Path, data: Path, units: int) -> Run:
    """Run one gate of the clone's working tree against its last commit."""
    burning: AbstractContextManager[object] = nullcontext()
    if PARTS[name].burning:
        burning = bursts(*SELFCHECK.burst_s)
    answer = clone.parent / "gate.json"
    answer.unlink(missing_ok=True)
    arguments = ["gate", "--against", "HEAD", "--only", SCENARIO, "--data", str(data)]
    started = time.monotonic()
    with burning:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *arguments, "--json", str(answer)],
            cwd=clone,
            check=False,
            stdout=subprocess.DEVNULL,
        )
    cases = json.loads(answer.read_text())["cases"] if answer.exists() else []
    case = cases[0] if cases else None
    ratio = case and case["ratio"]
    return Run(
        part=name,
        code=done.returncode,
        seconds=round(time.monotonic() - started, 1),
        speed=ratio and ratio["estimate"],
        commit=commit(),
        units=units,
        case=case,
    )


def table(found: list[Run]) -> str:
    """Return a Markdown table, a line for each part."""
    lines = [
        "| part | bound | runs | exit 0/10/11/other | verdicts | wrong | s each | median speed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(run.part for run in found):
        mine = [run for run in found if run.part == name]
        codes = [sum(run.code == code for run in mine) for code in (PASS, REGRESSION, NO_VERDICT)]
        counts = " / ".join(map(str, [*codes, len(mine) - sum(codes)]))
        wrong = sum(PARTS[name].is_wrong(run.code) for run in mine)
        seconds = ", ".join(f"{run.seconds:.0f}" for run in mine)
        speeds = [run.speed for run in mine if run.speed]
        speed = f"{statistics.median(speeds):.3f}" if speeds else "-"
        lines.append(
            f"| {name} | {PARTS[name].bound} | {len(mine)} | {counts} | {sum(codes[:2])} "
            f"| {wrong} | {seconds} | {speed} |"
        )
    return "\n".join(lines)


def keep(others: list[Run], found: list[Run]) -> None:
    """Write all runs, and the table of this commit's; after every run, lest a series be cut."""
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    text = json.dumps([asdict(run) for run in (*others, *found)], indent=1)
    (reports / "gate-figures.json").write_text(text)
    (reports / "gate-figures.md").write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
