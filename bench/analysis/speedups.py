"""Turn a run's rows into speedups: each scenario gets its baselines and is judged. Pure.

run = RunAnalysis(run_id, scenarios, iterations, noise, parity, policy, workers=workers)
run.rows()                          # the rows of speedups.csv
run.compare("inference/ipex/...", "inference/stock/...")
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.analysis import plausibility
from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.comparison_groups import group_label
from bench.analysis.judge import Judge
from bench.analysis.measurements import (
    Measurements,
    block_medians,
    disturbance,
    process_seconds,
)
from bench.analysis.scenario_kinds import (
    is_stock_channels_last,
    is_stock_default,
    may_be_tuned,
    varied,
    way,
)
from bench.plan.scenario import (
    CONTROL_SUFFIX,
    DEFAULT_ENVIRONMENT,
    MEASURED,
    BaselineKind,
    Status,
    Verdict,
)
from bench.plan.variables import AS_SHIPPED
from bench.store.records import SpeedupRow
from bench.text.wording import finite
from bench.worker.conditions import unequal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow, ParityRow, ScenarioRow


def measurements_of(
    scenarios: Sequence[ScenarioRow],
    iterations: Sequence[IterationRow],
    noise: Iterable[NoiseRow],
    parity: Iterable[ParityRow],
    policy: Policy,
    *,
    workers: Mapping[str, Mapping[str, Any]],
) -> Measurements:
    """Return the judge's input from a run's rows; `workers` is environment.json's.

    A scenario is unusable if it could not run, its outputs are wrong or its worker's conditions
    differed from stock default's. It is unchecked, without a verdict, until its outputs, conditions
    and kernels have been checked.
    """
    medians = block_medians(iterations)
    groups: dict[str, dict[str, dict[tuple[int, int], float]]] = defaultdict(dict)
    labels = {row.scenario: group_label(row) for row in scenarios}
    for row in scenarios:
        for participant in (row.scenario, row.scenario + CONTROL_SUFFIX):
            if participant in medians:
                groups[labels[row.scenario]][participant] = medians[participant]
    wrong = {row.scenario: row for row in parity if not row.within_tolerance}
    unlike = unequal(workers)
    unusable, unchecked = {}, {}
    for row in scenarios:
        name = row.scenario
        if why := _why_unusable(row, wrong.get(name), unlike.get(name)):
            unusable[name] = why
        elif row.checked is False:
            unchecked[name] = (
                "the run ended before its outputs, conditions and kernels were all checked: "
                "measure again"
            )
    found = disturbance(iterations, noise, labels, policy.noise)
    return Measurements(
        groups=groups,
        lost=found.lost,
        disturbed_shares=found.shares,
        unusable=unusable,
        unchecked=unchecked,
        classes={
            participant: AS_SHIPPED
            for row in scenarios
            if varied(row).get("heap") == AS_SHIPPED
            for participant in (row.scenario, row.scenario + CONTROL_SUFFIX)
        },
        process_s=process_seconds(
            iterations,
            {row.scenario: (row.import_s or 0.0) + (row.prepare_s or 0.0) for row in scenarios},
        ),
    )


def _why_unusable(row: ScenarioRow, wrong: ParityRow | None, unlike: str | None) -> str | None:
    """Return why no verdict may rest on a scenario, or None."""
    if row.status not in MEASURED:
        return f"{row.status}: {row.reason}" if row.reason else row.status
    if wrong is None:
        return unlike
    if wrong.max_abs_error is None:
        return "its outputs do not match stock default's"
    return (
        f"its outputs differ from stock default's by {wrong.max_abs_error:.3g}, "
        f"{wrong.tolerance:.3g} is allowed"
    )


class RunAnalysis:
    """A run's rows, judged: its speedups and any other comparison of two of its scenarios."""

    def __init__(
        self,
        run_id: str,
        scenarios: Sequence[ScenarioRow],
        iterations: Iterable[IterationRow],
        noise: Iterable[NoiseRow],
        parity: Iterable[ParityRow],
        policy: Policy,
        *,
        workers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.run_id = run_id
        self.policy = policy
        self._measured = {row.scenario for row in scenarios if row.status in MEASURED}
        self.groups: dict[str, list[ScenarioRow]] = defaultdict(list)
        for row in scenarios:
            self.groups[group_label(row)].append(row)
        calls = list(iterations)
        found = measurements_of(scenarios, calls, noise, parity, policy, workers=workers or {})
        judge = Judge(found, policy)
        self.judge = judge.barring(dict(self._refuted(judge)))

    def _refuted(self, judge: Judge) -> Iterator[tuple[str, str]]:
        """Yield scenarios that cannot have done what their label says, and why."""
        policy = self.policy.plausibility
        for rows in self.groups.values():
            nhwc = next((row for row in rows if is_stock_channels_last(row)), None)
            for row in rows:
                gain = judge.compare(row.scenario, nhwc.scenario).ratio if nhwc else None
                why = plausibility.over_peak(row, policy) or plausibility.beyond_reach(
                    row, gain, nhwc, policy
                )
                if why:
                    yield row.scenario, why

    def compare(
        self, scenario: str, baseline: str, *, confidence: float | None = None
    ) -> Comparison | None:
        """Compare any two scenarios of a group; None without a common round."""
        found = self.judge.compare(scenario, baseline, confidence=confidence)
        return found if found.ratio is not None else None

    def rows(self) -> list[SpeedupRow]:
        """Return a row for each scenario and baseline, group by group, the control first.

        A scenario that could not run has rows too: `invalid`, with its reason, without a speedup.
        One with wrong outputs keeps its speedup and is `invalid`.
        """
        return [row for label in self.groups for row in self._group_rows(label)]

    def _group_rows(self, label: str) -> Iterator[SpeedupRow]:
        rows = self.groups[label]
        default = next((row for row in rows if is_stock_default(row)), None)
        if default is None:
            for row in rows:
                yield self._row(
                    row,
                    BaselineKind.STOCK_DEFAULT,
                    Comparison(
                        scenario=row.scenario,
                        baseline="",
                        ratio=None,
                        verdict=Verdict.INVALID,
                        reason="the run has no stock default to divide by: measure it too",
                    ),
                )
            return
        yield self._control_row(label, default)
        for row in rows:
            if row is not default:
                found = self.judge.compare(row.scenario, default.scenario)
                if refuted := plausibility.placebo_differs(row, found):
                    found = replace(found, verdict=Verdict.INVALID, reason=refuted)
                yield self._row(row, BaselineKind.STOCK_DEFAULT, found)
            if (tuned := self._over_tuned(row, rows, default)) is not None:
                yield self._row(row, BaselineKind.STOCK_TUNED, tuned)
            yield from self._of_variables(row, rows, default)

    def _control_row(self, label: str, default: ScenarioRow) -> SpeedupRow:
        name, control = default.scenario, default.scenario + CONTROL_SUFFIX
        found = self.judge.check(label, name) or self.judge.compare(name, control)
        return self._row(default, BaselineKind.CONTROL, found)

    def _over_tuned(
        self, row: ScenarioRow, rows: Sequence[ScenarioRow], default: ScenarioRow
    ) -> Comparison | None:
        """Compare the row with the best stock scenario of its dtype; None for that one itself.

        Stock default is one of them: if nothing beats it, it is stock tuned itself.
        """
        stock = (one for one in rows if may_be_tuned(one, row.dtype) or is_stock_default(one))
        family = [one.scenario for one in stock]
        tuned = self.judge.fastest(family) or default.scenario
        if row.scenario == tuned:
            return None
        others = [name for name in family if name != row.scenario]
        found = self.judge.best([row.scenario], others)
        return found or self.judge.compare(row.scenario, tuned)

    def _of_variables(
        self, row: ScenarioRow, rows: Sequence[ScenarioRow], default: ScenarioRow
    ) -> Iterator[SpeedupRow]:
        """Yield what the scenario's variables gain, and what it gains under them."""
        if not varied(row):
            return
        for other in rows:
            if not varied(other) and way(other) == way(row):
                found = self.judge.compare(row.scenario, other.scenario)
                yield self._row(row, BaselineKind.UNVARIED, found)
            same = varied(other) == varied(row) and way(other) == way(default)
            if same and other is not row:
                found = self.judge.compare(row.scenario, other.scenario)
                yield self._row(row, BaselineKind.STOCK_ALIKE, found)

    def _row(self, row: ScenarioRow, kind: BaselineKind, found: Comparison) -> SpeedupRow:
        sides = {found.scenario, found.baseline.removesuffix(CONTROL_SUFFIX)}
        ratio = found.ratio if sides <= self._measured else None
        return SpeedupRow(
            run_id=self.run_id,
            scenario=row.scenario,
            baseline_kind=str(kind),
            baseline=found.baseline,
            speedup=ratio.estimate if ratio else None,
            speedup_low=ratio.low if ratio else None,
            speedup_high=ratio.high if ratio else None,
            margin=found.margin if ratio else None,
            launches=ratio.launches if ratio else 0,
            rounds=ratio.rounds if ratio else 0,
            verdict=str(found.verdict),
            reason="; ".join(filter(None, (found.reason, *_remarks(row)))) or None,
            standard_error=ratio.standard_error if ratio else None,
            degrees_of_freedom=finite(ratio.degrees_of_freedom) if ratio else None,
            processes=ratio.processes if ratio else 0,
            borrowed=ratio.borrowed if ratio else None,
            at_least=found.at_least if ratio else None,
            p_value=ratio.p_value if ratio else None,
            processes_to_decide=found.processes_to_decide,
            seconds_to_decide=found.seconds_to_decide,
        )


def comparison_of(row: SpeedupRow | None) -> Comparison | None:
    """Return the comparison that a row of speedups.csv states; None without a ratio."""
    if row is None or row.speedup is None:
        return None
    return Comparison(
        scenario=row.scenario,
        baseline=row.baseline,
        ratio=Ratio(
            estimate=row.speedup,
            low=row.speedup_low or 0.0,
            high=math.inf if row.speedup_high is None else row.speedup_high,
            launches=row.launches,
            rounds=row.rounds,
            standard_error=row.standard_error,
            degrees_of_freedom=row.degrees_of_freedom,
            processes=row.processes,
            borrowed=bool(row.borrowed),
            p_value=row.p_value,
        ),
        verdict=Verdict(row.verdict) if row.verdict in set(Verdict) else Verdict.INVALID,
        reason=row.reason,
        margin=row.margin,
        processes_to_decide=row.processes_to_decide,
        seconds_to_decide=row.seconds_to_decide,
    )


def _remarks(row: ScenarioRow) -> Iterator[str]:
    """Yield what a reader must know beside any verdict."""
    if row.status not in MEASURED:
        return
    if row.environment != DEFAULT_ENVIRONMENT:
        yield f"measured with the packages of another environment, {row.environment}"
    if row.native_dtype is False:
        yield f"{row.dtype} is emulated on this CPU"
    if row.status == Status.NO_STEADY_STATE:
        yield "its warm-up was cut before a steady state"
