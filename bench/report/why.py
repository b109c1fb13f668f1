"""Explain on the page why one scenario is faster than another: words and table. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis import layers
from bench.analysis.layers import LAYER, OUTSIDE, PRIMITIVE, REORDERS, REST
from bench.analysis.run_facts import group_of, is_stock_default
from bench.analysis.winners import best_ipex, ipex_over_tuned, winner
from bench.report import layer_charts
from bench.report.answers.answer import upper_first
from bench.report.layer_charts import OTHERS, name_of
from bench.report.table import Cell, Row, Table, in_columns, number
from bench.text import wording
from bench.text.wording import NOTHING, count, digits, listed, milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.layers import Cost, Explanation, Log, Part
    from bench.analysis.run_facts import Facts
    from bench.report.drawing import Drawing
    from bench.store.records import ScenarioRow

_TERMINAL_COLUMNS = 5
"""Columns of the table in the terminal."""
WHAT_IS_OUTSIDE = (
    "Outside oneDNN are PyTorch's own operators (such as a ReLU or a pooling that was not fused), "
    "what oneDNN does not log (small convolutions, and MKL's matrix products in fp32), Python, and "
    "the framework."
)


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why one scenario is faster than another, as the page shows it."""

    title: str
    sentence: str
    remarks: tuple[str, ...] = ()
    table: Table | None = None
    bars: Drawing | None = None
    roofline: Drawing | None = None
    is_open: bool = False
    """Whether it is shown with its drawings, and not folded."""


def headline_pairs(facts: Facts) -> list[tuple[str, str]]:
    """Return the pairs of the headlines, the slower first.

    For each group: stock default and the fastest, then the best of the other library and the
    fastest.
    """
    found = []
    for group in facts.groups:
        best = winner(facts, group)
        if best is None or is_stock_default(best.row):
            continue
        default, rival = facts.default_of(group), _rival(facts, best.row)
        others = [default.scenario if default else None, rival]
        found += [(other, best.row.scenario) for other in dict.fromkeys(others) if other]
    return found


def _rival(facts: Facts, best: ScenarioRow) -> str | None:
    """Return stock tuned for a fastest of IPEX, else the best of IPEX in the same dtype."""
    if best.backend == "ipex":
        tuned = ipex_over_tuned(facts, best)
        return tuned.baseline if tuned else None
    ipex = best_ipex(facts, group_of(best), best.dtype)
    return ipex.scenario if ipex else None


def section(facts: Facts, asked: tuple[str, str] | None = None) -> list[Why]:
    """Explain the headlines, those of the first group with drawings; what was asked for first."""
    pairs = headline_pairs(facts)
    first = group_of(facts.scenarios[pairs[0][1]]) if pairs else None
    found = [
        why(facts, pair, number, is_open=group_of(facts.scenarios[pair[1]]) == first)
        for number, pair in enumerate(pairs)
        if pair != asked
    ]
    return [*([why(facts.whole or facts, asked, len(pairs))] if asked else []), *found]


def why(facts: Facts, pair: tuple[str, str], number: int = 0, *, is_open: bool = True) -> Why:
    """Explain the difference between two scenarios of the run; `number` names its drawings."""
    rows = [facts.scenarios[name] for name in pair]
    title = f"{name_of(rows[0])} and {name_of(rows[1])}, {group_of(rows[1]).label.lower()}"
    reason = layers.why_not(facts, *pair)
    if reason is not None:
        return Why(title=title, sentence=f"It cannot be explained: {reason.rstrip('.')}.")
    first, second = (layers.log_of(facts, name) for name in pair)
    found = layers.explain(first, second, facts.policy.log)
    peaks = facts.metadata.peak
    return Why(
        title=title,
        sentence=sentence(found, facts.compare(pair[1], pair[0])),
        remarks=tuple(_remarks(found)),
        table=_table(found, peaks.gflop_per_s, number),
        bars=layer_charts.bars(found, number) if is_open else None,
        roofline=(
            layer_charts.roofline(found, peaks.gflop_per_s, peaks.memory_gb_per_s, number)
            if is_open
            else None
        ),
        is_open=is_open,
    )


def text(found: Why) -> str:
    """Return the explanation for a terminal."""
    lines = [found.title, ""]
    for words in (found.sentence, *found.remarks):
        lines += wording.wrapped(words)
    if found.table is not None:
        lines += ["", found.table.caption, "", *in_columns(_narrow(found.table))]
    return "\n".join(lines)


def _narrow(table: Table) -> Table:
    """Return the columns for which a terminal has room; the page has all."""
    rows = tuple(Row(cells=row.cells[:_TERMINAL_COLUMNS]) for row in table.rows)
    return dataclasses.replace(table, columns=table.columns[:_TERMINAL_COLUMNS], rows=rows)


# ---- words ---------------------------------------------------------------------------------------


