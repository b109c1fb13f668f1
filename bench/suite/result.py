"""Turn a suite's runs into one table: a row for each model and batch size."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.claims import BEST, BF16, IPEX
from bench.analysis.judge import mean_ratio
from bench.analysis.run_facts import Facts, is_stock_default
from bench.plan.scenario import Dtype, Mode, Verdict
from bench.plan.thresholds import DEFAULT
from bench.run.open_claims import may_be_best
from bench.run.outcomes import had_no_turn
from bench.store import records
from bench.suite import measure
from bench.suite.models import REFERENCE
from bench.text.wording import finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.comparison import Comparison, Ratio
    from bench.store.records import ScenarioRow
    from bench.suite.measure import Suite
    from bench.suite.models import SuiteModel


@dataclass(frozen=True, kw_only=True)
class SuiteRow:  # more than 15 fields: the columns of suite.csv
    """One model at one batch size; empty cells where a side was not measured."""

    model: str
    kind: str
    batch_size: int
    status: str
    """`ok`; `not measured`, `invalid` or `failed`, with the reason: these count nowhere."""
    reason: str | None = None
    run: str | None = None
    """The run's folder, below the suite's."""
    default_ms: float | None = None
    best: str | None = None
    """The fastest way other than stock default, without its batch size."""
    best_speedup: float | None = None
    """Over stock default, at the confidence that the run's headlines share; so are the others."""
    best_low: float | None = None
    best_high: float | None = None
    best_verdict: str | None = None
    ipex_fp32: float | None = None
    """The best of IPEX over the best of stock PyTorch in fp32."""
    ipex_fp32_low: float | None = None
    ipex_fp32_high: float | None = None
    ipex_fp32_verdict: str | None = None
    ipex_bf16: float | None = None
    ipex_bf16_low: float | None = None
    ipex_bf16_high: float | None = None
    ipex_bf16_verdict: str | None = None
    bf16: float | None = None
    """The best in bf16 over the best in fp32."""
    bf16_low: float | None = None
    bf16_high: float | None = None
    bf16_verdict: str | None = None
    reference_way: str | None = None
    """The fastest way of the reference model at the batch size in this place (smaller, larger).

    It may be stock default. Empty where the reference has no answer.
    """
    reference_holds: str | None = None
    """`yes`, `no` (shown to be slower than this model's fastest, or without a valid result) or
    `open`. Empty where a run refuted the answer."""


def rows(suite: Suite, failures: dict[str, str]) -> list[SuiteRow]:
    """Read every whole run of the suite and return its rows, the reference's answer compared.

    Raises:
        RecordError: a run's file is damaged.
    """
    found = {model.name: _facts(suite, model) for model in suite.models}
    answers = _ways(found.get(REFERENCE))
    made = []
    for model in suite.models:
        facts = found[model.name]
        groups = _groups(facts)
        if facts is None or not groups:
            made.append(_without_run(suite, model, failures.get(model.name)))
            continue
        run = f"{model.name}/{facts.run_id}"
        for place, label in enumerate(groups):
            way = answers[place] if place < len(answers) else None
            made.append(_row(model, run, facts, label, way))
    return made


def _facts(suite: Suite, model: SuiteModel) -> Facts | None:
    """Return the model's run; None without a whole one, whose figures would be partial."""
    folder = measure.run_of(suite, model)
    return Facts(records.read_run(folder)) if folder and measure.is_whole(folder) else None


def _without_run(suite: Suite, model: SuiteModel, failure: str | None) -> SuiteRow:
    """Return the row of a model without a whole run."""
    folder = measure.run_of(suite, model)
    return SuiteRow(
        model=model.name,
        kind=model.kind,
        batch_size=0,
        status="failed" if failure else "not measured",
        reason=failure or ("its run was cut" if folder else "not measured yet"),
        run=f"{model.name}/{folder.name}" if folder else None,
    )


def _groups(facts: Facts | None) -> list[str]:
    """Return the labels of the run's comparison groups, the smallest batch first."""
    if facts is None:
        return []
    sized = {label: rows[0].batch_size for label, rows in facts.analysis.groups.items() if rows}
    return sorted(sized, key=lambda label: sized[label])


