"""Real workers on small rendered pills: the tests' own process must never import IPEX."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import parity
from bench.engine.worker_process import WorkerCommand, WorkerProcess, worker_arguments
from bench.plan.thresholds import ParityTolerance
from bench.worker import protocol
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.plan.scenario import Scenario

SIDE = 64
"""Small and quick, and yet oneDNN logs every convolution."""
TIMEOUT_S = 200.0
_KEPT = ("PATH", "HOME", "TORCHINDUCTOR_VEC_ISA_OK")


class Worker:
    """A real worker of one backend."""

    def __init__(self, backend: str, folder: Path, *options: object) -> None:
        self.folder = folder
        self.log = folder / f"{backend}.log"
        # one thread: on a busy machine, threads that wait for each other take ten times as long
        given = ["--backend", backend, "--threads", "1", *map(str, options)]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        self._process = WorkerProcess(
            WorkerCommand(
                arguments=worker_arguments(sys.executable, given),
                environment=environment,
                log=self.log,
            )
        )
        self._references: dict[Scenario, Path] = {}
        self.pid = self._process.pid
        self.hello: dict[str, Any] = self._process.greet(TIMEOUT_S)["hello"]

    def ask(self, op: str, **fields: object) -> protocol.Message:
        """One request, one reply."""
        return self._process.ask(op, TIMEOUT_S, **fields)

    def prepare(self, scenario: Scenario) -> protocol.Message:
        """Prepare it and make the calls that a warm-up makes."""
        reply = self.ask("prepare", scenario=protocol.encode(scenario))
        self.ask("call", n=1, phase="first_call")
        self.ask("call", n=2, phase="warmup")
        return reply

    def outputs(self, name: str) -> Path:
        """Write the outputs and say where."""
        path = self.folder / f"{name}.npz"
        self.ask("outputs", path=str(path))
        return path

    def reference(self, default: Scenario) -> Path:
        """Write a default's outputs, once in all tests."""
        if default not in self._references:
            self.prepare(default)
            self._references[default] = self.outputs(f"reference-{len(self._references)}")
        return self._references[default]

    def compare(self, case: Scenario, reference: Worker, default: Scenario) -> parity.Parity:
        """Compare the case's outputs with those of a reference worker's scenario."""
        expected = reference.reference(default)
        self.prepare(case)
        return parity.compare(
            expected,
            self.outputs("candidate"),
            task=case.task,
            dtype=case.dtype,
            tolerance=ParityTolerance(),
        )

    def stop(self) -> None:
        """End it."""
        self._process.stop()


@pytest.fixture(scope="package")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rendered pills of every kind."""
    root = tmp_path_factory.mktemp("data") / "pills"
    plan = RenderPlan(size=SIDE, train_good=1, test_good=4, per_defect=1)
    return render_dataset(root, plan, jobs=1).root


@pytest.fixture(scope="package")
def workers(pills: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    """Workers by backend, started at first use."""

    class Started(dict[str, Worker]):
        def __missing__(self, backend: str) -> Worker:
            options = ("--data", pills, "--weights", "random", "--image-size", SIDE)
            self[backend] = Worker(backend, tmp_path_factory.mktemp(backend), *options)
            return self[backend]

    started = Started()
    yield started
    for worker in started.values():
        worker.stop()


@pytest.fixture
def stock(workers: dict[str, Worker]) -> Worker:
    """A worker of the stock backend."""
    return workers["stock"]


@pytest.fixture
def ipex(workers: dict[str, Worker]) -> Worker:
    """A worker of the IPEX backend; the test is skipped where IPEX is not installed."""
    return _with_ipex(workers, "ipex")


@pytest.fixture
def placebo(workers: dict[str, Worker]) -> Worker:
    """A worker that imported IPEX and runs stock; skipped where IPEX is not installed."""
    return _with_ipex(workers, "placebo")


def _with_ipex(workers: dict[str, Worker], backend: str) -> Worker:
    if find_spec("intel_extension_for_pytorch") is None:
        pytest.skip("intel-extension-for-pytorch is not installed")
    return workers[backend]
