"""Leaving IPEX: the best of both sides is found, paired within rounds, and judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.analysis.leaving_ipex import Leaving, leaving
from bench.analysis.speedups import RunAnalysis
from bench.plan.scenario import (
    CONTROL_SUFFIX,
    NO_FREEZING,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
)
from bench.plan.thresholds import DEFAULT
from tests.bench.calls import measured, shared_rounds
from tests.known import known

if TYPE_CHECKING:
    from collections.abc import Mapping

STOCK = Scenario(task=Task.INFERENCE, backend="stock", mode=Mode.EAGER, batch_size=8)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
IPEX = replace(NHWC, backend="ipex")
SCRIPT = replace(IPEX, mode=Mode.TORCHSCRIPT, fusion=True)
LATEST = replace(NHWC, environment="torch-latest")
COMPILED = replace(LATEST, mode=Mode.COMPILE)
MS = {STOCK: 100.0, NHWC: 80.0, IPEX: 75.0, SCRIPT: 70.0, LATEST: 76.0, COMPILED: 63.0}


def run_of(
    ms: Mapping[Scenario, float], failed: Mapping[Scenario, str] | None = None
) -> RunAnalysis:
    """A run with these times; those that `failed` names crashed."""
    times = {scenario.id: time for scenario, time in ms.items()}
    calls = shared_rounds({**times, STOCK.id + CONTROL_SUFFIX: ms[STOCK]})
    crashed = {"status": "crashed"}
    rows = [
        measured(one, **({**crashed, "reason": failed[one]} if failed and one in failed else {}))
        for one in ms
    ]
    return RunAnalysis("run", rows, calls, [], [], DEFAULT)


def answers(
    ms: Mapping[Scenario, float] = MS, failed: Mapping[Scenario, str] | None = None
) -> dict[tuple[str, str], Leaving]:
    """Every answer by dtype and environment."""
    found = leaving(run_of(ms, failed), confidence=0.99)
    return {(one.dtype, one.environment): one for one in found}


def test_the_best_of_each_side_meet_within_their_rounds() -> None:
    """Compiled at 63 ms against IPEX with TorchScript at 70 ms is a gain of 1.11 by leaving."""
    found = answers()["fp32", "torch-latest"]
    ends = known(found.stock).scenario, known(found.ipex).scenario
    assert ends == (COMPILED.id, SCRIPT.id)
    comparison = known(found.comparison)
    assert comparison.estimate == pytest.approx(70 / 63, rel=0.01)
    assert comparison.low <= comparison.estimate <= comparison.high
    assert found.verdict == "faster"
    assert found.group == "inference/b8"


def test_staying_on_the_same_pytorch_is_answered_too_and_first() -> None:
    """A team may leave IPEX without a new PyTorch: 80 ms against 70 ms is a loss."""
    found = answers()
    assert [environment for _, environment in found] == ["ipex-2.8", "torch-latest"]
    here = found["fp32", "ipex-2.8"]
    assert here.verdict == "slower"
    assert known(here.comparison).estimate == pytest.approx(70 / 80, rel=0.01)


def test_stock_default_itself_may_be_the_best_that_is_left() -> None:
    """It has no speedup over itself and counts as 1."""
    found = answers({STOCK: 100.0, NHWC: 130.0, IPEX: 75.0})["fp32", "ipex-2.8"]
    assert known(found.stock).scenario == STOCK.id


def test_what_failed_is_not_chosen() -> None:
    """The next best represents its side."""
    found = answers(failed={COMPILED: "no compiler"})["fp32", "torch-latest"]
    assert known(found.stock).scenario == LATEST.id


def test_a_side_without_a_valid_scenario_gives_the_reason() -> None:
    """No ratio, no verdict, and a sentence."""
    found = answers(failed={IPEX: "not installed", SCRIPT: "not installed"})
    one = found["fp32", "torch-latest"]
    assert one.comparison is None
    assert one.verdict == "invalid"
    assert "not installed" in known(one.reason)


def test_a_way_that_only_shows_something_is_on_neither_side() -> None:
    """Compiling without freezing shows what freezing gains; nobody is told to use it."""
    shows = replace(COMPILED, options=(NO_FREEZING,))
    found = answers({**MS, shows: 50.0})["fp32", "torch-latest"]
    assert known(found.stock).scenario == COMPILED.id


def test_an_emulated_dtype_has_no_answer() -> None:
    """Nobody would run it, with IPEX or without."""
    low = [replace(scenario, dtype=Dtype.BF16) for scenario in (SCRIPT, LATEST)]
    run = run_of({**MS, low[0]: 300.0, low[1]: 200.0})
    for label, rows in run.groups.items():
        run.groups[label] = [replace(row, native_dtype=row.dtype != "bf16") for row in rows]
    assert {one.dtype for one in leaving(run, confidence=0.99)} == {"fp32"}


def test_without_ipex_in_the_matrix_there_is_no_answer() -> None:
    """A run of stock scenarios alone says nothing about leaving."""
    assert answers({STOCK: 100.0, LATEST: 76.0}) == {}


def test_dtypes_are_answered_apart() -> None:
    """bf16 against bf16; a dtype that only one side has is left to the reason."""
    low = {replace(s, dtype=Dtype.BF16): 2 * ms for s, ms in MS.items() if s is not STOCK}
    found = answers({**MS, **low})
    assert found["bf16", "torch-latest"].verdict == "faster"
    assert found["bf16", "torch-latest"].ipex is not None


def test_stock_tuned_stays_in_the_default_environment() -> None:
    """What another environment's packages reach is no baseline of this one."""
    found = run_of(MS).rows()
    tuned = {row.baseline for row in found if row.baseline_kind == "stock_tuned"}
    assert tuned == {NHWC.id}
    there = next(row for row in found if row.scenario == COMPILED.id)
    assert "another environment, torch-latest" in (there.reason or "")
