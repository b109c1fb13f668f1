"""Define the answers of the first screen, and the phrases that several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.winners import best_ipex, ipex_over_tuned
from bench.plan.scenario import Task, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow

TOO_FEW_ROUNDS = "Too few rounds for a verdict."
"""Distinct from "no difference could be shown"."""

BASELINES = ("over stock default", "over stock tuned")

VERDICT_WORDS = {
    str(Verdict.FASTER): "faster",
    str(Verdict.SLOWER): "SLOWER",
    str(Verdict.SAME): "equally fast",
    str(Verdict.INCONCLUSIVE): "not shown to differ",
    str(Verdict.INVALID): "without a valid comparison",
    TOO_FEW_ROUNDS: "too few rounds to tell",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line under an answer: a sentence, or comparisons under the answer's columns."""

    label: str
    text: str = ""
    cells: tuple[Comparison | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of the first screen and its answer."""

    key: str
    question: str
    headline: str
    tone: str
    """`good`, `bad`, `level` (no difference shown), `unknown` (nothing valid) or `plain`."""
    number: str = ""
    """The figure, or two words, in large type beside the headline."""
    number_note: str = ""
    columns: tuple[str, ...] = ()
    """Column heads of the lines' comparisons."""
    lines: tuple[Line, ...] = ()
    lines_are_shown: bool = False
    """Whether the lines are always shown, and not folded."""
    details: tuple[str, ...] = ()
    """Sentences; the first is shown where no lines are, the others are folded."""

    @property
    def shown_details(self) -> tuple[str, ...]:
        """The details that the first screen shows."""
        return () if self.lines_are_shown else self.details[:1]

    @property
    def folded_details(self) -> tuple[str, ...]:
        """The details that are folded."""
        return self.details[len(self.shown_details) :]

    @property
    def is_folded(self) -> bool:
        """Whether any detail or line is folded."""
        return bool(self.folded_details or (self.lines and not self.lines_are_shown))


def gain_line(facts: Facts, group: Group, best: ScenarioRow) -> Line:
    """Compare the group's best IPEX scenario with both baselines."""
    label = f"Batch {group.batch_size}" if group.task == Task.INFERENCE else trained_name(group)
    if best.dtype != "fp32":
        label += f", {best.dtype}"
    cells = (facts.against_default(best.scenario), ipex_over_tuned(facts, best))
    return Line(label=label, cells=cells)


def trained_name(group: Group) -> str:
    """Name what the group trains."""
    return {"frozen": "Blocks frozen", "full": "Everything trained"}.get(group.trained, group.label)


def unanswered(key: str, question: str, headline: str, *details: str) -> Answer:
    """Make the answer to a question that the run cannot answer."""
    return Answer(key=key, question=question, headline=headline, tone="unknown", details=details)


def ipex_bests(facts: Facts, groups: Sequence[Group]) -> Iterator[tuple[Group, ScenarioRow]]:
    """Yield the best of IPEX in each group, in fp32 and then where it is native in bf16."""
    for dtype in ("fp32", "bf16") if facts.native_bf16 else ("fp32",):
        for group in groups:
            if (row := best_ipex(facts, group, dtype)) is not None:
                yield group, row


def lower_first(name: str) -> str:
    """Return a name as it stands within a sentence."""
    return name[:1].lower() + name[1:]


def upper_first(text: str) -> str:
    """Return the text with a capital first letter, unless it starts with `bf16` or `fp32`."""
    return text if text.startswith(("bf16", "fp32")) else text[:1].upper() + text[1:]
