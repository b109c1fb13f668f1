"""Scenarios meet their baselines: groups, controls, stock tuned, reasons for no verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.comparison_groups import group_label
from bench.analysis.speedups import RunAnalysis, comparison_of
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task
from bench.plan.thresholds import DEFAULT
from bench.store.records import NoiseRow, ParityRow
from bench.store.rows import blank
from tests.bench.calls import measured, shared_rounds
from tests.known import known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.records import IterationRow, ScenarioRow, SpeedupRow

STOCK = Scenario(task=Task.INFERENCE, backend="stock", mode=Mode.EAGER, batch_size=8)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
SCRIPT = replace(STOCK, mode=Mode.TORCHSCRIPT, fusion=True)
IPEX = replace(NHWC, backend="ipex")
PLACEBO = replace(STOCK, backend="placebo")
STOCK_BF16 = replace(STOCK, dtype=Dtype.BF16)
IPEX_BF16 = replace(IPEX, dtype=Dtype.BF16)

CONTROL = f"{STOCK.id}#control"
SPEEDS = {
    STOCK.id: 100.0,
    CONTROL: 100.0,
    NHWC.id: 80.0,
    SCRIPT.id: 90.0,
    IPEX.id: 50.0,
    PLACEBO.id: 100.0,
    STOCK_BF16.id: 200.0,
    IPEX_BF16.id: 150.0,
}


def _noise(group: str, round_: int, *, launch: int = 0, pressure: float | None = None) -> NoiseRow:
    return blank(
        NoiseRow,
        run_id="run",
        launch=launch,
        group=group,
        round=round_,
        cpu_pressure=pressure,
        quiet=False,
    )


def _parity(scenario: Scenario, *, right: bool, error: float | None = 0.5) -> ParityRow:
    return blank(
        ParityRow,
        run_id="run",
        scenario=scenario.id,
        images=8,
        max_abs_error=error,
        tolerance=0.001,
        within_tolerance=right,
        trained=False,
    )


def _run(
    *rows: Scenario | ScenarioRow,
    iterations: Sequence[IterationRow] = (),
    noise: Sequence[NoiseRow] = (),
    parity: Sequence[ParityRow] = (),
    workers: Mapping[str, dict[str, object]] | None = None,
) -> RunAnalysis:
    """A run of these scenarios, measured and checked unless a row says otherwise."""
    made = [measured(row) if isinstance(row, Scenario) else row for row in rows]
    calls = iterations or shared_rounds(SPEEDS)
    return RunAnalysis("run", made, calls, noise, parity, DEFAULT, workers=workers)


def _speedups(*rows: Scenario | ScenarioRow, **more: Any) -> dict[tuple[str, str], SpeedupRow]:
    """By scenario and kind of baseline."""
    made = _run(*rows, **more).rows()
    keyed = {(row.scenario, row.baseline_kind): row for row in made}
    assert len(keyed) == len(made)
    return keyed


@pytest.mark.parametrize(
    ("task", "options", "label"),
    [
        (Task.INFERENCE, (), "inference/b8"),
        (Task.INFERENCE, ("no_freezing",), "inference/b8"),
        (Task.TRAINING, ("frozen",), "training/b8/frozen"),
        (Task.TRAINING, ("full", "fused_adam"), "training/b8/full"),
    ],
)
def test_the_label_names_the_group(task: Task, options: tuple[str, ...], label: str) -> None:
    """It is what noise.csv calls the group, and tags that are no group stay out of it."""
    scenario = replace(STOCK, task=task, options=options)
    assert group_label(measured(scenario)) == label
    task_, batch_size, trained = scenario.group
    assert label.split("/") == [str(task_), f"b{batch_size}", *filter(None, [trained])]


def test_every_scenario_meets_both_baselines_and_the_control_comes_first() -> None:
    """A scenario is never compared with itself."""
    rows = _run(STOCK, NHWC, IPEX).rows()
    assert [(row.scenario, row.baseline_kind, row.baseline) for row in rows] == [
        (STOCK.id, "control", CONTROL),
        (STOCK.id, "stock_tuned", NHWC.id),
        (NHWC.id, "stock_default", STOCK.id),
        (IPEX.id, "stock_default", STOCK.id),
        (IPEX.id, "stock_tuned", NHWC.id),
    ]


def test_speedups_are_paired_and_carry_what_they_rest_on() -> None:
    """Drift of 90 % over the run is gone; the interval, margin, launches and rounds are there."""
    row = _speedups(STOCK, IPEX)[IPEX.id, "stock_default"]
    assert row.speedup == pytest.approx(2.0, rel=0.005)
    ends = (row.speedup_low, row.speedup, row.speedup_high)
    assert list(ends) == sorted(end for end in ends if end is not None)
    assert (row.launches, row.rounds, row.margin) == (3, 12, 0.005)
    assert (row.verdict, row.reason) == ("faster", None)
    assert (row.processes, row.borrowed) == (3, False)
    assert row.at_least == pytest.approx((row.speedup_low or 0) - 1)
    assert 0 < known(row.standard_error) < 0.01
    assert known(row.p_value) < 1e-6


def test_the_control_comes_out_as_the_same() -> None:
    """Baseline against a second worker of the baseline."""
    row = _speedups(STOCK)[STOCK.id, "control"]
    assert row.verdict == "same"
    assert row.speedup == pytest.approx(1, abs=0.01)


def test_groups_do_not_mix() -> None:
    """Another batch size and other trained parts have baselines of their own."""
    one = replace(STOCK, batch_size=1)
    frozen = replace(STOCK, task=Task.TRAINING, options=("frozen",))
    full = replace(STOCK, task=Task.TRAINING, options=("full",))
    others = [replace(default, layout=Layout.CHANNELS_LAST) for default in (one, frozen, full)]
    rows = _speedups(*(scenario for scenario in (one, frozen, full, *others)))
    for default, other in zip((one, frozen, full), others, strict=True):
        assert rows[other.id, "stock_default"].baseline == default.id


def test_stock_tuned_is_the_fastest_stock_scenario_of_the_dtype() -> None:
    """Neither IPEX nor the placebo nor another dtype can be it."""
    rows = _speedups(*(s for s in (STOCK, SCRIPT, NHWC, IPEX, PLACEBO, IPEX_BF16)))
    assert rows[IPEX.id, "stock_tuned"].baseline == NHWC.id
    assert rows[IPEX.id, "stock_tuned"].speedup == pytest.approx(1.6, rel=0.005)
    assert rows[SCRIPT.id, "stock_tuned"].verdict == "slower"


def test_stock_default_is_tuned_when_nothing_beats_it() -> None:
    """Emulated bf16 is slower than fp32: then the default is the best that stock has."""
    rows = _speedups(STOCK, STOCK_BF16, IPEX_BF16, IPEX)
    assert rows[IPEX_BF16.id, "stock_tuned"].baseline == STOCK.id
    assert rows[STOCK_BF16.id, "stock_tuned"].baseline == STOCK.id
    assert (STOCK.id, "stock_tuned") not in rows


def test_stock_tuned_of_bf16_is_a_bf16_scenario() -> None:
    """Like is compared with like where stock bf16 is worth having."""
    speeds = {**SPEEDS, STOCK_BF16.id: 40.0, IPEX_BF16.id: 30.0}
    rows = _speedups(
        STOCK,
        NHWC,
        STOCK_BF16,
        IPEX_BF16,
        iterations=shared_rounds(speeds),
    )
    assert rows[IPEX_BF16.id, "stock_tuned"].baseline == STOCK_BF16.id
    assert rows[STOCK.id, "stock_tuned"].baseline == NHWC.id


@pytest.mark.parametrize(
    ("doubtful", "parity"),
    [
        *((measured(NHWC, status=one), ()) for one in ("crashed", "timeout")),
        (measured(NHWC, percent_of_peak=150.0), ()),
        (NHWC, (_parity(NHWC, right=False),)),
    ],
)
def test_only_a_scenario_that_ran_rightly_can_be_tuned(doubtful: Any, parity: Any) -> None:
    """Neither one that crashed nor one that is too fast or wrong."""
    rows = _speedups(STOCK, SCRIPT, doubtful, IPEX, parity=parity)
    assert rows[IPEX.id, "stock_tuned"].baseline == SCRIPT.id
    assert rows[IPEX.id, "stock_default"].verdict == "faster"


def _without(name: str) -> list[IterationRow]:
    """The calls of all participants but one."""
    return shared_rounds({other: ms for other, ms in SPEEDS.items() if other != name})


CRASHED = measured(IPEX, status="crashed", reason="signal 11")
LATE = measured(STOCK, status="timeout", reason="no answer in 180 s")
UNLIKE = {IPEX.id: {"differs": ["threads: 2 against 4"]}}
NO_NUMBER = (_parity(IPEX, right=False, error=None),)
"""As of NaN, or of another shape."""
SLOWED = shared_rounds({**SPEEDS, PLACEBO.id: 85.0})


@pytest.mark.parametrize(
    ("rows", "more", "verdict", "speedup", "words"),
    [
        ((STOCK, IPEX), {"parity": (_parity(IPEX, right=True),)}, "faster", 2, ()),
        ((STOCK, CRASHED), {}, "invalid", None, ("crashed: signal 11",)),
        ((STOCK, IPEX), {"parity": (_parity(IPEX, right=False),)}, "invalid", 2, ("0.5", "0.001")),
        ((STOCK, IPEX), {"parity": NO_NUMBER}, "invalid", 2, ("outputs",)),
        ((STOCK, IPEX), {"workers": UNLIKE}, "invalid", 2, ("threads: 2 against 4",)),
        ((STOCK, measured(IPEX, percent_of_peak=150.0)), {}, "invalid", 2, ("150 %",)),
        # 1.6 times as fast as what runs at 80 % of the peak cannot be the same arithmetic
        ((STOCK, measured(NHWC, percent_of_peak=80.0), IPEX), {}, "invalid", 2, ("channels_last",)),
        ((LATE, IPEX), {}, "invalid", None, (STOCK.id, "timeout: no answer in 180 s")),
        ((IPEX,), {}, "invalid", None, ("no stock default",)),
        ((STOCK, IPEX), {"iterations": _without(IPEX.id)}, "inconclusive", None, ("no round",)),
        ((STOCK, NHWC, measured(IPEX, checked=False)), {}, "inconclusive", 2, ()),
        ((STOCK, measured(IPEX, native_dtype=False)), {}, "faster", 2, ("emulated",)),
        ((STOCK, measured(IPEX, status="no_steady_state")), {}, "faster", 2, ("steady state",)),
    ],
)
def test_what_is_known_of_a_scenario_decides_its_verdict_and_reason(
    rows: Any, more: Any, verdict: str, speedup: float | None, words: tuple[str, ...]
) -> None:
    """What was measured stays visible beside any objection; the others' verdicts stay theirs."""
    found = _speedups(*rows, **more)
    row = found[IPEX.id, "stock_default"]
    assert (row.verdict, row.speedup) == (verdict, speedup and pytest.approx(speedup, rel=0.01))
    assert all(word in (row.reason or "") for word in words)
    if (NHWC.id, "stock_default") in found:
        assert found[NHWC.id, "stock_default"].verdict == "faster"


