"""The report in other formats: Markdown for a pull request, JSON for a script."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.recommend.rules import uses
from bench.report import answers, banners, machine, method, tables
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.facts import Comparison, Facts
    from bench.report.answers import Answer
    from bench.report.tables import Cell, Table


def markdown(facts: Facts) -> str:
    """The first screen and the tables that a discussion needs."""
    return "\n".join(_markdown(facts)) + "\n"


def _markdown(facts: Facts) -> Iterator[str]:
    yield f"# {_plain(answers.lead(facts))}"
    yield ""
    yield f"{_plain(machine.in_one_line(facts))}  "
    yield f"Run `{_code(facts.run_id)}`"
    yield ""
    for banner in banners.banners(facts):
        yield f"> **{_plain(banner.title)}.** {_plain(banner.text)}"
        yield ">"
    yield ""
    for answer in answers.answers(facts):
        yield from _answer(answer)
    yield _plain(answers.cost(facts))
    yield ""
    for use in uses(facts):
        yield from (f"### {_plain(use.title)}", "")
        for reason in (*use.found.reasons, *use.found.warnings):
            yield f"- {_plain(reason)}"
        yield from ("", "```python", use.found.code, "```", "") if use.found.code else ("",)
    yield "## Speedups"
    yield from _table(tables.speedups(facts, {}))
    yield "## What could not run"
    yield from _table(tables.failures(facts, {}))
    yield "## Repeat it"
    yield from ("", "```", *method.repeat(facts).replace("```", "").splitlines(), "```")


def _answer(answer: Answer) -> Iterator[str]:
    yield f"- **{_plain(answer.question)}**: {_plain(answer.headline)}"
    for line in answer.lines:
        cells = [_comparison(cell) for cell in line.cells]
        named = zip(answer.columns, cells, strict=False)
        text = line.text or "; ".join(f"{cell} {column}" for column, cell in named if cell)
        yield f"  - {_plain(line.label)}: {_plain(text)}"
    for sentence in answer.details:
        yield f"  - {_plain(sentence)}"


def _comparison(cell: Comparison | None) -> str:
    if cell is None:
        return ""
    return f"{wording.with_interval(cell)} ({cell.verdict!s})"


def _table(table: Table) -> Iterator[str]:
    yield ""
    if not table.rows:
        yield table.empty
        yield ""
        return
    yield f"| {' | '.join(map(_plain, table.columns))} |"
    yield (
        "|"
        + "|".join("--:" if n in table.numeric else "---" for n in range(len(table.columns)))
        + "|"
    )
    for row in table.rows:
        yield f"| {' | '.join(_plain(_cell(cell)) for cell in row.cells)} |"
    yield ""


def _cell(cell: Cell) -> str:
    """All that a cell says: Markdown has nothing to fold."""
    folded = f"({cell.fold.rstrip('.')})" if cell.fold else ""
    return " ".join(part for part in (cell.text or cell.verdict, cell.note, folded) if part)


_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"} | {"\n": " ", "\r": " "})


def _plain(text: str) -> str:
    """Text that no Markdown reader takes for markup."""
    return text.translate(_SPECIAL)


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def as_json(facts: Facts) -> str:
    """What the page says, as data; numbers as the CSVs hold them."""
    found: dict[str, Any] = {
        "run_id": facts.run_id,
        "machine": machine.in_one_line(facts),
        "lead": answers.lead(facts),
        "banners": [asdict(banner) for banner in banners.banners(facts)],
        "answers": [_answer_data(answer) for answer in answers.answers(facts)],
        "uses": [
            {"wish": use.wish, "command": use.command, **asdict(use.found)} for use in uses(facts)
        ],
        "price": asdict(facts.price) if facts.price else None,
        "scenarios": [asdict(row) for row in facts.scenarios.values()],
        "speedups": [asdict(row) for row in facts.speedup_rows],
        "parity": [asdict(row) for row in facts.run.parity],
        "never_measured": facts.never_measured,
        "repeat": method.repeat(facts).splitlines(),
        "provenance": dict(method.provenance(facts)),
    }
    return json.dumps(_finite(found), indent=2, allow_nan=False) + "\n"


def _answer_data(answer: Answer) -> dict[str, Any]:
    """An answer with its comparisons as flat objects."""
    lines = [
        {**asdict(line), "cells": [cell and _comparison_data(cell) for cell in line.cells]}
        for line in answer.lines
    ]
    return {**asdict(answer), "lines": lines}


def _comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison with the fields of its ratio beside its own."""
    own = {key: value for key, value in vars(comparison).items() if key != "ratio"}
    return {**own, **(vars(comparison.ratio) if comparison.ratio else {})}


def _finite(value: Any) -> Any:  # noqa: ANN401 -- JSON is made of anything
    """An open end of an interval is null, which JSON can say."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return wording.finite(value) if isinstance(value, float) else value
