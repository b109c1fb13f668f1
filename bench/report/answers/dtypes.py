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


_TONES = {str(Verdict.FASTER): "good", str(Verdict.SLOWER): "bad"}
"""Of the claim; of any other verdict `level`."""
_WORST_FIRST = ("bad", "level", "good")


def bf16(facts: Facts) -> Answer:
    """Compare bf16 with fp32: the best of each, and each bf16 scenario with its fp32 twin.

    What contradicts the first sentence stands beside it, a training step that loses, say.
    """
    question, ability = "What bf16 does here", bf16_ability(facts)
    valid = {task: _pairs(facts, task) for task in (Task.INFERENCE, Task.TRAINING)}
    pairs = {
        task: [one for one in found if not facts.is_thin(one)] for task, found in valid.items()
    }
    claim = _best_of_each(facts)
    if claim is None and not any(pairs.values()):
        few = (TOO_FEW_ROUNDS, ability)
        none = (ability, "No valid comparison of bf16 with fp32 was measured.")
        return unanswered("bf16", question, *(few if any(valid.values()) else none))
    said = {task: [_bf16_pairs_headline(task, found)] for task, found in pairs.items() if found}
    if claim is not None:
        said[Task.INFERENCE] = [_claim_sentence(facts, claim), *said.get(Task.INFERENCE, [])]
    tones = [min((tone for _, tone in one), key=_WORST_FIRST.index) for one in said.values()]
    (first, its_tone), *others = [
        one for task in (Task.INFERENCE, Task.TRAINING) for one in said.get(task, [])
    ]
    slowest, fastest = _extremes(next(filter(None, pairs.values()), [claim] if claim else []))
    return Answer(
        key="bf16",
        question=question,
        headline=" ".join([first, *(one for one, tone in others if tone != its_tone)]),
        tone=tones[0] if len(set(tones)) == 1 else "level",
        number=times((claim or (fastest if fastest.estimate > 1 else slowest)).estimate),
        number_note="over fp32",
        columns=("over fp32",),
        lines=tuple(
            _line(facts.scenarios[one.scenario], one) for one in dict.fromkeys((fastest, slowest))
        ),
        details=(ability, *(one for one, tone in others if tone == its_tone)),
    )


def _pairs(facts: Facts, task: Task) -> list[Comparison]:
    """Return each bf16 scenario over its fp32 twin, where that comparison is valid."""
    return [
        comparison
        for row, twin in bf16_pairs(facts)
        if row.task == task
        and (comparison := facts.compare(row.scenario, twin.scenario)) is not None
        and comparison.is_valid
    ]


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


def _claim_sentence(facts: Facts, claim: Comparison) -> tuple[str, str]:
    """Say what the best of each comes to; and the tone."""
    batch_size = facts.scenarios[claim.scenario].batch_size
    shown = "" if claim.is_decided else ", which shows no difference"
    if claim.verdict == Verdict.SLOWER:
        shown = ": SLOWER"
    sentence = (
        f"At batch {batch_size} the best in bf16 is {with_interval(claim)} over the best "
        f"in fp32{shown}."
    )
    return sentence, _TONES.get(claim.verdict, "level")


def _bf16_pairs_headline(task: Task, pairs: Sequence[Comparison]) -> tuple[str, str]:
    """Summarise the verdicts of all pairs of one task that have enough rounds; and the tone."""
    sentence, tone = _what_pairs_show(task, pairs)
    number = f" in {len(pairs)} pairs" if len(pairs) > 1 else ""
    return f"{sentence} {_range(pairs)}{number}.", tone


def _what_pairs_show(task: Task, pairs: Sequence[Comparison]) -> tuple[str, str]:
    start = "In a training step bf16" if task is Task.TRAINING else "bf16"
    verdicts = {one.verdict for one in pairs}
    decided = verdicts - {Verdict.INCONCLUSIVE}
    where = "pair" if decided == verdicts else "pair with a verdict"
    if task is Task.INFERENCE:
        where = f"inference {where}"
    if decided == {Verdict.FASTER}:
        return f"{start} is faster than fp32 in every {where}.", "good"
    if decided == {Verdict.SLOWER}:
        return f"{start} is SLOWER than fp32 in every {where}: do not use it here.", "bad"
    if not decided and not all(one.low <= 1 <= one.high for one in pairs):
        return f"No {task} pair of bf16 and fp32 is decided yet.", "level"
    if decided <= {Verdict.SAME}:
        return f"{start} was not shown to differ from fp32.", "level"
    if Verdict.FASTER not in decided:
        return f"{start} is SLOWER than fp32 in some pairs and faster in none.", "bad"
    return f"{start} is faster than fp32 in some pairs and not in others.", "level"


def _extremes(found: Sequence[Comparison]) -> tuple[Comparison, Comparison]:
    """Return the comparisons with the smallest and the largest estimate."""
    ordered = sorted(found, key=lambda one: one.estimate)
    return ordered[0], ordered[-1]


def _range(found: Sequence[Comparison]) -> str:
    slowest, fastest = _extremes(found)
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
    details = [f"{open_} of {count(len(found), 'int8 scenario')} got no verdict."] if open_ else []
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
    return f"int8 is faster than stock default in fp32 {where}. {_range(decided)}."


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
