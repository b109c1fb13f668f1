"""Count the gate's answers on simulated machines: the figures of docs/measured/gate.md.

    PYTHONPATH=. .venv/bin/python tests/microbench/gate_power.py    # sixty seeds, some minutes
    PYTHONPATH=. .venv/bin/python tests/microbench/gate_power.py --seeds 10

The gate's own code runs with simulated workers and a simulated clock
(`tests/bench/gate/simulated.py`). tests/bench/gate/test_power.py asserts the same of fewer seeds.
Nothing is timed, so other work may run at the same time.
"""

from __future__ import annotations

from collections import Counter
from unittest import mock

import click

from bench.gate.result import Outcome
from bench.machine import noise
from tests.bench.gate.simulated import Machine, gate

CASES = [(slowdown, process) for process in (0.01, 0.015) for slowdown in (0.0, 0.05)]
"""(slowdown of head, standard deviation between processes of one build)."""


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--block", default=0.03, show_default=True, help="By how much blocks differ.")
def main(seeds: int, block: float) -> None:
    """Print a line for each case: the answers on these machines, and the longest gate."""
    click.echo("| processes differ by | slower by | passed | regression | no verdict | longest |")
    click.echo("|---|---|---|---|---|---|")
    for slowdown, process in CASES:
        machines = [
            Machine(seed=seed, slowdown=slowdown, process=process, block=block)
            for seed in range(seeds)
        ]
        with mock.patch.object(noise, "is_quiet", return_value=True):  # this machine's own
            found = Counter(gate(machine)[0].outcome for machine in machines)
        counts = " | ".join(
            str(found[outcome])
            for outcome in (Outcome.PASSED, Outcome.REGRESSION, Outcome.NO_VERDICT)
        )
        longest = max(machine.clock() for machine in machines)
        click.echo(f"| {process:.1%} | {slowdown:.0%} | {counts} | {longest:.0f} s |")


if __name__ == "__main__":
    main()
