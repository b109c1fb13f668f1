"""`bench selfcheck` on the command line."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.plan import arguments

if TYPE_CHECKING:
    from bench.engine.progress import Progress
    from bench.engine.worker_process import WorkerProcess
    from bench.plan.scenario import Scenario
    from bench.selfcheck.check import Selfcheck
    from bench.selfcheck.processes import Design, Processes
    from bench.selfcheck.result import Result
    from bench.selfcheck.workers import Workers

_FOLDER = click.Path(path_type=Path, file_okay=False)
_INTERRUPTED = 130
_MOST_STARTS_AT_ONCE = 4
_PROCESSES = "processes"
_PARTS = click.Choice(["identical", "planted", "full-size", "bursts", _PROCESSES])


@click.command()
@click.option("--quick", is_flag=True, help="One experiment of each kind: a few minutes.")
@click.option(
    "--part", "parts", multiple=True, type=_PARTS, help="Some of it. Default: all but processes."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--budget", type=float, help="Seconds in all; two hours by default, processes alone 15 minutes."
)
@click.option("--threads", type=int, help="Threads a worker; physical cores by default.")
@click.option("--data", type=_FOLDER, default=Path("data/pills"), show_default=True, help="Images.")
def selfcheck(
    quick: bool,
    parts: tuple[str, ...],
    as_json: bool,
    budget: float | None,
    threads: int | None,
    data: Path,
) -> None:
    """Can this machine's figures be believed? Wrong verdicts, planted slowdowns, own cost.

    Exit code 0 when it was measured, whatever came out: the table says what holds. What each line
    means stands in docs/selfcheck.md.

    \b
    Examples:
      bench selfcheck --quick              a few minutes, too few comparisons to prove a rate
      bench selfcheck                      up to two hours: hundreds of comparisons
      bench selfcheck --part identical     one kind of comparison; the whole budget is its
      bench selfcheck --part processes     what a run would miss that did not start fresh processes
      bench selfcheck --quick --json       the same figures for a script
    """
    from bench.cli.main import stop_like_ctrl_c
    from bench.engine.progress import Progress
    from bench.plan.thresholds import SELFCHECK
    from bench.selfcheck import check, processes
    from bench.selfcheck.burner import bursts
    from bench.selfcheck.workers import Workers

    _check(budget, threads, data)
    stop_like_ctrl_c()
    amount = check.QUICK if quick else check.FULL
    design = processes.QUICK if quick else processes.FULL

    def tell(result: Result) -> None:
        click.echo(json.dumps(result.json(), indent=2) if as_json else result.table())

    progress = Progress()
    alone = parts == (_PROCESSES,)
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
            _run(one, progress)
        except KeyboardInterrupt:
            one.result.notes.append("Interrupted: this is what was measured until then.")
            tell(one.result)
            sys.exit(_INTERRUPTED)
    tell(one.result)


def _processes(workers: Workers, design: Design, progress: Progress) -> Processes:
    """The experiment on cheaper processes, with real workers, zygotes and forks."""
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


def _check(budget: float | None, threads: int | None, data: Path) -> None:
    """Refuse early what cannot work.

    Raises:
        UsageError: a wrong number.
        BenchError: there is no data.
    """
    if budget is not None:
        arguments.check_budget(budget)
    arguments.check_threads(threads)
    arguments.check_pills(data)


def _run(one: Selfcheck, progress: Progress) -> None:
    """Alone on the machine: a run and a selfcheck would measure each other."""
    from bench.store import run_folder

    try:
        with run_folder.only_run_here():
            one.run()
    finally:
        progress.clear()