def _spoken(row: ScenarioRow) -> str:
    return "stock default" if is_stock_default(row) else wording.spoken(row)


def _share(share: float) -> str:
    return f"{round(100 * share)} %"


def sentence(found: Explanation, comparison: Comparison | None) -> str:
    """Say how large the difference is and which parts give most of it."""
    slow, fast = found.first, found.second
    if found.saved_ms < 0:
        slow, fast = fast, slow
    times = f"{milliseconds(fast.timed_ms)} against {milliseconds(slow.timed_ms)}"
    if comparison is None or comparison.ratio is None:
        return "They have no round in common, so there is no difference to explain."
    if not comparison.found:
        reason = f": {comparison.reason}" if comparison.reason else ""
        return (
            f"Between {_spoken(found.first.row)} and {_spoken(found.second.row)} no difference was "
            f"shown ({wording.with_interval(comparison)}, {comparison.verdict}{reason}), so there "
            "is none to explain. The table shows where each spends its time."
        )
    if (comparison.estimate > 1) != (found.saved_ms > 0):
        return (
            f"Paired within rounds they differ by {wording.with_interval(comparison)}, but their "
            "medians lie the other way round: the machine drifted too much to say where it comes "
            "from."
        )
    lead = (
        f"{upper_first(_spoken(fast.row))} takes {milliseconds(abs(found.saved_ms))} a call less "
        f"than {_spoken(slow.row)}: {times}."
    )
    return " ".join([lead, *_causes(found), *_against(found), *_left_over(found)])


def _causes(found: Explanation) -> Iterator[str]:
    """Name the parts that give most of the difference, or the kinds where no few parts do."""
    if found.causes:
        yield _places([(_in_words(part), found.share(part)) for part in found.causes])
        if unsure := [_in_words(part) for part in found.causes if part.overlaps]:
            yield f"The logged calls of both overlap in {listed(unsure)}, so that is not certain."
        return
    largest = found.ordered()[0]
    yield f"The largest part of that is {_in_words(largest)}, with {_share(found.share(largest))}."
    kinds = sorted(_by_kind(found), key=lambda kind: -kind[1])
    yield _places([one for one in kinds if one[1] >= found.policy.worth_naming], of="By kind")


def _places(shares: Sequence[tuple[str, float]], of: str = "Of that") -> str:
    """Return `Of that, 71 % lies in conv3_1 and 12 % in reorders, together 83 %.`."""
    named = [f"{_share(share)} in {name}" for name, share in shares]
    total = f", together {_share(sum(share for _, share in shares))}" if len(named) > 1 else ""
    return f"{of}, {listed(named).replace(' in ', ' lies in ', 1)}{total}."


def _in_words(part: Part) -> str:
    return f"the time {part.name}" if part.kind == OUTSIDE else part.name


def _by_kind(found: Explanation) -> Iterator[tuple[str, float]]:
    """Yield the kinds of parts and their shares of the difference."""
    for kind in (LAYER, REORDERS, PRIMITIVE, OUTSIDE):
        parts = found.of_kind(kind)
        if parts:
            several = {LAYER: f"the {count(len(parts), 'layer')} together", PRIMITIVE: OTHERS}
            yield several.get(kind, _in_words(parts[0])), sum(map(found.share, parts))


def _against(found: Explanation) -> Iterator[str]:
    """Name the parts that take longer in the faster scenario."""
    least = -found.policy.worth_naming
    worse = [part for part in found.ordered()[::-1] if found.share(part) <= least]
    if worse:
        named = [f"{_in_words(part)} by {milliseconds(abs(part.saved_ms))}" for part in worse]
        yield f"Longer in the faster one: {listed(named, found.policy.most_named)}."


def _left_over(found: Explanation) -> Iterator[str]:
    """Say by how much the logged calls differ otherwise than the timed ones."""
    share = sum(map(found.share, found.of_kind(REST)))
    if abs(share) >= found.policy.worth_naming:
        more = "less" if share > 0 else "more"
        yield f"The logged calls differ by {_share(abs(share))} {more} than the timed ones."
    if found.is_accounted is False:
        yield "But the logged calls do not account for enough of the time (see below)."


def _remarks(found: Explanation) -> Iterator[str]:
    logs = (found.first, found.second)
    names = [_spoken(log.row) for log in logs]
    yield _accounting(found, names)
    yield from _paces(logs, names)
    calls = [len(log.times_ms) for log in logs]
    if max(calls) == 1:
        yield "Times are those of one logged call of each, so nothing shows how much they vary."
    else:
        few = " A single logged call has no range." if min(calls) == 1 else ""
        yield (
            f"Times are medians of {calls[0]} and {count(calls[1], 'logged call')}, with the "
            f"lowest and the highest.{few}"
        )
    costs = [
        f"{milliseconds(log.log_cost_ms)} to a call of {name} (median of "
        f"{count(len(log.costs_ms), 'call')}, from {digits(min(log.costs_ms))} to "
        f"{digits(max(log.costs_ms))} ms)"
        for log, name in zip(logs, names, strict=True)
        if log.log_cost_ms is not None
    ]
    if costs:
        yield f"The log itself adds {listed(costs)}."
    else:
        yield "What the log itself adds was not measured: no timed call lies beside a logged one."
    yield WHAT_IS_OUTSIDE


