"""Choose which scenario to use for a wish. Pure, from `Facts`.

Stock default may be recommended, and every scenario with agreeing outputs and a valid comparison
with it. Where stock default itself fits the wish, another scenario must have been *shown* to be
faster; a larger estimate is not enough.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.run_facts import group_of, is_stock_default, of_task
from bench.analysis.winners import candidates, level_with, ways, why_nothing
from bench.plan.scenario import Phase, Task, Verdict
from bench.recommend.recipes import recipe_of
from bench.recommend.supported import beside
from bench.text.wording import count, digits, listed, milliseconds, spoken, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.plan.support import Concern
    from bench.recommend.supported import SupportedWay
    from bench.store.records import ScenarioRow

_MAX_REASONS = 4
"""How many refused scenarios a summary names."""
_NO_CODE = "(no code is known for this scenario)"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user needs. Without limits: the fastest for one image at a time."""

    latency_p99_ms: float | None = None
    """Limit of 99 in 100 calls; of what fits, the scenario with most images a second wins."""
    throughput: bool = False
    """Most images a second, whatever the batch size."""
    memory_mb: float | None = None
    """Limit of the worker's peak memory."""
    no_decision_changes: bool = False
    """Every decision must be stock default's."""
    without_ipex: bool = False
    """Leave out IPEX, which is archived."""
    supported: bool = False
    """Only ways that rest on nothing archived, deprecated or private."""
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
    """Scenarios that fit the wish and were not shown to be slower."""
    concerns: tuple[Concern, ...] = ()
    """What to know before one builds on it, the gravest first; see `bench.plan.support`."""
    supported: SupportedWay | None = None
    """The fastest supported way that fits too; None where `row` is supported itself."""


def recommend(facts: Facts, wish: Wish) -> Recommendation:
    """Return the best valid scenario for the wish."""
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
        code=recipe_of(facts, row),
        comparison=comparison,
        reasons=tuple(_reasons(row, comparison, wish, facts.nouns.items)),
        warnings=tuple(_warnings(facts, row, wish)),
        alternatives=tuple(_alternatives(facts, row, wish)),
        concerns=facts.concerns(row),
        supported=_supported(facts, row, wish),
    )


def _pick(
    facts: Facts, group: Group, wish: Wish, refused: list[str]
) -> tuple[ScenarioRow, Comparison | None] | None:
    """Return the group's best that fits; append to `refused` why others do not."""
    control = facts.control_of(group)
    if control is not None and not control.is_valid:
        refused.append(f"{group.label}: {why_nothing(facts, group)}")
        return None
    ranked = candidates(facts, group, int8=wish.int8)
    default = facts.default_of(group)
    if default is not None and not (facts.is_measured(default) and default.rounds > 0):
        default = None
    rows = [*([default] if default else []), *(row for row, _ in ranked)]
    unmet = {row.scenario: _unmet(facts, row, wish) for row in rows}
    nearest = sorted(rows, key=lambda row: _beyond(facts, row, wish))
    refused += [f"{r.scenario}: {why}" for r in nearest if (why := unmet[r.scenario])]
    fitting = [(row, alone) for row, alone in ranked if not unmet[row.scenario]]
    if default is not None and not unmet[default.scenario]:
        faster = next((row for row, alone in fitting if alone.verdict == Verdict.FASTER), None)
        if faster is None:
            return default, None
        names = [row.scenario for row, _ in fitting]
        found = facts.claims.best_over(names, default, named=faster.scenario)
        shown = found is not None and found.verdict == Verdict.FASTER
        return (faster, found) if shown else (default, None)
    if not fitting and not refused:
        refused.append(f"{group.label}: {why_nothing(facts, group)}")
    return fitting[0] if fitting else None


def _supported(facts: Facts, row: ScenarioRow, wish: Wish) -> SupportedWay | None:
    """Return the fastest supported way of the row's group that fits; None for a supported row."""
    group = group_of(row)
    if facts.is_supported(row):
        return None
    pick = _pick(facts, group, replace(wish, supported=True), [])
    if pick is None:
        return None
    fitting = [one for one in ways(facts, group, int8=wish.int8) if not _unmet(facts, one, wish)]
    return beside(facts, group, row, pick[0], fitting)


