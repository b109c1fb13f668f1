"""Say what settings around the model gain, where the run varied them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.analysis.run_facts import comparison_of, is_stock_default
from bench.analysis.scenario_kinds import varied
from bench.machine import worker_settings
from bench.plan import variables
from bench.plan.scenario import BaselineKind, Task, Verdict
from bench.report.answers.answer import Answer, Line, upper_first
from bench.report.varied import plain
from bench.text.wording import option_tags, spoken, times, with_interval

if TYPE_CHECKING:
    from bench.analysis.run_facts import Comparison, Facts
    from bench.store.records import ScenarioRow

_FREE = ("heap", "allocator", "openmp")
"""Variables that a service can set at no cost but memory."""


class _Effect(NamedTuple):
    """A varied scenario over the same scenario without the change."""

    row: ScenarioRow
    worth: Comparison

    @property
    def heap_as_shipped(self) -> bool:
        """Whether the change takes away the kept heap that all other workers have."""
        return varied(self.row).get("heap") == variables.AS_SHIPPED

    @property
    def gain(self) -> Comparison:
        """What the setting to choose gains: for the heap, keeping it."""
        return self.worth.inverted if self.heap_as_shipped else self.worth

    @property
    def change(self) -> str:
        """Name the change: `tcmalloc as allocator`."""
        return variables.in_words(option_tags(self.row))

    @property
    def scenario(self) -> str:
        """Name the scenario without the change: `stock default, batch 1`."""
        row = plain(self.row)
        name = "stock default" if is_stock_default(row) else spoken(row)
        training = "" if row.task == Task.INFERENCE else ", training"
        return f"{name}{training}, batch {row.batch_size}"


def surroundings(whole: Facts) -> Answer | None:
    """Say what each change gains; None where the run varied nothing that costs nothing.

    `whole` are the facts with varied scenarios.
    """
    effects = [
        _Effect(row, worth)
        for row in whole.scenarios.values()
        if varied(row).keys() & set(_FREE)
        and (worth := comparison_of(whole.speedup(row.scenario, BaselineKind.UNVARIED))) is not None
    ]
    if not effects:
        return None
    best = max(effects, key=lambda one: (one.gain.verdict == Verdict.FASTER, one.gain.estimate))
    is_shown = best.gain.verdict == Verdict.FASTER
    headline = "No changed variable was shown to make anything faster."
    if is_shown:
        change = "A kept heap" if best.heap_as_shipped else upper_first(best.change)
        headline = f"{change} makes {best.scenario}, {with_interval(best.gain)} as fast."
    note = "over the heap as shipped" if best.heap_as_shipped else "over the same without"
    return Answer(
        key="surroundings",
        question="Before any backend",
        headline=headline,
        tone="good" if is_shown else "level",
        number=times(best.gain.estimate) if is_shown else "",
        number_note=note if is_shown else "",
        columns=("over the same without it", "over stock default, both with it"),
        lines=tuple(
            Line(
                label=f"{upper_first(one.change)}: {one.scenario}",
                cells=(
                    one.worth,
                    comparison_of(whole.speedup(one.row.scenario, BaselineKind.STOCK_ALIKE)),
                ),
            )
            for one in effects
        ),
        details=_details(best) if is_shown else (),
    )


def _details(best: _Effect) -> tuple[str, ...]:
    if not best.heap_as_shipped:
        return ("It can be set with every backend; all other answers are without it.",)
    setting = "=".join(*worker_settings.kept_heap({}).items())
    return (
        "All workers keep their heap, so no other answer counts this as the gain of a backend.",
        f"To keep it too, start your process with {setting}.",
    )
