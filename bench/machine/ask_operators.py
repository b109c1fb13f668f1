"""Run in an interpreter of its own: which operators importing IPEX replaces in PyTorch.

`python -c <this text> RESULT` writes JSON to the file RESULT: `replaced` maps an operator that was
registered before the import to the dispatch keys whose kernel is another one after it; `added`
counts new operators by namespace. PyTorch has no public way to list its dispatcher.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

KEYS = ("CPU", "AutogradCPU", "AutocastCPU", "QuantizedCPU", "SparseCPU", "MkldnnCPU")


def kernels() -> dict[str, dict[str, str]]:
    """Return operator -> dispatch key -> where its kernel was registered."""
    import torch

    dispatcher: Any = torch._C  # noqa: SLF001 - no public way to ask
    names = {
        name
        for key in KEYS
        for name in dispatcher._dispatch_get_registrations_for_dispatch_key(key)  # noqa: SLF001 - as above
    }
    found = {}
    for name in names:
        lines = dispatcher._dispatch_dump(name).splitlines()  # noqa: SLF001 - as above
        entries = (line.partition(":") for line in lines)
        by_key = {key.partition("[")[0]: where for key, _, where in entries}
        found[name] = {key: by_key[key] for key in KEYS if key in by_key}
    return found


def answers() -> dict[str, Any]:
    """Import torchvision, look, import IPEX, look again.

    Raises:
        ImportError: one of them is not installed.
    """
    import torch
    import torchvision

    before = kernels()
    import intel_extension_for_pytorch as ipex

    after = kernels()
    replaced = {
        name: sorted(key for key in after[name] if after[name][key] != was.get(key))
        for name, was in before.items()
        if after.get(name, was) != was
    }
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "ipex": ipex.__version__,
        "replaced": dict(sorted(replaced.items())),
        "added": Counter(name.partition("::")[0] for name in after if name not in before),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(answers()))