def _ways(reference: Facts | None) -> list[str | None]:
    """Return the reference's fastest way at each of its batch sizes; None where it has no answer.

    It has none where a way that may be the best got no turn, and where its run refuted the answer.
    """
    if reference is None:
        return []
    found = [
        None if _lacking(reference, BEST, "", label) else reference.claims.answer(BEST, label)
        for label in _groups(reference)
    ]
    fastest = [_fastest(best) if best else None for best in found]
    return [way_of(scenario) if scenario else None for scenario in fastest]


def _fastest(best: Comparison) -> str | None:
    """Return the fastest scenario, stock default among them; None where that is not shown."""
    if best.verdict is Verdict.SLOWER:
        return best.baseline
    return best.scenario if best.verdict in (Verdict.FASTER, Verdict.SAME) else None


def way_of(scenario: str) -> str:
    """Return the way of running in an id: `stock/torchscript+fusion/bf16/channels_last`."""
    return "/".join(scenario.split("/")[1:5])


_CLAIMS = {
    "best": (BEST, ""),
    "ipex_fp32": (IPEX, str(Dtype.FP32)),
    "ipex_bf16": (IPEX, str(Dtype.BF16)),
    "bf16": (BF16, ""),
}
"""The claim of each part of a row."""


def _row(model: SuiteModel, run: str, facts: Facts, label: str, reference: str | None) -> SuiteRow:
    scenarios = facts.analysis.groups[label]
    default = next(filter(is_stock_default, scenarios), None)
    lacking = {part: _lacking(facts, *claim, label) for part, claim in _CLAIMS.items()}
    answers = {
        part: None if lacking[part] else facts.claims.answer(kind, label, dtype)
        for part, (kind, dtype) in _CLAIMS.items()
    }
    values: dict[str, object] = {}
    for part, answer in answers.items():
        values |= _cells(part, answer)
    best = answers["best"]
    left_out = list(dict.fromkeys(filter(None, lacking.values())))
    status, reason = _status(best, scenarios)
    if left_out:
        reason = f"no turn at this batch size, and may be the fastest: {', '.join(left_out)}"
    return SuiteRow(
        model=model.name,
        kind=model.kind,
        batch_size=scenarios[0].batch_size,
        status=status,
        reason=reason,
        run=run,
        default_ms=default.median_ms if default else None,
        best=way_of(best.scenario) if best else None,
        reference_way=reference,
        reference_holds=_holds(facts, label, reference, best),
        **values,  # type: ignore[arg-type] # floats and words by their names
    )


def _lacking(facts: Facts, kind: str, dtype: str, label: str) -> str | None:
    """Return a way that may be the best of its side, and that the budget left out of this group.

    That is what the smallest batch showed; there it is one of a library and dtype of which nothing
    else has a time. Without it a side's best would be that of whatever the budget allowed.
    """
    first = _groups(facts)[0]
    if label == first:
        return _without_rivals(facts, kind, dtype, label)
    claim = facts.claims.find(kind, first, dtype)
    if claim is None:
        return None
    judge, confidence = facts.analysis.judge, facts.policy.budget.race_confidence
    here = {way_of(row.scenario): row.scenario for row in facts.analysis.groups[label]}
    for family in (claim.candidates, claim.opponents):
        for name in judge.fastest_first(family):
            equal = here.get(way_of(name))
            is_timed = equal is not None and judge.fastest((equal,)) is not None
            if not is_timed and may_be_best(judge, name, family, confidence):
                return way_of(name)
    return None


def _without_rivals(facts: Facts, kind: str, dtype: str, label: str) -> str | None:
    """Return a way of a library and dtype without a time; what compiles comes last and may lack."""
    rows = facts.analysis.groups[label]
    if kind == IPEX:
        rows = [row for row in rows if row.dtype == dtype]
    judge = facts.analysis.judge
    timed = {(row.backend, row.dtype) for row in rows if judge.fastest((row.scenario,))}
    left_out = [row for row in rows if row.mode != Mode.COMPILE and had_no_turn(row.reason)]
    return next((way_of(r.scenario) for r in left_out if (r.backend, r.dtype) not in timed), None)


