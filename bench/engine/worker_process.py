"""Start a worker process, send it requests, suspend it and end it: the parent's side.

The parent sleeps in `poll` while a worker computes. An idle worker is suspended with SIGSTOP,
because OpenMP threads spin after a parallel region and would disturb the next measurement. A worker
dies with its parent (PR_SET_PDEATHSIG), suspended or not. A `ForkedWorker` has the same interface;
a zygote (`bench.worker.zygote`) forked it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.errors import BenchError, WorkerError
from bench.machine import plain_paths
from bench.plan.scenario import Status
from bench.worker import protocol
from bench.worker.lifetime import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_SIZE = 1 << 16
_LONGEST_LINE = 64 << 20
LOG = "; its output is in "
"""Before the name of a dead worker's log in its reason."""
_LAST_REPLY_S = 5.0
"""How long ending a worker waits for a thread that waits for its reply."""
_LONGEST_TMPDIR = 70
"""Processes of a data loader in the user's code meet at a socket in it, in whose path the kernel
takes 107 characters and Python's own folder and name are 32."""
_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class WorkerCommand:
    """How to start one worker process."""

    arguments: tuple[str, ...]
    """Without the two options for the pipes, `--read-fd` and `--write-fd`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: tuple[int, ...] = ()
    """The CPUs that the process is bound to; empty for no binding."""
    log: Path


class WorkerHandle(Protocol):
    """The interface of a worker; tests have a scripted one."""

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def greet(self, timeout_s: float) -> protocol.Message:
        """Wait until it is ready and return its greeting."""

    def ask(self, op: str, timeout_s: float, **fields: object) -> protocol.Message:
        """Send one request and return its reply; the worker is suspended before and after."""

    def stop(self) -> None:
        """End it; never fails."""


def oom_kills() -> int:
    """Return how many processes the kernel killed for memory since boot; 0 where unknown."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, neither of them a standard stream's number.

    Where one of those is closed (`bench run <&-`), a pipe would get its number, and a child has
    something else under it.
    """
    ends = os.pipe()
    above = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    for end in ends:
        os.close(end)
    return above[0], above[1]


class WorkerProcess:
    """A worker process.

    Raises (from `greet`, `ask` and `receive`):
        WorkerError: it died, hung or refused; `status` says which.
    """

    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        self._buffer = b""
        self._asking = threading.Lock()
        self._oom_kills = oom_kills()
        request_read, self._request_fd = _pipe()
        self._reply_fd, reply_write = _pipe()
        try:
            self._process = self._start(request_read, reply_write)
        except BenchError:
            self._close_pipes()
            raise
        finally:
            os.close(request_read)
            os.close(reply_write)

    def _start(self, request_read: int, reply_write: int) -> subprocess.Popen[bytes] | _Grandchild:
        """Start the process with its ends of the two pipes.

        Raises:
            BenchError: it cannot be started.
        """
        command = self._command
        environment = dict(command.environment)
        try:
            command.log.parent.mkdir(exist_ok=True)
            if temporary := environment.get("TMPDIR"):
                Path(temporary).mkdir(parents=True, exist_ok=True)
                environment["TMPDIR"] = str(plain_paths.plain(Path(temporary), _LONGEST_TMPDIR))
            with command.log.open("ab") as log:
                pipes = ["--read-fd", str(request_read), "--write-fd", str(reply_write)]
                return subprocess.Popen(
                    [*command.arguments, *pipes],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(request_read, reply_write),
                    start_new_session=True,
                    preexec_fn=self._in_child,  # noqa: PLW1509 - the parent has one thread
                )
        except OSError as error:
            where = error.filename or command.arguments[0]
            raise BenchError(f"cannot start a worker: {where}: {error.strerror}") from error
        except subprocess.SubprocessError as error:
            raise BenchError(f"a worker may no longer use all CPUs of {command.cpus}") from error

    @property
    def command(self) -> WorkerCommand:
        """The command that started it."""
        return self._command

    def _in_child(self) -> None:
        die_with_parent()
        if self._command.cpus:
            os.sched_setaffinity(0, self._command.cpus)

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def greet(self, timeout_s: float) -> protocol.Message:
        """Wait until it is ready and return its greeting; then suspend it."""
        return self._reply("starting", timeout_s)

    def ask(self, op: str, timeout_s: float, **fields: object) -> protocol.Message:
        """Resume it, send one request, wait for the reply, and suspend it again."""
        with self._asking:
            self.send(op, **fields)
            return self.receive(op, timeout_s)

    def send(self, op: str, **fields: object) -> None:
        """Resume it and send one request without waiting, so that several workers may compute."""
        self._signal(signal.SIGCONT)
        try:
            os.write(self._request_fd, protocol.dump(protocol.request(op, **fields)))
        except OSError as error:
            raise self._death(op) from error

    def receive(self, op: str, timeout_s: float) -> protocol.Message:
        """Wait for the reply to the request that was sent, and suspend it again."""
        return self._reply(op, timeout_s)

    def stop(self) -> None:
        """Kill it and close the pipes; never fails.

        It has nothing to save, and a request to exit would cost a launch ten seconds. A thread that
        waits for its reply learns of its end before the pipes' numbers can belong to other files.
        """
        self._kill()
        told = self._asking.acquire(timeout=_LAST_REPLY_S)
        self._close_pipes()
        if told:
            self._asking.release()

    def _reply(self, op: str, timeout_s: float) -> protocol.Message:
        line = self._read_line(op, timeout_s)
        self._signal(signal.SIGSTOP)
        try:
            message = protocol.load(line)
        except BenchError as error:
            self._kill()
            raise WorkerError(Status.CRASHED, str(error)) from error
        if not message.get("ok"):
            raise _refusal(message)
        return message

    def _read_line(self, op: str, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._reply_fd, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._buffer:
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0 or not poll.poll(left_ms):
                self._kill()
                raise WorkerError(
                    Status.TIMEOUT,
                    f"no answer to `{op}` within {timeout_s:.0f} s, so it was killed",
                )
            chunk = os.read(self._reply_fd, _READ_SIZE)
            if not chunk:
                raise self._death(op)
            self._buffer += chunk
            if len(self._buffer) > _LONGEST_LINE:
                self._kill()
                raise WorkerError(Status.CRASHED, f"endless reply to `{op}`")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self, op: str) -> WorkerError:
        """Return the error for a worker that is gone, from its exit status."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            return WorkerError(Status.CRASHED, f"closed its pipe during `{op}` without ending")
        where = f"during `{op}`{LOG}logs/{self._command.log.name}"
        if code == -signal.SIGKILL and oom_kills() > self._oom_kills:
            return WorkerError(Status.OUT_OF_MEMORY, f"killed by the kernel for memory {where}")
        if code < 0:
            return WorkerError(Status.CRASHED, f"killed by {signal.Signals(-code).name} {where}")
        return WorkerError(Status.CRASHED, f"ended with exit code {code} {where}")

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _kill(self) -> None:
        """Kill the process group: a compile pool must not outlive its worker."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _close_pipes(self) -> None:
        """Close them once: later their numbers belong to other files."""
        for descriptor in (self._request_fd, self._reply_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._request_fd = self._reply_fd = -1


class ForkedWorker(WorkerProcess):
    """A worker that a zygote forked after the imports; the rest is as in any worker.

    Raises (when created):
        WorkerError: the zygote died, or cannot fork safely.
    """

    def __init__(self, zygote: WorkerProcess, timeout_s: float = 60.0) -> None:
        self._zygote = zygote
        self._timeout_s = timeout_s
        super().__init__(zygote.command)

    def _start(self, request_read: int, reply_write: int) -> _Grandchild:
        here = f"/proc/{os.getpid()}/fd"
        pipes = {"requests": f"{here}/{request_read}", "replies": f"{here}/{reply_write}"}
        return _Grandchild(int(self._zygote.ask("fork", self._timeout_s, **pipes)["pid"]))


@dataclass(frozen=True)
class _Grandchild:
    """A process that only the zygote may wait for; the zygote leaves it a zombie."""

    pid: int

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(self.pid)
            try:
                if not select.select([ended], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
            finally:
                os.close(ended)
        with suppress(OSError):
            status = Path(f"/proc/{self.pid}/stat").read_text().split()[-1]
            return os.waitstatus_to_exitcode(int(status))
        return -signal.SIGKILL  # gone with its zygote


@dataclass(kw_only=True)
class ParentUse:
    """The CPU time that the parent itself used while it waited for workers."""

    waited_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def cpu_share(self) -> float | None:
        """Its CPU time as a share of one core; None before the first request."""
        return self.cpu_s / self.waited_s if self.waited_s else None


@dataclass(frozen=True)
class AccountedWorker:
    """A worker that adds the parent's time in each request to `use`."""

    worker: WorkerHandle
    use: ParentUse

    @property
    def alive(self) -> bool:
        """Whether the worker can take a request."""
        return self.worker.alive

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.worker.pid

    def greet(self, timeout_s: float) -> protocol.Message:
        """Return the worker's greeting."""
        return self.worker.greet(timeout_s)

    def stop(self) -> None:
        """End the worker."""
        self.worker.stop()

    def ask(self, op: str, timeout_s: float, **fields: object) -> protocol.Message:
        """Return the worker's reply, and add the parent's time to `use`."""
        started, cpu_started = time.monotonic(), time.process_time()
        try:
            return self.worker.ask(op, timeout_s, **fields)
        finally:
            self.use.waited_s += time.monotonic() - started
            self.use.cpu_s += time.process_time() - cpu_started


def _refusal(message: protocol.Message) -> WorkerError:
    try:
        status = Status(str(message.get("status")))
    except ValueError:
        status = Status.CRASHED
    return WorkerError(status, str(message.get("reason") or "refused without a reason"))


def first_path(checkout: Path) -> str:
    """Return Python code that makes `-c` import from a checkout first.

    Otherwise a file `bench.py` in the current folder would be imported as this package, and the
    installed package instead of another commit's.
    """
    return f"import sys; sys.path[0] = {str(checkout)!r}; "


def worker_arguments(
    python: str | Path,
    options: Sequence[str],
    module: str = "bench.worker",
    checkout: Path | None = _CHECKOUT,
) -> tuple[str, ...]:
    """Return the command line of a worker, or a zygote, under the interpreter `python`.

    It runs the code of a checkout, or, for None, the installed package.
    """
    interpreter = str(plain_paths.interpreter(Path(python)))
    if checkout is None:
        return (interpreter, "-m", module, *options)
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return (interpreter, "-c", first_path(checkout) + run, *options)
