"""Real worker processes without torch, each with one planted fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bench.engine.worker_process import AccountedWorker, ParentUse, WorkerCommand, WorkerProcess
from bench.errors import BenchError, WorkerError
from bench.plan.scenario import Status
from bench.worker import protocol
from tests.bench.processes import gone, state

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, os, signal, sys, time
read, write = (int(sys.argv[sys.argv.index(name) + 1]) for name in ("--read-fd", "--write-fd"))
requests, replies = os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)

def say(**fields):
    replies.write(json.dumps({"v": 1, "ok": True, **fields}).encode() + b"\\n")

FAULT = sys.argv[1]
if FAULT == "die-at-start":
    sys.exit(7)
say(hello={"pid": os.getpid(), "cpus": sorted(os.sched_getaffinity(0)), "x": os.environ.get("X")})
for line in requests:
    op = json.loads(line)["op"]
    if op == "echo":
        say(echo=json.loads(line))
    elif op == "refuse":
        replies.write(json.dumps({"v": 1, "ok": False, "status": "unsupported",
                                  "reason": "not on this CPU"}).encode() + b"\\n")
    elif op == "print":
        print("x" * 1_000_000); os.write(2, b'{"v":1,"ok":true,"fake":1}\\n'); say(done=1)
    elif op == "exit":
        os._exit(3)
    elif op == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif op == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif op == "hang":
        time.sleep(1000)
    elif op == "garbage":
        replies.write(b"Segmentation fault (not JSON)\\n")
    elif op == "half":
        replies.write(b'{"v": 1, "ok": tr'); os._exit(0)
    elif op == "old":
        replies.write(b'{"v": 0, "ok": true}\\n')
    elif op == "socket":
        from multiprocessing.connection import Listener
        Listener(family="AF_UNIX").close(); say(folder=os.path.realpath(os.environ["TMPDIR"]))
    elif op == "close":
        replies.close(); time.sleep(1000)
    elif op == "child":
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        say(child=child.pid)
"""

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts scripted workers and ends them after the test."""
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(SCRIPT))
    workers: list[WorkerProcess] = []

    def begin(fault: str = "none", **changes: object) -> WorkerProcess:
        fields: dict[str, object] = {
            "arguments": (sys.executable, "-S", str(script), fault),
            "environment": dict(os.environ),
            "log": tmp_path / "w.log",
        }
        worker = WorkerProcess(WorkerCommand(**{**fields, **changes}))  # type: ignore[arg-type] # test data
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.stop()


def stopped(pid: int) -> bool:
    """Whether the process is stopped soon."""
    for _ in range(200):
        if state(pid) == "T":
            return True
        time.sleep(0.01)
    return False


def resumed(pid: int) -> bool:
    """Whether the process is stopped no longer, soon."""
    for _ in range(200):
        if state(pid) != "T":
            return True
        time.sleep(0.01)
    return False


def test_a_worker_greets_then_answers_each_request(start: Start) -> None:
    """One request, one reply, fields intact."""
    worker = start()
    assert worker.greet(10)["hello"]["pid"] == worker.pid
    reply = worker.ask("echo", 10, n=3, text="é\n")
    assert reply["echo"] == {"v": 1, "op": "echo", "n": 3, "text": "é\n"}


def test_an_idle_worker_is_stopped_by_the_kernel(start: Start) -> None:
    """Between requests it cannot use any CPU; the next request wakes it."""
    worker = start()
    worker.greet(10)
    assert stopped(worker.pid)
    worker.ask("echo", 10)
    assert stopped(worker.pid)


@pytest.mark.parametrize(
    ("op", "status", "words"),
    [
        ("exit", Status.CRASHED, "exit code 3"),
        ("segfault", Status.CRASHED, "SIGSEGV"),
        ("kill", Status.CRASHED, "SIGKILL"),
        ("garbage", Status.CRASHED, "no JSON"),
        ("half", Status.CRASHED, "exit code 0"),
        ("old", Status.CRASHED, "protocol 0"),
        ("refuse", Status.UNSUPPORTED, "not on this CPU"),
    ],
)
def test_failures_have_status_and_reason(start: Start, op: str, status: Status, words: str) -> None:
    """A death has the reason of its exit status, a refusal the worker's own words."""
    worker = start()
    worker.greet(10)
    with pytest.raises(WorkerError, match=words) as caught:
        worker.ask(op, 10)
    assert caught.value.status is status


def test_a_refusal_leaves_the_worker_alive_and_a_death_does_not(start: Start) -> None:
    """The pool replaces only what is dead."""
    worker = start()
    worker.greet(10)
    with pytest.raises(WorkerError):
        worker.ask("refuse", 10)
    assert worker.alive
    assert worker.ask("echo", 10)["ok"]
    with pytest.raises(WorkerError):
        worker.ask("exit", 10)
    assert not worker.alive


def test_a_hanging_worker_is_killed_at_its_time_limit(start: Start) -> None:
    """A hang costs the time limit and no more."""
    worker = start()
    worker.greet(10)
    with pytest.raises(WorkerError, match="within 0 s") as caught:
        worker.ask("hang", 0.2)
    assert caught.value.status is Status.TIMEOUT
    assert gone(worker.pid)


def test_a_live_worker_without_pipe_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a death is a death."""
    worker = start()
    worker.greet(10)
    wait = subprocess.Popen.wait

    def at_once(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        return wait(self, timeout=0.05 if timeout else None)

    monkeypatch.setattr(subprocess.Popen, "wait", at_once)
    with pytest.raises(WorkerError, match="closed its pipe"):
        worker.ask("close", 10)
    assert gone(worker.pid)


def test_a_kill_for_memory_has_its_status(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while the kernel's oom_kill counter grew means out of memory."""
    kills = iter([5, 6])
    monkeypatch.setattr("bench.engine.worker_process.oom_kills", lambda: next(kills))
    worker = start()
    worker.greet(10)
    with pytest.raises(WorkerError, match="for memory") as caught:
        worker.ask("kill", 10)
    assert caught.value.status is Status.OUT_OF_MEMORY


