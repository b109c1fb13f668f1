"""The fastest training step, and what IPEX gains in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import of_task
from bench.analysis.winners import best_ipex, why_nothing, winner
from bench.plan.scenario import Task
from bench.report.answers.answer import (
    BASELINES,
    Answer,
    Line,
    gain_line,
    trained_name,
    unmeasured,
)
from bench.text.wording import listed, spoken, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.facts import Facts, Group
    from bench.analysis.winners import Winner


def training(facts: Facts) -> Answer:
    """One answer for all training groups: the fastest step and what IPEX gains."""
    question = "Training, one step"
    groups = of_task(facts.groups, Task.TRAINING)
    if not groups:
        return unmeasured("training", question, "Training was not measured in this run.")
    lines: list[Line] = []
    sentences: list[str] = []
    tones: set[str] = set()
    numbers: list[str] = []
    for group in groups:
        best = winner(facts, group)
        sentence, tone = _training_sentence(facts, group, best)
        sentences.append(sentence)
        tones.add(tone)
        if tone == "good" and best is not None and best.comparison is not None:
            numbers.append(times(best.comparison.estimate))
        ipex = best_ipex(facts, group)
        if ipex is not None:
            lines.append(gain_line(facts, group, ipex))
    all_good = len(numbers) == len(groups)
    return Answer(
        key="training",
        question=f"{question}, batch {groups[0].batch_size}",
        headline=sentences[0],
        tone=tones.pop() if len(tones) == 1 else "plain",
        number=numbers[0] if all_good else "",
        number_note="over stock default" if all_good else "",
        columns=tuple(f"IPEX {name}" for name in BASELINES) if lines else (),
        lines=tuple(lines),
        details=(*sentences[1:], *_why_no_training(facts, groups)),
    )


def _why_no_training(facts: Facts, groups: Sequence[Group]) -> list[str]:
    unanswered = [group for group in groups if winner(facts, group) is None]
    return list(dict.fromkeys(why_nothing(facts, group) for group in unanswered))[:1]


def _training_sentence(facts: Facts, group: Group, best: Winner | None) -> tuple[str, str]:
    start = trained_name(group)
    if best is None:
        return f"{start}: no valid answer.", "unknown"
    if group in facts.thin_groups:
        return f"{start}: too few rounds for a verdict.", "unknown"
    if best.comparison is None:
        return f"{start}: nothing that was measured is faster than stock default.", "level"
    if not best.is_shown:
        return f"{start}: nothing was shown to be faster than stock default.", "level"
    level = ""
    if best.level:
        level = f"; not shown to be slower: {listed([spoken(row) for row, _ in best.level], 2)}"
    return (
        (
            f"{start}: {spoken(best.row)} {'leads' if best.level else 'is fastest'}, "
            f"{with_interval(best.comparison)} over stock default{level}."
        ),
        "good",
    )
