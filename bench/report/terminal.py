"""The report's first screen for the terminal: the same answers, in plain text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from bench.report.answers import answers
from bench.report.banners import banners
from bench.report.varied import page_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.facts import Facts
    from bench.store.records import Run

_WIDTH = 98


def summary(run: Run) -> str:
    """Warnings first, then a headline for each question of the report."""
    return "\n".join(_lines(page_facts(run)))


def _lines(facts: Facts) -> Iterator[str]:
    for banner in banners(facts):
        yield from _wrapped(f"{banner.title}: {banner.text}", "! ")
    yield ""
    for answer in answers(facts):
        yield from _wrapped(f"{answer.question}  {answer.headline}", "- ")


def _wrapped(text: str, mark: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent="  ")
