"""`bench recommend`: reads arguments, asks the rules, prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.analysis.facts import Facts
    from bench.recommend.rules import Recommendation

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("run_folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--latency-p99", type=_POSITIVE, metavar="MS", help="No slower call, 99 of 100 times."
)
@click.option("--throughput", is_flag=True, help="Most images a second, at any batch size.")
@click.option("--memory", type=_POSITIVE, metavar="MB", help="Peak memory of the process at most.")
@click.option("--no-decision-changes", is_flag=True, help="Every decision as stock default's.")
@click.option("--without-ipex", is_flag=True, help="What to use once IPEX is gone.")
@click.option("--int8", is_flag=True, help="Also int8, which is another model, rounded.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    is_flag=False,
    flag_value=Path("-"),
    metavar="[FILE]",
    help="Hand it over to `pillqc inspect --backend auto`; without FILE, where pillqc looks.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    help="Where run folders are.",
)
def recommend(
    run_folder: Path | None,
    latency_p99: float | None,
    throughput: bool,
    memory: float | None,
    no_decision_changes: bool,
    without_ipex: bool,
    int8: bool,
    as_json: bool,
    write: Path | None,
    results: Path,
) -> None:
    """Say which way of running the model to use here, and the code for it.

    Only what was measured with valid comparisons and agreeing outputs is recommended, and only
    what was shown to be faster than stock default, where that fits too. With --latency-p99 the
    batch size is free and most images a second win.

    \b
    Examples:
      bench recommend                              the fastest for one image at a time
      bench recommend --latency-p99 200            most images a second below 200 ms a call
      bench recommend --throughput --memory 1500
      bench recommend --no-decision-changes --write
      bench recommend --without-ipex               the same for whoever must leave IPEX
    """
    from bench.recommend import handover
    from bench.recommend.rules import Wish, summary_lines
    from bench.recommend.rules import recommend as ask
    from bench.report.command import newest_run
    from bench.report.varied import page_facts
    from bench.store import records

    facts = page_facts(records.read_run(run_folder or newest_run(results)))
    wish = Wish(
        latency_p99_ms=latency_p99,
        throughput=throughput,
        memory_mb=memory,
        no_decision_changes=no_decision_changes,
        without_ipex=without_ipex,
        int8=int8,
    )
    found = ask(facts, wish)
    if as_json:
        click.echo(json.dumps(_as_json(facts, found), indent=2))
    else:
        click.echo("\n".join(summary_lines(found)))
    if found.row is None:
        raise BenchError("no scenario of this run fits: ask for less, or measure more")
    if write is not None:
        path = handover.default_path() if write == Path("-") else write
        handover.write(facts, found.row, path)
        click.echo(f"wrote {path}", err=True)


def _as_json(facts: Facts, found: Recommendation) -> dict[str, Any]:
    row, comparison = found.row, found.comparison
    return {
        "run_id": facts.run_id,
        "scenario": row.scenario if row else None,
        "settings": asdict(row) if row else None,
        "speedup_over_stock_default": (
            [comparison.estimate, comparison.low, comparison.high] if comparison else None
        ),
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
        "alternatives": [other.scenario for other in found.alternatives],
        "code": found.code,
    }
