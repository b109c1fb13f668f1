"""Compare processes of the same scenario in runs that were made, as if they were two scenarios.

    PYTHONPATH=. python tests/microbench/same_scenario_pairs.py results/one results/other ...

Every scenario but stock default is taken apart into its processes, so that each has the variance
that the model borrows from others. Two processes of one scenario are equally fast in truth: at 95 %
one interval in twenty may exclude that, and verdicts other than `same` and `inconclusive` are
wrong. Nothing is measured; docs/measured/repeat.md has the table.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.analysis.run_facts import Facts
from bench.analysis.scenario_kinds import is_stock_default
from bench.plan.scenario import CONTROL_SUFFIX
from bench.plan.thresholds import DEFAULT
from bench.store import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.comparison import Comparison
    from bench.analysis.measurements import BlockTimes


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two successive processes of one scenario, judged as two scenarios."""

    group: str
    scenario: str
    found: Comparison

    @property
    def is_significant(self) -> bool:
        """Whether "both are equally fast" has a p-value below 5 %."""
        p_value = self.found.known.p_value
        return p_value is not None and p_value < 0.05


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
        judge = Judge(Measurements(groups={group: apart}), DEFAULT)
        for name, own in processes.items():
            for earlier, later in pairwise(own):
                found = judge.compare(later, earlier, group=group)
                if found.ratio is not None:
                    yield Pair(group=group, scenario=name, found=found)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(runs: tuple[Path, ...]) -> None:
    """Print a table over all runs, by group and data type."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for folder in runs:
        facts = Facts(records.read_run(folder))
        rows = facts.scenarios
        defaults = {name for name, row in rows.items() if is_stock_default(row)}
        for pair in pairs_of(facts.analysis.judge.measurements, defaults):
            for line in ("all", f"{pair.group}, {rows[pair.scenario].dtype}"):
                found[line].append(pair)
    click.echo("| | pairs | p < .05 | seem different | median | 95 % below | largest |")
    click.echo("|---|--:|--:|--:|--:|--:|--:|")
    for line, pairs in sorted(found.items()):
        away = np.abs(np.log([pair.found.estimate for pair in pairs]))
        click.echo(
            f"| {line} | {len(pairs)} | {sum(pair.is_significant for pair in pairs)} "
            f"| {sum(pair.found.found for pair in pairs)} | {np.median(away):.1%} "
            f"| {np.quantile(away, 0.95):.1%} | {away.max():.1%} |"
        )


if __name__ == "__main__":
    main()
