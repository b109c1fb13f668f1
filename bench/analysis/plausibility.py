"""Refute impossible results, however narrow their interval is. Pure.

Was more arithmetic done than the machine can do? Does the placebo, which optimises nothing, show
the same gain? Each rule returns a sentence when it refutes, else None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.scenario_kinds import varied
from bench.plan.scenario import Dtype
from bench.plan.variables import FPMATH
from bench.text.wording import percent

if TYPE_CHECKING:
    from bench.analysis.comparison import Comparison, Ratio
    from bench.plan.thresholds import PlausibilityPolicy
    from bench.store.records import ScenarioRow


def over_peak(row: ScenarioRow, policy: PlausibilityPolicy) -> str | None:
    """Refute a scenario that would have run above the measured peak of library calls.

    Not for an emulated dtype: its matrix products and convolutions are emulated in different ways,
    so neither bounds the other.
    """
    if row.percent_of_peak is None or row.native_dtype is False:
        return None
    if row.percent_of_peak <= 100 * (1 + policy.peak_tolerance):
        return None
    return (
        f"it would run at {row.percent_of_peak:.0f} % of the peak measured in this run: it did not "
        "do the work that its label says, or the machine was slowed whenever the peak was taken"
    )


def beyond_reach(
    row: ScenarioRow,
    over_channels_last: Ratio | None,
    channels_last: ScenarioRow | None,
    policy: PlausibilityPolicy,
) -> str | None:
    """Refute an fp32 gain over stock channels_last that would pass the peak.

    This is `over_peak` for paired rounds: drift that hides an impossible time in the median of all
    calls cancels in the ratio. The whole interval must lie beyond the possible. Arithmetic that is
    reduced on purpose has another peak.
    """
    if row.dtype != Dtype.FP32 or FPMATH in varied(row) or over_channels_last is None:
        return None
    if channels_last is None or channels_last.percent_of_peak is None:
        return None
    if row.scenario == channels_last.scenario or over_peak(channels_last, policy):
        return None  # what is impossible itself bounds nothing
    most = 100 * (1 + policy.peak_tolerance) / channels_last.percent_of_peak
    if over_channels_last.low <= most:
        return None
    return (
        f"it would be {over_channels_last.estimate:.3g} times as fast as stock channels_last, "
        f"which runs at {channels_last.percent_of_peak:.0f} % of the measured peak, so that "
        f"{most:.3g} times is the most that this arithmetic leaves room for"
    )


def placebo_differs(row: ScenarioRow, over_default: Comparison) -> str | None:
    """Refute a difference between stock default and stock default with IPEX imported.

    Nothing was optimised. What differs is the process, or kernels that the import exchanged;
    neither is a way of running the model faster.
    """
    if row.backend != "placebo" or not over_default.found:
        return None
    return (
        "importing IPEX and optimising nothing would change stock default by "
        f"{percent(abs(over_default.estimate - 1))}: as much of every IPEX speedup in this group "
        "may come from its process and not from its optimisations"
    )