def _status(best: Comparison | None, scenarios: Sequence[ScenarioRow]) -> tuple[str, str | None]:
    if best is None:
        return "not measured", _why_not(scenarios)
    if best.verdict is Verdict.INVALID:
        return "invalid", best.reason
    return "ok", None


def _why_not(scenarios: Sequence[ScenarioRow]) -> str:
    """Return why no way is faster than stock default: the commonest reason."""
    reasons = Counter(row.reason for row in scenarios if row.reason)
    return reasons.most_common(1)[0][0] if reasons else "no other way than stock default ran"


def _cells(part: str, answer: Comparison | None) -> dict[str, object]:
    ratio = answer.ratio if answer else None
    estimate = "best_speedup" if part == "best" else part
    return {
        estimate: ratio.estimate if ratio else None,
        f"{part}_low": ratio.low if ratio else None,
        f"{part}_high": finite(ratio.high) if ratio else None,
        f"{part}_verdict": str(answer.verdict) if answer else None,
    }


def _holds(facts: Facts, label: str, reference: str | None, best: Comparison | None) -> str | None:
    """Return whether the reference's way is as good as any for this model; None without answer."""
    if reference is None or best is None or best.verdict is Verdict.INVALID:
        return None
    same = next(
        (row for row in facts.analysis.groups[label] if way_of(row.scenario) == reference), None
    )
    if same is None or not facts.is_measured(same):
        return "open" if same is not None and had_no_turn(same.reason) else "no"
    fastest = _fastest(best)
    rival = fastest or best.scenario
    if same.scenario == rival:
        return "yes" if fastest else "open"
    found = facts.analysis.compare(rival, same.scenario)
    if found is None or found.verdict is Verdict.INVALID:
        return None
    if found.verdict is Verdict.FASTER:
        return "no"
    return "yes" if fastest and found.verdict is not Verdict.INCONCLUSIVE else "open"


# ---- over models ---------------------------------------------------------------------------------

PARTS = {
    "best_speedup": "the best other way over stock default",
    "ipex_fp32": "the best of IPEX over the best of stock PyTorch in fp32",
    "ipex_bf16": "the best of IPEX over the best of stock PyTorch in bf16",
    "bf16": "the best in bf16 over the best in fp32",
}


def smaller(found: Sequence[SuiteRow]) -> list[SuiteRow]:
    """Return the rows of each model's smallest batch size."""
    return [row for row in found if row.status == "ok" and row.batch_size == 1]


def larger(found: Sequence[SuiteRow]) -> list[SuiteRow]:
    """Return the rows of each model's largest batch size, where that is more than one."""
    most = {row.model: row for row in found if row.status == "ok" and row.batch_size > 1}
    return list(most.values())


def geometric_mean(found: Sequence[SuiteRow], part: str) -> Ratio | None:
    """Return the geometric mean over models with its 95 % interval; None without any.

    What a run refuted is no figure.
    """
    return mean_ratio([math.log(getattr(row, part)) for row in with_figure(found, part)], DEFAULT)


def with_figure(found: Sequence[SuiteRow], part: str) -> list[SuiteRow]:
    """Return the rows that have the figure, and whose run did not refute it."""
    verdict = f"{part.removesuffix('_speedup')}_verdict"
    return [row for row in found if getattr(row, part) and getattr(row, verdict) != Verdict.INVALID]


def best_ways(found: Sequence[SuiteRow]) -> list[tuple[str, int]]:
    """Count how many models each way is the fastest of, the most frequent first.

    Stock default is where all others are slower; `undecided` stands where that is not shown.
    """
    others = {str(Verdict.SLOWER): "stock default", str(Verdict.INCONCLUSIVE): "undecided"}
    ways = (others.get(row.best_verdict or "", row.best) for row in found)
    return Counter(way for way in ways if way).most_common()


def holding(found: Sequence[SuiteRow]) -> Counter[str]:
    """Count how many other models the reference's answer holds for: `yes`, `no`, `open`."""
    others = (row for row in found if row.model != REFERENCE)
    return Counter(row.reference_holds for row in others if row.reference_holds)
