"""What int8 gains and what it costs in decisions: the first screen's answer, where it was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan.scenario import Task, Verdict
from bench.report.answers.answer import Answer, Line, capitalised
from bench.text.wording import count, spoken, times, with_interval

if TYPE_CHECKING:
    from bench.analysis.comparison import Comparison
    from bench.analysis.facts import Facts
    from bench.store.records import ScenarioRow

_TOLD = (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)


def int8(facts: Facts) -> Answer | None:
    """The int8 scenarios over stock default in fp32; None where none was asked for."""
    wanted = [
        row
        for row in facts.scenarios.values()
        if row.dtype == "int8" and row.task == Task.INFERENCE
    ]
    if not wanted:
        return None
    found = [
        (row, comparison)
        for row in wanted
        if facts.is_measured(row)
        and (comparison := facts.against_default(row.scenario)) is not None
        and comparison.is_valid
    ]
    if not found:
        reasons = [row.reason for row in wanted if row.reason]
        return Answer(
            key="int8",
            question="What int8 gains",
            headline="int8 gave no valid result.",
            tone="unknown",
            details=tuple(reasons[:1]),
        )
    told = [comparison for _, comparison in found if comparison.verdict in _TOLD]
    fastest = max(told, key=lambda one: one.estimate, default=None)
    untold = len(found) - len(told)
    details = [f"{untold} of {count(len(found), 'way')} could not be told."] if untold else []
    return Answer(
        key="int8",
        question="What int8 gains",
        headline=_headline(told),
        tone="plain",
        number="not shown" if fastest is None else times(fastest.estimate),
        number_note="over stock default in fp32",
        columns=("over stock default",),
        lines=tuple(
            Line(label=f"{capitalised(spoken(row))}, batch {row.batch_size}", cells=(comparison,))
            for row, comparison in found
        ),
        details=(*details, _decisions(facts, [row for row, _ in found])),
    )


def _headline(told: list[Comparison]) -> str:
    """From the ways that have a verdict: an interval of two rounds says nothing."""
    kinds = {comparison.verdict for comparison in told}
    if Verdict.FASTER not in kinds:
        return "int8 was not shown to be faster than stock default in fp32."
    slowest = min(told, key=lambda one: one.estimate)
    fastest = max(told, key=lambda one: one.estimate)
    where = "in every way that could be told"
    if kinds != {Verdict.FASTER}:
        where = "in some ways and not in others"
    start = f"int8 is faster than stock default in fp32 {where}."
    if len(told) == 1:
        return f"{start} {with_interval(fastest)}."
    return f"{start} From {with_interval(slowest)} to {with_interval(fastest)}."


def _decisions(facts: Facts, rows: list[ScenarioRow]) -> str:
    """It is another model than the one that was trained, so this stands beside its speed."""
    parity = [facts.parity[row.scenario] for row in rows if row.scenario in facts.parity]
    worst = max((row.decisions_changed or 0 for row in parity), default=None)
    start = "A model of its own, rounded to 8 bits, so not among the fastest above"
    if worst is None:
        return f"{start}; its outputs were not compared."
    images = max(row.images for row in parity)
    most = f"at most {count(worst, 'decision')}" if worst else "no decision"
    changed = f"{most} changed on {count(images, 'image')}"
    return f"{start}: {changed}."
