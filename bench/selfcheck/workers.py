"""Start the selfcheck's workers as a run starts its own, most of them on smaller images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.engine.launcher import Launcher, told
from bench.machine import placement

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle, WorkerProcess
    from bench.plan.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Starts the workers of a selfcheck; `folder` receives their output."""

    data: Path
    folder: Path
    threads: int | None = None

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that a run would use on this machine."""
        return placement.chosen_cpus(self.threads)

    def launch(self, image_size: int, participant: Participant) -> WorkerHandle:
        """Start a fresh process for this participant."""
        return self.start(image_size, participant.name, participant.scenario)

    def start(
        self, image_size: int, name: str, scenario: Scenario, module: str = "bench.worker"
    ) -> WorkerProcess:
        """Start a worker for this scenario, or a zygote (`module="bench.worker.zygote"`)."""
        launcher = Launcher(
            folder=self.folder, cpus=self.cpus, told=told(data=self.data, weights="random")
        )
        size = told(**{"image-size": image_size})
        return launcher.start(name, scenario, more=size, module=module)
