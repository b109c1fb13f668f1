"""What parent and worker say to each other: versioned JSON, one object a line, over two pipes.

A worker may run under another interpreter or from another checkout; this protocol is all that the
two share. The pipes are not the worker's stdin and stdout, so nothing that a model prints can
corrupt them. Neither side imports torch for it.

Requests  {"v": 1, "op": OP, ...}
Replies   {"v": 1, "ok": true, ...} or {"v": 1, "ok": false, "status": STATUS, "reason": SENTENCE}

The worker speaks first: its greeting is a reply that carries `hello`. Then one reply a request:

op        request fields        reply fields
prepare   scenario (`encode`)   prepare_s, layers_replaced, parameters, flop_per_call,
                                native_dtype, batch_shape, part (of `scenarios.PARTS`, or null)
call      n, phase              wall_ns [n], cpu_ns [n], page_faults [n], involuntary_switches,
                                invalid (a sentence if the calls do not count, e.g. a
                                recompilation; else null)
outputs   path                  images, trained (arrays go to `path`, a .npz file)
kernels   -                     kernels (KernelRow fields), fused_ops, isa, layers_replaced, graph
                                (the mode's own evidence), contradiction (a sentence if the
                                evidence denies the label; else null)
pictures  folder                items (file, kind, text), trained, source (files: `folder`)
layers    -                     layers [[name, kind]] of the prepared model
memory    -                     peak_rss_mb, rss_mb
probe     -                     compute_ns, memory_ns, gflop_per_s (of the compute part)
conditions -                    conditions (as in the greeting, read again)
peak      dtypes                gflop_per_s {dtype: value}, memory_gb_per_s
release   -                     -
renew     -                     renewed (whether the heap could be given back)
fork      requests, replies     pid (of a new worker on these pipes; a zygote's only operation)
stages    first, n              images (one object each: stage -> ns, and decision)
call_for  seconds               start_ns [], end_ns [] (of the machine's monotonic clock)
serve     begin_ns, offsets_ns  start_ns [], end_ns []
start_training  seed            images, evaluated
train     first, n              wall_ns [n], loss
evaluate  -                     accuracy
stop      -                     - (then the worker exits)
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bench.errors import BenchError
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

VERSION = 1

Message = dict[str, Any]


def request(op: str, **fields: object) -> Message:
    """A request of this protocol's version."""
    return {"v": VERSION, "op": op, **fields}


def success(**fields: object) -> Message:
    """A reply that says it worked."""
    return {"v": VERSION, "ok": True, **fields}


def failure(status: str, reason: str) -> Message:
    """A reply that says why it did not; `status` is one of `Status`."""
    return {"v": VERSION, "ok": False, "status": status, "reason": reason}


def dump(message: Message) -> bytes:
    """One line, newline included. NaN is refused: a number that is none would be read as one."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def load(line: bytes) -> Message:
    """Read one line back.

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
            f"the worker speaks protocol {message.get('v')!r}, this harness speaks {VERSION}: "
            "install the same version of pillqc-bench in both environments"
        )
    return message


def encode(scenario: Scenario) -> Message:
    """A scenario as JSON fields."""
    return {**asdict(scenario), "options": list(scenario.options)}


def decode(fields: Message) -> Scenario:
    """The scenario back from its fields."""
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
