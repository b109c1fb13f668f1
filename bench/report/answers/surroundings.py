"""What surrounds the model and costs nothing to change: the answer where it was varied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.analysis.facts import comparison_of
from bench.analysis.ways import is_stock_default
from bench.machine import placement
from bench.plan import variables
from bench.plan.scenario import BaselineKind, Task, Verdict
from bench.report.answers.answer import Answer, Line, capitalised
from bench.report.varied import plain, values_of
from bench.text.wording import option_tags, spoken, times, with_interval

if TYPE_CHECKING:
    from bench.analysis.facts import Comparison, Facts
    from bench.store.records import ScenarioRow

_QUESTION = "Before any backend"
_FREE = ("heap", "allocator", "openmp")
"""Variables that a service can set without giving anything up but memory."""


class _Effect(NamedTuple):
    """A varied scenario against the same one as all others run."""

    row: ScenarioRow
    worth: Comparison

    @property
    def heap_as_shipped(self) -> bool:
        """Whether what was varied is what all other workers have set already."""
        return values_of(self.row).get("heap") == variables.AS_SHIPPED

    @property
    def gain(self) -> Comparison:
        """Of the setting that a service should choose: a heap that is kept, not one as shipped."""
        return self.worth.inverted if self.heap_as_shipped else self.worth


def surroundings(whole: Facts) -> Answer | None:
    """What each is worth to the ways that had it; None where none was varied.

    `whole` are the facts with varied scenarios.
    """
    found = [
        _Effect(row, worth)
        for row in whole.scenarios.values()
        if values_of(row).keys() & set(_FREE)
        and (worth := comparison_of(whole.speedup(row.scenario, BaselineKind.UNVARIED))) is not None
    ]
    if not found:
        return None
    lines = tuple(
        Line(label=_label(one.row), cells=(one.worth, _alike(whole, one.row))) for one in found
    )
    columns = ("over the same unchanged", "over stock default, both so changed")
    best = max(found, key=lambda one: (one.gain.verdict == Verdict.FASTER, one.gain.estimate))
    if best.gain.verdict != Verdict.FASTER:
        return Answer(
            key="surroundings",
            question=_QUESTION,
            headline="No variable was shown to make anything faster.",
            tone="level",
            columns=columns,
            lines=lines,
        )
    return Answer(
        key="surroundings",
        question=_QUESTION,
        headline=_headline(best),
        tone="good",
        number=times(best.gain.estimate),
        number_note="over the heap as shipped" if best.heap_as_shipped else "over the same without",
        columns=columns,
        lines=lines,
        details=_details(best),
    )


def _alike(whole: Facts, row: ScenarioRow) -> Comparison | None:
    return comparison_of(whole.speedup(row.scenario, BaselineKind.STOCK_ALIKE))


def _headline(best: _Effect) -> str:
    changed = "A kept heap" if best.heap_as_shipped else capitalised(_changed(best.row))
    return f"{changed} makes {_way(best.row)} {with_interval(best.gain)} as fast."


def _changed(row: ScenarioRow) -> str:
    return variables.in_words(option_tags(row))


def _way(row: ScenarioRow) -> str:
    unchanged = plain(row)
    name = "stock default" if is_stock_default(unchanged) else spoken(unchanged)
    training = "" if row.task == Task.INFERENCE else ", training"
    return f"{name}{training}, batch {row.batch_size},"


def _label(row: ScenarioRow) -> str:
    return f"{capitalised(_changed(row))}: {_way(row).rstrip(',')}"


def _details(best: _Effect) -> tuple[str, ...]:
    if not best.heap_as_shipped:
        return ("It can be set for every backend alike: all other answers are without it.",)
    setting = "=".join(*placement.kept_heap({}).items())
    return (
        "All workers have it, so no other answer counts it as a backend's gain.",
        f"To have it, start your process with {setting}.",
    )
