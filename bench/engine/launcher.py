"""Start the workers of runs, studies, the gate and the selfcheck.

    launcher = Launcher(folder=folder, cpus=cpus, options=worker_options(data=data, seed=0))
    worker = launcher.start("stock-launch1", scenario)

All workers of one launcher have the same CPUs, threads, variables and data, apart from what their
scenario varies.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engine import environments
from bench.engine.worker_process import LOG, WorkerCommand, WorkerProcess, worker_arguments
from bench.errors import WorkerError
from bench.machine import cpu, worker_settings
from bench.plan import variables
from bench.plan.scenario import Dtype, Status
from bench.store import run_folder
from bench.text.wording import last_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.gate.side import Code
    from bench.plan.scenario import Scenario

CACHE = "inductor-cache"
"""The folder, inside the launcher's, of code that Inductor compiled."""
_LONGEST = 160
"""Characters of a log's line in a reason."""


def worker_options(**options: object) -> tuple[str, ...]:
    """Return these options as arguments of a worker; None leaves an option out."""
    given = {name: value for name, value in options.items() if value is not None}
    return tuple(part for name, value in given.items() for part in (f"--{name}", str(value)))


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """How every worker is started; `folder` takes their logs and compiled code."""

    folder: Path
    cpus: tuple[int, ...]
    options: tuple[str, ...] = ()
    """Arguments of every worker."""
    pythons: Mapping[str, Path] = field(default_factory=dict)
    """The interpreters of other environments, by name."""

    def start(
        self,
        name: str,
        scenario: Scenario,
        *,
        cpus: tuple[int, ...] | None = None,
        more: tuple[str, ...] = (),
        code: Code | None = None,
        cache: str = "",
        module: str = "bench.worker",
    ) -> WorkerProcess:
        """Start a fresh process for this scenario without waiting for it.

        `cpus` replace the launcher's; `more` are arguments of this worker alone; `code` is another
        checkout; workers of one `cache`, by default of one scenario and as many threads, share the
        code that they compile.

        Raises:
            WorkerError: this machine cannot have a variable of the scenario, or not its dtype.
        """
        check_dtype(scenario)
        setting = variables.setting_of(scenario)
        bound = first_cpus(cpus or self.cpus, setting.threads)
        threads = setting.threads or len(bound)
        options = ["--backend", scenario.backend, *self.options, *more, *setting.options]
        options += ["--threads", str(threads)]
        # Inductor takes a graph that was compiled for other threads or instructions from its cache,
        # and a first call that finds what another scenario compiled is not cold
        own = cache or sha256(f"{scenario.id} {threads}".encode()).hexdigest()[:12]
        compiled = self.folder.resolve() / CACHE / own
        environment = worker_settings.worker_environment(threads, compiled)
        python = self.pythons.get(scenario.environment)
        if code is not None:
            arguments = code.worker_arguments(options)
            environment = code.environment(environment)
        elif python is not None:
            arguments = worker_arguments(python, options, module, environments.code_folder())
            environment = environments.variables(environment)
        else:
            arguments = worker_arguments(sys.executable, options, module)
        log = f"{name.replace('/', '-').replace('#', '-')}.log"
        return WorkerProcess(
            WorkerCommand(
                arguments=arguments,
                environment=setting.variables(environment),
                cpus=bound,
                log=self.folder / run_folder.LOGS / log,
            )
        )


def without_log(reason: str, folder: Path) -> str:
    """Return why a worker failed, with the last line of its log for the log's name.

    For a launcher's folder that goes away.
    """
    what, names_log, log = reason.partition(LOG)
    if not names_log:
        return reason
    try:
        printed = (folder / log).read_text(errors="replace")
    except OSError:
        printed = ""
    return f"{what}; the last that it printed: {last_line(printed, 'nothing')[:_LONGEST]}"


def first_cpus(cpus: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """Return the first `count` CPUs, or all of them for None.

    Raises:
        WorkerError: there are fewer; threads that share a core would be measured as speed.
    """
    if count is None:
        return cpus
    if count > len(cpus):
        raise WorkerError(
            Status.UNAVAILABLE,
            f"{count} threads need as many physical cores of one node, and {len(cpus)} are free",
        )
    return cpus[:count]


def check_dtype(scenario: Scenario) -> None:
    """Refuse fp16 on a CPU without instructions for it, before a process is started.

    Raises:
        WorkerError: this is such a CPU.
    """
    if scenario.dtype is Dtype.FP16 and not cpu.fp16_native(cpu.read_cpu(Path("/")).isa):
        raise WorkerError(
            Status.UNAVAILABLE,
            "this CPU has neither AVX512_FP16 nor AMX_FP16, so it cannot compute in fp16",
        )
