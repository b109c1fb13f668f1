"""Who is fastest: for one image at a time, and for throughput."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.analysis.facts import of_task
from bench.analysis.winners import runner_up, why_nothing, winner
from bench.plan.scenario import Status, Task
from bench.report.answers.answer import THIN, Answer, capitalised, small, unmeasured
from bench.text import wording
from bench.text.wording import at_least, digits, listed, spoken, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.facts import Facts, Group
    from bench.analysis.winners import Winner
    from bench.store.records import ScenarioRow


def latency(facts: Facts) -> Answer:
    """Fastest for one image at a time (the smallest batch that was measured)."""
    question = "One image at a time"
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return unmeasured("latency", question, "Inference was not measured in this run.")
    group = groups[0]
    if group.batch_size != 1:
        question = f"Smallest batch measured ({group.batch_size})"
    best = winner(facts, group)
    if best is None:
        return _no_winner(facts, "latency", question, group)
    return _winning(facts, "latency", question, best, wording.milliseconds(best.row.median_ms))


def throughput(facts: Facts) -> Answer:
    """The batch size and scenario with most images a second among the groups' winners."""
    question = "Throughput"
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return unmeasured("throughput", question, "Inference was not measured in this run.")
    winners = [best for group in groups if (best := winner(facts, group)) is not None]
    winners = [best for best in winners if best.row.images_per_s]
    if not winners:
        return _no_winner(facts, "throughput", question, groups[-1])
    best = max(winners, key=lambda item: _shown_images_per_s(facts, item))
    number = f"{digits(best.row.images_per_s)} images/s"
    answer = _winning(facts, "throughput", question, best, number)
    return dataclasses.replace(
        answer,
        question=f"Throughput: best at batch {best.group.batch_size}",
        details=(*answer.details, *_default_throughput(facts, groups)),
    )


def _shown_images_per_s(facts: Facts, best: Winner) -> float:
    """Stock default's where nothing was shown to be faster: the number that is then said."""
    default = facts.default_of(best.group)
    row = best.row if best.is_shown or default is None else default
    return row.images_per_s or 0.0


def _default_throughput(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    rows = [row for group in groups if (row := facts.default_of(group)) and row.images_per_s]
    if rows:
        best = max(rows, key=lambda row: row.images_per_s or 0.0)
        yield (
            f"Stock default at its best: {digits(best.images_per_s)} images/s at batch "
            f"{best.batch_size}."
        )


def _winning(facts: Facts, key: str, question: str, best: Winner, number: str) -> Answer:
    default = facts.default_of(best.group)
    headline, tone = _winning_headline(facts, best)
    note = _default_note(default, key)
    if not best.is_shown:
        number, note = _default_number(default, key, number), "stock default"
    return Answer(
        key=key,
        question=question,
        headline=headline,
        tone=tone,
        number=number,
        number_note=note,
        details=tuple(_winning_details(facts, best)),
    )


def _winning_headline(facts: Facts, best: Winner) -> tuple[str, str]:
    if best.group in facts.thin_groups:
        return THIN, "unknown"
    if best.comparison is None:
        return "Stock default: nothing that was measured is faster.", "level"
    if not best.is_shown:
        return "Nothing was shown to be faster than stock default.", "level"
    gain = f"{with_interval(best.comparison)} over stock default"
    if best.level:
        return f"{capitalised(spoken(best.row))} leads: {gain}.", "good"
    return f"{capitalised(spoken(best.row))} is fastest: {gain}.", "good"


def _winning_details(facts: Facts, best: Winner) -> Iterator[str]:
    if best.row.status == Status.NO_STEADY_STATE:
        yield "Its warm-up never settled, so expect more spread than the interval says."
    if best.comparison is not None and not best.is_shown:
        yield f"Nearest: {spoken(best.row)}, {with_interval(best.comparison)}."
        if best.comparison.reason:
            yield f"Why no verdict: {best.comparison.reason.rstrip('.')}."
        return
    least = at_least(best.comparison) if best.comparison is not None else ""
    gain = (f"Over stock default it is faster {least}.",) if least else ()
    if not best.level:
        second = runner_up(facts, best)
        yield "Everything else measured beside it was shown to be slower" + (
            f"; next comes {spoken(second[0])}, over which it is {with_interval(second[1])}."
            if second
            else "."
        )
        yield from gain
        return
    names = [f"{spoken(row)} ({with_interval(comparison)})" for row, comparison in best.level]
    yield f"Not shown to be slower than it: {listed(names, 2)}."
    yield from gain


def _default_number(default: ScenarioRow | None, key: str, otherwise: str) -> str:
    if default is None or default.median_ms is None:
        return otherwise
    if key == "throughput":
        return f"{digits(default.images_per_s)} images/s"
    return wording.milliseconds(default.median_ms)


def _default_note(default: ScenarioRow | None, key: str) -> str:
    if default is None or default.median_ms is None:
        return ""
    if key == "throughput" and default.images_per_s:
        return f"stock default: {digits(default.images_per_s)}"
    return f"stock default: {wording.milliseconds(default.median_ms)}"


def _no_winner(facts: Facts, key: str, question: str, group: Group) -> Answer:
    return Answer(
        key=key,
        question=question,
        headline=f"No valid answer for {small(group.label)}.",
        tone="unknown",
        details=(why_nothing(facts, group),),
    )
