"""The workers of one launch: started when needed, kept for the next group, replaced when dead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import variables
from bench.errors import WorkerError
from bench.scenarios import Scenario, Status, worker_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.client import WorkerHandle

Key = tuple[Scenario, bool]
"""What needs a process of its own, and whether it is the control."""


@dataclass(kw_only=True)
class WorkerPool:
    """Workers by key.

    `launch` starts a process without waiting for it. The first of each backend and environment
    starts alone, since what importing costs is itself a result; the others `at_once` side by side,
    for importing keeps one core busy, and their greetings tell the first one's `import_s`.
    """

    launch: Callable[[Scenario, bool], WorkerHandle]
    start_timeout_s: float
    at_once: int = 1
    timed: bool = True
    """Whether what importing costs is still to be found out."""
    _workers: dict[Key, WorkerHandle] = field(default_factory=dict)
    _greetings: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _failures: dict[Key, WorkerError] = field(default_factory=dict)
    _import_s: dict[tuple[str, str], float | None] = field(default_factory=dict)
    """By backend and environment, of the worker that started alone."""

    def start(self, wanted: Iterable[Key]) -> None:
        """Have a live worker for each key, or remember why there is none."""
        keys = [(worker_key(scenario), control) for scenario, control in wanted]
        missing = [key for key in dict.fromkeys(keys) if not self._is_ready(key)]
        alone = {_imported(key): key for key in reversed(missing)} if self.timed else {}
        for key in alone.values():
            if _imported(key) not in self._import_s:
                self._start_batch([key])
                missing.remove(key)
        for first in range(0, len(missing), self.at_once):
            self._start_batch(missing[first : first + self.at_once])

    def get(self, scenario: Scenario, *, control: bool) -> tuple[WorkerHandle, dict[str, Any]]:
        """The worker for a scenario and its greeting.

        Raises:
            WorkerError: it could not be started; says why.
        """
        key = (worker_key(scenario), control)
        if key in self._failures:
            raise self._failures[key]
        return self._workers[key], self._greetings[key]

    def end(self, scenario: Scenario) -> None:
        """End the workers of a scenario, its control's too: the next ones are fresh."""
        for control in (False, True):
            worker = self._workers.pop((worker_key(scenario), control), None)
            if worker is not None:
                worker.stop()

    def pids(self) -> list[int]:
        """The processes that are alive."""
        return [worker.pid for worker in self._workers.values() if worker.alive]

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def _is_ready(self, key: Key) -> bool:
        if key in self._failures:
            return True
        worker = self._workers.get(key)
        if worker is not None and not worker.alive:
            worker.stop()
            del self._workers[key]
            return False
        return worker is not None

    def _start_batch(self, keys: list[Key]) -> None:
        for key in keys:
            if self._backend_is_unavailable(key):
                continue
            try:
                self._workers[key] = self.launch(*key)
            except WorkerError as error:
                self._failures[key] = error
        for key in keys:
            if key in self._workers:
                self._greet(key)

    def _greet(self, key: Key) -> None:
        try:
            greeting = self._workers[key].greet(self.start_timeout_s)
            hello = dict(greeting.get("hello", {}))
            first = self._import_s.setdefault(_imported(key), hello.get("import_s"))
            self._greetings[key] = {**hello, "import_s": first}
        except WorkerError as error:
            self._failures[key] = error
            self._workers.pop(key).stop()

    def _backend_is_unavailable(self, key: Key) -> bool:
        """What one worker of a backend lacks, the others lack too: ask once."""
        for other, error in self._failures.items():
            if error.status is Status.UNAVAILABLE and _needs(other[0]) == _needs(key[0]):
                self._failures[key] = error
                return True
        return False

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self._workers.values())


def _needs(scenario: Scenario) -> tuple[str, str, dict[str, str]]:
    """What must be there for its worker to start."""
    return (scenario.backend, scenario.environment, variables.of(scenario))


def _imported(key: Key) -> tuple[str, str]:
    """What a worker imports: its backend, from its environment's packages."""
    return (key[0].backend, key[0].environment)
