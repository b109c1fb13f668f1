"""The `bench/worker.py` of a fake checkout: it speaks the protocol at once and without torch.

The times of its calls and its failures come from the checkout's own `pillqc/speed.py`, so results
show which commit's code a worker ran. The name of its cache folder is its side, and the files in
it, one for each launch, contain the paths of the code that ran.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path

from pillqc import speed  # type: ignore[attr-defined] # each fake checkout has its own

parser = argparse.ArgumentParser()
for name in ("--read-fd", "--write-fd", "--seed", "--threads"):
    parser.add_argument(name, type=int)
for name in ("--backend", "--data", "--weights"):
    parser.add_argument(name)
options = parser.parse_args()
requests = os.fdopen(options.read_fd, "rb")
replies = os.fdopen(options.write_fd, "wb")
cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
cache.mkdir(parents=True, exist_ok=True)
side, launch = cache.name, len(list(cache.glob("[0-9]*")))
(cache / str(launch)).write_text(json.dumps([__file__, speed.__file__]))
jitter = random.Random(f"{side}/{launch}")
slow = speed.FACTOR.get(side, 1.0) if launch < speed.FACTOR_LAUNCHES else 1.0
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
    if op == "call" and (speed.FAIL == "hang" or (speed.FAIL == "hang later" and launch)):
        (cache.parent / "hanging").touch()
        time.sleep(600)
    if op == speed.FAIL:
        os._exit(7)
    if op == "prepare":
        task = request["scenario"]["task"]
        known = {"preprocessing", "boxes", "inspection", "preparation"} - {speed.FAIL}
        part = next((tag for tag in request["scenario"]["options"] if tag in known), None)
        send(native_dtype=True, part=part)
    elif op == "call":
        ms = getattr(speed, task.upper()) * slow
        walls = [
            int(1e6 * ms * jitter.lognormvariate(0, speed.SPREAD)) for _ in range(request["n"])
        ]
        if speed.FAIL == "another protocol":
            send(times=walls)
        else:
            send(wall_ns=walls, cpu_ns=walls, involuntary_switches=0, invalid=None)
    elif op == "conditions":
        send(conditions={"threads": 2, **speed.CONDITIONS.get(side, {})})
    else:
        send()
