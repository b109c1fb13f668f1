"""Pass messages between parent and worker: versioned JSON, one object a line, over two pipes.

A worker may run under another interpreter or from another checkout, so neither side may rely on
more than this protocol. The pipes are not the worker's stdin and stdout: what a model prints cannot
corrupt them. Nothing in this module imports torch.

Requests  {"v": 1, "op": OP, ...}
Replies   {"v": 1, "ok": true, ...} or {"v": 1, "ok": false, "status": STATUS, "reason": SENTENCE}

The worker writes first: its greeting is a reply that carries `hello` (`Hello`). Then it answers
each request with one reply. Every field of a reply may be missing when a worker of an older commit
answers, as the gate's do.

op          request fields                  reply
prepare     scenario (`encode`)             PrepareReply
call        n, phase                        CallReply
outputs     path, within_s, most_images     OutputsReply; the arrays go to the .npz file `path`
kernels     -                               KernelsReply
pictures    folder                          items (file, kind, text), trained, source, ...
layers      -                               layers [[name, kind]] of the prepared model
rehearse    training_batch                  -; calls each function of the user's
memory      -                               MemoryReply
probe       -                               ProbeReply
conditions  -                               conditions, read again
peak        dtypes                          PeakReply
release     -                               -
rest        -                               -; releases the heap that calls kept since the last one
renew       -                               renewed: whether the heap was released
fork        requests, replies               pid of a new worker on these pipes; a zygote's only op
stages      first, n                        images: one object each, with ns by stage and decision
call_for    seconds                         SpansReply
serve       begin_ns, offsets_ns            SpansReply
start_training  seed                        images, evaluated
train       first, n                        TrainReply
evaluate    -                               accuracy
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TypedDict

from bench.errors import BenchError
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

VERSION = 1

Message = dict[str, Any]
"""Any message as JSON has it."""


class Hello(TypedDict, total=False):
    """A worker's greeting. `data` describes the images or the user's inputs.

    `packages` has the versions of what the worker has imported, and None for what it has not.
    """

    import_s: float
    packages: dict[str, str | None]
    conditions: dict[str, Any]
    data: dict[str, Any]


class ModelFacts(TypedDict):
    """The model that a scenario runs."""

    name: str
    trained: bool
    threshold: float


class PrepareReply(TypedDict, total=False):
    """A prepared scenario; values may be None in a resumed run, which reads them from its rows.

    `part` is one of `scenario.PARTS` or None. `served_by` comes from operator sessions. `build_s`,
    `package_bytes` and `load_ms` are of a model that was compiled ahead of time.
    """

    prepare_s: float | None
    layers_replaced: int | None
    parameters: int
    flop_per_call: float | None
    native_dtype: bool | None
    build_s: float | None
    package_bytes: int | None
    load_ms: float | None
    part: str | None
    model: ModelFacts
    served_by: list[str]


class TimedReply(TypedDict, total=False):
    """Timed calls, in order."""

    wall_ns: list[int]
    cpu_ns: list[int]
    page_faults: list[int | None]


class CallReply(TimedReply, total=False):
    """A block of calls. `invalid` is a sentence if they do not count, else None."""

    involuntary_switches: int
    invalid: str | None


class OutputsReply(TimedReply, total=False):
    """The number of inputs compared, and the calls made for it."""

    images: int
    trained: bool


class KernelsReply(TypedDict, total=False):
    """What a call executed.

    `kernels` have the fields of `kernels.Kernel`; `calls` are one `LoggedCall` of them. `graph` is
    the mode's or the backend's own evidence. `contradiction` is a sentence if the evidence
    contradicts the scenario's label, else None. A resumed run, which has no `kernels`, has the
    number of `reorders` among them.
    """

    kernels: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    fused_ops: int | None
    isa: str | None
    layers_replaced: int | None
    graph: dict[str, Any]
    contradiction: str | None
    reorders: int | None


class MemoryReply(TypedDict, total=False):
    """Peak since `prepare` and present resident size, in MiB; None if a resumed run lacks them."""

    peak_rss_mb: float | None
    rss_mb: float | None


class ProbeReply(TypedDict, total=False):
    """Times of fixed work; `gflop_per_s` is the compute part's."""

    compute_ns: int
    memory_ns: int
    gflop_per_s: float


class PeakReply(TypedDict, total=False):
    """The machine's peak by dtype, and its fastest copy, read and written bytes counted."""

    gflop_per_s: dict[str, float]
    memory_gb_per_s: float


class SpansReply(TypedDict, total=False):
    """Start and end of each call, on the machine's monotonic clock."""

    start_ns: list[int]
    end_ns: list[int]


class TrainReply(TypedDict, total=False):
    """Times of the optimiser steps, and the last step's loss."""

    wall_ns: list[int]
    loss: float


def request(op: str, **fields: object) -> Message:
    """Build a request of this protocol's version."""
    return {"v": VERSION, "op": op, **fields}


def success(**fields: object) -> Message:
    """Build the reply to a request that succeeded."""
    return {"v": VERSION, "ok": True, **fields}


def failure(status: str, reason: str) -> Message:
    """Build the reply to a request that failed; `status` is one of `Status`."""
    return {"v": VERSION, "ok": False, "status": status, "reason": reason}


def dump(message: Message) -> bytes:
    """Encode a message as one line. Raises ValueError for NaN and infinity: JSON has neither."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def load(line: bytes) -> Message:
    """Decode one line.

    Raises:
        BenchError: it is not JSON, not an object, or of another protocol version.
    """
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BenchError(f"the worker sent no JSON ({error}): {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise BenchError(f"the worker sent {type(message).__name__} instead of an object")
    if message.get("v") != VERSION:
        raise BenchError(
            f"the worker uses protocol {message.get('v')!r}, this harness uses {VERSION}: "
            "install the same version of pillqc-bench in both environments"
        )
    return message


def encode(scenario: Scenario) -> Message:
    """Return a scenario as JSON fields."""
    return {**asdict(scenario), "options": list(scenario.options)}


def decode(fields: Message) -> Scenario:
    """Build the scenario from its JSON fields."""
    return Scenario(
        task=Task(fields["task"]),
        backend=fields["backend"],
        mode=Mode(fields["mode"]),
        fusion=fields["fusion"],
        dtype=Dtype(fields["dtype"]),
        layout=Layout(fields["layout"]),
        batch_size=fields["batch_size"],
        options=tuple(fields["options"]),
        environment=fields["environment"],
    )
