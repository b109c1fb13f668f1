"""Count how often intervals contain the truth, and what they find.

docs/measured/simulations.md has its tables.

    PYTHONPATH=. python tests/microbench/interval_coverage.py        20,000 runs, some minutes
    PYTHONPATH=. python tests/microbench/interval_coverage.py --runs 2000

Every run is simulated and judged by the shipped code (`bench.analysis`). Nothing is timed.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click
import numpy as np

from bench.plan.scenario import Verdict
from tests.bench.analysis.simulation import Coverage, Noise, coverage, verdicts, wrong_headlines

PROCESSES = (1, 2, 3, 5, 8)
SPREADS = (0.003, 0.01, 0.02, 0.04)
KINDS = {
    "plain": Noise(),
    "5 % of blocks hit": Noise(hit=0.05),
    "two kinds of processes": Noise(slow_kind=0.2),
    "one participant three times as variable": Noise(variable=True),
    "another group five times as variable": Noise(restless=5.0),
}


def _noise(kind: str, spread: float) -> Noise:
    return Noise(**{**vars(KINDS[kind]), "process": spread})


def _cell(runs: int, cell: tuple[str, float, int]) -> Coverage:
    kind, spread, processes = cell
    seed = int(1000 * spread) * 100 + processes + 10_000 * list(KINDS).index(kind)
    return coverage(_noise(kind, spread), processes=processes, runs=runs, seed=seed)


def _spell(found: Coverage) -> str:
    width = 100 * float(np.median(found.half_widths or [np.nan]))
    text = f"{100 * found.share:.1f} ({width:.1f})"
    if found.variable_intervals:
        text += f"; it: {100 * found.variable_share:.0f}"
    return text


@click.command()
@click.option("--runs", default=20_000, show_default=True, help="Simulated runs in all.")
def main(runs: int) -> None:
    """Print the tables in Markdown."""
    cells = [(kind, spread, count) for kind in KINDS for spread in SPREADS for count in PROCESSES]
    each = max(1, runs // len(cells))
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(cells, pool.map(partial(_cell, each), cells), strict=True))
        click.echo(
            f"Share of 95 % intervals that contain the truth, in % (half-width in %); {each} runs "
            "of 18 comparisons a cell, 6 to 19 rounds.\n"
        )
        heads = [f"{count} process{'es' * (count > 1)}" for count in PROCESSES]
        click.echo(f"| noise | processes differ by | {' | '.join(heads)} |")
        click.echo("|---" * (2 + len(PROCESSES)) + "|")
        for kind in KINDS:
            for spread in SPREADS:
                shares = [_spell(found[kind, spread, count]) for count in PROCESSES]
                click.echo(f"| {kind} | {100 * spread:g} % | {' | '.join(shares)} |")
        _power(pool, max(20, runs // 60))
        _headlines(pool, max(20, runs // 40))


def _power(pool: ProcessPoolExecutor, runs: int) -> None:
    click.echo(f"\nVerdicts in %, processes 1 %, 8 rounds; {runs} runs of 3 comparisons a cell.\n")
    click.echo("| truly slower by | processes | slower | same | inconclusive | faster |")
    click.echo("|---|---|---|---|---|---|")
    cells = [(share, count) for share in (0.0, 0.02, 0.03, 0.05, 0.1) for count in (1, 2, 3, 5, 8)]
    jobs = [pool.submit(_verdicts, runs, cell) for cell in cells]
    for (share, count), job in zip(cells, jobs, strict=True):
        given = job.result()
        columns = (Verdict.SLOWER, Verdict.SAME, Verdict.INCONCLUSIVE, Verdict.FASTER)
        figures = " | ".join(f"{100 * given[one]:.1f}" for one in columns)
        click.echo(f"| {100 * share:g} % | {count} | {figures} |")


def _verdicts(runs: int, cell: tuple[float, int]) -> dict[Verdict, float]:
    share, count = cell
    seed = int(1000 * share) + count
    return verdicts(Noise(), difference=share, processes=count, rounds=8, runs=runs, seed=seed)


def _headlines(pool: ProcessPoolExecutor, runs: int) -> None:
    click.echo(
        f"\nRuns with a wrong headline among six, all participants equal; {runs} runs a cell.\n"
    )
    click.echo("| processes differ by | processes | wrong, in % of runs |")
    click.echo("|---|---|---|")
    cells = [(spread, count) for spread in (0.003, 0.01, 0.04) for count in (2, 3, 5)]
    jobs = [
        pool.submit(wrong_headlines, Noise(process=spread), processes=count, runs=runs, seed=count)
        for spread, count in cells
    ]
    for (spread, count), job in zip(cells, jobs, strict=True):
        click.echo(f"| {100 * spread:g} % | {count} | {100 * job.result():.1f} |")


if __name__ == "__main__":
    main()
