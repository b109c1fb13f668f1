"""Make the report of a run, from its files alone.

    build(records.read_run(folder))      # the page, which the command line writes

It can be made again later, on another machine, by another version. A run that is empty, partial or
full of failures gives a page too, which says what is missing.

The parts are imported late, so that the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.prices import Prices
    from bench.store.records import Run

__all__ = ["build", "build_comparison", "explanation", "in_format", "summary"]


def build(run: Run, prices: Prices | None = None) -> str:
    """Return the page of one run; the same run and prices give the same page."""
    return in_format(run, "html", prices)


def in_format(
    run: Run,
    name: str,
    prices: Prices | None = None,
    explain: tuple[str, str] | None = None,
) -> str:
    """Return the report as `html`, `markdown` or `json`; `explain` is for the page alone."""
    from bench.analysis.prices import shipped
    from bench.report import formats, page
    from bench.report.varied import page_facts

    facts = page_facts(run, prices or shipped())
    if name == "html":
        return page.render(facts, explain)
    return {"markdown": formats.markdown, "json": formats.as_json}[name](facts)


def build_comparison(runs: Sequence[Run], prices: Prices | None = None) -> str:
    """Return the page of several runs."""
    from bench.analysis.prices import shipped
    from bench.report.compare import render_comparison
    from bench.report.varied import page_facts

    return render_comparison([page_facts(run, prices or shipped()) for run in runs])


def summary(run: Run) -> str:
    """Return the report's first screen as plain text for a terminal."""
    from bench.report import formats
    from bench.report.varied import page_facts

    return formats.terminal(page_facts(run))


def explanation(run: Run, first: str, second: str) -> str:
    """Say for a terminal what makes one of two scenarios faster, by layers.

    Raises:
        UsageError: the run has no scenario of such a name.
    """
    from bench.errors import UsageError
    from bench.report import why
    from bench.report.varied import page_facts

    facts = page_facts(run)
    facts = facts.whole or facts
    for name in (first, second):
        if name not in facts.scenarios:
            raise UsageError(
                f"{run.folder.name} has no scenario {name}: its scenarios.csv lists them"
            )
    return why.text(why.why(facts, (first, second)))
