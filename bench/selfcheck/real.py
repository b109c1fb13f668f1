"""Run a selfcheck with real workers, started as a run starts its own."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engine.launcher import Launcher, without_log, worker_options
from bench.engine.progress import Progress
from bench.engine.worker_process import ForkedWorker
from bench.errors import WorkerError
from bench.machine import worker_settings
from bench.machine.cpu import bf16_native, read_cpu
from bench.plan import arguments
from bench.plan.thresholds import SELFCHECK
from bench.selfcheck import check, processes
from bench.selfcheck.burner import bursts
from bench.store import run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle, WorkerProcess
    from bench.plan.scenario import Scenario

_MOST_STARTS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Starts the workers of a selfcheck; `folder` receives their output."""

    data: Path
    folder: Path
    threads: int | None = None

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that a run would use on this machine."""
        return worker_settings.chosen_cpus(self.threads)

    def launch(self, image_size: int, participant: Participant) -> WorkerHandle:
        """Start a fresh process for this participant."""
        return self.start(image_size, participant.name, participant.scenario)

    def start(
        self, image_size: int, name: str, scenario: Scenario, module: str = "bench.worker"
    ) -> WorkerProcess:
        """Start a worker for this scenario, or a zygote (`module="bench.worker.zygote"`)."""
        launcher = Launcher(
            folder=self.folder,
            cpus=self.cpus,
            options=worker_options(data=self.data, weights="random"),
        )
        size = worker_options(**{"image-size": image_size})
        return launcher.start(name, scenario, more=size, module=module)


@contextmanager
def alone(
    *,
    data: Path,
    threads: int | None,
    quick: bool,
    parts: Collection[str],
    budget_s: float | None,
) -> Iterator[check.Selfcheck]:
    """Yield a selfcheck that is ready to run, while nothing else measures on this machine.

    Raises:
        UsageError: the machine has fewer cores than threads.
        BenchError: there are no images, or another run is measuring.
        WorkerError: a worker failed; says what it printed last.
    """
    arguments.check_pills(data)
    amount = check.QUICK if quick else check.FULL
    design = processes.QUICK if quick else processes.FULL
    chosen = set(parts or check.PARTS)
    own_budget_s = design.budget_s if chosen == {"processes"} else amount.budget_s
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="pillqc-selfcheck-") as folder:
        workers = Workers(data=data, folder=Path(folder), threads=threads)
        one = check.Selfcheck(
            launch=workers.launch,
            bursts=partial(bursts, *SELFCHECK.burst_s),
            amount=amount,
            budget_s=budget_s or own_budget_s,
            parts=chosen,
            starts_at_once=min(_MOST_STARTS_AT_ONCE, len(workers.cpus)),
            processes=_processes(workers, design, progress.show) if "processes" in chosen else None,
            say=progress.show,
        )
        try:
            with run_folder.only_run_here():
                yield one
        except WorkerError as error:  # its log goes with the folder
            reason = without_log(error.reason, workers.folder)
            raise WorkerError(error.status, reason) from error
        finally:
            progress.clear()


def _processes(
    workers: Workers, design: processes.Design, say: Callable[[str], None]
) -> processes.Processes:
    """Return the experiment on cheaper processes, with real workers, zygotes and forks."""

    def start(module: str, scenario: Scenario) -> WorkerProcess:
        return workers.start(SELFCHECK.full_size, scenario.backend, scenario, module)

    return processes.Processes(
        start=partial(start, "bench.worker"),
        zygote=partial(start, "bench.worker.zygote"),
        fork=ForkedWorker,
        folder=workers.folder,
        scenarios=processes.scenarios_for(native_bf16=bf16_native(read_cpu(Path("/")).isa)),
        design=design,
        say=say,
    )