def _unmet(facts: Facts, row: ScenarioRow, wish: Wish) -> str:
    """Name the first part of the wish that the scenario does not meet; empty if it meets all."""
    slowest, name = slow_call_ms(facts, row)
    peak = row.peak_rss_mb
    parity = facts.parity.get(row.scenario)
    changed = parity.decisions_changed if parity else None
    decision = facts.nouns.decision
    if wish.without_ipex and row.backend == "ipex":
        return "it needs IPEX"
    if wish.supported and not facts.is_supported(row):
        return f"it rests on {facts.concerns(row)[0].what}, which is {facts.mark(row)}"
    if wish.latency_p99_ms is not None and (slowest is None or slowest > wish.latency_p99_ms):
        return f"its {name} is {milliseconds(slowest)}"
    if wish.memory_mb is not None and (peak is None or peak > wish.memory_mb):
        return f"its peak memory is {digits(peak)} MB" if peak else "its memory is unknown"
    if not wish.no_decision_changes or is_stock_default(row) or changed == 0:
        return ""
    return (
        f"it changed {count(changed, decision)}"
        if changed
        else f"its {decision}s were not compared"
    )


def _beyond(facts: Facts, row: ScenarioRow, wish: Wish) -> float:
    """Return what the wish limits, by which refused scenarios are ordered: the nearest first."""
    if wish.latency_p99_ms is None:
        return (row.peak_rss_mb or math.inf) if wish.memory_mb is not None else 0.0
    return slow_call_ms(facts, row)[0] or math.inf


def slow_call_ms(facts: Facts, row: ScenarioRow) -> tuple[float | None, str]:
    """Return the p99 of a call, or the slowest call if there are fewer than 100, and its name.

    The slowest of fewer calls is no smaller than their p99.
    """
    if row.p99_ms is not None:
        return row.p99_ms, "p99"
    timed = [call for call in facts.calls.get(row.scenario, ()) if call.phase == Phase.TIMED]
    calls = [call.wall_ns for call in timed if not call.disturbed]
    if not calls:
        return None, "p99"
    return max(calls) / 1e6, f"slowest call (of {len(calls)}; a p99 needs 100)"


def _reasons(
    row: ScenarioRow, comparison: Comparison | None, wish: Wish, items: str
) -> Iterator[str]:
    if comparison is None:
        yield "Stock default: nothing that fits was shown to be faster."
    else:
        verdict = "" if comparison.verdict == Verdict.FASTER else ", not shown to be faster"
        yield f"{with_interval(comparison)} over stock default{verdict}."
    yield (
        f"{milliseconds(row.median_ms)} a call at batch {row.batch_size}, "
        f"{digits(row.images_per_s)} {items} a second, {digits(row.peak_rss_mb)} MB at its peak."
    )
    if wish.wants_throughput:
        yield f"Batch sizes are compared by {items} a second, without an interval."


def _warnings(facts: Facts, row: ScenarioRow, wish: Wish) -> Iterator[str]:
    if facts.is_untrained and not facts.is_own_model:
        yield "The model is untrained, so unchanged decisions mean nothing."
    if facts.is_untrained and facts.metadata.request.own.decide:
        yield "The weights are random, so unchanged labels mean nothing."
    if facts.metadata.complete is not True:
        yield "The run is incomplete."
    if wish.latency_p99_ms is not None and row.p99_ms is None:
        yield f"The limit is compared with the {slow_call_ms(facts, row)[1]}."
    yield from (concern.sentence for concern in facts.concerns(row))
    if row.native_dtype is False:
        yield f"{row.dtype} is emulated on this CPU."
    if row.dtype == "int8":
        yield "int8 is another model than the one that was trained: evaluate it before you use it."


