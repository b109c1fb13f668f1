"""What the page offers under "Use it": the wishes that most readers have, each with its answer.

Every one is what `bench recommend` prints with the options named beside it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.plan.scenario import Task
from bench.recommend.rules import Wish, recommend
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.facts import Facts
    from bench.recommend.rules import Recommendation


@dataclass(frozen=True, kw_only=True)
class Use:
    """One wish and what to use for it."""

    wish: str
    command: str
    """Prints the same."""
    found: Recommendation

    @property
    def title(self) -> str:
        """`One image at a time: IPEX eager, batch 1`."""
        row = self.found.row
        if row is None:
            return f"{self.wish}: nothing can be recommended"
        return f"{self.wish}: {wording.spoken(row)}, batch {row.batch_size}"

    @property
    def alternatives(self) -> str:
        """What fits too and was not shown to be slower, by name."""
        return wording.listed([wording.spoken(row) for row in self.found.alternatives], 3)


def uses(facts: Facts) -> list[Use]:
    """The wishes in order; one whose answer stands above already is left out."""
    found: list[Use] = []
    named: set[str] = set()
    for text, options, wish in _wishes(facts):
        answer = recommend(facts, wish)
        row = answer.row
        if row is None and found:
            continue
        if row is not None and row.scenario in named:
            continue
        named.update([row.scenario] if row else [])
        folder = shlex.quote(f"results/{facts.run_id}")
        command = " ".join(["bench recommend", folder, *options])
        found.append(Use(wish=text, command=command, found=answer))
    return found


def _wishes(facts: Facts) -> Iterator[tuple[str, tuple[str, ...], Wish]]:
    rows = [row for row in facts.scenarios.values() if row.task == Task.INFERENCE]
    yield "One image at a time", (), Wish()
    yield "Most images a second", ("--throughput",), Wish(throughput=True)
    if any(row.backend == "ipex" for row in rows):
        yield "Without IPEX", ("--without-ipex",), Wish(without_ipex=True)
    yield "No changed decision", ("--no-decision-changes",), Wish(no_decision_changes=True)
    if any(row.dtype == "int8" for row in rows):
        options = ("--int8", "--no-decision-changes")
        yield "int8 too", options, Wish(int8=True, no_decision_changes=True)
