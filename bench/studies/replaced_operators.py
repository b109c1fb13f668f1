"""`bench operators --replaced`: list the operators of PyTorch that importing IPEX replaces."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.machine import frameworks
from bench.text.wording import NOTHING, count, listed

if TYPE_CHECKING:
    from bench.machine.replaced_operators import Change

_SOURCE = re.compile(r"(csrc/.+|[^/]+):\d+$")
"""The file of a registration, from IPEX's own folder on."""


def table() -> str:
    """Return a Markdown table of these operators, with a sentence before it.

    Raises:
        BenchError: IPEX or torchvision cannot be imported here.
    """
    answer = frameworks.ask("replaced_operators", sys.executable)
    if answer.result is None:
        raise BenchError(f"what IPEX replaces cannot be listed: {answer.reason}")
    found = answer.result
    operators: dict[str, Change] = found["operators"]
    replaced = sum(bool(change["replaced"]) for change in operators.values())
    added = [f"{number} of `{name}`" for name, number in found["added"].items()]
    first = (
        f"IPEX {found['ipex']} replaces kernels of {count(replaced, 'operator')} of PyTorch "
        f"{found['torch']} and torchvision {found['torchvision']}, registers a kernel for a "
        f"further dispatch key of {len(operators) - replaced} others, and adds operators: "
        f"{listed(added)}."
    )
    rows = [
        f"| `{name}` | {_keys(change['replaced'])} | {_keys(change['added'])} "
        f"| {', '.join(dict.fromkeys(map(_source, change['where'])))} |"
        for name, change in operators.items()
    ]
    head = [
        "| operator | kernel replaced for | kernel added for | by IPEX's |",
        "|---|---|---|---|",
    ]
    return "\n".join([first, "", *head, *rows])


def _keys(keys: list[str]) -> str:
    return ", ".join(keys) or NOTHING


def _source(where: str) -> str:
    found = _SOURCE.search(where)
    return f"`{found[1]}`" if found else where
