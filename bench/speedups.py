"""From a run's rows to its speedups: what is compared with what, and what it shows. Pure.

    rows = speedup_rows(run_id, scenarios, iterations, noise, parity, DEFAULT)

`statistics` knows ratios and no scenarios; here scenarios get their baselines. The report and the
gate call this on what was read back from disk, so verdicts can be made again from the raw rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import plausibility, variables
from bench.conditions import unequal
from bench.policy import DEFAULT
from bench.records import SpeedupRow
from bench.scenarios import (
    CONTROL_SUFFIX,
    DEFAULT_ENVIRONMENT,
    FROZEN,
    FULL,
    BaselineKind,
    Dtype,
    Layout,
    Mode,
    Phase,
    Status,
    Verdict,
)
from bench.statistics import Ratio, judge, margin, paired_log_ratios, speedup, steady_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.policy import Policy, SteadyStatePolicy
    from bench.records import IterationRow, NoiseRow, ParityRow, ScenarioRow
    from bench.statistics import BlockMedians, Floats

_MEASURED = (Status.OK, Status.NO_STEADY_STATE)
_CALLS_FOR_P90 = 10
_CALLS_FOR_P99 = 100


@dataclass(frozen=True, kw_only=True)
class TimingSummary:
    """The timing fields of a scenario's row."""

    rounds: int
    launches: int
    median_ms: float | None
    """Over all timed calls. For reading; speedups are made from paired blocks instead."""
    p90_ms: float | None
    """Empty for fewer than 10 timed calls: it would be the maximum under another name."""
    p99_ms: float | None
    """Empty for fewer than 100 timed calls."""
    first_call_ms: float | None
    """Of launch 0, the only one that finds the machine's caches cold."""
    warmup_iterations: int | None
    """Calls until it was steady in the first launch, without the first call; all that were made
    where it never was. The calls that outputs were compared by may be more."""
    page_faults: float | None
    """The median over all timed calls that tell."""


def group_label(row: ScenarioRow) -> str:
    """The comparison group as noise.csv has it: `inference/b8`, `training/b8/frozen`."""
    parts = [row.task, f"b{row.batch_size}", *(tag for tag in _tags(row) if tag in (FROZEN, FULL))]
    return "/".join(parts)


def _tags(row: ScenarioRow) -> list[str]:
    return row.options.split("+") if row.options else []


def _is_stock_default(row: ScenarioRow) -> bool:
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    default = ("stock", Mode.EAGER, Dtype.FP32, Layout.CONTIGUOUS, DEFAULT_ENVIRONMENT)
    return choice == default and all(tag in (FROZEN, FULL) for tag in _tags(row))


def _is_stock_channels_last(row: ScenarioRow) -> bool:
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    channels_last = ("stock", Mode.EAGER, Dtype.FP32, Layout.CHANNELS_LAST, DEFAULT_ENVIRONMENT)
    return choice == channels_last and not variables.of_tags(_tags(row))


def _way(row: ScenarioRow) -> tuple[object, ...]:
    """How the row runs the model, whatever variables surround it."""
    tags = variables.without(_tags(row))
    kind = (row.task, row.backend, row.mode, row.fusion, row.dtype, row.layout)
    return (*kind, row.batch_size, tags, row.environment)


