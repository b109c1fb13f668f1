from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import Status
from bench.worker import main, protocol
from tests.fresh_process import python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.worker.session import Session


class InvalidCxxCompiler(RuntimeError):  # noqa: N818 - the name is what counts
    """Named as Inductor's own error."""


class BackendCompilerFailed(RuntimeError):  # noqa: N818 - the name is what counts
    """Named as Dynamo's wrapper around a backend's error."""


def answers(requests: bytes, **ops: Callable[[protocol.Message], dict[str, Any]]) -> list[Any]:
    """What a worker with these operations replies to these lines."""
    replies = io.BytesIO()
    main.serve(io.BytesIO(requests), replies, ops)
    return [protocol.load(line) for line in replies.getvalue().splitlines()]


def raising(error: BaseException) -> Callable[[protocol.Message], dict[str, Any]]:
    """An operation that fails."""

    def fail(_: protocol.Message) -> dict[str, Any]:
        raise error

    return fail


def line(op: str, **fields: object) -> bytes:
    """A request as it comes over the pipe."""
    return protocol.dump(protocol.request(op, **fields))


def test_requests_are_answered_in_turn() -> None:
    """Each with the result of its operation."""
    found = answers(line("echo", x=1) + line("echo", x=2), echo=lambda r: {"y": r["x"]})
    assert [reply.get("y") for reply in found] == [1, 2]
    assert all(reply["ok"] for reply in found)


def test_the_worker_ends_when_the_parent_has_gone() -> None:
    """End of file on the pipe is the parent's death; nothing is left to answer."""
    assert answers(b"") == []


@pytest.mark.parametrize(
    "request_line",
    [b"no json\n", b"[1]\n", b'{"v": 99, "op": "echo"}\n', line("unheard_of"), line("echo")],
    ids=["no json", "no object", "other version", "unknown operation", "failing operation"],
)
def test_a_bad_request_costs_itself_only(request_line: bytes) -> None:
    """The next request is served as if nothing had been."""
    found = answers(request_line + line("fine"), echo=raising(ValueError("x")), fine=lambda _: {})
    assert [reply["ok"] for reply in found] == [False, True]
    assert found[0]["status"] == Status.CRASHED


def test_a_failure_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The parent prints the sentence; the traceback is in the log."""
    (reply,) = answers(line("echo"), echo=raising(ValueError("first line\nsecond line")))
    assert reply["reason"] == "ValueError: first line"
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), Status.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            Status.OUT_OF_MEMORY,
        ),
        (RuntimeError("std::bad_alloc"), Status.OUT_OF_MEMORY),
        (NotImplementedError("no int8 yet"), Status.UNSUPPORTED),
        (InvalidCxxCompiler("none"), Status.UNAVAILABLE),
        (WorkerError(Status.WRONG_OUTPUT, "NaN"), Status.WRONG_OUTPUT),
        (ValueError("x"), Status.CRASHED),
        (RuntimeError("shapes differ"), Status.CRASHED),
    ],
)
def test_each_error_has_its_status(error: BaseException, status: Status) -> None:
    """By type or by PyTorch's own words, for it raises plain RuntimeErrors."""
    assert main.status_of(error) is status


def test_an_error_that_a_compiler_wrapped_keeps_its_status() -> None:
    """Dynamo raises its own error from the real one."""
    wrapper = BackendCompilerFailed("inductor failed")
    wrapper.__cause__ = InvalidCxxCompiler("none")
    assert main.status_of(wrapper) is Status.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotImplementedError("no int8 yet"), "no int8 yet"),
        (BenchError("no images"), "no images"),
        (ValueError("bad  value"), "ValueError: bad value"),
        (MemoryError(), "MemoryError"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 288}"),
    ],
)
def test_a_reason_is_one_short_line(error: BaseException, reason: str) -> None:
    """Our own errors are sentences already; others are named."""
    assert main.reason_of(error) == reason


COMPILE_ERROR = """backend='inductor' raised:
CppCompileError: C++ compile error

Command:
g++ /a b/x.main.cpp -o /a b/x.so

Output:
g++: warning: /a: linker input file unused
g++: fatal error: input file '/a' is the same as output file
compilation terminated.


Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're
"""
LINK_ERROR = """CppCompileError: C++ compile error

Output:
/usr/bin/ld: cannot find sp/lib: No such file or directory
collect2: error: ld returned 1 exit status
"""


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (COMPILE_ERROR, "g++: fatal error: input file '/a' is the same as output file"),
        (LINK_ERROR, "/usr/bin/ld: cannot find sp/lib: No such file or directory"),
        ("backend='x' raised:\nKeyError: 'y'\n\nYou can suppress this", "KeyError: 'y'"),
        ("shape '[2]' is invalid\nframe #0: c10", "shape '[2]' is invalid"),
        ("only this:", "only this:"),
        ("/a/net.py(38): forward\nmat1 and mat2 differ", "mat1 and mat2 differ"),
        ("RuntimeError: mat1 and mat2 differ", "mat1 and mat2 differ"),
    ],
)
def test_a_reason_says_what_was_wrong_and_not_who_raised_it(text: str, reported: str) -> None:
    """A compiler's first line only announces the rest."""
    assert main.reason_of(RuntimeError(text)) == f"RuntimeError: {reported}"


