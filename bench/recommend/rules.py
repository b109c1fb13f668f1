"""Which scenario to use, given a wish. Pure, from `Facts`.

What may be recommended: stock default, and whatever was measured beside it with outputs that agree,
and a valid comparison. Where stock default itself fits the wish,
another scenario must have been *shown* to be faster; a larger estimate is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.claims import BEST, Claim
from bench.analysis.facts import is_stock_default, of_task
from bench.analysis.winners import candidates, level_with, why_nothing
from bench.plan.scenario import DEFAULT_ENVIRONMENT, Phase, Task, Verdict
from bench.recommend.recipes import recipe
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow


_NEAREST = 4
"""How many refused scenarios are named, the fastest first."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user needs. Without limits: the fastest for one image at a time."""

    latency_p99_ms: float | None = None
    """No slower call, 99 of 100 times; of what fits, most images a second win."""
    throughput: bool = False
    """Most images a second, whatever the batch size."""
    memory_mb: float | None = None
    """The worker's peak memory must stay below."""
    no_decision_changes: bool = False
    """Every decision must be stock default's."""
    without_ipex: bool = False
    """IPEX is archived: what to use once it is gone."""
    int8: bool = False
    """Also int8, which is another model, made from this one by rounding its weights."""

    @property
    def wants_throughput(self) -> bool:
        """Whether the batch size is free, so that images a second decide."""
        return self.throughput or self.latency_p99_ms is not None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to use, why, and the code; or why there is nothing to recommend."""

    row: ScenarioRow | None
    code: str | None = None
    comparison: Comparison | None = None
    """Over stock default; None for stock default itself."""
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    alternatives: tuple[ScenarioRow, ...] = ()
    """Fit the wish, and were not shown to be slower."""


def recommend(facts: Facts, wish: Wish) -> Recommendation:
    """The best valid scenario for the wish."""
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return Recommendation(row=None, reasons=("The run measured no inference.",))
    if not wish.wants_throughput:
        groups = groups[:1]
    refused: list[str] = []
    picks = [pick for group in groups if (pick := _pick(facts, group, wish, refused)) is not None]
    if not picks:
        return Recommendation(row=None, reasons=tuple(dict.fromkeys(refused)))
    row, comparison = max(picks, key=lambda pick: pick[0].images_per_s or 0.0)
    return Recommendation(
        row=row,
        code=recipe(row, keeps_heap=facts.keeps_heap(row.scenario)),
        comparison=comparison,
        reasons=tuple(_reasons(row, comparison, wish)),
        warnings=tuple(_warnings(facts, row, wish)),
        alternatives=tuple(_alternatives(facts, row, wish)),
    )


def _pick(
    facts: Facts, group: Group, wish: Wish, refused: list[str]
) -> tuple[ScenarioRow, Comparison | None] | None:
    """The group's best that fits; what speaks against the others goes to `refused`."""
    control = facts.control_of(group)
    if control is not None and not control.is_valid:
        refused.append(f"{group.label}: {why_nothing(facts, group)}")
        return None
    default = facts.default_of(group)
    usable = default is not None and facts.is_measured(default) and default.rounds > 0
    default_fits = default is not None and usable and _fits(facts, default, wish, refused)
    ranked = candidates(facts, group, int8=wish.int8)
    fitting = {
        row.scenario: (row, alone) for row, alone in ranked if _fits(facts, row, wish, refused)
    }
    if default_fits and default is not None:
        found = _best_over(facts, group, tuple(fitting), default)
        shown = found is not None and found.verdict == Verdict.FASTER
        return (fitting[found.scenario][0], found) if found and shown else (default, None)
    if fitting:
        return next(iter(fitting.values()))
    if not refused:
        refused.append(f"{group.label}: {why_nothing(facts, group)}")
    return None


def _best_over(
    facts: Facts, group: Group, names: tuple[str, ...], default: ScenarioRow
) -> Comparison | None:
    """The fastest of what fits the wish over stock default: a claim like the page's own.

    Chosen by the data from all that fit, so its interval is that of the best of them.
    """
    claim = Claim(
        kind=BEST,
        group=group.noise_name,
        dtype="",
        environment=DEFAULT_ENVIRONMENT,
        candidates=names,
        opponents=(default.scenario,),
    )
    return facts.claims.compare(claim) if names else None


def _fits(facts: Facts, row: ScenarioRow, wish: Wish, refused: list[str]) -> bool:
    against = next(_against(facts, row, wish), None)
    if against is not None:
        refused.append(f"{row.scenario}: {against}")
    return against is None


