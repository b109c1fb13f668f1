"""What leaving IPEX for a newer stock PyTorch costs or gains: the first screen's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan.scenario import DEFAULT_ENVIRONMENT, Verdict
from bench.report.answers.answer import Answer, Line
from bench.report.environments import found, others, place, versions
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.facts import Facts
    from bench.analysis.leaving import Leaving

_QUESTION = "Leaving IPEX"
_WORDS = {
    str(Verdict.FASTER): "faster",
    str(Verdict.SLOWER): "SLOWER",
    str(Verdict.SAME): "equally fast",
    str(Verdict.INCONCLUSIVE): "not shown to differ",
    str(Verdict.INVALID): "without a valid comparison",
}


def leaving(facts: Facts) -> Answer | None:
    """The first screen's answer; None where the run has no other environment."""
    elsewhere = [one for one in found(facts) if one.environment != DEFAULT_ENVIRONMENT]
    if not others(facts):
        return None
    if not elsewhere:
        return Answer(
            key="leaving",
            question=_QUESTION,
            headline="No IPEX scenario was measured beside the other environment.",
            tone="unknown",
        )
    return Answer(
        key="leaving",
        question=f"{_QUESTION} for {wording.listed(others(facts))}",
        headline=_headline(elsewhere),
        tone=_tone(elsewhere),
        columns=("its best stock over the best of IPEX",),
        lines=tuple(_line(one, many=len(others(facts)) > 1) for one in elsewhere),
        details=tuple(versions(facts)),
    )


def _headline(every: Sequence[Leaving]) -> str:
    if all(one.verdict == Verdict.INVALID for one in every):
        return "No comparison of newer stock PyTorch with IPEX is valid in this run."
    where: dict[str, list[str]] = {}
    for one in every:
        where.setdefault(_WORDS[str(one.verdict)], []).append(place(one))
    parts = [
        f"{word} for {wording.listed(places)}" if len(where) > 1 else f"{word} everywhere"
        for word, places in where.items()
    ]
    return f"Newer stock PyTorch at its best against IPEX at its best: {'; '.join(parts)}."


def _tone(every: Sequence[Leaving]) -> str:
    kinds = {one.verdict for one in every}
    if Verdict.SLOWER in kinds:
        return "bad"
    if kinds == {Verdict.INVALID}:
        return "unknown"
    return "good" if Verdict.FASTER in kinds else "level"


def _line(one: Leaving, *, many: bool) -> Line:
    label = f"{place(one)}{f', {one.environment}' if many else ''}"
    comparison = one.comparison
    if comparison is None:
        return Line(label=label, text=one.reason or "nothing to compare", cells=(None,))
    return Line(label=label, cells=(comparison,))