@pytest.mark.parametrize(("peak", "verdict"), [(150.0, "invalid"), (None, "slower")])
def test_what_was_refused_is_refused_in_every_comparison(peak: float | None, verdict: str) -> None:
    """Not only over the baselines: bf16 over fp32, say, of a scenario that passed the peak."""
    one = _run(STOCK, IPEX, measured(IPEX_BF16, percent_of_peak=peak))
    found = known(one.compare(IPEX_BF16.id, IPEX.id))
    assert (found.verdict, found.is_valid) == (verdict, peak is None)


def test_a_placebo_that_differs_is_invalid() -> None:
    """Against stock default only: against stock tuned it is slower as stock default is."""
    found = _speedups(STOCK, NHWC, PLACEBO, iterations=SLOWED)
    row = found[PLACEBO.id, "stock_default"]
    assert row.verdict == "invalid"
    assert "optimising nothing" in (row.reason or "")
    assert found[PLACEBO.id, "stock_tuned"].verdict == "slower"


def test_without_a_control_verdicts_stand_on_the_baseline_alone() -> None:
    """The control crashed: the model is unchecked, and what processes differ by is known still."""
    rows = _speedups(STOCK, IPEX, NHWC, iterations=_without(CONTROL))
    assert rows[IPEX.id, "stock_default"].verdict == "faster"
    assert rows[STOCK.id, "control"].verdict == "inconclusive"
    assert rows[STOCK.id, "control"].speedup is None


