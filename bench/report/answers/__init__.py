"""The first screen: rules that turn a run's numbers into sentences. Pure; every rule has a test.

Each rule reads `Facts` and gives one `Answer`. A rule never says more than the verdicts allow:
where no difference was shown, that is the answer; where nothing valid was measured, it says what
is missing and what would help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.answers.answer import Answer, Line
from bench.report.answers.gain import ipex_gain
from bench.report.answers.int8 import int8
from bench.report.answers.leading import lead
from bench.report.answers.leaving import leaving
from bench.report.answers.low_precision import bf16, bf16_ability
from bench.report.answers.speed import latency, throughput
from bench.report.answers.steps import training
from bench.report.answers.surroundings import surroundings
from bench.report.answers.trust import decisions, noise

if TYPE_CHECKING:
    from bench.analysis.facts import Facts

__all__ = ["Answer", "Line", "answers", "bf16_ability", "lead"]


def answers(facts: Facts) -> list[Answer]:
    """Everything the first screen says, in order."""
    elsewhere = leaving(facts)
    small = int8(facts)
    around = surroundings(facts.whole or facts)
    return [
        latency(facts),
        throughput(facts),
        ipex_gain(facts),
        *([around] if around else []),
        *([elsewhere] if elsewhere else []),
        training(facts),
        bf16(facts),
        *([small] if small else []),
        decisions(facts),
        noise(facts),
    ]
