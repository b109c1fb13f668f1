"""The headlines of a run: which are made, of whom, and that they share one error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.analysis.claims import BEST, IPEX, LEAVING, SUPPORTED, Claims, claims_of
from bench.analysis.speedups import RunAnalysis
from bench.plan.scenario import (
    CONTROL_SUFFIX,
    BaselineKind,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
    stock_default,
)
from bench.plan.thresholds import DEFAULT
from tests.bench.calls import measured, shared_rounds
from tests.known import known

if TYPE_CHECKING:
    from collections.abc import Mapping

STOCK = stock_default(Task.INFERENCE, 1)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
EAGER = replace(NHWC, backend="ipex")
SCRIPT = replace(EAGER, mode=Mode.TORCHSCRIPT, fusion=True)
PLACEBO = replace(STOCK, backend="placebo")
INT8 = replace(SCRIPT, dtype=Dtype.INT8)
IPEX_BF16 = replace(EAGER, dtype=Dtype.BF16)
LATEST = replace(NHWC, environment="torch-latest")
SHIPPED = replace(STOCK, options=("heap=glibc",))
GROUP = "inference/b1"


def claims(ms: Mapping[Scenario, float], **changes: object) -> Claims:
    """Of a run with three launches of six rounds; `changes` are columns of every row."""
    times = {scenario.id: time for scenario, time in ms.items()}
    calls = shared_rounds({**times, STOCK.id + CONTROL_SUFFIX: ms[STOCK]}, rounds=6, spread=0.004)
    rows = [measured(scenario, **changes) for scenario in ms]
    return Claims(RunAnalysis("run", rows, calls, [], [], DEFAULT))


def test_each_group_asks_for_its_best_and_for_ipex() -> None:
    """In fp32; the placebo optimises nothing and int8 is another model, so neither leads."""
    found = claims({STOCK: 100, NHWC: 90, EAGER: 80, SCRIPT: 70, PLACEBO: 60, INT8: 20})
    assert [(one.kind, one.group, one.dtype) for one in found.all] == [
        (BEST, GROUP, ""),
        (SUPPORTED, GROUP, ""),
        (IPEX, GROUP, "fp32"),
    ]
    best, supported, ipex = found.all
    assert set(supported.candidates) == {STOCK.id, NHWC.id}
    assert set(supported.opponents) == {EAGER.id, SCRIPT.id}
    assert set(best.candidates) == {NHWC.id, EAGER.id, SCRIPT.id}
    assert best.opponents == (STOCK.id,)
    assert set(ipex.candidates) == {EAGER.id, SCRIPT.id}
    assert set(ipex.opponents) == {STOCK.id, NHWC.id}


def test_answers_name_the_best_of_both_sides() -> None:
    """70 ms against 90 ms."""
    found = claims({STOCK: 100, NHWC: 90, EAGER: 80, SCRIPT: 70})
    ipex = known(found.answer(IPEX, GROUP, "fp32"))
    assert (ipex.scenario, ipex.baseline, ipex.verdict) == (SCRIPT.id, NHWC.id, "faster")
    assert ipex.estimate == pytest.approx(90 / 70, rel=0.01)
    best = known(found.answer(BEST, GROUP))
    assert (best.scenario, best.baseline) == (SCRIPT.id, STOCK.id)


def test_stocks_fastest_way_counts_though_it_did_not_settle() -> None:
    """Without it IPEX at 80 ms would be called faster than stock PyTorch, which takes 70."""
    rows = [measured(one) for one in (STOCK, NHWC, EAGER)]
    rows[1] = replace(rows[1], status=Status.NO_STEADY_STATE)
    times = {STOCK.id: 100, NHWC.id: 70, EAGER.id: 80, STOCK.id + CONTROL_SUFFIX: 100}
    calls = shared_rounds(times, rounds=6, spread=0.004)
    run = RunAnalysis("run", rows, calls, [], [], DEFAULT)
    ipex = known(Claims(run).answer(IPEX, GROUP, "fp32"))
    assert (ipex.baseline, ipex.verdict) == (NHWC.id, "slower")
    tuned = {row.baseline for row in run.rows() if row.baseline_kind == BaselineKind.STOCK_TUNED}
    assert tuned == {NHWC.id}


def test_headlines_share_one_error() -> None:
    """The more there are, the surer each has to be."""
    few = claims({STOCK: 100, NHWC: 90})
    many = claims({STOCK: 100, NHWC: 90, EAGER: 80, IPEX_BF16: 40, LATEST: 85})
    assert few.confidence == pytest.approx(0.95)
    assert len(many.all) == 6
    assert many.confidence == pytest.approx(1 - 0.05 / 6)
    one, other = few.answer(BEST, GROUP, named=NHWC.id), many.answer(BEST, GROUP, named=NHWC.id)
    assert one is not None
    assert other is not None
    assert other.high - other.low > one.high - one.low


def test_another_environment_is_compared_with_ipex() -> None:
    """85 ms there against 80 ms here is a loss."""
    found = claims({STOCK: 100, NHWC: 90, EAGER: 80, LATEST: 85})
    leaving = known(found.answer(LEAVING, GROUP, "fp32", "torch-latest"))
    assert (leaving.scenario, leaving.baseline, leaving.verdict) == (LATEST.id, EAGER.id, "slower")


def test_supported_ways_are_compared_with_all_others_together() -> None:
    """Whatever their backend and dtype; without others there is nothing to ask, nor in training."""
    script = replace(NHWC, mode=Mode.TORCHSCRIPT, fusion=True)
    compiled = replace(NHWC, mode=Mode.COMPILE)
    ms = {STOCK: 100, NHWC: 90, compiled: 82, script: 80, EAGER: 81}
    answer = claims(ms).answer(SUPPORTED, GROUP)
    assert answer is not None
    assert (answer.scenario, answer.baseline) == (compiled.id, script.id)
    assert answer.estimate == pytest.approx(80 / 82, rel=0.01)
    assert claims({STOCK: 100, compiled: 82}).answer(SUPPORTED, GROUP) is None
    step = stock_default(Task.TRAINING, 8, ("full",))
    rows = [measured(step), measured(replace(step, backend="ipex"))]
    assert [one.kind for one in claims_of({"training/b8/full": rows})] == [BEST, IPEX]


def test_emulated_bf16_and_varied_scenarios_are_in_no_claim() -> None:
    """Nobody would choose the one, and the other runs under other conditions."""
    found = claims({STOCK: 100, EAGER: 80, IPEX_BF16: 300, SHIPPED: 120}, native_dtype=False)
    assert [one.kind for one in found.all] == [BEST, SUPPORTED]
    assert SHIPPED.id not in found.all[0].candidates


def test_a_claim_that_the_run_does_not_make_has_no_answer() -> None:
    """A run without IPEX, or of another batch size."""
    found = claims({STOCK: 100, NHWC: 90})
    assert found.answer(IPEX, GROUP, "fp32") is None
    assert found.answer(BEST, "inference/b8") is None


def test_a_claim_without_an_answer_says_whether_a_side_was_refused() -> None:
    """Only what was not measured is open: no budget decides what was refused."""
    times = {STOCK.id: 100, NHWC.id: 90, EAGER.id: 80, STOCK.id + CONTROL_SUFFIX: 100}
    rows = [measured(one) for one in (STOCK, NHWC, EAGER)]
    for measured_ones, workers, verdict, words in (
        (times, {EAGER.id: {"differs": ["threads: 2 against 4"]}}, "invalid", "2 against 4"),
        (times.keys() - {EAGER.id}, {}, "inconclusive", "was not measured"),
    ):
        ms = {name: times[name] for name in times if name in measured_ones}
        calls = shared_rounds(ms, rounds=6, spread=0.004)
        run = RunAnalysis("run", rows, calls, [], [], DEFAULT, workers=workers)
        found = next(row for row in Claims(run).rows({}) if row.kind == IPEX)
        assert found.verdict == verdict
        assert words in (found.reason or "")
