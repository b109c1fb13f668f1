"""Emulated dtypes use their share of the budget and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import WorkerError
from bench.plan.scenario import Layout, Mode, Status
from bench.plan.thresholds import DEFAULT
from tests.bench.run.runs import (
    BF16_1,
    DEFAULT_1,
    DEFAULT_4,
    IPEX_1,
    SMOKE,
    TWICE,
    Build,
    peak_of,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(autouse=True)
def _emulated(backend: Any) -> None:
    backend.emulated_bf16 = True


def _hangs(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
    raise WorkerError(Status.TIMEOUT, "no answer")


def test_a_slow_emulated_dtype_has_few_rounds(run: Build, backend: Any) -> None:
    """It is measured and labelled, and discards no calls of seconds; the others have all rounds."""
    backend.call_ms = {BF16_1.id: 450.0}
    runner = run(DEFAULT_1, IPEX_1, BF16_1)
    rows = rows_of(runner)
    assert rows[BF16_1.id].native_dtype is False
    assert rows[BF16_1.id].launches == 2
    assert rows[BF16_1.id].rounds == 2 * DEFAULT.budget.emulated_rounds < rows[IPEX_1.id].rounds
    calls = runner.state.iterations
    settled = {row.scenario for row in calls if row.phase == "warmup" and row.round}
    assert IPEX_1.id in settled
    assert BF16_1.id not in settled


@pytest.mark.parametrize("call_ms", [10_000.0, 5_000.0])
def test_it_does_not_use_the_budget_of_the_rest(run: Build, backend: Any, call_ms: float) -> None:
    """It is refused; at batch 1 eight calls for outputs are more than warm-up and rounds."""
    backend.call_ms = {BF16_1.id: call_ms}
    rows = rows_of(run(DEFAULT_1, IPEX_1, BF16_1, budget_s=200.0))
    assert rows[BF16_1.id].status == "unavailable"
    assert "bf16 is emulated on this CPU" in (rows[BF16_1.id].reason or "")
    assert rows[IPEX_1.id].launches >= TWICE.processes


def test_a_call_that_cannot_fit_is_not_made(run: Build, backend: Any) -> None:
    """At the peak it would take a minute of the 50 s that emulation may have."""
    peak = peak_of(400.0, bf16=0.5)
    row = rows_of(run(DEFAULT_1, IPEX_1, BF16_1, budget_s=200.0, peak=peak, profile=SMOKE))[
        BF16_1.id
    ]
    assert backend.asked[BF16_1.id, "call"] == 0
    assert (row.status, row.native_dtype) == ("unavailable", False)
    assert "one call would take 1 min 1 s at the least" in (row.reason or "")


def test_a_first_call_that_nothing_foresaw_is_cut(run: Build, backend: Any) -> None:
    """The peak foresees .6 s, but no answer comes: what `charge` would refuse is not waited for."""
    backend.faults[BF16_1.id, "call"] = _hangs
    peak = peak_of(400.0, bf16=50.0)
    slow = run(DEFAULT_1, IPEX_1, BF16_1, budget_s=200.0, peak=peak, profile=SMOKE)
    row = rows_of(slow)[BF16_1.id]
    assert (row.status, row.native_dtype) == ("unavailable", False)
    assert "one call takes over 5 s" in (row.reason or "")
    assert "bf16 is emulated on this CPU" in (row.reason or "")
    assert backend.timeouts_s[BF16_1.id, "call"] == DEFAULT.budget.never_slow_s


def test_what_is_not_slow_may_take_its_time(run: Build, backend: Any) -> None:
    """A worker that hangs in a dtype as fast as fp32 has timed out, and that is what is said."""
    backend.faults[BF16_1.id, "call"] = _hangs
    rows = rows_of(run(DEFAULT_1, IPEX_1, BF16_1, peak=peak_of(400.0, bf16=300.0)))
    assert (rows[BF16_1.id].status, rows[BF16_1.id].reason) == ("timeout", "no answer")


def test_compiling_does_not_count_as_a_calls_time(run: Build, backend: Any) -> None:
    """A first call that compiles for 20 s would predict 260 s of the 50 s; the next takes .1 s."""
    compiled = replace(BF16_1, mode=Mode.COMPILE)

    def compiling(_worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        ns = [20_000_000_000]
        first = {"wall_ns": ns, "cpu_ns": ns, "involuntary_switches": 0}
        return first if fields["phase"] == "first_call" else None

    backend.faults[compiled.id, "call"] = compiling
    rows = rows_of(run(DEFAULT_1, IPEX_1, compiled, budget_s=200.0, profile=SMOKE))
    assert rows[compiled.id].status == "ok"


def test_a_fast_emulated_dtype_is_in_every_round(run: Build, backend: Any) -> None:
    """As int8 without VNNI, which is twice as fast as fp32."""
    backend.call_ms = {BF16_1.id: 50.0}
    runner = run(DEFAULT_1, IPEX_1, BF16_1)
    rounds: dict[str, set[tuple[int, int | None]]] = {BF16_1.id: set(), IPEX_1.id: set()}
    for row in runner.state.iterations:
        if row.scenario in rounds:
            rounds[row.scenario].add((row.launch, row.round))
    launches = {launch for launch, _ in rounds[BF16_1.id]} & {n for n, _ in rounds[IPEX_1.id]}
    together, beside = (
        {one for one in rounds[name] if one[0] in launches} for name in (BF16_1.id, IPEX_1.id)
    )
    assert together == beside
    assert rows_of(runner)[BF16_1.id].rounds > DEFAULT.budget.emulated_rounds * len(launches)


def test_a_fast_one_is_not_refused_for_what_slow_ones_used(run: Build, backend: Any) -> None:
    """int8 was, after bf16 had used the share up."""
    fast = replace(BF16_1, batch_size=4)
    backend.call_ms = {BF16_1.id: 900.0, fast.id: 50.0}
    peak = peak_of(400.0, bf16=300.0)
    rows = rows_of(run(DEFAULT_1, BF16_1, DEFAULT_4, fast, budget_s=176.0, peak=peak))
    assert rows[BF16_1.id].launches == 1  # 43.2 s of the 44 s that a quarter is
    assert rows[fast.id].launches == rows[DEFAULT_4.id].launches > 0


def test_a_cheap_one_keeps_launches_that_an_expensive_one_lost(run: Build, backend: Any) -> None:
    """What is left of the share after the first launch is enough for one of the two."""
    cheap = replace(BF16_1, layout=Layout.CONTIGUOUS)
    backend.call_ms = {BF16_1.id: 900.0, cheap.id: 90.0}
    rows = rows_of(run(DEFAULT_1, IPEX_1, BF16_1, cheap, budget_s=300.0))
    assert rows[BF16_1.id].launches == 1
    assert rows[cheap.id].launches >= TWICE.processes
