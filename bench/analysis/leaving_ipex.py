"""Judge what leaving IPEX costs or gains: the best without it over the best with it. Pure.

    for one in leaving(run_analysis): ...

There is one answer for each task, batch size, dtype and environment with stock scenarios: the
fastest usable stock scenario there over the fastest usable IPEX scenario of the same group, both
chosen by the data (`Judge.best`). They must have shared rounds, so both must be of one run. Ways
that only show something, and emulated dtypes, are on neither side.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.scenario_kinds import is_a_choice, varied
from bench.plan.scenario import DEFAULT_ENVIRONMENT, Dtype, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.speedups import RunAnalysis
    from bench.store.records import ScenarioRow


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """Leaving IPEX for the stock PyTorch of one environment, for one group and dtype."""

    group: str
    """As in noise.csv: `inference/b8`, `training/b8/frozen`."""
    dtype: str
    environment: str
    stock: ScenarioRow | None
    """The fastest usable stock scenario there."""
    ipex: ScenarioRow | None
    """The fastest usable IPEX scenario."""
    comparison: Comparison | None
    """Stock over IPEX: above 1 leaving is faster. None without both."""
    verdict: Verdict
    """Of stock over IPEX: `faster` is a gain by leaving, `slower` a loss."""
    reason: str | None
    """Why there is no verdict, a sentence."""


def leaving(run: RunAnalysis, *, confidence: float) -> list[Leaving]:
    """Answer for each group, dtype and environment with both sides in the matrix.

    In the order of the scenarios, the default environment first. `confidence` is that of the run's
    claims.
    """
    kinds: dict[tuple[str, str], list[ScenarioRow]] = defaultdict(list)
    for label, rows in run.groups.items():
        for row in rows:
            if _may_be_chosen(row):
                kinds[label, row.dtype].append(row)
    return [
        _answer(run, label, dtype, environment, rows, confidence)
        for (label, dtype), rows in kinds.items()
        if any(row.backend == "ipex" for row in rows)
        for environment in _environments(rows)
    ]


def _may_be_chosen(row: ScenarioRow) -> bool:
    """Return whether a team that leaves IPEX could run it; int8 is compared with int8 alone."""
    is_a_way = is_a_choice(row) or row.dtype == Dtype.INT8
    return is_a_way and not varied(row) and row.native_dtype is not False


def _environments(rows: Sequence[ScenarioRow]) -> list[str]:
    """Return the environments with stock scenarios, the default one first."""
    named = dict.fromkeys(row.environment for row in rows if row.backend == "stock")
    return sorted(named, key=lambda name: name != DEFAULT_ENVIRONMENT)


def _answer(
    run: RunAnalysis,
    label: str,
    dtype: str,
    environment: str,
    rows: Sequence[ScenarioRow],
    confidence: float,
) -> Leaving:
    """Compare the best of both sides, or say why that is impossible."""
    by_name = {row.scenario: row for row in rows}
    there = [
        row.scenario for row in rows if (row.backend, row.environment) == ("stock", environment)
    ]
    with_ipex = [row.scenario for row in rows if row.backend == "ipex"]
    stock, ipex = run.judge.fastest(there), run.judge.fastest(with_ipex)
    found = run.judge.best(there, with_ipex, confidence=confidence)
    verdict, reason = (
        (found.verdict, found.reason)
        if found is not None
        else _nothing(run, there if ipex else with_ipex, "stock" if ipex else "IPEX")
    )
    return Leaving(
        group=label,
        dtype=dtype,
        environment=environment,
        stock=by_name[stock] if stock else None,
        ipex=by_name[ipex] if ipex else None,
        comparison=found if found is not None and found.ratio is not None else None,
        verdict=verdict,
        reason=reason,
    )


def _nothing(run: RunAnalysis, names: Sequence[str], side: str) -> tuple[Verdict, str]:
    """Return the verdict and its reason when a side has no usable scenario."""
    barred = {**run.judge.measurements.unchecked, **run.judge.measurements.unusable}
    why = next((barred[name] for name in names if name in barred), "")
    return Verdict.INVALID, f"no {side} scenario is valid{': ' + why.rstrip('.') if why else ''}"
