"""`bench selfcheck`: whether this machine's figures can be believed."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options

if TYPE_CHECKING:
    from bench.engine.progress import Progress
    from bench.engine.worker_process import WorkerProcess
    from bench.plan.scenario import Scenario
    from bench.selfcheck.processes import Design, Processes
    from bench.selfcheck.workers import Workers

_MOST_STARTS_AT_ONCE = 4
_PROCESSES = "processes"
_PARTS = click.Choice(["identical", "planted", "full-size", "bursts", _PROCESSES])


@click.command()
@click.option("--quick", is_flag=True, help="One experiment of each kind: a few minutes.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=_PARTS,
    help="Only this part. Default: all but processes.",
)
@options.as_json
@options.budget("two hours by default, processes alone 15 minutes")
@options.threads
@options.data
def selfcheck(
    quick: bool,
    parts: tuple[str, ...],
    as_json: bool,
    budget: float | None,
    threads: int | None,
    data: Path,
) -> None:
    """Can this machine's figures be believed? Wrong verdicts, planted slowdowns, own cost.

    Exit code 0 when it was measured, whatever the result: the table says which bounds hold.
    docs/selfcheck.md explains each line.

    \b
    Examples:
      bench selfcheck --quick              a few minutes, too few comparisons to prove a rate
      bench selfcheck                      up to two hours: hundreds of comparisons
      bench selfcheck --part identical     one kind of comparison, with the whole budget
      bench selfcheck --part processes     what a run without fresh processes would miss
      bench selfcheck --quick --json       the same figures for a script
    """
    from bench.engine.progress import Progress
    from bench.plan import arguments
    from bench.plan.thresholds import SELFCHECK
    from bench.selfcheck import check, processes
    from bench.selfcheck.burner import bursts
    from bench.selfcheck.workers import Workers
    from bench.store import run_folder

    arguments.check_pills(data)
    amount = check.QUICK if quick else check.FULL
    design = processes.QUICK if quick else processes.FULL
    alone = parts == (_PROCESSES,)
    progress = Progress()
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="pillqc-selfcheck-") as folder:
        workers = Workers(data=data, folder=Path(folder), threads=threads)
        one = check.Selfcheck(
            launch=workers.launch,
            bursts=partial(bursts, *SELFCHECK.burst_s),
            amount=amount,
            budget_s=budget or (design if alone else amount).budget_s,
            parts=parts or check.PARTS,
            starts_at_once=min(_MOST_STARTS_AT_ONCE, len(workers.cpus)),
            processes=_processes(workers, design, progress) if _PROCESSES in parts else None,
            say=progress.show,
        )
        try:
            with run_folder.only_run_here():
                one.run()
        except KeyboardInterrupt:
            interrupted = True
            one.result.notes.append("Interrupted: this is what was measured until then.")
        finally:
            progress.clear()
    click.echo(json.dumps(one.result.json(), indent=2) if as_json else one.result.table())
    if interrupted:
        sys.exit(options.INTERRUPTED)


def _processes(workers: Workers, design: Design, progress: Progress) -> Processes:
    """Return the experiment on cheaper processes, with real workers, zygotes and forks."""
    from bench.engine.worker_process import ForkedWorker
    from bench.machine.cpu import bf16_native, read_cpu
    from bench.plan.thresholds import SELFCHECK
    from bench.selfcheck.processes import Processes, scenarios_for

    def start(module: str, scenario: Scenario) -> WorkerProcess:
        return workers.start(SELFCHECK.full_size, scenario.backend, scenario, module)

    return Processes(
        start=partial(start, "bench.worker"),
        zygote=partial(start, "bench.worker.zygote"),
        fork=ForkedWorker,
        folder=workers.folder,
        scenarios=scenarios_for(native_bf16=bf16_native(read_cpu(Path("/")).isa)),
        design=design,
        say=progress.show,
    )
