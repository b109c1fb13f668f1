"""The selfcheck's workers: started as a run starts its own, most of them on smaller images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.engine.launcher import Launcher, worker_options
from bench.machine import placement

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle, WorkerProcess
    from bench.plan.scenario import Scenario


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

    def launch(self, image_size: int, participant: Participant) -> WorkerHandle:
        """A fresh process for this participant."""
        return self.start(image_size, participant.name, participant.scenario)

    def start(
        self, image_size: int, name: str, scenario: Scenario, module: str = "bench.worker"
    ) -> WorkerProcess:
        """A fresh process for this scenario, a worker's or a zygote's (`bench.worker.zygote`)."""
        launcher = Launcher(
            folder=self.folder,
            cpus=self.cpus,
            options=worker_options(data=self.data, weights="random"),
        )
        size = worker_options(**{"image-size": image_size})
        return launcher.start(name, scenario, more=size, module=module)
