"""A whole fake checkout's `bench/worker.py`: speaks the protocol, takes no time, imports no torch.

How long a call "takes" comes from the checkout's own `pillqc/speed.py`, so a test shows which
commit's code a worker runs. `MS` maps a task to milliseconds; `FAIL` names the operation to die in.
"""

import argparse
import json
import os
import random

from pillqc import speed  # type: ignore[import-not-found] # each fake checkout has its own

parser = argparse.ArgumentParser()
for name in ("--read-fd", "--write-fd", "--seed", "--threads"):
    parser.add_argument(name, type=int)
for name in ("--backend", "--data", "--weights"):
    parser.add_argument(name)
options = parser.parse_args()
requests = os.fdopen(options.read_fd, "rb")
replies = os.fdopen(options.write_fd, "wb")
jitter = random.Random(os.getpid())
task = "inference"


def send(**fields: object) -> None:
    """One reply that says it worked."""
    replies.write(json.dumps({"v": 1, "ok": True, **fields}).encode() + b"\n")
    replies.flush()


if speed.FAIL == "start":
    raise SystemExit(3)
send(hello={"import_s": 0.1, "conditions": {}})
for line in requests:
    request = json.loads(line)
    op = request["op"]
    if op == speed.FAIL:
        os._exit(7)
    if op == "prepare":
        task = request["scenario"]["task"]
        send(native_dtype=True)
    elif op == "call":
        ms = speed.MS[task]
        walls = [int(1e6 * ms * jitter.gauss(1, speed.SPREAD)) for _ in range(request["n"])]
        send(wall_ns=walls, cpu_ns=walls, involuntary_switches=0, invalid=None)
    elif op == "probe":
        send(compute_ns=20_000_000, memory_ns=20_000_000)
    else:
        send()
