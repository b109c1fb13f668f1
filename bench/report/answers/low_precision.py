"""What bf16 does on this CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.claims import BF16
from bench.analysis.facts import of_task
from bench.analysis.winners import bf16_pairs
from bench.plan.scenario import Task, Verdict
from bench.report.answers.answer import THIN, Answer, Line, capitalised
from bench.text.wording import spoken, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.facts import Comparison, Facts


def bf16(facts: Facts) -> Answer:
    """What bf16 does on this CPU, against the same scenario in fp32."""
    question = "What bf16 does here"
    found = [
        comparison
        for row, twin in bf16_pairs(facts)
        if row.task == Task.INFERENCE
        and (comparison := facts.compare(row.scenario, twin.scenario)) is not None
        and comparison.is_valid
    ]
    ability = bf16_ability(facts)
    if not found:
        return Answer(
            key="bf16",
            question=question,
            headline=ability,
            tone="unknown",
            details=("No valid comparison of bf16 with fp32 was measured.",),
        )
    told = [item for item in found if not facts.is_thin(item)]
    if not told:
        return Answer(
            key="bf16", question=question, headline=THIN, tone="unknown", details=(ability,)
        )
    headline, tone = _bf16_headline(told)
    slowest = min(told, key=lambda item: item.estimate)
    fastest = max(told, key=lambda item: item.estimate)
    spread = _spread(slowest, fastest, len(told))
    claim = _best_of_each(facts)
    best = _spell(claim, facts) if claim else ""
    if not best:
        headline, details = f"{headline} {spread}", [ability]
    elif tone == "good":  # the pairs take nothing back
        headline, details = best, [f"{headline} {spread}", ability]
    else:
        headline, details = f"{best} {headline}", [spread, ability]
    return Answer(
        key="bf16",
        question=question,
        headline=headline,
        tone=tone,
        number=times((claim or (fastest if fastest.estimate > 1 else slowest)).estimate),
        number_note="over fp32",
        columns=("over fp32",),
        lines=tuple(dict.fromkeys(_example(facts, item) for item in (fastest, slowest))),
        details=tuple(details),
    )


def _best_of_each(facts: Facts) -> Comparison | None:
    """The run's claim about the first group: the best in bf16 over the best in fp32."""
    groups = of_task(facts.groups, Task.INFERENCE)
    claim = facts.claims.answer(BF16, groups[0].noise_name) if groups else None
    return claim if claim is not None and claim.is_valid and not facts.is_thin(claim) else None


def _spell(claim: Comparison, facts: Facts) -> str:
    batch_size = facts.scenarios[claim.scenario].batch_size
    shown = "" if claim.is_decided else ", which shows no difference"
    return (
        f"At batch {batch_size} the best in bf16 is {with_interval(claim)} over the best "
        f"in fp32{shown}."
    )


def _spread(slowest: Comparison, fastest: Comparison, pairs: int) -> str:
    if pairs == 1:
        return f"{with_interval(fastest)}."
    return f"From {with_interval(slowest)} to {with_interval(fastest)} in {pairs} pairs."


def bf16_ability(facts: Facts) -> str:
    """Whether this CPU computes bf16 itself: a sentence."""
    return {
        True: "This CPU computes bf16 itself.",
        False: "This CPU has no bf16 instructions: bf16 is emulated.",
        None: "The run does not say whether this CPU computes bf16 itself.",
    }[facts.native_bf16]


def _bf16_headline(found: Sequence[Comparison]) -> tuple[str, str]:
    every = {item.verdict for item in found}
    kinds = every - {Verdict.INCONCLUSIVE}
    where = "in every way it was run" if kinds == every else "in every way that could be told"
    if kinds == {Verdict.FASTER}:
        return f"bf16 is faster than fp32 {where}.", "good"
    if kinds == {Verdict.SLOWER}:
        return f"bf16 is SLOWER than fp32 {where}: do not use it here.", "bad"
    if not kinds & {Verdict.FASTER, Verdict.SLOWER}:
        return "No difference between bf16 and fp32 could be shown.", "level"
    return "bf16 helps in some ways of running the model and not in others.", "level"


def _example(facts: Facts, comparison: Comparison) -> Line:
    row = facts.scenarios[comparison.scenario]
    label = f"{capitalised(spoken(row))}, batch {row.batch_size}"
    return Line(label=label, cells=(comparison,))
