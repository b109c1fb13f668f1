"""What do we lose or gain by leaving IPEX? The page's section and its headline. Pure.

The figures are `bench.analysis.leaving`'s; here they get words. Without another environment in the
run there is no section: what IPEX gains over stock of its own PyTorch is on the first screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.leaving import Leaving, leaving
from bench.plan.scenario import DEFAULT_ENVIRONMENT
from bench.report.table import Cell, Row, Table, number, scenario_cell
from bench.text import wording
from bench.text.wording import NOTHING, milliseconds

if TYPE_CHECKING:
    from bench.analysis.facts import Facts
    from bench.store.records import ScenarioRow


def others(facts: Facts) -> list[str]:
    """The other environments of the run, by name."""
    named = dict.fromkeys(row.environment for row in facts.scenarios.values())
    return [name for name in named if name != DEFAULT_ENVIRONMENT]


def found(facts: Facts) -> list[Leaving]:
    """What leaving IPEX costs or gains, answer by answer; empty without another environment."""
    if not others(facts):
        return []
    return leaving(facts.analysis, confidence=facts.claims.confidence)


def place(one: Leaving) -> str:
    """Where an answer holds: `inference/b8 in fp32`."""
    return f"{one.group} in {one.dtype}"


def versions(facts: Facts) -> list[str]:
    """Which PyTorch each environment has, a sentence each."""
    return [
        f"{name} is PyTorch {facts.environment.text('environments', name, 'packages', 'torch')} "
        f"on Python {facts.environment.text('environments', name, 'version')}; IPEX 2.8 needs "
        "PyTorch 2.8, so it cannot be beside it."
        for name in others(facts)
        if facts.environment.text("environments", name, "packages", "torch")
    ]


def table(facts: Facts, anchors: dict[str, str]) -> Table:
    """One row a task, batch size, dtype and environment: the best of both sides."""
    return Table(
        name="leaving",
        caption="The fastest valid stock scenario of each environment over the fastest valid IPEX "
        f"scenario of the same group and dtype. Below 1{wording.TIMES}, leaving IPEX costs speed.",
        columns=(
            "Group, dtype",
            "Environment",
            "Stock over IPEX",
            "Verdict",
            "Best stock",
            "Best IPEX",
            "Remark",
        ),
        rows=tuple(_row(one, anchors) for one in found(facts)),
        numeric=(2,),
        empty="No other environment was measured in this run.",
    )


def _row(one: Leaving, anchors: dict[str, str]) -> Row:
    ratio = Cell(text=NOTHING, is_number=True)
    if one.comparison is not None:
        ratio = number(
            wording.times(one.comparison.estimate),
            one.comparison.estimate,
            wording.bounds(one.comparison.low, one.comparison.high),
        )
    return Row(
        cells=(
            Cell(text=place(one)),
            Cell(text=one.environment),
            ratio,
            Cell(
                text=wording.verdict_words(one.verdict),
                sort=str(one.verdict),
                verdict=str(one.verdict),
            ),
            _side(one.stock, anchors),
            _side(one.ipex, anchors),
            Cell(text=one.reason or ""),
        ),
        task=one.group.split("/")[0],
        verdict=str(one.verdict),
    )


def _side(row: ScenarioRow | None, anchors: dict[str, str]) -> Cell:
    if row is None:
        return Cell(text=NOTHING)
    cell = scenario_cell(row, anchors)
    return Cell(
        text=cell.text,
        sort=cell.sort,
        note=f"{cell.note} · {milliseconds(row.median_ms)}",
        link=cell.link,
    )
