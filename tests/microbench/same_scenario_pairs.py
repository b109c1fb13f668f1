"""Compare processes of the same scenario in runs that were made, as if they were two scenarios.

    PYTHONPATH=. python tests/microbench/same_scenario_pairs.py results/one results/other ...

Every scenario but stock default is taken apart into its processes, so that each has the variance
that the model borrows from others. Two processes of one scenario are equally fast in truth: at 95 %
one interval in twenty may exclude that, and verdicts other than `same` and `inconclusive` are
wrong. Nothing is measured; docs/measured/repeat.md has the table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from bench.analysis.noise_model import fit
from bench.analysis.scenario_kinds import is_stock_default
from bench.analysis.speedups import measurements_of
from bench.plan.scenario import CONTROL_SUFFIX
from bench.plan.thresholds import DEFAULT
from bench.store import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.measurements import BlockTimes, Measurements
    from bench.analysis.noise_model import Estimate


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two processes of one scenario."""

    group: str
    scenario: str
    estimate: Estimate
    """The later process's log time minus the earlier one's."""

    @property
    def seems_different(self) -> bool:
        """Whether the judge would call one of them faster."""
        rule = DEFAULT.verdict
        reach = self.estimate.half_width((1 - rule.confidence) / 2)
        return abs(self.estimate.log_ratio) - reach > math.log1p(rule.minimal_effect)


def pairs_of(measured: Measurements, defaults: set[str]) -> Iterator[Pair]:
    """Yield successive processes of each scenario; `defaults` are the ids of stock default."""
    whole = {name + suffix for name in defaults for suffix in ("", CONTROL_SUFFIX)}
    for group, participants in measured.all_clean.items():
        apart: dict[str, BlockTimes] = {}
        processes: dict[str, list[str]] = defaultdict(list)
        for name, blocks in participants.items():
            if name in whole:
                apart[name] = blocks
                continue
            for launch in sorted({launch for launch, _ in blocks}):
                process = f"{name}@{launch}"
                processes[name].append(process)
                apart[process] = {key: ms for key, ms in blocks.items() if key[0] == launch}
        if not any(apart.values()):
            continue
        fitted = fit({group: apart}, DEFAULT.model).groups[group]
        for name, found in processes.items():
            for earlier, later in pairwise(found):
                estimate = fitted.contrast({later: 1.0, earlier: -1.0})
                yield Pair(group=group, scenario=name, estimate=estimate)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(runs: tuple[Path, ...]) -> None:
    """Print a table over all runs, by group and data type."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for folder in runs:
        run = records.read_run(folder)
        workers = run.environment.get("workers", {})
        measured = measurements_of(
            run.scenarios, run.iterations, run.noise, run.parity, DEFAULT, workers=workers
        )
        dtypes = {row.scenario: row.dtype for row in run.scenarios}
        defaults = {row.scenario for row in run.scenarios if is_stock_default(row)}
        for pair in pairs_of(measured, defaults):
            for line in ("all", f"{pair.group}, {dtypes[pair.scenario]}"):
                found[line].append(pair)
    click.echo("| | pairs | p < .05 | seem different | median | 95 % below | largest |")
    click.echo("|---|--:|--:|--:|--:|--:|--:|")
    for line, pairs in sorted(found.items()):
        away = np.abs([pair.estimate.log_ratio for pair in pairs])
        click.echo(
            f"| {line} | {len(pairs)} | {sum(pair.estimate.p_value < 0.05 for pair in pairs)} "
            f"| {sum(pair.seems_different for pair in pairs)} | {np.median(away):.1%} "
            f"| {np.quantile(away, 0.95):.1%} | {away.max():.1%} |"
        )


if __name__ == "__main__":
    main()
