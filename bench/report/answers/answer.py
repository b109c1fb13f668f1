"""What an answer of the first screen is made of, and the phrases that several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.winners import ipex_over_tuned
from bench.plan.scenario import Task

if TYPE_CHECKING:
    from bench.analysis.facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow

THIN = "Too few rounds for a verdict."
"""Not the same as "no difference could be shown"."""

BASELINES = ("over stock default", "over stock tuned")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line under an answer: a sentence, or comparisons under the answer's columns."""

    label: str
    text: str = ""
    cells: tuple[Comparison | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of the first screen."""

    key: str
    question: str
    headline: str
    tone: str
    """`good`, `bad`, `level` (no difference shown), `unknown` (nothing valid) or `plain`."""
    number: str = ""
    """The figure, or two words, that stand large beside the headline."""
    number_note: str = ""
    columns: tuple[str, ...] = ()
    """Heads of the lines' comparisons."""
    lines: tuple[Line, ...] = ()
    lines_are_shown: bool = False
    """Whether the lines belong to the answer itself, and so are never folded."""
    details: tuple[str, ...] = ()
    """Sentences; the first is shown where no lines are, the others are folded."""

    @property
    def shown_details(self) -> tuple[str, ...]:
        """What the first screen shows of them."""
        return () if self.lines_are_shown else self.details[:1]

    @property
    def folded_details(self) -> tuple[str, ...]:
        """The others."""
        return self.details[len(self.shown_details) :]

    @property
    def is_folded(self) -> bool:
        """Whether there is more than the first screen shows."""
        return bool(self.folded_details or (self.lines and not self.lines_are_shown))


def gain_line(facts: Facts, group: Group, best: ScenarioRow) -> Line:
    """What the group's best IPEX scenario gains over both baselines."""
    label = f"Batch {group.batch_size}" if group.task == Task.INFERENCE else trained_name(group)
    if best.dtype != "fp32":
        label += f", {best.dtype}"
    both = (facts.against_default(best.scenario), ipex_over_tuned(facts, best))
    return Line(label=label, cells=both)


def trained_name(group: Group) -> str:
    """What is trained in that group, in words."""
    return {"frozen": "Blocks frozen", "full": "Everything trained"}.get(group.trained, group.label)


def unmeasured(key: str, question: str, headline: str) -> Answer:
    """An answer to what the run did not ask."""
    return Answer(key=key, question=question, headline=headline, tone="unknown")


def capitalised(text: str) -> str:
    """The text with its first letter large, unless it starts with a name that is not (`bf16`)."""
    return text if text.startswith(("bf16", "fp32")) else text[:1].upper() + text[1:]


def small(text: str) -> str:
    """The text with its first letter small."""
    return text[:1].lower() + text[1:]
