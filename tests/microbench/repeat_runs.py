"""Repeat whole runs, and compare their headlines.

    PYTHONPATH=. python tests/microbench/repeat_runs.py --times 10 --results results/repeat
    PYTHONPATH=. python tests/microbench/repeat_runs.py --times 0 --results results/repeat

Run it in the checkout's root, and nothing else on the machine. Runs stay in their folder, so that
ten can be made in several calls; `--times 0` only compares those that are there. The table has,
for every headline that was decided in some run, the highest over the lowest estimate (bound:
1.03), and the pairs of runs that contradict each other: faster and slower, or same and a
difference of more than `same` allows (bound: none).
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.plan.scenario import DECIDED, Verdict
from bench.plan.thresholds import DEFAULT
from bench.store import records

if TYPE_CHECKING:
    from bench.store.records import ClaimRow


def contradict(one: ClaimRow, other: ClaimRow) -> bool:
    """Return whether both verdicts cannot be true of one machine."""
    verdicts = {one.verdict, other.verdict}
    if verdicts == {Verdict.FASTER, Verdict.SLOWER}:
        return True
    if Verdict.SAME not in verdicts or not verdicts & {Verdict.FASTER, Verdict.SLOWER}:
        return False
    shown = other if one.verdict == Verdict.SAME else one
    limit = 1 + DEFAULT.verdict.same_within
    return (shown.speedup_low or 0.0) > limit or (shown.speedup_high or limit) < 1 / limit


@click.command()
@click.option("--times", default=10, show_default=True, help="Further runs to make.")
@click.option("--profile", default="smoke", show_default=True)
@click.option("--only", multiple=True, help="As of `bench run`: measure these scenarios alone.")
@click.option("--data", default="data/pills", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), required=True)
def main(times: int, profile: str, only: tuple[str, ...], data: str, results: Path) -> None:
    """Make runs, then compare all that lie in the folder."""
    for _ in range(times):
        command = [sys.executable, "-m", "bench", "run", "--profile", profile, "--data", data]
        command += [word for name in only for word in ("--only", name)]
        subprocess.run([*command, "--results", str(results)], check=True)
    runs = [records.read_run(path.parent) for path in sorted(results.glob("*/claims.csv"))]
    claims: dict[str, list[ClaimRow]] = defaultdict(list)
    for run in runs:
        for row in run.claims:
            claims[row.claim].append(row)
    click.echo(
        f"{len(runs)} runs\n\n| headline | decided in | lowest | highest | ratio | contradict |"
    )
    click.echo("|---|---|---|---|---|---|")
    for name, rows in claims.items():
        known = [row.speedup for row in rows if row.speedup]
        decided = sum(row.verdict in DECIDED for row in rows)
        pairs = sum(contradict(one, other) for one, other in combinations(rows, 2))
        if known:
            low, high = min(known), max(known)
            click.echo(
                f"| {name} | {decided} of {len(rows)} | {low:.3f} | {high:.3f} | {high / low:.3f} "
                f"| {pairs} of {len(rows) * (len(rows) - 1) // 2} pairs |"
            )


if __name__ == "__main__":
    main()
