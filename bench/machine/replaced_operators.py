"""Find, in an interpreter of its own, which operators importing IPEX replaces in PyTorch.

`python -c <this text> RESULT` writes JSON to the file RESULT: `operators` has each operator that
was registered before the import and has another kernel after it (`Change`); `added` counts new
operators by namespace. PyTorch has no public way to list its dispatcher, so the texts of its dump
before and after the import are compared, for every dispatch key.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

_INACTIVE = " (inactive)"
_REGISTERED = "registered at "


class Change(TypedDict):
    """What the import changed for one operator."""

    replaced: list[str]
    """Dispatch keys that had a kernel before and have another one now."""
    added: list[str]
    """Dispatch keys that had no kernel of their own: another key's or a fallback served them."""
    where: list[str]
    """Where the present kernels of these keys were registered: file and line."""


Kernels = dict[str, dict[str, str]]
"""Operator -> dispatch key -> where its active kernel was registered."""


def active_kernels(dump: str) -> dict[str, str]:
    """Read the dump of one operator: dispatch key -> where its active kernel was registered.

    A kernel is a line `CPU: registered at FILE:LINE :: SIGNATURE [ boxed unboxed ]`. Kernels that a
    later one has replaced are inactive and left out; a key of several others ends in `[alias]`.
    """
    found = {}
    for line in dump.splitlines():
        key, _, kernel = line.partition(": ")
        if kernel.startswith(_REGISTERED) and key != "debug" and not key.endswith(_INACTIVE):
            found[key.removesuffix("[alias]")] = kernel.partition(" :: ")[0]
    return found


def changes(before: Kernels, after: Kernels) -> dict[str, Change]:
    """Return the operators of `before` whose active kernels differ afterwards, by name."""
    found: dict[str, Change] = {}
    for name, earlier in sorted(before.items()):
        now: Mapping[str, str] = after.get(name, {})
        differing = sorted(key for key in now if now[key] != earlier.get(key))
        if differing:
            found[name] = {
                "replaced": [key for key in differing if key in earlier],
                "added": [key for key in differing if key not in earlier],
                "where": sorted({now[key].removeprefix(_REGISTERED) for key in differing}),
            }
    return found


def kernels() -> Kernels:
    """Return the active kernels of every operator that is registered now."""
    import torch

    dispatcher: Any = torch._C  # noqa: SLF001 - no public way to ask
    return {
        name: active_kernels(dispatcher._dispatch_dump(name))  # noqa: SLF001 - as above
        for name in dispatcher._dispatch_get_all_op_names()  # noqa: SLF001 - as above
    }


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
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "ipex": ipex.__version__,
        "operators": changes(before, after),
        "added": Counter(name.partition("::")[0] for name in after if name not in before),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(answers()))
