"""Turn a run's numbers into the sentences of the first screen, by pure rules.

Each rule takes `Facts` and returns one `Answer`. No rule says more than the verdicts allow: where
no difference was shown, that is the answer; where nothing valid was measured, the answer names
what is missing and what would help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.answers.answer import Answer, Line
from bench.report.answers.dtypes import bf16, bf16_ability, int8
from bench.report.answers.environments import leaving
from bench.report.answers.fastest import cost, latency, lead, throughput, training
from bench.report.answers.ipex import ipex_gain
from bench.report.answers.supported import supported
from bench.report.answers.trust import decisions, noise
from bench.report.answers.variables import surroundings

if TYPE_CHECKING:
    from bench.analysis.run_facts import Facts

__all__ = ["Answer", "Line", "answers", "bf16_ability", "cost", "lead"]


def answers(facts: Facts) -> list[Answer]:
    """Return every answer of the first screen, in order."""
    found = (
        latency(facts),
        throughput(facts),
        ipex_gain(facts),
        supported(facts),
        surroundings(facts.whole or facts),
        leaving(facts),
        training(facts),
        bf16(facts),
        int8(facts),
        decisions(facts),
        noise(facts),
    )
    return [answer for answer in found if answer is not None]