def _paces(logs: Sequence[Log], names: Sequence[str]) -> Iterator[str]:
    """Say in which state of the machine calls were logged, and that times are scaled for it."""
    found = [
        f"{percent(log.pace)} of the timed median of {name} (from "
        f"{percent(min(log.paces))} to {percent(max(log.paces))})"
        for log, name in zip(logs, names, strict=True)
        if log.pace is not None
    ]
    if found:
        yield (
            f"The unlogged calls beside the logged ones took {listed(found)}: the machine is not "
            "always as fast. So each logged call counts in shares of those beside it."
        )


def _accounting(found: Explanation, names: Sequence[str]) -> str:
    """Say how much of each timed median the logged calls account for."""
    shares = [found.accounted(log) for log in (found.first, found.second)]
    if found.is_accounted is None:
        return (
            "The whole time of a logged call was not kept by this run's version: time outside "
            "oneDNN is what the primitives leave of the timed median, so it adds up in any case."
        )
    parts = [
        f"{percent(share)} of the timed median of {name}"
        for share, name in zip(shares, names, strict=True)
        if share is not None
    ]
    if found.is_accounted:
        return f"The parts account for {listed(parts)}."
    least = _share(found.policy.accounted_share)
    return (
        f"The parts do NOT account for the difference: only for {listed(parts)}, and {least} of "
        "both is needed. The logged calls ran faster or slower than the calls beside them."
    )


# ---- table ---------------------------------------------------------------------------------------


def _table(found: Explanation, peaks: Mapping[str, float], place: int) -> Table:
    return Table(
        name=f"why{place}",
        caption=f"A: {name_of(found.first.row)}. B: {name_of(found.second.row)}. Times of a call; "
        "the difference is A less B, so above 0 B is faster.",
        columns=("Part", "A", "B", "Difference", "Share", "GFLOP/s, A", "GFLOP/s, B", "Ran in A",
                 "Ran in B"),
        rows=(*(_row(found, part, peaks) for part in found.parts), _total(found)),
        numeric=(1, 2, 3, 4, 5, 6),
    )  # fmt: skip


def _row(found: Explanation, part: Part, peaks: Mapping[str, float]) -> Row:
    sides = (part.first, part.second)
    note = "the logged calls overlap" if part.overlaps else ""
    share = found.share(part)
    return Row(
        cells=(
            Cell(text=part.name, note=part.words),
            *(_time(cost) for cost in sides),
            number(milliseconds(part.saved_ms), part.saved_ms, note),
            number(_share(share), share),
            *(_rate(cost, peaks) for cost in sides),
            *(_ran(cost) for cost in sides),
        )
    )


def _total(found: Explanation) -> Row:
    logs = (found.first, found.second)
    times = (number(milliseconds(log.timed_ms), log.timed_ms) for log in logs)
    saved = number(milliseconds(found.saved_ms), found.saved_ms)
    rates = (number(digits(log.row.gflop_per_s), log.row.gflop_per_s) for log in logs)
    empty = (Cell(text=""), Cell(text=""))
    name = Cell(text="Timed median")
    return Row(cells=(name, *times, saved, number(_share(1.0), 1.0), *rates, *empty))


def _time(cost: Cost | None) -> Cell:
    if cost is None:
        return number(NOTHING, None)
    note = f"{digits(cost.range_ms[0])} to {digits(cost.range_ms[1])}" if cost.range_ms else ""
    return number(milliseconds(cost.ms), cost.ms, note)


def _rate(cost: Cost | None, peaks: Mapping[str, float]) -> Cell:
    rate = cost.gflop_per_s if cost else None
    share = cost.share_of_peak(peaks) if cost else None
    return number(digits(rate), rate, f"{_share(share)} of peak" if share else "")


def _ran(cost: Cost | None) -> Cell:
    """Return the instruction set or implementation, and what was fused."""
    if cost is None or not cost.kernels:
        return Cell(text=NOTHING)
    sets = dict.fromkeys(row.isa or row.implementation for row in cost.kernels)
    fused = dict.fromkeys(row.post_ops for row in cost.kernels if row.post_ops)
    several = f"{count(len(cost.kernels), 'primitive')}: " if len(cost.kernels) > 1 else ""
    note = f"fused: {listed(list(fused))}" if fused else ""
    return Cell(text=f"{several}{listed(list(sets), 2)}", note=note)
