"""What surrounds the model and costs nothing to change: the answer where it was varied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import placement, variables
from bench.report.answers.answer import Answer, Line, capitalised
from bench.report.facts import comparison_of
from bench.report.varied import spelled, values_of
from bench.report.wording import option_tags, way_name, with_interval
from bench.scenarios import BaselineKind, Task, Verdict

if TYPE_CHECKING:
    from bench.records import ScenarioRow
    from bench.report.facts import Comparison, Facts

_QUESTION = "Before any backend"
_FREE = ("heap", "allocator", "openmp")
"""Variables that a service can set without giving anything up but memory."""


def surroundings(whole: Facts) -> Answer | None:
    """What each is worth to the ways that had it; None where none was varied.

    `whole` are the facts with varied scenarios.
    """
    found = [
        (row, comparison)
        for row in whole.scenarios.values()
        if (comparison := _worth(whole, row)) is not None
    ]
    if not found:
        return None
    best = max(found, key=lambda one: (one[1].verdict == Verdict.FASTER, one[1].estimate))
    gained = best[1].verdict == Verdict.FASTER
    return Answer(
        key="surroundings",
        question=_QUESTION,
        headline=_gain(*best) if gained else "No variable was shown to make anything faster.",
        tone="good" if gained else "level",
        columns=("over the same without it", "over stock default, both with it"),
        lines=tuple(
            Line(label=_label(row), cells=(worth, _alike(whole, row))) for row, worth in found
        ),
        details=_details(best[0]) if gained else (),
    )


def _worth(whole: Facts, row: ScenarioRow) -> Comparison | None:
    if not values_of(row).keys() & set(_FREE):
        return None
    return comparison_of(whole.speedup(row.scenario, BaselineKind.UNVARIED))


def _alike(whole: Facts, row: ScenarioRow) -> Comparison | None:
    return comparison_of(whole.speedup(row.scenario, BaselineKind.STOCK_ALIKE))


def _gain(row: ScenarioRow, worth: Comparison) -> str:
    changed = capitalised(variables.in_words(option_tags(row)))
    return f"{changed} makes {_way(row)}, {with_interval(worth)} as fast as without."


def _way(row: ScenarioRow) -> str:
    training = "" if row.task == Task.INFERENCE else ", training"
    return f"{way_name(row)} {row.dtype}{training}, batch {row.batch_size}"


def _label(row: ScenarioRow) -> str:
    return f"{spelled(row)}: {_way(row)}"


def _details(row: ScenarioRow) -> tuple[str, ...]:
    alike = "It can be set for every backend alike: all other answers are without it."
    if "heap" not in values_of(row):
        return (alike,)
    setting = "=".join(*placement.kept_heap({}).items())
    return (alike, f"A kept heap is {setting} where the process starts.")
