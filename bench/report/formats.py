"""Write the report as Markdown for a pull request, as JSON for a script, as terminal text."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.recommend.rules import uses
from bench.report import answers, banners, machine, method, tables, why
from bench.report.speedup_table import speedups
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Comparison, Facts
    from bench.report.answers import Answer
    from bench.report.table import Cell, Table


def terminal(facts: Facts) -> str:
    """Return the warnings, then a headline for each question, as plain text.

    A user's own model is named first.
    """
    lines = (
        wording.wrapped(method.model_in_one_line(facts), "Model: ") if facts.is_own_model else []
    )
    for banner in banners.banners(facts):
        lines += wording.wrapped(f"{banner.title}: {banner.text}", "! ")
    lines.append("")
    for answer in answers.answers(facts):
        lines += wording.wrapped(f"{answer.question}  {answer.headline}", "- ")
    return "\n".join(lines)


# ---- Markdown ------------------------------------------------------------------------------------


def markdown(facts: Facts) -> str:
    """Return the first screen, and the tables that a discussion needs."""
    run_id = facts.run_id.replace("`", "'").replace("\n", " ")
    lines = [
        f"# {_plain(answers.lead(facts))}",
        "",
        *([f"{_plain(model)}  "] if (model := method.model_in_one_line(facts)) else []),
        f"{_plain(machine.in_one_line(facts))}  ",
        f"Run `{run_id}`",
        "",
    ]
    for banner in banners.banners(facts):
        lines += [f"> **{_plain(banner.title)}.** {_plain(banner.text)}", ">"]
    lines.append("")
    for answer in answers.answers(facts):
        lines += _answer(answer)
    lines += [_plain(answers.cost(facts)), ""]
    for use in uses(facts):
        lines += [f"### {_plain(use.title)}", ""]
        beside = [use.found.supported.sentence] if use.found.supported else []
        said = (*use.found.reasons, *use.found.warnings, *beside)
        lines += [f"- {_plain(text)}" for text in said]
        lines += ["", "```python", use.found.code, "```", ""] if use.found.code else [""]
    lines += ["## Speedups", *_table(speedups(facts, {}))]
    lines += ["## Why it is faster", ""]
    lines += [f"- {_plain(f'{one.title}: {one.sentence}')}" for one in why.section(facts)]
    lines += ["## What could not run", *_table(tables.failures(facts, {}))]
    repeat = method.repeat(facts).replace("```", "").splitlines()
    lines += ["## Repeat it", "", "```", *repeat, "```"]
    return "\n".join(lines) + "\n"


def _answer(answer: Answer) -> Iterator[str]:
    yield f"- **{_plain(answer.question)}**: {_plain(answer.headline)}"
    for line in answer.lines:
        cells = [
            f"{wording.with_interval(cell)} ({cell.verdict}) {column}"
            for column, cell in zip(answer.columns, line.cells, strict=False)
            if cell
        ]
        yield f"  - {_plain(line.label)}: {_plain(line.text or '; '.join(cells))}"
    for sentence in answer.details:
        yield f"  - {_plain(sentence)}"


def _table(table: Table) -> list[str]:
    if not table.rows:
        return ["", table.empty, ""]
    rules = ["--:" if n in table.numeric else "---" for n in range(len(table.columns))]
    return [
        "",
        f"| {' | '.join(map(_plain, table.columns))} |",
        f"|{'|'.join(rules)}|",
        *(f"| {' | '.join(_plain(_cell(cell)) for cell in row.cells)} |" for row in table.rows),
        "",
    ]


def _cell(cell: Cell) -> str:
    """Return all of a cell's text: Markdown cannot fold."""
    folded = f"({cell.fold.rstrip('.')})" if cell.fold else ""
    mark = f"[{cell.mark}]" if cell.mark else ""
    parts = (cell.text or cell.verdict, mark, cell.note, folded)
    return " ".join(part for part in parts if part)


_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"} | {"\n": " ", "\r": " "})


def _plain(text: str) -> str:
    """Escape what a Markdown reader would take for markup."""
    return text.translate(_SPECIAL)


# ---- JSON ----------------------------------------------------------------------------------------


def as_json(facts: Facts) -> str:
    """Return the page's content as data, with the numbers of the CSVs."""
    found = {
        "run_id": facts.run_id,
        "model": method.model_in_one_line(facts),
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
        "why": [
            {"title": one.title, "sentence": one.sentence, "remarks": list(one.remarks)}
            for one in why.section(facts)
        ],
        "parity": [asdict(row) for row in facts.run.parity],
        "never_measured": facts.never_measured,
        "repeat": method.repeat(facts).splitlines(),
        "provenance": dict(method.provenance(facts)),
    }
    return wording.json_text(found) + "\n"


def _answer_data(answer: Answer) -> dict[str, Any]:
    lines = [
        {**asdict(line), "cells": [cell and _comparison_data(cell) for cell in line.cells]}
        for line in answer.lines
    ]
    return {**asdict(answer), "lines": lines}


def _comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as one flat object, its ratio's fields beside its own."""
    own = {key: value for key, value in vars(comparison).items() if key != "ratio"}
    return {**own, **(vars(comparison.ratio) if comparison.ratio else {})}
