"""Say which supported way is fastest, and by how much it is slower than the fastest of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.run_facts import is_stock_default
from bench.recommend.rules import Wish, recommend
from bench.recommend.supported import is_within
from bench.report.answers.answer import Answer, Line, unanswered
from bench.text.wording import spoken, times

if TYPE_CHECKING:
    from bench.analysis.run_facts import Comparison, Facts

_KEY, _QUESTION = "supported", "Supported ways"


def supported(facts: Facts) -> Answer | None:
    """Name the fastest supported way at the smallest batch size, as `bench recommend` does.

    None where nothing can be recommended: the other answers say why.
    """
    found = recommend(facts, Wish())
    if found.row is None or is_stock_default(found.row):
        return None
    question = f"{_QUESTION}, batch {found.row.batch_size}"
    reasons = tuple(Line(label=one.what, text=one.sentence) for one in found.concerns)
    if facts.is_supported(found.row):
        name = spoken(found.row)
        return Answer(
            key=_KEY,
            question=question,
            headline=f"The fastest way, {name}, rests on nothing archived, deprecated or private.",
            tone="good",
            lines=reasons,
        )
    if found.supported is None:
        missing = "No supported way has a valid result."
        return unanswered(_KEY, question, missing, *(line.text for line in reasons))
    comparison = found.supported.comparison
    return Answer(
        key=_KEY,
        question=question,
        headline=found.supported.sentence,
        tone=_tone(comparison, facts.policy.verdict.same_within),
        number=times(comparison.estimate) if comparison else "",
        number_note="the speed of the fastest" if comparison else "",
        lines=reasons,
    )


def _tone(comparison: Comparison | None, same_within: float) -> str:
    if comparison is None or not comparison.is_valid:
        return "unknown"
    if not comparison.is_decided:
        return "level"
    return "good" if is_within(comparison, same_within) else "bad"