def test_prints_of_a_model_are_logged_beside_the_protocol(start: Start, tmp_path: Path) -> None:
    """Neither a megabyte on stdout nor a forged reply on stderr reaches the parent."""
    worker = start()
    worker.greet(10)
    assert worker.ask("print", 10) == {"v": 1, "ok": True, "done": 1}
    assert (tmp_path / "w.log").stat().st_size > 1_000_000


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_a_worker_serves_a_parent_whose_standard_streams_are_closed(
    start: Start, closed: tuple[int, ...]
) -> None:
    """As of `bench run <&-`: the freed numbers must not become the worker's pipes."""
    kept = {number: os.dup(number) for number in closed}
    try:
        for number in closed:
            os.close(number)
        worker = start()
        worker.greet(10)
        assert worker.ask("echo", 10)["echo"]["op"] == "echo"
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def test_ending_a_worker_twice_leaves_the_descriptors_of_others(
    start: Start, tmp_path: Path
) -> None:
    """The numbers of its pipes belong to the next file that is opened."""
    worker = start()
    worker.greet(10)
    worker.stop()
    files = [(tmp_path / f"file-{number}").open("w") for number in range(8)]
    worker.stop()
    for file in files:
        file.write("whole")
        file.close()


def test_ending_a_worker_ends_the_wait_of_another_thread(start: Start) -> None:
    """It learns how the worker ended, however long it would have waited."""
    worker = start()
    worker.greet(10)
    assert stopped(worker.pid)
    with ThreadPoolExecutor(1) as thread:
        reply = thread.submit(worker.ask, "hang", 200)
        assert resumed(worker.pid)
        worker.stop()
        with pytest.raises(WorkerError, match="SIGKILL during `hang`"):
            reply.result()


def test_ending_a_worker_ends_what_it_started(start: Start) -> None:
    """A compile pool must not outlive its worker and burn the next one's CPU."""
    worker = start()
    worker.greet(10)
    child = worker.ask("child", 10)["child"]
    worker.stop()
    assert gone(child)


def test_a_worker_is_bound_and_gets_just_the_given_variables(start: Start) -> None:
    """Affinity and environment are the parent's choice."""
    cpu = min(os.sched_getaffinity(0))
    worker = start(cpus=(cpu,), environment={"X": "1", "PATH": os.environ["PATH"]})
    hello = worker.greet(10)["hello"]
    assert hello["cpus"] == [cpu]
    assert hello["x"] == "1"


def test_a_workers_processes_meet_wherever_its_run_lies(start: Start, tmp_path: Path) -> None:
    """A data loader's do so at a socket in TMPDIR, whose path the kernel limits; or it hangs."""
    folder = tmp_path / ("results-" + 90 * "x") / "tmp"
    worker = start(environment={**os.environ, "TMPDIR": str(folder)})
    worker.greet(10)
    assert worker.ask("socket", 10)["folder"] == str(folder)


def test_dying_before_the_greeting_is_reported(start: Start) -> None:
    """An import that ends the process has its exit code in the reason."""
    with pytest.raises(WorkerError, match="exit code 7 during `starting`"):
        start("die-at-start").greet(10)


def test_an_interpreter_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    """A wrong path in --env must not be a traceback."""
    command = WorkerCommand(arguments=("/no/python",), log=tmp_path / "log")
    with pytest.raises(BenchError, match="/no/python: No such file"):
        WorkerProcess(command)


def test_the_folder_of_logs_is_made(start: Start, tmp_path: Path) -> None:
    """A study's folder has none before its first worker."""
    start(log=tmp_path / "logs" / "w.log").greet(10)
    assert (tmp_path / "logs" / "w.log").is_file()


def test_a_folder_that_was_removed_is_one_line(start: Start, tmp_path: Path) -> None:
    """It names what is missing, and not the interpreter, which is there."""
    with pytest.raises(BenchError, match=r"gone/logs: No such file or directory$"):
        start(log=tmp_path / "gone" / "logs" / "w.log")
    (tmp_path / "w.log").mkdir()
    with pytest.raises(BenchError, match=r"w\.log: Is a directory$"):
        start()


def test_a_cpu_that_was_taken_away_is_one_line(start: Start) -> None:
    """A container's CPUs may change while it runs."""
    with pytest.raises(BenchError, match=r"CPUs of \(99999,\)$"):
        start(cpus=(99_999,))


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Even a stopped worker must not outlive kill -9 of the parent."""
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(SCRIPT))
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from bench.engine.worker_process import WorkerCommand, WorkerProcess
        worker = WorkerProcess(WorkerCommand(
            arguments=(sys.executable, "-S", {str(script)!r}, "none"),
            environment=dict(os.environ), log=Path({str(tmp_path / "log")!r})))
        worker.greet(10)
        print(worker.pid, flush=True)
        time.sleep(1000)
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(parent)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_the_parents_own_cpu_time_is_accounted(start: Start) -> None:
    """The share that the harness takes while it waits is measured, not assumed."""
    use = ParentUse()
    assert use.cpu_share is None
    worker = AccountedWorker(start(), use)
    worker.greet(10)
    worker.ask("echo", 10)
    assert use.waited_s > 0
    assert use.cpu_share is not None


def test_protocol_refuses_what_is_no_number() -> None:
    """NaN in a reply would be read as a time."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        protocol.dump({"wall_ns": float("nan")})
