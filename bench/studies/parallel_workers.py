"""Let several workers act as one: instances side by side, each on its own cores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.worker import protocol


class SplitWorker(Protocol):
    """A worker whose requests and replies are separate steps."""

    @property
    def alive(self) -> bool:
        """Whether it still takes requests."""

    @property
    def pid(self) -> int:
        """Its process."""

    def greet(self, timeout_s: float) -> protocol.Message:
        """Wait until it is ready."""

    def send(self, op: str, **fields: object) -> None:
        """Send one request."""

    def receive(self, op: str, timeout_s: float) -> protocol.Message:
        """Wait for its reply."""

    def stop(self) -> None:
        """End it."""


_FIRST_ONLY = ("probe", "outputs", "kernels", "memory", "conditions", "peak")
"""Requests that go to one of them: the others would disturb it, or reply the same."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """A worker handle over several: if one dies or fails, all count as failed.

    `call` replies with the slowest instance's time of each call, which is what warming up needs;
    throughput comes from `call_for` and `serve`, whose replies are under `instances`.
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
        """Send the same request to all of them at once; return one reply for all."""
        if op in _FIRST_ONLY:
            return self._all(op, timeout_s, [fields])[0]
        replies = self.ask_each(op, timeout_s, [fields] * len(self.workers))
        if op == "call":
            return _merged(replies)
        return {**replies[0], "instances": replies}

    def ask_each(
        self, op: str, timeout_s: float, fields: Sequence[dict[str, Any]]
    ) -> list[protocol.Message]:
        """Send each its own request at once; return the replies in the same order.

        Raises:
            BenchError: there are not as many requests as instances.
            WorkerError: one of them failed; none is left computing.
        """
        if len(fields) != len(self.workers):
            raise BenchError(f"{len(fields)} requests for {len(self.workers)} instances")
        return self._all(op, timeout_s, fields)

    def _all(
        self, op: str, timeout_s: float, fields: Sequence[dict[str, Any]]
    ) -> list[protocol.Message]:
        each = list(zip(self.workers, fields, strict=False))
        deadline = time.monotonic() + timeout_s
        try:
            for worker, one in each:
                worker.send(op, **one)
            return [worker.receive(op, max(0.1, deadline - time.monotonic())) for worker, _ in each]
        except BenchError:
            self.stop()
            raise


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
