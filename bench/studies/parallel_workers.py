"""Let several workers act as one: instances side by side, each on its own cores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.engine.worker_process import WorkerHandle
from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.worker import protocol


class SplitWorker(WorkerHandle, Protocol):
    """A worker whose requests and replies are separate steps."""

    def send(self, op: str, **fields: object) -> None:
        """Send one request."""

    def receive(self, op: str, timeout_s: float) -> protocol.Message:
        """Wait for its reply."""


_FIRST_ONLY = ("probe", "outputs", "kernels", "memory", "conditions", "peak")
"""Requests that go to one of them: the others would disturb it, or reply the same."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """A worker handle over several: if one dies or fails, all count as failed.

    `call` replies with the slowest instance's time of each call, which is what warming up needs;
    throughput comes from `call_for`, whose replies are under `instances`.
    """

    workers: Sequence[SplitWorker]

    @property
    def alive(self) -> bool:
        """Whether all of them are alive."""
        return all(worker.alive for worker in self.workers)

    @property
    def pid(self) -> int:
        """The first one's process id."""
        return self.workers[0].pid

    def greet(self, timeout_s: float) -> protocol.Message:
        """Wait until all are ready."""
        greetings = [worker.greet(timeout_s) for worker in self.workers]
        return greetings[0]

    def stop(self) -> None:
        """End all of them."""
        for worker in self.workers:
            worker.stop()

    def ask(self, op: str, timeout_s: float, **fields: object) -> protocol.Message:
        """Send the same request to all of them at once; return one reply for all.

        Raises:
            WorkerError: one of them failed; none is left computing.
        """
        asked = self.workers[:1] if op in _FIRST_ONLY else self.workers
        deadline = time.monotonic() + timeout_s
        try:
            for worker in asked:
                worker.send(op, **fields)
            replies = [
                worker.receive(op, max(0.1, deadline - time.monotonic())) for worker in asked
            ]
        except BenchError:
            self.stop()
            raise
        if op in _FIRST_ONLY:
            return replies[0]
        return _merged(replies) if op == "call" else {**replies[0], "instances": replies}


def _merged(replies: Sequence[protocol.Message]) -> protocol.Message:
    """Merge replies of timed calls: the slowest wall time, the sum of CPU time."""
    walls = zip(*(reply["wall_ns"] for reply in replies), strict=True)
    cpus = zip(*(reply["cpu_ns"] for reply in replies), strict=True)
    return {
        **replies[0],
        "wall_ns": [max(calls) for calls in walls],
        "cpu_ns": [sum(calls) for calls in cpus],
        "involuntary_switches": sum(reply.get("involuntary_switches", 0) for reply in replies),
        "invalid": next((reply["invalid"] for reply in replies if reply.get("invalid")), None),
    }
