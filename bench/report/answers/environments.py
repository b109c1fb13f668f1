"""Say what leaving IPEX for another stock PyTorch costs or gains, and make the page's table.

The figures are of `bench.analysis.leaving_ipex`. A run without another environment has neither:
the answer "What IPEX gains" compares IPEX with the stock of its own PyTorch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.analysis.leaving_ipex import Leaving
from bench.analysis.leaving_ipex import leaving as compared
from bench.plan.scenario import DEFAULT_ENVIRONMENT, Verdict
from bench.report.answers.answer import VERDICT_WORDS, Answer, Line, unanswered
from bench.report.table import Cell, Row, Table, ratio_cell, scenario_cell, verdict_cell
from bench.text.wording import NOTHING, TIMES, listed, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run_facts import Facts
    from bench.store.records import ScenarioRow

_QUESTION = "Leaving IPEX"


def others(facts: Facts) -> list[str]:
    """Return the names of the run's other environments."""
    named = dict.fromkeys(row.environment for row in facts.scenarios.values())
    return [name for name in named if name != DEFAULT_ENVIRONMENT]


def versions(facts: Facts) -> list[str]:
    """Name the PyTorch and Python of each other environment, a sentence each."""
    found = []
    for name in others(facts):
        known = facts.metadata.environments.get(name)
        if known and (torch := known.packages.get("torch")):
            fits = torch.startswith("2.8.")
            needs = "" if fits else "; IPEX 2.8 needs PyTorch 2.8 and cannot be installed with it"
            found.append(f"{name} is PyTorch {torch} on Python {known.version}{needs}.")
    return found


def leaving(facts: Facts) -> Answer | None:
    """Return the first screen's answer; None where the run has no other environment."""
    if not others(facts):
        return None
    found = [one for one in _found(facts) if one.environment != DEFAULT_ENVIRONMENT]
    if not found:
        missing = "No IPEX scenario was measured beside the other environment."
        return unanswered("leaving", _QUESTION, missing)
    many = len(others(facts)) > 1
    names = [f"{_place(one)} ({one.environment})" if many else _place(one) for one in found]
    headline, tone = _headline(found, names)
    return Answer(
        key="leaving",
        question=f"{_QUESTION} for {listed(others(facts))}",
        headline=headline,
        tone=tone,
        columns=("its best stock over the best of IPEX",),
        lines=tuple(
            Line(
                label=name,
                text="" if one.comparison else one.reason or "nothing to compare",
                cells=(one.comparison,),
            )
            for one, name in zip(found, names, strict=True)
        ),
        details=tuple(versions(facts)),
    )


def _found(facts: Facts) -> list[Leaving]:
    if not others(facts):
        return []
    return compared(facts.analysis, confidence=facts.claims.confidence)


def _place(one: Leaving) -> str:
    """Name the group and dtype: `inference/b8 in fp32`."""
    return f"{one.group} in {one.dtype}"


def _headline(found: Sequence[Leaving], names: Sequence[str]) -> tuple[str, str]:
    places: dict[str, list[str]] = {}
    for one, name in zip(found, names, strict=True):
        places.setdefault(str(one.verdict), []).append(name)
    if places.keys() == {Verdict.INVALID}:
        return "No comparison of the other PyTorch with IPEX is valid in this run.", "unknown"
    parts = [
        f"{VERDICT_WORDS[verdict]} {f'for {listed(at)}' if len(places) > 1 else 'everywhere'}"
        for verdict, at in places.items()
    ]
    tone = "good" if Verdict.FASTER in places else "level"
    tone = "bad" if Verdict.SLOWER in places else tone
    return f"The best of the other PyTorch against the best of IPEX: {'; '.join(parts)}.", tone


def table(facts: Facts, anchors: dict[str, str]) -> Table:
    """Return one row for each group, dtype and environment: the best of both sides."""
    return Table(
        name="leaving",
        caption="The fastest valid stock scenario of each environment over the fastest valid IPEX "
        f"scenario of the same group and dtype. Below 1{TIMES}, leaving IPEX costs speed.",
        columns=(
            "Group, dtype",
            "Environment",
            "Stock over IPEX",
            "Verdict",
            "Best stock",
            "Best IPEX",
            "Remark",
        ),
        rows=tuple(_row(facts, one, anchors) for one in _found(facts)),
        numeric=(2,),
        empty="No other environment was measured in this run.",
    )


def _row(facts: Facts, one: Leaving, anchors: dict[str, str]) -> Row:
    verdict = str(one.verdict)
    return Row(
        cells=(
            Cell(text=_place(one)),
            Cell(text=one.environment),
            ratio_cell(one.comparison),
            verdict_cell(verdict),
            _side(facts, one.stock, anchors),
            _side(facts, one.ipex, anchors),
            Cell(text=one.reason or ""),
        ),
        task=one.group.split("/")[0],
        verdict=verdict,
    )


def _side(facts: Facts, row: ScenarioRow | None, anchors: dict[str, str]) -> Cell:
    if row is None:
        return Cell(text=NOTHING)
    cell = scenario_cell(row, anchors, facts.mark(row))
    return replace(cell, note=f"{cell.note} · {milliseconds(row.median_ms)}")
