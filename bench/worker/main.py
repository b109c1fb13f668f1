"""Run one backend in a process and serve the parent: `python -m bench.worker --help`.

The backend is fixed at the start, because importing IPEX changes PyTorch for good: a stock worker
never imports it, and an ipex or placebo worker imports it before it builds a model. The thread
count is fixed before PyTorch is imported.

An operation that fails does not end the worker: the reply says why in one sentence, the traceback
goes to stderr (the worker's log), and the next request is served. When the parent's end of the pipe
closes, the worker ends at once.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import Phase, Status
from bench.worker import backends, protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.worker.session import Session
    from bench.worker.workload import Workload

    Operation = Callable[[protocol.Message], Mapping[str, object]]
    Operations = Mapping[str, Operation]

_MEMORY_WORDS = ("can't allocate memory", "defaultcpuallocator", "not enough memory", "bad_alloc")
_STATUS_OF_NAME = {
    "Unsupported": Status.UNSUPPORTED,  # Dynamo with fullgraph: a graph break
    "DataError": Status.UNAVAILABLE,  # pillqc: the images cannot be used
    "ExportError": Status.UNSUPPORTED,  # pillqc: `torch.export` cannot take the model
    "InvalidCxxCompiler": Status.UNAVAILABLE,  # Inductor: no C++ compiler on this machine
}
_SENTENCES = (BenchError, ImportError, NotImplementedError)
"""Errors whose text is a sentence; others get their type in front."""
_LONGEST_REASON = 300
_HINTS = re.compile(
    r"Set \w+=|You can suppress|For (more|even more|additional)|import torch|torch\._|compilation "
    r"terminated|\d+ (errors?|warnings?) generated|collect2:|The above (exception|operation)"
    r"|While executing|Original traceback|File \"|\S+\.py\(\d+\): "
)
"""Lines of an error that say what to do next, or where it happened."""
_ANNOUNCEMENTS = re.compile(r":$|C\+\+ compile error$|The following operation failed")
"""First lines after which compilers write the command and, last, what went wrong."""
_WITHOUT_HEAP = ("prepare", "conditions", "probe", "peak", "release", "rehearse", "rest")
"""Operations that neither run the prepared scenario nor report its memory."""
_KEEP_HEAP = ("call", "outputs", "kernels", "memory")
"""Operations of which a turn has several: the heap stays until the parent ends it with `rest`."""


def main(
    arguments: Sequence[str] | None = None,
    operations_of: Callable[[Session], Operations] | None = None,
) -> int:
    """Greet, then serve until the parent has ended; return the exit code."""
    options = _options(arguments)
    requests = os.fdopen(options.read_fd, "rb")
    replies = os.fdopen(options.write_fd, "wb")
    fix_environment(options.threads)
    try:
        session, hello = _start(options)
    except Exception as error:  # noqa: BLE001 - the parent must get a reply to any error
        traceback.print_exc()
        status = Status.UNAVAILABLE if isinstance(error, ImportError) else status_of(error)
        send(replies, protocol.failure(status, reason_of(error)))
        return 1
    send(replies, protocol.success(hello=hello))
    serve(requests, replies, (operations_of or operations)(session))
    return 0


def fix_environment(threads: int | None) -> None:
    """Set the variables that libraries read when they are loaded.

    The thread count is one, because changing it after a model was optimised gives wrong results.
    TORCH_WARM_POOL stops IPEX's import from starting compile workers, which use the CPU for seconds
    while others are timed.
    """
    os.environ.setdefault("TORCH_WARM_POOL", "0")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)


def serve(requests: BinaryIO, replies: BinaryIO, ops: Operations) -> None:
    """Serve requests until the parent has ended."""
    for line in requests:
        try:
            request = protocol.load(line)
            op = ops.get(str(request.get("op")), _unknown)
            reply = protocol.success(**op(request))
        except Exception as error:  # noqa: BLE001 - one scenario's failure must not end the worker
            traceback.print_exc()
            reply = protocol.failure(status_of(error), reason_of(error))
        send(replies, reply)


def send(replies: BinaryIO, message: protocol.Message) -> None:
    """Send one message to the parent."""
    replies.write(protocol.dump(message))
    replies.flush()


def _unknown(request: protocol.Message) -> Mapping[str, object]:
    raise WorkerError(Status.CRASHED, f"unknown operation {request.get('op')!r}")


def operations(session: Session) -> Operations:
    """Return the protocol's operations by name, as functions of the request."""
    from bench.worker import study_requests

    ops: Operations = {
        "prepare": lambda r: session.prepare(protocol.decode(r["scenario"])),
        "call": lambda r: session.call(int(r["n"]), Phase(r["phase"])),
        "outputs": lambda r: session.outputs(
            Path(r["path"]), within_s=r.get("within_s"), most_images=r.get("most_images")
        ),
        "kernels": lambda _: session.kernels(),
        "pictures": lambda r: session.pictures(Path(r["folder"])),
        "rehearse": lambda r: session.rehearse(r["training_batch"]),
        "layers": lambda _: session.layers(),
        "memory": lambda _: session.memory(),
        "conditions": lambda _: session.conditions(),
        "probe": lambda _: session.probe(),
        "peak": lambda r: session.peak(list(r["dtypes"])),
        "release": lambda _: session.release(),
        "rest": lambda _: {"released": session.heap.release()},
        "renew": lambda _: {"renewed": session.heap.renew()},
        "stages": lambda r: study_requests.stages(session, int(r["first"]), int(r["n"])),
        "call_for": lambda r: study_requests.call_for(session, float(r["seconds"])),
        "serve": lambda r: study_requests.serve(session, int(r["begin_ns"]), list(r["offsets_ns"])),
        "start_training": lambda r: study_requests.start_training(session, int(r["seed"])),
        "train": lambda r: study_requests.train(session, int(r["first"]), int(r["n"])),
        "evaluate": lambda _: study_requests.evaluate(session),
    }
    return {name: _with_heap(session, name, op) for name, op in ops.items()}