def _alternatives(facts: Facts, row: ScenarioRow, wish: Wish) -> list[ScenarioRow]:
    """Return what fits and is not shown to be slower: first supported, fp32, eager."""
    group = group_of(row)
    others = [other for other in ways(facts, group, int8=wish.int8) if other is not row]
    level = [other for other, _ in level_with(facts, row, others)]
    return sorted(
        (other for other in level if not _unmet(facts, other, wish)),
        key=lambda other: (
            not facts.is_supported(other),
            other.backend == "ipex",
            other.dtype != "fp32",
            other.mode != "eager",
        ),
    )


def summary_lines(found: Recommendation) -> list[str]:
    """Return the recommendation as lines of text for a terminal."""
    if found.row is None:
        lines = ["Nothing can be recommended."]
        lines += [f"  {reason}" for reason in found.reasons[:_MAX_REASONS]]
        more = len(found.reasons) - _MAX_REASONS
        return [*lines, f"  and {more} more"] if more > 0 else lines
    name = f"{spoken(found.row)}, batch {found.row.batch_size}"
    lines = [f"Use {name}  ({found.row.scenario})"]
    lines += [f"  {reason}" for reason in found.reasons]
    lines += [f"  ! {warning}" for warning in found.warnings]
    if found.alternatives:
        lines.append(f"  Not shown to be slower: {_named(found.alternatives)}.")
    lines += [f"  {found.supported.sentence}"] if found.supported else []
    lines += ["", found.code or _NO_CODE]
    if found.supported:
        name = f"{spoken(found.supported.row)}  ({found.supported.row.scenario})"
        lines += ["", f"The supported way, {name}", "", found.supported.code or _NO_CODE]
    return lines


def _named(rows: tuple[ScenarioRow, ...]) -> str:
    return listed([spoken(row) for row in rows], 3)


@dataclass(frozen=True, kw_only=True)
class Use:
    """A wish that most readers have, and what the page offers for it."""

    wish: str
    command: str
    """The `bench recommend` command that prints the same."""
    found: Recommendation

    @property
    def title(self) -> str:
        """Return `One image at a time: IPEX eager, batch 1`."""
        row = self.found.row
        if row is None:
            return f"{self.wish}: nothing can be recommended"
        return f"{self.wish}: {spoken(row)}, batch {row.batch_size}"

    @property
    def alternatives(self) -> str:
        """Name what fits too and was not shown to be slower."""
        return _named(self.found.alternatives)


def at_smallest_batch(facts: Facts) -> str:
    """Name the wish without limits: one item at a time, or the smallest batch that was measured."""
    group = next(iter(of_task(facts.groups, Task.INFERENCE)), None)
    if group is None or group.batch_size == 1:
        return f"One {facts.nouns.item} at a time"
    return f"Smallest batch measured ({group.batch_size})"


def uses(facts: Facts) -> list[Use]:
    """Return the wishes in order, without those whose scenario an earlier one names already."""
    wishes = [
        (at_smallest_batch(facts), (), Wish()),
        (f"Most {facts.nouns.items} a second", ("--throughput",), Wish(throughput=True)),
    ]
    rows = [row for row in facts.scenarios.values() if row.task == Task.INFERENCE]
    if any(row.backend == "ipex" for row in rows):
        wishes.append(("Without IPEX", ("--without-ipex",), Wish(without_ipex=True)))
    wishes.append(("Supported ways only", ("--supported",), Wish(supported=True)))
    same = "--no-decision-changes"
    if facts.decides:
        text = f"No changed {facts.nouns.decision}"
        wishes.append((text, (same,), Wish(no_decision_changes=True)))
    if any(row.dtype == "int8" for row in rows):
        also: tuple[str, ...] = (same,) if facts.decides else ()
        wishes.append(
            ("int8 too", ("--int8", *also), Wish(int8=True, no_decision_changes=facts.decides))
        )
    found: dict[str, Use] = {}
    for text, options, wish in wishes:
        answer = recommend(facts, wish)
        command = shlex.join(["bench", "recommend", f"results/{facts.run_id}", *options])
        name = answer.row.scenario if answer.row else ""
        found.setdefault(name, Use(wish=text, command=command, found=answer))
    return [*found.values()]
