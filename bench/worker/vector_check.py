"""Spare the later processes of a scenario Inductor's check of the vector instructions.

Before a process of Inductor compiles, it loads a test program for each set of vector instructions
that the CPU has, each in a further process that imports PyTorch: 6 of 14 s of a first call with a
warm cache (`tests/microbench/warm_start.py`, VGG-16 on a 2-core Intel Xeon guest with AMX, PyTorch
2.8.0). The answer is the same in every process of a run. A scenario's first process makes the
check, as a user's does, so that the first call that a run shows is a true one.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plan.scenario import Scenario

_FOLDER = "vector-check"


def spare(scenario: Scenario) -> None:
    """Leave the check out if another process of this scenario passed it; else nothing changes."""
    if scenario.compiles and (file := _passed(scenario)) and file.exists():
        import torch._inductor.config as inductor

        inductor.cpp.vec_isa_ok = True


def note(scenario: Scenario) -> None:
    """Note that this process checked, and that all instructions of the CPU passed."""
    checks = sys.modules.get("torch._inductor.cpu_vec_isa")
    if not scenario.compiles or checks is None or (file := _passed(scenario)) is None:
        return
    if not checks.valid_vec_isa_list.cache_info().currsize:  # a loaded package needs no check
        return
    of_cpu = {*checks.x86_isa_checker()}
    wanted = [str(one) for one in checks.supported_vec_isa_list if {*str(one).split()} <= of_cpu]
    if [str(one) for one in checks.valid_vec_isa_list()] == wanted:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def _passed(scenario: Scenario) -> Path | None:
    """Return the file that says so, beside what the run's Inductor compiled."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    name = sha256(scenario.id.encode()).hexdigest()
    return Path(cache) / _FOLDER / name if cache else None