def _with_heap(session: Session, name: str, op: Operation) -> Operation:
    def restored(request: protocol.Message) -> Mapping[str, object]:
        session.heap.restore()
        return op(request)

    def at_work(request: protocol.Message) -> Mapping[str, object]:
        with session.heap.at_work():
            return op(request)

    if name in _WITHOUT_HEAP:
        return op
    return restored if name in _KEEP_HEAP else at_work


def status_of(error: BaseException) -> Status:
    """Return the status that a scenario gets from this error."""
    if isinstance(error, WorkerError):
        return error.status
    causes = list(_causes(error))
    if any(_is_out_of_memory(cause) for cause in causes):
        return Status.OUT_OF_MEMORY
    for cause in causes:
        known = _STATUS_OF_NAME.get(type(cause).__name__)
        if known is not None:
            return known
        if isinstance(cause, NotImplementedError):
            return Status.UNSUPPORTED
    return Status.CRASHED


def reason_of(error: BaseException) -> str:
    """Return one line that says what was wrong, with the error's type unless it is ours."""
    text = _informative_line(str(error))
    kind = type(error)
    is_sentence = isinstance(error, _SENTENCES) or kind.__module__.startswith("pillqc.")
    if not text:
        return kind.__name__
    start = f"{kind.__name__}: "
    return (text if is_sentence else start + text.removeprefix(start))[:_LONGEST_REASON]


def _informative_line(text: str) -> str:
    """Return a compiler's last `error:` line, else the first line that is no announcement."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line and not _HINTS.match(line)]
    if not lines:
        return ""
    errors = [line for line in lines if re.search(r"\berror: ", line)]
    if errors:
        return errors[-1]
    return lines[-1] if _ANNOUNCEMENTS.search(lines[0]) else lines[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those it wraps: compilers put an error of theirs around the real one."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    is_torchs = isinstance(error, RuntimeError) and any(word in text for word in _MEMORY_WORDS)
    return isinstance(error, MemoryError) or is_torchs


def _start(options: argparse.Namespace) -> tuple[Session, protocol.Hello]:
    """Import everything, the backend first; return the session and the greeting."""
    from bench.worker import fpmath

    if options.fpmath:
        fpmath.set_variable(options.fpmath)
    started = time.perf_counter()
    try:
        backend = backends.get(options.backend)
    except KeyError:
        known = ", ".join(backends.registered())
        raise WorkerError(
            Status.UNAVAILABLE, f"there is no backend {options.backend!r}; known: {known}"
        ) from None
    backend.load()
    import_s = time.perf_counter() - started
    from bench.worker import conditions
    from bench.worker.session import Session

    if options.fpmath:
        fpmath.allow(options.fpmath)
    hello: protocol.Hello = {
        "import_s": import_s,
        "packages": {
            short: getattr(sys.modules.get(name), "__version__", None)
            for short, name in {
                "torch": "torch",
                "torchvision": "torchvision",
                "ipex": "intel_extension_for_pytorch",
                "numpy": "numpy",
            }.items()
        },
    }
    if options.work == "operators":
        from bench.worker.operators import OperatorSession

        hello["conditions"] = conditions.read()
        return OperatorSession(options.backend, backend), hello
    work = _work(options)
    hello["conditions"] = conditions.read()
    hello["data"] = work.facts()
    return Session(options.backend, backend, work), hello


def _work(options: argparse.Namespace) -> Workload:
    """Return the user's model and inputs, or the pill inspector and its images."""
    if options.model:
        from bench.worker.workload.own_model import OwnModel

        return OwnModel(
            factory=options.model,
            inputs=options.inputs,
            shape=options.input_shape,
            settings=dict(options.factory_arg),
            seed=options.seed,
            decide=options.decide,
            calibration=options.calibration,
            train_step=options.train_step,
        )
    if options.data is None:
        raise WorkerError(Status.CRASHED, "a worker of the pill inspector needs --data")
    from bench.worker.workload import Workload

    return Workload(
        options.data,
        seed=options.seed,
        weights=options.weights,
        image_size=options.image_size,
        good=options.good,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description=__doc__)
    parser.add_argument("--read-fd", type=int, required=True, help="pipe of the requests")
    parser.add_argument("--write-fd", type=int, required=True, help="pipe of the replies")
    parser.add_argument("--backend", required=True, help=", ".join(backends.registered()))
    parser.add_argument("--data", type=Path, default=None, help="data set in MVTec AD's layout")
    parser.add_argument("--good", help="folder of good pills, if its name is not `good`")
    parser.add_argument("--work", default="pills", choices=("pills", "operators"))
    parser.add_argument("--model", help="package.module:factory of a model to use instead")
    parser.add_argument("--factory-arg", type=_setting, action="append", default=[])
    parser.add_argument("--inputs", help="package.module:function, called with a batch size")
    parser.add_argument("--input-shape", type=_shape, help="shape of one input, without the batch")
    parser.add_argument("--decide", help="function of the outputs: one label an item")
    parser.add_argument("--calibration", help="function of a batch size: batches for int8")
    parser.add_argument("--train-step", help="function of model and batch: the loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default=None, help="model file, `random`, `imagenet`, `hed`")
    parser.add_argument("--threads", type=int, default=None, help="default: as OpenMP decides")
    parser.add_argument("--fpmath", help="what oneDNN may multiply fp32 data in: bf16 or tf32")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side")
    return parser.parse_args(arguments)


def _setting(text: str) -> tuple[str, object]:
    """Parse `name=value`; a value that is no Python literal stays a string."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
