"""Hold what a part of the tutorial shows: statements with verdicts, and what is drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.plan.scenario import Verdict
from bench.text.wording import with_interval

if TYPE_CHECKING:
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.report.table import Table
    from bench.tutorial.pictures import Picture

HOLDS, DOES_NOT, UNSEEN = "holds here", "does not hold here", "cannot be seen on this machine"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statement of the tutorial, and what was measured of it."""

    statement: str
    verdict: str
    """`HOLDS`, `DOES_NOT` or `UNSEEN`."""
    number: str
    """The figure, or why there is none."""
    published: str = ""
    """What others published of it, with versions and machine."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text as a program printed it."""

    title: str
    lines: tuple[str, ...]

    @property
    def marked(self) -> tuple[tuple[str, bool], ...]:
        """Each line, and whether it names something of IPEX."""
        return tuple((line, "IPEX" in line) for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a part shows."""

    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    texts: tuple[Text, ...] = ()
    pages: tuple[Path, ...] = ()
    """Pages that the part's commands made."""


def unseen(statement: str, reason: str = "it was not measured") -> Finding:
    """Return the finding of a statement without a figure."""
    return Finding(statement=statement, verdict=UNSEEN, number=reason)


def faster(
    statement: str,
    compared: Comparison | None,
    *,
    otherwise: str,
    by: str = "",
    published: str = "",
) -> Finding:
    """Return the finding of a statement that something is faster; `otherwise` is why it is open."""
    if compared is None or compared.ratio is None:
        return Finding(statement=statement, verdict=UNSEEN, number=otherwise, published=published)
    verdicts = {Verdict.FASTER: HOLDS, Verdict.SLOWER: DOES_NOT, Verdict.SAME: DOES_NOT}
    return Finding(
        statement=statement,
        verdict=verdicts.get(compared.verdict, UNSEEN),
        number=f"{with_interval(compared)}{by}, {compared.verdict}",
        published=published,
    )


def text_of(path: Path) -> tuple[str, ...]:
    """Return the lines of a file; none if it cannot be read."""
    try:
        return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return ()


def objects_of(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file that has one a line; other lines are left out."""
    found = []
    for line in text_of(path):
        try:
            one = json.loads(line)
        except ValueError:
            continue
        if isinstance(one, dict):
            found.append(one)
    return found


def object_of(path: Path) -> dict[str, Any]:
    """Return the last JSON object of a file; empty without one."""
    return (objects_of(path) or [{}])[-1]
