"""Say what bf16 does on this CPU, and what int8 gains and costs in decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.claims import BF16
from bench.analysis.run_facts import of_task
from bench.analysis.winners import bf16_pairs
from bench.plan.scenario import DECIDED, Task, Verdict
from bench.report.answers.answer import TOO_FEW_ROUNDS, Answer, Line, unanswered, upper_first
from bench.run.outcomes import had_no_turn
from bench.text.wording import count, spoken, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run_facts import Comparison, Facts
    from bench.store.records import ScenarioRow


def bf16(facts: Facts) -> Answer:
    """Compare bf16 with fp32: the best of each, and each bf16 scenario with its fp32 twin."""
    question, ability = "What bf16 does here", bf16_ability(facts)
    found = [
        comparison
        for row, twin in bf16_pairs(facts)
        if row.task == Task.INFERENCE
        and (comparison := facts.compare(row.scenario, twin.scenario)) is not None
        and comparison.is_valid
    ]
    claim = _best_of_each(facts)
    if not found and claim is None:
        missing = "No valid comparison of bf16 with fp32 was measured."
        return unanswered("bf16", question, ability, missing)
    # without a twin in fp32 (a way that differs in its layout too, say), the best are the pair
    measured = found or ([claim] if claim else [])
    pairs = [one for one in measured if not facts.is_thin(one)]
    if not pairs:
        return unanswered("bf16", question, TOO_FEW_ROUNDS, ability)
    of_pairs, tone = _bf16_pairs_headline(pairs)
    slowest, fastest = _extremes(pairs)
    spread = f"{_range(slowest, fastest)}{f' in {len(pairs)} pairs' if len(pairs) > 1 else ''}."
    if claim is None:
        headline, details = f"{of_pairs} {spread}", [ability]
    elif not found:
        headline, details = _claim_sentence(facts, claim), [ability]
    elif tone == "good":  # the pairs confirm the claim
        headline, details = _claim_sentence(facts, claim), [f"{of_pairs} {spread}", ability]
    else:
        headline, details = f"{_claim_sentence(facts, claim)} {of_pairs}", [spread, ability]
    return Answer(
        key="bf16",
        question=question,
        headline=headline,
        tone=tone,
        number=times((claim or (fastest if fastest.estimate > 1 else slowest)).estimate),
        number_note="over fp32",
        columns=("over fp32",),
        lines=tuple(
            _line(facts.scenarios[one.scenario], one) for one in dict.fromkeys((fastest, slowest))
        ),
        details=tuple(details),
    )


def bf16_ability(facts: Facts) -> str:
    """Say whether this CPU has bf16 instructions."""
    return {
        True: "This CPU computes bf16 itself.",
        False: "This CPU has no bf16 instructions: bf16 is emulated.",
        None: "The run does not say whether this CPU computes bf16 itself.",
    }[facts.native_bf16]


def _best_of_each(facts: Facts) -> Comparison | None:
    """Return the first group's claim, the best in bf16 over the best in fp32, if it is usable."""
    groups = of_task(facts.groups, Task.INFERENCE)
    claim = facts.claims.answer(BF16, groups[0].noise_name) if groups else None
    return claim if claim is not None and claim.is_valid and not facts.is_thin(claim) else None


def _claim_sentence(facts: Facts, claim: Comparison) -> str:
    batch_size = facts.scenarios[claim.scenario].batch_size
    shown = "" if claim.is_decided else ", which shows no difference"
    return (
        f"At batch {batch_size} the best in bf16 is {with_interval(claim)} over the best "
        f"in fp32{shown}."
    )


def _bf16_pairs_headline(pairs: Sequence[Comparison]) -> tuple[str, str]:
    """Summarise the verdicts of all pairs that have enough rounds."""
    verdicts = {one.verdict for one in pairs}
    decided = verdicts - {Verdict.INCONCLUSIVE}
    where = "pair" if decided == verdicts else "pair with a verdict"
    if decided == {Verdict.FASTER}:
        return f"bf16 is faster than fp32 in every {where}.", "good"
    if decided == {Verdict.SLOWER}:
        return f"bf16 is SLOWER than fp32 in every {where}: do not use it here.", "bad"
    if not decided and not all(one.low <= 1 <= one.high for one in pairs):
        return "No pair of bf16 and fp32 is decided yet.", "level"
    if decided <= {Verdict.SAME}:
        return "No difference between bf16 and fp32 could be shown.", "level"
    if Verdict.FASTER not in decided:
        return "bf16 is SLOWER than fp32 in some pairs and faster in none.", "bad"
    return "bf16 is faster than fp32 in some pairs and not in others.", "level"


