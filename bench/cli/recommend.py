"""`bench recommend`: say which way of running the model to use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import BenchError
from bench.text.wording import json_text

if TYPE_CHECKING:
    from bench.analysis.run_facts import Comparison, Facts
    from bench.recommend.rules import Recommendation
    from bench.recommend.supported import SupportedWay


@click.command()
@options.run_folder
@click.option(
    "--latency-p99",
    "latency_p99_ms",
    type=options.POSITIVE,
    metavar="MS",
    help="99 of 100 calls take less.",
)
@click.option("--throughput", is_flag=True, help="Most images a second, at any batch size.")
@click.option(
    "--memory", "memory_mb", type=options.POSITIVE, metavar="MB", help="The process peaks below it."
)
@click.option("--no-decision-changes", is_flag=True, help="Every decision as stock default's.")
@click.option("--without-ipex", is_flag=True, help="What to use without IPEX.")
@click.option(
    "--supported", is_flag=True, help="Only what is neither archived, deprecated nor private."
)
@click.option("--int8", is_flag=True, help="Also int8, which is another model, rounded.")
@options.as_json
@click.option(
    "--write",
    type=options.FILE,
    is_flag=False,
    flag_value=Path("-"),
    metavar="[FILE]",
    help="Write it for `pillqc inspect --backend auto`; without FILE, where pillqc looks.",
)
@options.results
def recommend(
    run_folder: Path | None,
    as_json: bool,
    write: Path | None,
    results: Path,
    **wish: Any,  # noqa: ANN401 - the other options, which `Wish` declares
) -> None:
    """Print the way of running the model to use, with its code.

    Only what was measured with valid comparisons and agreeing outputs is recommended, and only
    what was shown to be faster than stock default, where that fits too. Beside a way that rests on
    something archived, deprecated or private stands the fastest supported one. With --latency-p99
    the batch size is free and most images a second win.

    \b
    Examples:
      bench recommend                              the fastest for one image at a time
      bench recommend --latency-p99 200            most images a second below 200 ms a call
      bench recommend --throughput --memory 1500
      bench recommend --no-decision-changes --write
      bench recommend --without-ipex               the fastest without IPEX
      bench recommend --supported                  the fastest on supported ground
    """
    from bench.recommend import handover, rules
    from bench.report import method
    from bench.report.varied import page_facts

    facts = page_facts(options.read_run(run_folder or options.newest_run(results)))
    found = rules.recommend(facts, rules.Wish(**wish))
    if as_json:
        click.echo(json_text(_json(facts, found)))
    else:
        if facts.is_own_model:
            click.echo(f"Model: {method.model_in_one_line(facts)}")
        click.echo("\n".join(rules.summary_lines(found)))
    if found.row is None:
        raise BenchError("no scenario of this run fits: relax the conditions, or measure more")
    if write is not None:
        path = handover.default_path() if write == Path("-") else write
        handover.write(facts, found.row, path)
        click.echo(f"wrote {path}", err=True)


def _json(facts: Facts, found: Recommendation) -> dict[str, Any]:
    row = found.row
    return {
        "run_id": facts.run_id,
        "scenario": row.scenario if row else None,
        "settings": asdict(row) if row else None,
        "speedup_over_stock_default": _ends(found.comparison),
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
        "alternatives": [other.scenario for other in found.alternatives],
        "code": found.code,
        "concerns": [asdict(concern) for concern in found.concerns],
        "supported": _beside(found.supported) if found.supported else None,
    }


def _beside(way: SupportedWay) -> dict[str, Any]:
    return {
        "scenario": way.row.scenario,
        "settings": asdict(way.row),
        "speedup_over_recommended": _ends(way.comparison),
        "sentence": way.sentence,
        "code": way.code,
    }


def _ends(comparison: Comparison | None) -> list[float] | None:
    """Return the estimate and both ends of the interval."""
    return [comparison.estimate, comparison.low, comparison.high] if comparison else None
