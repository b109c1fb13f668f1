"""What int8 gains and what it costs in decisions: the first screen's answer, where it was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.answers.answer import Answer, Line, capitalised
from bench.report.wording import count, spoken, times, with_interval
from bench.scenarios import Task, Verdict

if TYPE_CHECKING:
    from bench.records import ScenarioRow
    from bench.report.facts import Facts


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
    slowest = min((comparison for _, comparison in found), key=lambda one: one.estimate)
    fastest = max((comparison for _, comparison in found), key=lambda one: one.estimate)
    kinds = {comparison.verdict for _, comparison in found}
    headline = "int8 is faster than stock default in fp32 in some ways and not in others."
    if kinds == {Verdict.FASTER}:
        headline = "int8 is faster than stock default in fp32 in every way it was run."
    elif Verdict.FASTER not in kinds:
        headline = "int8 was not shown to be faster than stock default in fp32."
    return Answer(
        key="int8",
        question="What int8 gains",
        headline=f"{headline} From {with_interval(slowest)} to {with_interval(fastest)}."
        if len(found) > 1
        else f"{headline} {with_interval(fastest)}.",
        tone="plain",
        number=times(fastest.estimate),
        number_note="over stock default in fp32",
        columns=("over stock default",),
        lines=tuple(
            Line(label=f"{capitalised(spoken(row))}, batch {row.batch_size}", cells=(comparison,))
            for row, comparison in found
        ),
        details=(_decisions(facts, [row for row, _ in found]),),
    )


def _decisions(facts: Facts, rows: list[ScenarioRow]) -> str:
    """It is another model than the one that was trained, so this stands beside its speed."""
    parity = [facts.parity[row.scenario] for row in rows if row.scenario in facts.parity]
    worst = max((row.decisions_changed or 0 for row in parity), default=None)
    start = "A model of its own, rounded to 8 bits, so not among the fastest above"
    if worst is None:
        return f"{start}; its outputs were not compared."
    images = max(row.images for row in parity)
    changed = f"at most {count(worst, 'decision')} changed on {count(images, 'image')}"
    return f"{start}: {changed}."