def _extremes(found: Sequence[Comparison]) -> tuple[Comparison, Comparison]:
    """Return the comparisons with the smallest and the largest estimate."""
    ordered = sorted(found, key=lambda one: one.estimate)
    return ordered[0], ordered[-1]


def _range(slowest: Comparison, fastest: Comparison) -> str:
    if slowest is fastest:
        return with_interval(fastest)
    return f"From {with_interval(slowest)} to {with_interval(fastest)}"


def _line(row: ScenarioRow, comparison: Comparison) -> Line:
    return Line(label=f"{upper_first(spoken(row))}, batch {row.batch_size}", cells=(comparison,))


def int8(facts: Facts) -> Answer | None:
    """Compare the int8 scenarios with stock default in fp32; None where the run has none."""
    key, question = "int8", "What int8 gains"
    rows = [
        row
        for row in facts.scenarios.values()
        if row.dtype == "int8" and row.task == Task.INFERENCE
    ]
    if not rows:
        own = facts.metadata.request.own
        missing = "Not measured: --calibration MODULE:FUNCTION gives the data for it."
        return unanswered(key, question, missing) if own.model and not own.calibration else None
    found = [
        (row, comparison)
        for row in rows
        if facts.is_measured(row)
        and (comparison := facts.against_default(row.scenario)) is not None
        and comparison.is_valid
    ]
    if not found:
        waited = all(had_no_turn(row.reason) for row in rows)
        missing = "int8 had no turn." if waited else "int8 gave no valid result."
        reasons = [row.reason for row in rows if row.reason]
        return unanswered(key, question, missing, *reasons[:1])
    decided = [comparison for _, comparison in found if comparison.verdict in DECIDED]
    number, open_ = "not shown", len(found) - len(decided)
    if decided:
        number = times(_extremes(decided)[1].estimate)
    details = [f"{open_} of {count(len(found), 'int8 scenario')} have no verdict."] if open_ else []
    return Answer(
        key=key,
        question=question,
        headline=_int8_headline(decided),
        tone="plain",
        number=number,
        number_note="over stock default in fp32",
        columns=("over stock default",),
        lines=tuple(_line(*item) for item in found),
        details=(*details, _int8_decisions(facts, [row for row, _ in found])),
    )


def _int8_headline(decided: Sequence[Comparison]) -> str:
    """Summarise the comparisons with a verdict: an interval of two rounds says nothing."""
    verdicts = {comparison.verdict for comparison in decided}
    if Verdict.FASTER not in verdicts:
        return "int8 was not shown to be faster than stock default in fp32."
    where = "in every comparison with a verdict"
    if verdicts != {Verdict.FASTER}:
        where = "in some comparisons and not in others"
    return f"int8 is faster than stock default in fp32 {where}. {_range(*_extremes(decided))}."


def _int8_decisions(facts: Facts, rows: Sequence[ScenarioRow]) -> str:
    """Say what int8, which is another model than the trained one, changes in decisions."""
    parity = [facts.parity[row.scenario] for row in rows if row.scenario in facts.parity]
    start = "int8 is another model, rounded to 8 bits, and not among the fastest above."
    if not parity:
        return f"{start} Its outputs were not compared."
    worst = max(row.decisions_changed or 0 for row in parity)
    nouns = facts.nouns
    images = count(max(row.images for row in parity), nouns.item)
    if all(row.decisions_changed is None for row in parity):
        return f"{start} Its outputs were compared as numbers, on {images}."
    most = f"At most {count(worst, nouns.decision)}" if worst else f"No {nouns.decision}"
    return f"{start} {most} changed on {images}."