def block_medians(iterations: Iterable[IterationRow]) -> dict[str, dict[tuple[int, int], float]]:
    """Scenario -> (launch, round) -> median wall ms of the block's timed calls."""
    blocks: dict[str, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in iterations:
        if row.phase == Phase.TIMED and row.round is not None:
            blocks[row.scenario][row.launch, row.round].append(row.wall_ns)
    return {
        scenario: {key: float(np.median(calls)) / 1e6 for key, calls in rounds.items()}
        for scenario, rounds in blocks.items()
    }


def timing_summary(
    iterations: Iterable[IterationRow], steady_state: SteadyStatePolicy = DEFAULT.steady_state
) -> TimingSummary:
    """What the calls of one scenario say about its own time. All None without timed calls."""
    rows = list(iterations)
    timed = [row for row in rows if row.phase == Phase.TIMED and row.round is not None]
    wall_ms = np.array([row.wall_ns for row in timed]) / 1e6
    first_launch = min((row.launch for row in rows), default=0)
    warmup = [row for row in rows if row.phase == Phase.WARMUP and row.round is None]
    cold = [row for row in rows if row.phase == Phase.FIRST_CALL and row.launch == 0]
    pages = np.array([row.page_faults for row in timed if row.page_faults is not None], dtype=float)
    return TimingSummary(
        rounds=len({(row.launch, row.round) for row in timed}),
        launches=len({row.launch for row in timed}),
        median_ms=_quantile(wall_ms, 0.5, at_least=1),
        p90_ms=_quantile(wall_ms, 0.9, at_least=_CALLS_FOR_P90),
        p99_ms=_quantile(wall_ms, 0.99, at_least=_CALLS_FOR_P99),
        first_call_ms=cold[0].wall_ns / 1e6 if cold else None,
        warmup_iterations=_until_steady(warmup, first_launch, steady_state) if rows else None,
        page_faults=_quantile(pages, 0.5, at_least=1),
    )


def _until_steady(warmup: Sequence[IterationRow], launch: int, policy: SteadyStatePolicy) -> int:
    calls_ms = [row.wall_ns / 1e6 for row in warmup if row.launch == launch]
    return steady_after(calls_ms, policy) or len(calls_ms)


def _quantile(values: Floats, share: float, *, at_least: int) -> float | None:
    return float(np.quantile(values, share)) if len(values) >= at_least else None


def speedup_rows(
    run_id: str,
    scenarios: Sequence[ScenarioRow],
    iterations: Iterable[IterationRow],
    noise: Iterable[NoiseRow],
    parity: Iterable[ParityRow],
    policy: Policy,
    *,
    workers: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[SpeedupRow]:
    """One row for every scenario and baseline, group by group, the group's control first.

    A scenario that could not run has its rows too: `invalid`, its reason, no speedup. One whose
    outputs are wrong keeps its speedup and is `invalid`. `workers` is environment.json's: one whose
    conditions differed from stock default's is `invalid` too.

    Stock tuned is chosen and measured by the same rounds, so the luck that made it the fastest is
    in its time: against it everything else looks slower than it is. Simulated with six equally
    fast stock scenarios (3 launches of 12 rounds; noise of 3 % a round and 1 % a launch) by 1.1 %,
    well under the margin; with scenarios 1 % apart by 0.1 %. Choosing by every other round only
    made that 0.8 %, since both halves share the luck of their launches, and chose worse where the
    scenarios do differ. So all rounds choose, and the error is left on the careful side. (Simulated
    once; no test holds it.)
    """
    run = _Evidence(run_id, iterations, noise, parity, policy, workers or {})
    groups: dict[str, list[ScenarioRow]] = defaultdict(list)
    for row in scenarios:
        groups[group_label(row)].append(row)
    return [row for label, rows in groups.items() for row in _Group(run, label, rows).speedups()]


class _Evidence:
    """Everything a run's rows say, by scenario."""

    def __init__(
        self,
        run_id: str,
        iterations: Iterable[IterationRow],
        noise: Iterable[NoiseRow],
        parity: Iterable[ParityRow],
        policy: Policy,
        workers: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.run_id = run_id
        self.policy = policy.verdict
        self.plausibility = policy.plausibility
        self.medians = block_medians(iterations)
        self.quiet: dict[str, dict[tuple[int, int], bool]] = defaultdict(dict)
        for row in noise:
            self.quiet[row.group][row.launch, row.round] = row.quiet
        self.wrong = {row.scenario: row for row in parity if not row.within_tolerance}
        self.unequal = unequal(workers)

    def blocks(self, scenario: str) -> BlockMedians:
        return self.medians.get(scenario, {})

    def ratio(self, scenario: str, baseline: str) -> Ratio | None:
        """The speedup, or None without a shared round."""
        pairs = paired_log_ratios(self.blocks(baseline), self.blocks(scenario))
        if not pairs:
            return None
        policy = self.policy
        return speedup(
            pairs,
            draws=policy.bootstrap_draws,
            seed=policy.seed,
            confidence=policy.confidence,
        )

    def noisy_share(self, label: str, scenario: str, baseline: str) -> float | None:
        """Share of the paired rounds that were not quiet; None where none has a reading."""
        rounds = self.quiet.get(label, {})
        shared = self.blocks(scenario).keys() & self.blocks(baseline).keys()
        quiet = [rounds[key] for key in shared if key in rounds]
        return 1 - sum(quiet) / len(quiet) if quiet else None

    def why_unusable(self, row: ScenarioRow) -> str | None:
        """Why no verdict can rest on this scenario."""
        if row.status not in _MEASURED:
            return f"{row.status}: {row.reason}" if row.reason else row.status
        return self._why_wrong(row) or self.unequal.get(row.scenario)

    def _why_wrong(self, row: ScenarioRow) -> str | None:
        wrong = self.wrong.get(row.scenario)
        if wrong is None:
            return None
        if wrong.max_abs_error is None:
            return "its outputs do not match stock default's"
        return (
            f"its outputs differ from stock default's by {wrong.max_abs_error:.3g}, "
            f"{wrong.tolerance:.3g} is allowed"
        )


class _Group:
    """One comparison group: its scenarios share rounds, baselines and a control."""

    def __init__(self, run: _Evidence, label: str, rows: Sequence[ScenarioRow]) -> None:
        self.run = run
        self.label = label
        self.rows = rows
        self.default = next((row for row in rows if _is_stock_default(row)), None)
        self.control: Ratio | None = None
        if self.default:
            name = self.default.scenario
            self.control = run.ratio(name, name + CONTROL_SUFFIX)
        self.refuted = {row.scenario: why for row in rows if (why := self._refutation(row))}

    def _refutation(self, row: ScenarioRow) -> str | None:
        """Why the scenario cannot have done what it is said to have done, if so."""
        policy = self.run.plausibility
        nhwc = next((other for other in self.rows if _is_stock_channels_last(other)), None)
        gain = self.run.ratio(row.scenario, nhwc.scenario) if nhwc else None
        return plausibility.over_peak(row, policy) or plausibility.beyond_reach(
            row, gain, nhwc, policy
        )

    def _why_unusable(self, row: ScenarioRow) -> str | None:
        return self.run.why_unusable(row) or self.refuted.get(row.scenario)

    def speedups(self) -> Iterator[SpeedupRow]:
        """The control's row, then each scenario's."""
        if self.default is None:
            reason = "the run has no stock default to divide by: measure it too"
            for row in self.rows:
                yield self._judged(row, BaselineKind.STOCK_DEFAULT, "", None, reason)
            return
        yield self._control_row(self.default)
        tuned = {dtype: self._tuned(dtype) for dtype in {row.dtype for row in self.rows}}
        for row in self.rows:
            for kind, baseline in (
                (BaselineKind.STOCK_DEFAULT, self.default),
                (BaselineKind.STOCK_TUNED, tuned[row.dtype] or self.default),
            ):
                if row is not baseline:
                    yield self._row(row, kind, baseline)
            yield from self._of_variables(row)

    def _of_variables(self, row: ScenarioRow) -> Iterator[SpeedupRow]:
        """What its variables are worth, and what it is worth under them; nothing without any."""
        varied = variables.of_tags(_tags(row))
        if not varied or self.default is None:
            return
        for other in self.rows:
            theirs = variables.of_tags(_tags(other))
            if not theirs and _way(other) == _way(row):
                yield self._row(row, BaselineKind.UNVARIED, other)
            if theirs == varied and other is not row and _way(other) == _way(self.default):
                yield self._row(row, BaselineKind.STOCK_ALIKE, other)

    def _tuned(self, dtype: str) -> ScenarioRow | None:
        """The fastest stock scenario of this dtype if it beats stock default, else None.

        Of the default environment only: what is measured there and what is measured elsewhere must
        not divide by each other's packages, and a run with another environment must mean by stock
        tuned what a run without means.
        """
        best, best_estimate = None, 1.0
        for row in self.rows:
            kind = (row.backend, row.environment, row.dtype)
            if kind != ("stock", DEFAULT_ENVIRONMENT, dtype) or row.status != Status.OK:
                continue
            if variables.of_tags(_tags(row)):
                continue
            if row is self.default or self.default is None or self._why_unusable(row):
                continue
            ratio = self.run.ratio(row.scenario, self.default.scenario)
            if ratio and ratio.estimate > best_estimate:
                best, best_estimate = row, ratio.estimate
        return best

    def _control_row(self, default: ScenarioRow) -> SpeedupRow:
        baseline = default.scenario + CONTROL_SUFFIX
        invalid = self._why_unusable(default)
        return self._judged(default, BaselineKind.CONTROL, baseline, self.control, invalid)

    def _row(self, row: ScenarioRow, kind: BaselineKind, baseline: ScenarioRow) -> SpeedupRow:
        invalid = self._why_unusable(row)
        if not invalid and (why := self._why_unusable(baseline)):
            invalid = f"its baseline {baseline.scenario} cannot be used: {why}"
        measured = row.status in _MEASURED and baseline.status in _MEASURED
        ratio = self.run.ratio(row.scenario, baseline.scenario) if measured else None
        return self._judged(row, kind, baseline.scenario, ratio, invalid)

    def _judged(
        self,
        row: ScenarioRow,
        kind: BaselineKind,
        baseline: str,
        ratio: Ratio | None,
        invalid: str | None,
    ) -> SpeedupRow:
        policy = self.run.policy
        limit = margin(self.control, ratio.launches, policy) if ratio else None
        verdict, reason = _without_ratio(invalid)
        if ratio and limit is not None:
            verdict, reason = judge(
                ratio,
                control=self.control,
                margin=limit,
                noisy_share=self.run.noisy_share(self.label, row.scenario, baseline),
                invalid_reason=invalid,
                policy=policy,
            )
        if kind is BaselineKind.STOCK_DEFAULT and (
            refuted := plausibility.placebo_differs(row, ratio, verdict)
        ):
            verdict, reason = Verdict.INVALID, refuted
        return SpeedupRow(
            run_id=self.run.run_id,
            scenario=row.scenario,
            baseline_kind=str(kind),
            baseline=baseline,
            speedup=ratio.estimate if ratio else None,
            speedup_low=ratio.low if ratio else None,
            speedup_high=ratio.high if ratio else None,
            margin=limit,
            launches=ratio.launches if ratio else 0,
            rounds=ratio.rounds if ratio else 0,
            verdict=str(verdict),
            reason="; ".join(filter(None, (reason, *_remarks(row)))) or None,
        )


def _without_ratio(invalid: str | None) -> tuple[Verdict, str | None]:
    if invalid:
        return Verdict.INVALID, invalid
    return Verdict.INCONCLUSIVE, (
        "no round has both it and its baseline: raise the budget or measure fewer scenarios"
    )


def _remarks(row: ScenarioRow) -> Iterator[str]:
    """What a reader must know beside any verdict."""
    if row.status not in _MEASURED:
        return
    if row.environment != DEFAULT_ENVIRONMENT:
        yield f"measured with the packages of another environment, {row.environment}"
    if row.native_dtype is False:
        yield f"{row.dtype} is emulated on this CPU"
    if row.status == Status.NO_STEADY_STATE:
        yield "its warm-up was cut before a steady state"
