"""Forked workers: the same answers as a fresh worker's, and gone when they should be."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.engine.worker_process import ForkedWorker, WorkerCommand, WorkerProcess, worker_arguments
from bench.errors import WorkerError
from bench.machine import worker_settings
from bench.plan.scenario import Task, stock_default
from bench.worker import conditions
from bench.worker.protocol import encode
from tests.fresh_process import python

if TYPE_CHECKING:
    from bench.worker.protocol import Message

SCENARIO = stock_default(Task.INFERENCE, 1)


def outputs(worker: WorkerProcess, path: Path) -> Message:
    """The conditions of a worker that has written its outputs there."""
    worker.greet(120)
    worker.ask("prepare", 120, scenario=encode(SCENARIO))
    worker.ask("outputs", 120, path=str(path), within_s=0)
    found: Message = worker.ask("conditions", 60)["conditions"]
    return found


def ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie, soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.torch
def test_a_forked_worker_computes_what_a_fresh_one_does_and_dies_with_its_zygote(
    small_pills: Path,
    tmp_path: Path,
) -> None:
    """To the last bit, in parallel regions, under the same conditions."""
    options = ["--backend", "stock", "--data", str(small_pills), "--weights", "random"]
    options += ["--threads", "2", "--image-size", "32"]

    def command(module: str) -> WorkerCommand:
        return WorkerCommand(
            arguments=worker_arguments(sys.executable, options, module),
            environment=worker_settings.worker_environment(2, tmp_path / "cache"),
            cpus=worker_settings.chosen_cpus(2),
            log=tmp_path / f"{module}.log",
        )

    fresh = WorkerProcess(command("bench.worker"))
    zygote = WorkerProcess(command("bench.worker.zygote"))
    forked: list[ForkedWorker] = []
    try:
        reported = outputs(fresh, tmp_path / "fresh.npz")
        zygote.greet(120)
        forked += [ForkedWorker(zygote), ForkedWorker(zygote)]
        assert conditions.differences(reported, outputs(forked[0], tmp_path / "forked.npz")) == []
        with np.load(tmp_path / "fresh.npz") as one, np.load(tmp_path / "forked.npz") as other:
            assert np.array_equal(one["probabilities"], other["probabilities"])
            assert np.array_equal(one["maps"], other["maps"])
        assert "renewed" in forked[0].ask("renew", 60)
        with pytest.raises(WorkerError, match="unknown operation"):
            zygote.ask("call", 60, n=1, phase="timed")
        forked[0].stop()
        assert not forked[0].alive
        forked[1].greet(120)
        assert forked[1].pid != zygote.pid
        assert forked[1].alive
        zygote.stop()
        assert ended(forked[1].pid)
        assert not forked[1].alive
        with pytest.raises(WorkerError, match="SIGKILL during `conditions`"):
            forked[1].ask("conditions", 60)
    finally:
        for worker in (fresh, *forked, zygote):
            worker.stop()


def test_a_process_with_threads_does_not_fork() -> None:
    """A parallel region's threads are not in the child, which then would wait for them forever."""
    code = (
        "import os, threading\n"
        "from bench.worker import zygote\n"
        "pipes = [f'/proc/self/fd/{end}' for end in (*os.pipe(), *os.pipe())]\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "try: zygote.fork(None, pipes[0], pipes[3])\n"
        "except Exception as error: print(error, flush=True)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    done = python("-c", code)
    assert "threads, which do not survive a fork" in done.stdout
    assert done.stdout.splitlines()[-1] == "-9"
