"""`bench selfcheck` as people call it."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bench.analysis.comparison import Ratio
from bench.engine import launcher
from bench.gate.thresholds import Effort
from bench.plan.scenario import Verdict
from bench.plan.thresholds import DEFAULT, SELFCHECK, NoisePolicy, SteadyStatePolicy
from bench.selfcheck import check, processes
from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.bench.command import bench

if TYPE_CHECKING:
    from pathlib import Path


call = partial(bench, "selfcheck")
"""The command, as on the terminal."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[check.Selfcheck]:
    """A selfcheck that measures nothing and counts one comparison; those that ran."""
    ran: list[check.Selfcheck] = []

    def run(self: check.Selfcheck) -> None:
        ran.append(self)
        self.result.identical.add(Verdict.SAME, None)

    monkeypatch.setattr(check.Selfcheck, "run", run)
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    return ran


def test_the_table_is_printed(counted: list[check.Selfcheck], tmp_path: Path) -> None:
    """With the bound of each line."""
    done = call("--data", tmp_path)
    assert done.exit_code == 0
    assert "0 of 1: at most 95 %  at most 1 %" in done.output
    assert counted[0].amount is check.FULL
    assert counted[0].budget_s == check.FULL.budget_s


def test_json_is_one_object(counted: list[check.Selfcheck], tmp_path: Path) -> None:
    """And nothing else, so that a script can read it."""
    done = call("--quick", "--json", "--budget", 50, "--data", tmp_path)
    assert json.loads(done.output)["identical"]["comparisons"] == 1
    assert counted[0].amount is check.QUICK
    assert counted[0].budget_s == 50


def test_parts_are_those_that_are_named(counted: list[check.Selfcheck], tmp_path: Path) -> None:
    """All of them unless some are; a name that is none is refused with those that are."""
    call("--data", tmp_path)
    call("--part", "bursts", "--part", "planted", "--data", tmp_path)
    assert [set(one.parts) for one in counted] == [set(check.PARTS), {"bursts", "planted"}]
    refused = call("--part", "everything", "--data", tmp_path)
    assert refused.exit_code == 2
    for name in check.PARTS:
        assert name in refused.output


def test_processes_are_measured_if_named(counted: list[check.Selfcheck], tmp_path: Path) -> None:
    """Not by default; alone they have a budget of minutes."""
    call("--data", tmp_path)
    call("--part", "processes", "--data", tmp_path)
    call("--part", "processes", "--quick", "--budget", 7, "--data", tmp_path)
    call("--part", "processes", "--part", "planted", "--data", tmp_path)
    assert [one.processes is None for one in counted] == [True, False, False, False]
    assert [one.budget_s for one in counted] == [
        check.FULL.budget_s,
        processes.FULL.budget_s,
        7,
        check.FULL.budget_s,
    ]
    assert [one.processes.design for one in counted if one.processes] == [
        processes.FULL,
        processes.QUICK,
        processes.FULL,
    ]


