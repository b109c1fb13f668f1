"""The selfcheck's workers: started as a run starts its own, most of them on smaller images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import placement
from bench.client import WorkerCommand, WorkerProcess, worker_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from bench.client import WorkerHandle
    from bench.scenarios import Scenario
    from bench.seats import Seat


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How every worker of a selfcheck is started; `folder` takes its output."""

    data: Path
    folder: Path
    threads: int | None = None

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that a run would use here."""
        return placement.chosen_cpus(self.threads)

    def launch(self, image_size: int, seat: Seat) -> WorkerHandle:
        """A fresh process for this seat."""
        return self.start(image_size, seat.name, seat.scenario)

    def start(
        self, image_size: int, name: str, scenario: Scenario, module: str = "bench.worker"
    ) -> WorkerProcess:
        """A fresh process for this scenario, a worker's or a zygote's (`bench.zygote`)."""
        cpus = self.cpus
        threads = len(cpus)
        options = {
            "--backend": scenario.backend,
            "--data": str(self.data),
            "--weights": "random",
            "--threads": str(threads),
            "--image-size": str(image_size),
        }
        return WorkerProcess(
            WorkerCommand(
                name=name,
                arguments=worker_arguments(
                    sys.executable, [part for pair in options.items() for part in pair], module
                ),
                environment=placement.worker_environment(threads, self.folder / "cache"),
                cpus=cpus,
                log=self.folder / f"{name}.log",
            )
        )
