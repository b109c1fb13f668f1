"""Keep the workers of an experiment: start those that are missing, and end them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import WorkerError
from bench.plan import variables
from bench.plan.scenario import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.engine.checks import Checks
    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.scenario import Scenario
    from bench.worker.protocol import Hello


@dataclass(kw_only=True)
class WorkerPool:
    """The workers that are alive, by the name of their process.

    `launch(participant, number)` starts one without waiting for it; `failed(participant, number,
    error)` is told of each that did not come up.
    """

    launch: Callable[[Participant, int], WorkerHandle]
    failed: Callable[[Participant, int, WorkerError], None]
    checks: Checks
    at_once: int
    timeout_s: float
    """For a worker's greeting."""
    say: Callable[[str], None]
    _workers: dict[str, WorkerHandle] = field(default_factory=dict)
    _greetings: dict[str, Hello] = field(default_factory=dict)
    _unavailable: dict[object, WorkerError] = field(default_factory=dict)
    """By a worker's requirements: why no worker can have them on this machine."""

    def worker(self, participant: Participant) -> WorkerHandle:
        """Return the participant's worker."""
        return self._workers[participant.process]

    def greeting(self, participant: Participant) -> Hello:
        """Return what its worker said when it came up."""
        return self._greetings[participant.process]

    def pids(self) -> set[int]:
        """Return the processes that are alive."""
        return {worker.pid for worker in self._workers.values() if worker.alive}

    def start(self, number: int, participants: Sequence[Participant]) -> list[Participant]:
        """Start the workers that are missing, each once; return the participants that have one."""
        missing: dict[str, Participant] = {}
        for participant in participants:
            worker = self._workers.get(participant.process)
            if worker is None or not worker.alive:
                missing[participant.process] = participant
        together = []
        for participant in missing.values():
            if self.checks.starts_alone(participant):
                self._start_batch(number, [participant])
            else:
                together.append(participant)
        for first in range(0, len(together), self.at_once):
            self._start_batch(number, together[first : first + self.at_once])
        return [one for one in participants if one.process in self._workers]

    def end(self, processes: Collection[str] | None = None) -> None:
        """End these workers, or all."""
        for name in list(self._workers) if processes is None else processes:
            worker = self._workers.pop(name, None)
            if worker is not None:
                worker.stop()

    def make_room(
        self, participants: Sequence[Participant], most: int, wanted: Collection[str]
    ) -> None:
        """End waiting workers until at most `most` are alive together with the participants' own.

        Those that are not `wanted` again go first, then those that started first.
        """
        taking_part = {participant.process for participant in participants}
        waiting = [name for name in self._workers if name not in taking_part]
        waiting.sort(key=lambda name: name in wanted)
        self.end(waiting[: max(0, len(waiting) + len(taking_part) - most)])

    def _start_batch(self, number: int, participants: Sequence[Participant]) -> None:
        self.say(f"starting {', '.join(participant.name for participant in participants)}")
        started = []
        for participant in participants:
            self.end([participant.process])  # closes the pipes of a dead one
            try:
                if unavailable := self._unavailable.get(_requirements(participant.scenario)):
                    raise unavailable
                self._workers[participant.process] = self.launch(participant, number)
            except WorkerError as error:
                self.failed(participant, number, error)
            else:
                started.append(participant)
        for participant in started:
            self._greet(number, participant)

    def _greet(self, number: int, participant: Participant) -> None:
        try:
            greeting = self._workers[participant.process].greet(self.timeout_s)
        except WorkerError as error:
            if error.status is Status.UNAVAILABLE:
                self._unavailable[_requirements(participant.scenario)] = error
            self.failed(participant, number, error)
            self.end([participant.process])
            return
        self._greetings[participant.process] = greeting.get("hello", {})
        self.checks.after_greeting(participant, self._greetings[participant.process])


def _requirements(scenario: Scenario) -> object:
    """Return what its worker needs to start: backend, environment and variables."""
    return (scenario.backend, scenario.environment, *variables.of(scenario).items())
