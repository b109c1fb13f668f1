"""The one place that starts workers of a run, a study, the gate and the selfcheck.

    launcher = Launcher(folder=folder, cpus=cpus, told=told(data=data, seed=0))
    worker = launcher.start("stock-launch1", scenario)

All workers of one launcher have the same CPUs, threads, variables, data and cache, but for what
their scenario varies.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine import environments
from bench.engine.worker_process import WorkerCommand, WorkerProcess, worker_arguments
from bench.errors import WorkerError
from bench.machine import placement
from bench.plan import variables
from bench.plan.scenario import Status
from bench.store import run_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.gate.side import Code
    from bench.plan.scenario import Scenario

CACHE = "inductor-cache"
"""The folder of what Inductor compiles, in the launcher's own."""


def told(**options: object) -> tuple[str, ...]:
    """What workers are told: `told(data=folder, seed=0)`; what is None is left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return tuple(part for name, value in given.items() for part in (f"--{name}", str(value)))


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """How every worker is started; `folder` takes logs and what is compiled."""

    folder: Path
    cpus: tuple[int, ...]
    told: tuple[str, ...] = ()
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
        apart: str = "",
        module: str = "bench.worker",
    ) -> WorkerProcess:
        """A fresh process for this scenario, which is not waited for.

        `cpus` are others than all of the launcher's; `more` is what this worker alone is told;
        `code` is that of another checkout; whoever is kept `apart` by a name shares nothing
        compiled with the rest.

        Raises:
            WorkerError: a variable of the scenario cannot be had here.
        """
        setting = variables.setting_of(scenario)
        bound = first_cpus(cpus or self.cpus, setting.threads)
        count = setting.threads or len(bound)
        options = ["--backend", scenario.backend, *self.told, *more, "--threads", str(count)]
        cache = self.folder.resolve() / CACHE / (apart or scenario.environment)
        around = placement.worker_environment(count, cache)
        python = self.pythons.get(scenario.environment)
        if code is not None:
            arguments, around = code.worker_arguments(options), code.environment(around)
        elif python is not None:
            arguments = worker_arguments(python, options, module, environments.code_folder())
            around = environments.variables(around)
        else:
            arguments = worker_arguments(sys.executable, options, module)
        file = name.replace("/", "-").replace("#", "-")
        logs = self.folder / run_folder.LOGS
        logs.mkdir(exist_ok=True)
        return WorkerProcess(
            WorkerCommand(
                name=file,
                arguments=arguments,
                environment=setting.variables(around),
                cpus=bound,
                log=logs / f"{file}.log",
            )
        )


def first_cpus(cpus: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """As many of the CPUs as there are threads.

    Raises:
        WorkerError: there are fewer; more threads than cores would be measured as if it were speed.
    """
    if count is None:
        return cpus
    if count > len(cpus):
        raise WorkerError(
            Status.UNAVAILABLE,
            f"{count} threads need as many physical cores of one node, and {len(cpus)} are free",
        )
    return cpus[:count]
