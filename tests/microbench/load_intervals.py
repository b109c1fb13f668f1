"""Count how often the intervals of p99 in `bench load` contain it.

docs/measured/scaling.md has its table.

    PYTHONPATH=. python tests/microbench/load_intervals.py             1,000 studies a line
    PYTHONPATH=. python tests/microbench/load_intervals.py --studies 100

Every study is simulated and judged by the shipped code. Nothing is timed.
"""

from __future__ import annotations

import click

from bench.plan.profiles import PROFILES
from bench.plan.thresholds import STUDIES
from tests.bench.analysis.queue_of_requests import Queue, ends

QUEUES = {
    "independent": Queue(busy=0.0),
    "busy for a third of the time": Queue(busy=1 / 3),
    "busy for half of the time": Queue(busy=0.5),
    "the same, a tenth of the blocks 1.3 times as slow": Queue(busy=0.5, slow_blocks=0.1),
    "busy for three quarters": Queue(busy=0.75),
}
BLOCKS = {"smoke": (PROFILES["smoke"].min_rounds, 12), "standard": (24,), "full": (50, 150)}


@click.command()
@click.option("--studies", default=1000, show_default=True, help="Simulated studies a line.")
def main(studies: int) -> None:
    """Print the table in Markdown."""
    click.echo("| server | requests | interval contains p99 | wholly below it | no upper end |")
    click.echo("|---|--:|--:|--:|--:|")
    for name, queue in QUEUES.items():
        for profile, counts in BLOCKS.items():
            requests = STUDIES.load_requests[profile]
            for count in counts:
                found = ends(queue, count, requests, studies=studies, seed=count)
                covered = 1 - found.too_low - found.too_high
                click.echo(
                    f"| {name} | {count * requests:,} | {covered:.1%} | {found.too_low:.1%} | "
                    f"{found.without_end:.0%} |".replace("%", " %")
                )


if __name__ == "__main__":
    main()