def test_an_interrupt_tells_what_was_counted(
    counted: list[check.Selfcheck], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hours must not be lost at the last minute."""

    def interrupted(self: check.Selfcheck) -> None:
        self.result.identical.add(Verdict.SAME, None)
        raise KeyboardInterrupt

    monkeypatch.setattr(check.Selfcheck, "run", interrupted)
    done = call("--data", tmp_path)
    assert done.exit_code == 130
    assert "0 of 1: at most 95 %" in done.output
    assert "Interrupted" in done.output


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_worker_costs_nothing_that_was_counted(
    counted: list[check.Selfcheck], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """It is told with what the worker printed last, since its log goes with the folder."""
    dying = "print('loading'); print('no such device'); raise SystemExit(3)"
    monkeypatch.setattr(launcher, "worker_arguments", lambda *_: (sys.executable, "-c", dying))

    def run(self: check.Selfcheck) -> None:
        self.result.identical.add(Verdict.SAME, None)
        self.launch(32, check.stock_participants(1)[0]).greet(60)

    monkeypatch.setattr(check.Selfcheck, "run", run)
    done = call("--data", tmp_path, *["--json"] * as_json)
    assert done.exit_code == 1
    if as_json:
        found = json.loads(done.stdout)
        assert found["identical"]["comparisons"] == 1
        (told,) = found["notes"]
    else:
        assert "0 of 1: at most 95 %" in done.output
        told = done.stdout.splitlines()[-1]
    for words in ("exit code 3", "no such device"):
        assert words in told
    assert "logs/" not in done.output


def test_a_selfcheck_that_cannot_begin_is_one_line(tmp_path: Path) -> None:
    """No table of nothing, and the exit code of what was wrong."""
    done = call("--data", tmp_path, "--threads", 10_000)
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1


def test_an_interval_without_an_end_is_null_in_the_json(
    counted: list[check.Selfcheck], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One launch shows no process's luck; and JSON has no infinity."""
    unbounded = Ratio(estimate=1.0, low=0.0, high=float("inf"), launches=1, rounds=9)
    monkeypatch.setattr(
        check.Selfcheck, "run", lambda self: self.result.identical.add(Verdict.SAME, unbounded)
    )

    def refuse(name: str) -> None:
        raise ValueError(name)

    found = json.loads(call("--json", "--data", tmp_path).stdout, parse_constant=refuse)
    assert found["identical"]["comparisons"] == 1
    assert found["identical"]["median_half_width"] is None


def test_missing_data_is_one_line() -> None:
    """Before anything is started."""
    done = call("--data", "nowhere")
    assert done.exit_code == 1
    assert "no pill images at nowhere" in done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.torch
@pytest.mark.slow
def test_real_workers_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small, real, and through the whole command: a planted slowdown, and identical ones in bursts.

    `identical` is the same as `bursts` without the second process.
    """
    plan = RenderPlan(size=64, train_good=1, test_good=2, per_defect=1)
    pills = render_dataset(tmp_path / "pills", plan, jobs=1).root
    once = Effort(launches=1, min_rounds=3, max_rounds=3)
    small = replace(
        check.QUICK, participants=3, in_bursts=3, identical_effort=once, planted_effort=once
    )
    policy = replace(  # in bursts, warming up and waiting for idle CPUs would last to their caps
        DEFAULT,
        steady_state=SteadyStatePolicy(max_calls=4, max_seconds=1.0),
        noise=NoisePolicy(idle_wait_s=0.1),
    )
    limits = replace(SELFCHECK, shares=(0.10,))
    brief = partial(check.Selfcheck, limits=limits, policy=policy)
    monkeypatch.setattr(check, "QUICK", small)
    monkeypatch.setattr(check, "Selfcheck", brief)
    parts = ["--part", "planted", "--part", "bursts"]
    done = call("--quick", "--json", *parts, "--threads", 1, "--data", pills)
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    counted = [found["identical_in_bursts"], *found["planted"].values()]
    assert [sum(part["verdicts"].values()) for part in counted] == [3, 1]
    assert all(
        part["comparisons"] + part["verdicts"]["invalid"] == sum(part["verdicts"].values())
        for part in counted
    )
    assert 0 < found["measuring_share"] < 1
    assert 0 <= found["parent_cpu_share"] < 0.2


def test_a_part_that_is_named_twice_has_its_whole_time(
    counted: list[check.Selfcheck], tmp_path: Path
) -> None:
    """Each mention had counted as a part of its own, which shared the budget."""
    call("--part", "bursts", "--part", "bursts", "--data", tmp_path)
    call("--part", "processes", "--part", "processes", "--data", tmp_path)
    assert [list(one.parts) for one in counted] == [["bursts"], ["processes"]]
    assert [one.budget_s for one in counted] == [check.FULL.budget_s, processes.FULL.budget_s]
