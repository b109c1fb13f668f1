"""Claims that physics or the placebo refutes are caught, and true ones are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.plausibility import beyond_reach, over_peak, placebo_differs
from bench.plan.scenario import Mode, Scenario, Task, Verdict
from bench.plan.thresholds import PlausibilityPolicy
from tests.bench.calls import measured

if TYPE_CHECKING:
    from bench.store.records import ScenarioRow

POLICY = PlausibilityPolicy(peak_tolerance=0.10)


def row(**fields: Any) -> ScenarioRow:
    """A scenario's row of which only the given fields matter."""
    plain = Scenario(task=Task.INFERENCE, backend="ipex", mode=Mode.EAGER, batch_size=1)
    return measured(plain, **{"scenario": "a", "native_dtype": True, **fields})


def ratio(estimate: float, low: float | None = None) -> Ratio:
    """A speedup whose interval starts at `low`."""
    return Ratio(
        estimate=estimate,
        low=estimate * 0.98 if low is None else low,
        high=estimate * 1.02,
        launches=3,
        rounds=12,
    )


@pytest.mark.parametrize("share", [None, 20.0, 100.0, 110.0])
def test_what_the_machine_can_do_is_plausible(share: float | None) -> None:
    """Up to the tolerance, and when nothing is known of the peak."""
    assert over_peak(row(percent_of_peak=share), POLICY) is None


def test_more_arithmetic_than_the_peak_is_refuted() -> None:
    """Beyond the tolerance, in a sentence with the figure."""
    assert "131 %" in (over_peak(row(percent_of_peak=131.2), POLICY) or "")


def test_an_emulated_dtype_may_pass_the_peak_of_its_emulation() -> None:
    """The product may be emulated much worse than the convolution."""
    assert over_peak(row(percent_of_peak=300.0, native_dtype=False), POLICY) is None


NHWC = row(scenario="nhwc", backend="stock", percent_of_peak=80.0)


@pytest.mark.parametrize(
    ("gain", "plausible"),
    [
        (ratio(1.2), True),
        (ratio(1.37), True),  # 1.1 / 0.8 = 1.375 is the most
        (ratio(1.5, low=1.3), True),  # part of the interval is possible
        (ratio(1.5, low=1.38), False),
        (ratio(2.0), False),
    ],
)
def test_a_gain_over_channels_last_is_bounded_by_the_peak(gain: Ratio, plausible: bool) -> None:
    """The same arithmetic cannot be done faster than the peak allows; the whole interval counts."""
    assert (beyond_reach(row(), gain, NHWC, POLICY) is None) is plausible


def test_the_sentence_has_the_bound() -> None:
    """A reader can check the sum."""
    sentence = beyond_reach(row(), ratio(2.0), NHWC, POLICY) or ""
    assert "80 %" in sentence
    assert "1.38" in sentence


@pytest.mark.parametrize(
    ("scenario", "gain", "baseline"),
    [
        (row(dtype="bf16"), ratio(9.0), NHWC),
        (row(options="fpmath=bf16"), ratio(9.0), NHWC),
        (NHWC, ratio(9.0), NHWC),
        (row(), None, NHWC),
        (row(), ratio(9.0), None),
        (row(), ratio(9.0), row(scenario="nhwc")),
        (row(), ratio(9.0), row(scenario="nhwc", percent_of_peak=150.0)),
    ],
)
def test_without_the_same_arithmetic_or_a_peak_no_bound_is_known(
    scenario: ScenarioRow, gain: Ratio | None, baseline: ScenarioRow | None
) -> None:
    """Another dtype does other arithmetic; what was not measured bounds nothing."""
    assert beyond_reach(scenario, gain, baseline, POLICY) is None


def over_default(estimate: float, verdict: Verdict) -> Comparison:
    """A comparison with stock default that came out so."""
    return Comparison(
        scenario="a", baseline="default", ratio=ratio(estimate), verdict=verdict, margin=0.005
    )


@pytest.mark.parametrize("verdict", [Verdict.FASTER, Verdict.SLOWER])
def test_a_placebo_with_a_verdict_is_refuted(verdict: Verdict) -> None:
    """Nothing was optimised, so nothing may come of it."""
    sentence = placebo_differs(row(backend="placebo"), over_default(1.2, verdict))
    assert "by 20 %" in (sentence or "")


@pytest.mark.parametrize("verdict", [Verdict.SAME, Verdict.INCONCLUSIVE, Verdict.INVALID])
def test_a_placebo_that_does_not_differ_is_not_refuted(verdict: Verdict) -> None:
    """It is what a placebo should be, or it was refused already."""
    assert placebo_differs(row(backend="placebo"), over_default(1.01, verdict)) is None


def test_only_the_placebo_must_not_differ() -> None:
    """Everybody else is measured because it may."""
    assert placebo_differs(row(backend="ipex"), over_default(1.2, Verdict.FASTER)) is None
