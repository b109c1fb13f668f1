"""The fastest supported way, and by how much it is slower than the fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.run_facts import is_stock_default
from bench.plan.scenario import Verdict
from bench.recommend.rules import Wish, recommend
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
    if not reasons:
        name = spoken(found.row)
        return Answer(
            key=_KEY,
            question=question,
            headline=f"The fastest way, {name}, rests on nothing archived, deprecated or private.",
            tone="good",
        )
    if found.supported is None:
        missing = "No supported way has a valid result."
        return unanswered(_KEY, question, missing, *(line.text for line in reasons))
    comparison = found.supported.comparison
    return Answer(
        key=_KEY,
        question=question,
        headline=found.supported.sentence,
        tone=_tone(comparison),
        number=times(comparison.estimate) if comparison else "",
        number_note="of the fastest" if comparison else "",
        lines=reasons,
    )


def _tone(comparison: Comparison | None) -> str:
    if comparison is None or not comparison.is_valid:
        return "unknown"
    tones = {Verdict.SAME: "good", Verdict.FASTER: "good", Verdict.SLOWER: "bad"}
    return tones.get(comparison.verdict, "level")
