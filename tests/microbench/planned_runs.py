"""Plan and judge whole runs on a simulated machine.

docs/measured/simulations.md has its table.

    PYTHONPATH=. python tests/microbench/planned_runs.py --runs 100

The shipped code plans and judges; nothing is timed. IPEX is as fast as stock, or faster by a share,
in every mode and data type. A run has the standard matrix, its budget, and the costs of two cores.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import click
import numpy as np

from bench.analysis.claims import IPEX, Claims
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Verdict
from bench.plan.thresholds import DEFAULT
from bench.run.open_claims import decided_claims
from tests.bench.imagined_machine import Machine

GAINS = (0.0, 0.05, 0.1)
SPREADS = ((0.004, 0.01), (0.008, 0.03))
"""Standard deviations between processes and between blocks: a quiet machine, and a cloud guest."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answers of one run."""

    wrong: int
    """Headlines in the wrong direction, or with a difference that does not exist."""
    decided: int
    headlines: int
    ipex_decided: int
    ipex: int
    wrong_rows: int
    """Rows over stock default in the wrong direction, or with a difference that does not exist."""
    level_rows: int
    """Rows of scenarios that are as fast as stock default."""
    seconds: float
    first_s: float
    """When the best at batch 1 was decided."""
    leading_s: float
    """When the last headline at batch 1 was decided; infinite if one never was."""


def true_ms(scenario: Scenario, gain: float) -> float:
    """Return the true time of a call: modes and layouts matter little, data types much."""
    return (
        100.0
        * {Dtype.FP32: 1.0, Dtype.BF16: 0.6, Dtype.INT8: 0.3}[scenario.dtype]
        * (0.9 if scenario.layout is Layout.CHANNELS_LAST else 1.0)
        * (0.95 if scenario.mode is not Mode.EAGER else 1.0)
        / (1 + gain if scenario.backend == "ipex" else 1.0)
    )


def play(job: tuple[float, float, float, int]) -> Found:
    """Simulate one run."""
    gain, process, block, seed = job
    profile = PROFILES["standard"]
    scenarios = matrix(profile, (1, 8))
    ms = {one: true_ms(one, gain) for one in scenarios if one.batch_size == 1}
    machine = Machine(
        scenarios=scenarios,
        ms=ms,
        process=process,
        block=block,
        seed=seed,
        budget_s=profile.budget_s,
    ).play()
    by_id = {one.id: one for one in scenarios}
    analysis = machine.analysis()
    claims = Claims(analysis)
    rows = claims.rows({})
    decided = decided_claims(analysis, DEFAULT)

    def best_ms(names: str) -> float:
        return min(machine.time_ms(by_id[name]) for name in names.split())

    wrong = 0
    for row in rows:
        truth = best_ms(row.opponents) / best_ms(row.candidates)
        wrong += row.verdict == Verdict.FASTER and truth <= 1.0001
        wrong += row.verdict == Verdict.SLOWER and truth >= 0.9999
    wrong_rows = level = 0
    for speedup in analysis.rows():
        if speedup.baseline_kind != "stock_default" or speedup.speedup is None:
            continue
        truth = machine.time_ms(by_id[speedup.baseline]) / machine.time_ms(by_id[speedup.scenario])
        level += abs(truth - 1) < 1e-9
        wrong_rows += speedup.verdict == Verdict.FASTER and truth <= 1.0001
        wrong_rows += speedup.verdict == Verdict.SLOWER and truth >= 0.9999
    ipex = [row.claim for row in rows if row.kind == IPEX]
    leading = [row.claim for row in rows if row.group == "inference/b1"]
    times = {name: machine.decided_s(name) for name in leading}
    return Found(
        wrong=wrong,
        decided=len(decided),
        headlines=len(rows),
        ipex_decided=len(decided & {*ipex}),
        ipex=len(ipex),
        wrong_rows=wrong_rows,
        level_rows=level,
        seconds=machine.spent_s,
        first_s=times["best/inference/b1"],
        leading_s=max(times.values()),
    )


@click.command()
@click.option("--runs", default=100, show_default=True, help="Of each line of the table.")
def main(runs: int) -> None:
    """Print the table in Markdown."""
    heads = (
        "processes, blocks differ by",
        "IPEX faster by",
        "runs with a wrong headline",
        "wrong rows of those level with stock default",
        "headlines decided",
        "of IPEX",
        "first answer",
        "all of batch 1, where decided",
        "run",
    )
    click.echo(f"| {' | '.join(heads)} |")
    click.echo("|---" * 9 + "|")
    with ProcessPoolExecutor(2) as pool:
        for process, block in SPREADS:
            for gain in GAINS:
                jobs = [(gain, process, block, seed) for seed in range(runs)]
                found = list(pool.map(play, jobs, chunksize=2))
                leading = [one.leading_s for one in found if np.isfinite(one.leading_s)]
                level = sum(one.level_rows for one in found)
                click.echo(
                    f"| {100 * process:g} %, {100 * block:g} % | {100 * gain:g} % "
                    f"| {sum(one.wrong > 0 for one in found)} of {runs} "
                    f"| {sum(one.wrong_rows for one in found)} of {level} "
                    f"| {_share(found, 'decided', 'headlines')} "
                    f"| {_share(found, 'ipex_decided', 'ipex')} "
                    f"| {np.median([one.first_s for one in found]):.0f} s "
                    f"| {len(leading)} of {runs}"
                    f"{f', {np.median(leading):.0f} s' if leading else ''} "
                    f"| {np.median([one.seconds for one in found]):.0f} s |"
                )


def _share(found: list[Found], part: str, whole: str) -> str:
    parts = sum(getattr(one, part) for one in found)
    return f"{100 * parts / sum(getattr(one, whole) for one in found):.0f} %"


if __name__ == "__main__":
    main()