def _against(facts: Facts, row: ScenarioRow, wish: Wish) -> Iterator[str]:
    """What in the wish the scenario does not meet."""
    if wish.without_ipex and row.backend == "ipex":
        yield "it needs IPEX"
    slowest, name = slow_call_ms(facts, row)
    if wish.latency_p99_ms is not None and (slowest is None or slowest > wish.latency_p99_ms):
        yield f"its {name} is {wording.milliseconds(slowest)}"
    peak = row.peak_rss_mb
    if wish.memory_mb is not None and (peak is None or peak > wish.memory_mb):
        yield f"its peak memory is {wording.digits(peak)} MB" if peak else "its memory is unknown"
    if wish.no_decision_changes and not is_stock_default(row):
        parity = facts.parity.get(row.scenario)
        changed = parity.decisions_changed if parity else None
        if changed is None:
            yield "its decisions were not compared"
        elif changed:
            yield f"it changed {wording.count(changed, 'decision')}"


def slow_call_ms(facts: Facts, row: ScenarioRow) -> tuple[float | None, str]:
    """The call that 99 of 100 stay below, and what it is: p99 needs a hundred calls.

    With fewer, the slowest call that was timed stands in for it, which is no smaller than the
    p99 of those calls.
    """
    if row.p99_ms is not None:
        return row.p99_ms, "p99"
    timed = [c for c in facts.calls.get(row.scenario, ()) if c.phase == Phase.TIMED]
    calls = [c.wall_ns for c in timed if not c.disturbed]
    if not calls:
        return None, "p99"
    return max(calls) / 1e6, f"slowest call (of {len(calls)}; a p99 needs 100)"


def _reasons(row: ScenarioRow, comparison: Comparison | None, wish: Wish) -> Iterator[str]:
    if comparison is None:
        yield "Stock default: nothing that fits was shown to be faster."
    else:
        verdict = "" if comparison.verdict == Verdict.FASTER else ", not shown to be faster"
        yield f"{wording.with_interval(comparison)} over stock default{verdict}."
    yield (
        f"{wording.milliseconds(row.median_ms)} a call at batch {row.batch_size}, "
        f"{wording.digits(row.images_per_s)} images a second, "
        f"{wording.digits(row.peak_rss_mb)} MB at its peak."
    )
    if wish.wants_throughput:
        yield "Batch sizes are compared by images a second, without an interval."


def _warnings(facts: Facts, row: ScenarioRow, wish: Wish) -> Iterator[str]:
    if facts.is_untrained:
        yield "The model was untrained, so that its decisions stayed the same means nothing."
    if facts.metadata.complete is not True:
        yield "The run is incomplete."
    _, name = slow_call_ms(facts, row)
    if wish.latency_p99_ms is not None and row.p99_ms is None:
        yield f"Held against the {name}."
    if row.backend == "ipex":
        yield "IPEX is archived: no patches since March 2026, and it needs PyTorch 2.8."
    if row.native_dtype is False:
        yield f"{row.dtype} is emulated on this CPU."
    if row.dtype == "int8":
        yield "int8 is another model than the one that was trained: evaluate it before you use it."


def _alternatives(facts: Facts, row: ScenarioRow, wish: Wish) -> list[ScenarioRow]:
    """Simpler ones first: without IPEX, fp32, eager."""
    group = next(group for group, rows in facts.groups.items() if row in rows)
    others = [other for other, _ in candidates(facts, group, int8=wish.int8) if other is not row]
    default = facts.default_of(group)
    if default is not None and default is not row and facts.is_measured(default):
        others.append(default)
    level = [other for other, _ in level_with(facts, row, others)]
    fitting = [other for other in level if next(_against(facts, other, wish), None) is None]
    return sorted(
        fitting, key=lambda r: (r.backend == "ipex", r.dtype != "fp32", r.mode != "eager")
    )


def summary_lines(found: Recommendation) -> Sequence[str]:
    """The recommendation as text for a terminal."""
    if found.row is None:
        more = len(found.reasons) - _NEAREST
        lines = ["Nothing can be recommended.", *(f"  {item}" for item in found.reasons[:_NEAREST])]
        return [*lines, f"  and {more} more"] if more > 0 else lines
    name = wording.spoken(found.row)
    lines = [f"Use {name}, batch {found.row.batch_size}  ({found.row.scenario})"]
    lines += [f"  {reason}" for reason in found.reasons]
    lines += [f"  ! {warning}" for warning in found.warnings]
    if found.alternatives:
        names = wording.listed([wording.spoken(row) for row in found.alternatives], 3)
        lines.append(f"  Not shown to be slower: {names}.")
    return [*lines, "", found.code or "(the code of this way is not known here)"]