def test_threads_are_settled_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP reads the count when it is loaded; changing it later gives wrong results in IPEX."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    main.fix_environment(3)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "3")

    code = "import sys, bench.worker; sys.exit('torch' in sys.modules)"
    python("-c", code)


def test_no_pool_of_compile_workers_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing IPEX would start one, which uses the CPU for seconds; a user's setting is kept."""
    monkeypatch.delenv("TORCH_WARM_POOL", raising=False)
    main.fix_environment(None)
    assert os.environ["TORCH_WARM_POOL"] == "0"


def greeting_of(arguments: list[str], environment: dict[str, str] | None = None) -> Any:
    """Start a worker, close its request pipe; return greeting, exit code and output."""
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    process = subprocess.Popen(
        [
            *[sys.executable, "-m", "bench.worker", "--read-fd", str(request_read)],
            *["--write-fd", str(reply_write), *arguments],
        ],
        pass_fds=(request_read, reply_write),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        text=True,
    )
    for descriptor in (request_read, reply_write, request_write):
        os.close(descriptor)
    with os.fdopen(reply_read, "rb") as replies:
        greeting = replies.readline()
    output, _ = process.communicate(timeout=60)
    return protocol.load(greeting), process.returncode, output


def test_an_unknown_backend_is_unavailable(tmp_path: Path) -> None:
    """The greeting itself is the failure, and names those that exist."""
    greeting, code, _ = greeting_of(["--backend", "tpu", "--data", str(tmp_path)])
    assert (greeting["ok"], greeting["status"], code) == (False, "unavailable", 1)
    assert "stock, ipex, placebo" in greeting["reason"]


@pytest.mark.torch
def test_a_folder_without_images_is_explained_in_the_greeting(tmp_path: Path) -> None:
    """In pillqc's own words, without a type's name before them."""
    greeting, code, _ = greeting_of(["--backend", "stock", "--data", str(tmp_path / "none")])
    assert (greeting["ok"], code) == (False, 1)
    assert greeting["reason"].startswith(str(tmp_path / "none"))


MISMATCH = """\
import os
print(
    "ERROR! Intel(R) Extension for PyTorch* needs to work with PyTorch 2.8.*, but PyTorch 2.9.0 "
    "is found. Please switch to the matching version and run again."
)
os.exit(127)
"""
"""What IPEX's own `__init__` does; `os.exit` does not exist."""


@pytest.mark.torch
def test_ipex_that_cannot_be_imported_is_unavailable(tmp_path: Path) -> None:
    """Every IPEX scenario then carries the reason; other reasons: `backends/test_registry.py`."""
    (tmp_path / "intel_extension_for_pytorch.py").write_text(MISMATCH)
    arguments = ["--backend", "ipex", "--data", str(tmp_path)]
    greeting, code, output = greeting_of(arguments, {"PYTHONPATH": str(tmp_path)})

    words = "PyTorch 2.9.0"
    assert (greeting["ok"], greeting["status"], code) == (False, "unavailable", 1)
    assert words in greeting["reason"]
    assert words in output  # what IPEX printed is in the log, and not in the protocol


def test_the_heap_stays_from_a_turns_first_call_to_its_rest() -> None:
    """The probe runs without it, so its buffers are not part of it; a study's turn is one request.

    Between a call and the next one of its turn nothing may release the heap: at large batches that
    takes as long as a call.
    """
    found: list[str] = []

    @contextmanager
    def at_work() -> Iterator[None]:
        found.append("taken")
        yield
        found.append("given")

    def noting(name: str) -> Callable[..., Any]:
        return lambda *_, **__: found.append(name)

    heap = SimpleNamespace(at_work=at_work, restore=noting("restored"), release=noting("released"))
    names = ("call", "kernels", "memory", "probe", "layers")
    fake = SimpleNamespace(heap=heap, **{name: noting(name) for name in names})
    ops = main.operations(cast("Session", fake))
    ops["call"]({"n": 1, "phase": "timed"})
    ops["kernels"]({})
    ops["memory"]({})
    ops["rest"]({})
    ops["probe"]({})
    ops["layers"]({})
    turn = ["restored", "call", "restored", "kernels", "restored", "memory", "released"]
    assert found == [*turn, "probe", "taken", "layers", "given"]