def test_a_control_that_differs_makes_its_group_invalid() -> None:
    """Two identical workers that differ by 10 %: no number of this group can be believed."""
    rows = _speedups(STOCK, IPEX, iterations=shared_rounds({**SPEEDS, CONTROL: 110.0}))
    assert {row.verdict for row in rows.values()} == {"invalid"}


def _with_cpu(row: IterationRow, lost: int) -> IterationRow:
    """The call with both CPUs all the time, or with one in the first `lost` blocks of IPEX."""
    block = 4 * row.launch + (row.round or 0)
    is_lost = row.scenario == IPEX.id and block < lost
    return replace(row, cpu_ns=row.wall_ns if is_lost else 2 * row.wall_ns)


@pytest.mark.parametrize(
    ("lost", "pressure", "verdict"),
    [(0, 0.9, "faster"), (3, 0.9, "faster"), (9, 0.9, "inconclusive"), (10, 0.9, "invalid")],
)
def test_blocks_without_their_cpus_do_not_count(lost: int, pressure: float, verdict: str) -> None:
    """Of twelve, three clean ones are needed, and about as many as its baseline has."""
    noise = tuple(
        _noise("inference/b8", round_, launch=launch, pressure=pressure)
        for launch in range(3)
        for round_ in range(4)
    )
    calls = [_with_cpu(row, lost) for row in shared_rounds(SPEEDS)]
    rows = _speedups(STOCK, NHWC, IPEX, iterations=calls, noise=noise)
    row = rows[IPEX.id, "stock_default"]
    assert (row.verdict, row.rounds) == (verdict, 12 - lost)


