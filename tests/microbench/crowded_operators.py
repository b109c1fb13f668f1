"""Time one operator alone and beside processes that keep cores busy.

\b
PYTHONPATH=. python tests/microbench/crowded_operators.py
PYTHONPATH=. python tests/microbench/crowded_operators.py --case roi_align-7x7-no_grad --busy 2

`bench operators` measures on a quiet machine; this shows its figures on a busy one
(docs/measured/operators.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from bench.machine import worker_settings
from bench.selfcheck.burner import bursts

_FOREVER_S = 3600.0
_CALLS = """
import json, sys, time
import torch
if sys.argv[1] == "ipex":
    import intel_extension_for_pytorch
from bench.plan.scenario import Task, stock_default
from bench.plan.operators import case_named
from bench.worker.operators import operator_of
torch.set_num_threads(int(sys.argv[4]))
torch.manual_seed(0)
operator = operator_of(case_named(sys.argv[2]))
inputs = operator.inputs(stock_default(Task.INFERENCE, 1))
times = []
for _ in range(int(sys.argv[3]) + 2):
    start = time.perf_counter_ns()
    operator(inputs)
    times.append((time.perf_counter_ns() - start) / 1e6)
print(json.dumps(times[2:]))
"""


def calls_ms(backend: str, case: str, count: int, cache: Path) -> list[float]:
    """Return the sorted times of calls in a process set up like a run's workers."""
    cpus = worker_settings.chosen_cpus(None)
    done = subprocess.run(
        [sys.executable, "-c", _CALLS, backend, case, str(count), str(len(cpus))],
        env=worker_settings.worker_environment(len(cpus), cache),
        stdout=subprocess.PIPE,
        check=True,
    )
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return sorted(times)


@click.command()
@click.option("--case", default="nms-4000-no_grad", show_default=True)
@click.option("--busy", type=int, default=2, show_default=True, help="Most busy processes.")
@click.option("--calls", type=int, default=20, show_default=True)
def main(case: str, busy: int, calls: int) -> None:
    """Print the median and the slowest call of stock and IPEX for each number of neighbours."""
    click.echo(f"{case}, {calls} calls")
    click.echo("busy neighbours  backend  median ms  slowest ms")
    with tempfile.TemporaryDirectory() as cache, ExitStack() as neighbours:
        for count in range(busy + 1):
            if count:
                neighbours.enter_context(bursts(_FOREVER_S, _FOREVER_S))
            for backend in ("stock", "ipex"):
                times = calls_ms(backend, case, calls, Path(cache))
                middle, last = times[len(times) // 2], times[-1]
                click.echo(f"{count:15}  {backend:7}  {middle:9.1f}  {last:10.1f}")


if __name__ == "__main__":
    main()
