"""Make the tutorial's page and terminal text, from files alone. All text is escaped."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.analysis.run_facts import Facts
from bench.report import machine
from bench.report.layout import lay_out
from bench.store.records import Run
from bench.text.wording import wrapped
from bench.tutorial import inspector, speed
from bench.tutorial.finding import DOES_NOT, HOLDS, UNSEEN
from bench.tutorial.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.tutorial.finding import Found
    from bench.tutorial.measure import Outcome, Tutorial
    from bench.tutorial.parts import Part, Place

_FINDINGS: Mapping[str, Callable[[Place], Found]] = {
    "speed": speed.predictions,
    "bf16": speed.bf16,
    "operators": speed.operator_cases,
    "pills": inspector.pills,
    "model": inspector.model,
    "training": inspector.training,
    "layers": inspector.layers,
    "predictions": inspector.predictions,
}
_MARKS = {HOLDS: ("✓", "faster"), DOES_NOT: ("✗", "slower"), UNSEEN: ("?", "inconclusive")}
"""A verdict's sign, and the class that colours it."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part on the page."""

    number: int
    part: Part
    outcome: Outcome | None
    """None: the part has not run."""
    found: Found


def sections(tutorial: Tutorial) -> list[Section]:
    """Return all parts in order, whatever became of them."""
    return [
        Section(
            number=number,
            part=part,
            outcome=tutorial.outcomes.get(part.key),
            found=_FINDINGS[part.key](tutorial.place),
        )
        for number, part in enumerate(PARTS, start=1)
    ]


def render(tutorial: Tutorial, environment: Mapping[str, Any], page: Path) -> str:
    """Return the page as HTML; `page` is where it will lie, for its links."""
    made = sections(tutorial)
    facts = Facts(Run(folder=tutorial.place.folder, environment=dict(environment)))
    context = {
        "title": "Good or bad pill? The tutorial, measured here",
        "run_id": facts.run_id,
        "machine_line": machine.in_one_line(facts),
        "warnings": warnings(tutorial, made),
        "counts": counts(made),
        "sections": made,
        "marks": _MARKS,
        "links": {
            section.part.key: [os.path.relpath(one, page.parent) for one in section.found.pages]
            for section in made
        },
        "command": shlex.join(map(str, environment.get("command", ()))),
        "commit": environment.get("commit"),
    }
    return lay_out("tutorial.html", context)


def counts(made: list[Section]) -> list[tuple[str, int]]:
    """Return how many statements got each verdict."""
    verdicts = [finding.verdict for section in made for finding in section.found.findings]
    return [(verdict, verdicts.count(verdict)) for verdict in _MARKS]


def warnings(tutorial: Tutorial, made: list[Section]) -> list[str]:
    """Return what weakens the page: synthetic pills, emulation, parts without a result."""
    found = []
    if _is_synthetic(tutorial):
        found.append("Synthetic pills: rendered, not photographed.")
    if not tutorial.place.has_bf16:
        found.append("bf16 is EMULATED on this CPU.")
    missing = [section.part.key for section in made if section.outcome is None]
    if missing:
        found.append(f"Parts that have not run: {', '.join(missing)}.")
    failed = [s.part.key for s in made if s.outcome and s.outcome.status != "done"]
    if failed:
        found.append(f"Parts that failed: {', '.join(failed)}; each says why.")
    return found


def _is_synthetic(tutorial: Tutorial) -> bool:
    """Return whether the pills were rendered; part 1 says so where the tutorial does not."""
    if tutorial.synthetic is not None:
        return tutorial.synthetic
    facts, _ = speed.run_of(tutorial.place)
    return facts is not None and facts.metadata.data.source == "synthetic"


def text(tutorial: Tutorial) -> str:
    """Return every statement with its verdict, for the terminal."""
    made = sections(tutorial)
    lines = [f"! {line}" for line in warnings(tutorial, made)]
    for section in made:
        lines += ["", f"{section.number}. {section.part.title}"]
        if section.outcome and section.outcome.reason:
            lines += wrapped(f"failed: {section.outcome.reason}", "  ! ")
        for finding in section.found.findings:
            sign = _MARKS[finding.verdict][0]
            line = f"{finding.statement}: {finding.verdict}. {finding.number}"
            if finding.published:
                line += f" (published: {finding.published})"
            lines += wrapped(line, f"  {sign} ")
    lines += ["", "; ".join(f"{verdict}: {count}" for verdict, count in counts(made))]
    return "\n".join(lines).lstrip("\n")