def test_stalls_that_nothing_else_caused_count() -> None:
    """The kernel saw no other work in these rounds, or only in another group's: its own time."""
    calls = [_with_cpu(row, 10) for row in shared_rounds(SPEEDS)]
    quiet = tuple(_noise("inference/b8", round_) for round_ in range(4))
    other = tuple(_noise("inference/b1", r, pressure=0.9) for r in range(4))
    rows = _speedups(STOCK, IPEX, iterations=calls, noise=(*quiet, *other))
    row = rows[IPEX.id, "stock_default"]
    assert (row.verdict, row.rounds) == ("faster", 12)


def test_one_launch_borrows_what_processes_differ_by() -> None:
    """It says so. Nothing was repeated at all here, so that a spread is assumed."""
    rows = _speedups(STOCK, SCRIPT, iterations=shared_rounds(SPEEDS, launches=1, rounds=8))
    row = rows[SCRIPT.id, "stock_default"]
    assert (row.processes, row.borrowed) == (1, True)
    assert row.standard_error == pytest.approx(DEFAULT.model.assumed_process_sd * 1.5**0.5, rel=0.1)
    assert row.verdict == "faster"


def test_remarks_say_only_what_is_known_of_what_ran() -> None:
    """Unknown is not emulated, and of a scenario that crashed only that matters."""
    rows = _speedups(
        STOCK,
        measured(IPEX, native_dtype=None),
        measured(IPEX_BF16, native_dtype=False, status="crashed", reason="signal 11"),
    )
    assert rows[IPEX.id, "stock_default"].reason is None
    assert rows[IPEX_BF16.id, "stock_default"].reason == "crashed: signal 11"


def test_stock_default_is_known_by_its_options_too() -> None:
    """Fused Adam is a choice that a user has to make: it is never the default."""
    plain = replace(STOCK, task=Task.TRAINING, options=("full",))
    fused = replace(plain, options=("full", "fused_adam"))
    elsewhere = replace(plain, environment="torch-latest")
    rows = _speedups(fused, elsewhere, plain)
    assert rows[fused.id, "stock_default"].baseline == plain.id
    assert rows[elsewhere.id, "stock_default"].baseline == plain.id


def test_rows_can_be_made_again_from_rows_in_any_order() -> None:
    """Nothing depends on the order in which calls were written."""
    calls = shared_rounds(SPEEDS)
    assert _speedups(STOCK, NHWC, IPEX, iterations=calls[::-1]) == _speedups(
        STOCK, NHWC, IPEX, iterations=calls
    )


def test_a_verdict_of_another_version_supports_no_claim() -> None:
    """Its figures are shown; the word that nobody here knows is not taken for a finding."""
    row = _speedups(STOCK, IPEX)[IPEX.id, "stock_default"]
    found = known(comparison_of(replace(row, verdict="splendid")))
    assert (found.verdict, found.at_least) == ("invalid", None)
