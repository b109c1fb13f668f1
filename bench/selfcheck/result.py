"""What a selfcheck counted, and how it is told. Pure.

tally = Tally(); tally.add(verdict, ratio); result.json(); result.table()
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis import shares
from bench.plan.scenario import Verdict
from bench.selfcheck.process_result import table as process_table
from bench.text.numbers import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.comparison import Ratio
    from bench.plan.thresholds import SelfcheckPolicy
    from bench.selfcheck.process_result import ProcessResult

_WRONG = (Verdict.FASTER, Verdict.SLOWER)


@dataclass(kw_only=True)
class Tally:
    """Verdicts of one kind of comparison."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    estimates: list[float] = field(default_factory=list)
    half_widths: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict, ratio: Ratio | None) -> None:
        """Count one comparison."""
        self.verdicts[verdict] += 1
        if ratio is not None:
            self.estimates.append(ratio.estimate)
            self.half_widths.append(ratio.half_width)

    @property
    def comparisons(self) -> int:
        """How many were made."""
        return self.verdicts.total()

    @property
    def wrong(self) -> int:
        """Verdicts that say that identical scenarios differ."""
        return sum(self.verdicts[verdict] for verdict in _WRONG)

    @property
    def found(self) -> int:
        """Verdicts that say that it is slower."""
        return self.verdicts[Verdict.SLOWER]

    @property
    def median_half_width(self) -> float | None:
        """How narrow the intervals were."""
        return statistics.median(self.half_widths) if self.half_widths else None

    @property
    def median_slowdown(self) -> float | None:
        """By how much longer the calls took, as measured: 0.05 for 5 %."""
        return 1 / statistics.median(self.estimates) - 1 if self.estimates else None

    def _verdicts(self) -> dict[str, int]:
        return {str(verdict): self.verdicts[verdict] for verdict in Verdict}

    def identical_json(self) -> dict[str, Any]:
        """As one of identical scenarios."""
        return {
            "comparisons": self.comparisons,
            "wrong": self.wrong,
            "verdicts": self._verdicts(),
            "median_half_width": self.median_half_width,
        }

    def planted_json(self) -> dict[str, Any]:
        """As one of a planted slowdown."""
        return {
            "comparisons": self.comparisons,
            "found": self.found,
            "verdicts": self._verdicts(),
            "median_slowdown": self.median_slowdown,
            "median_half_width": self.median_half_width,
        }


@dataclass(kw_only=True)
class Point:
    """What the same comparisons showed when only so many launches had been measured."""

    tally: Tally = field(default_factory=Tally)
    seconds: list[float] = field(default_factory=list)
    """From each comparison's experiment's start to the end of that launch."""

    def json(self) -> dict[str, Any]:
        """With the median of the seconds."""
        return {
            "seconds": round(statistics.median(self.seconds), 1),
            "comparisons": self.tally.comparisons,
            "found": self.tally.found,
            "median_half_width": self.tally.median_half_width,
        }


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    `held` is None where nothing is promised, or too little was measured to show it either way.
    """

    what: str
    figure: str
    bound: str
    held: bool | None

    @property
    def told(self) -> str:
        """Whether it is held, for the table."""
        if self.held is None:
            return "too few to tell" if self.bound and self.figure != _UNMEASURED else ""
        return "held" if self.held else "NOT HELD"


@dataclass(kw_only=True)
class Result:
    """Everything that a selfcheck counts."""

    policy: SelfcheckPolicy
    identical: Tally = field(default_factory=Tally)
    identical_in_bursts: Tally = field(default_factory=Tally)
    identical_full_size: Tally = field(default_factory=Tally)
    planted: dict[float, Tally] = field(default_factory=dict)
    curves: dict[float, dict[int, Point]] = field(default_factory=dict)
    """By planted share and number of launches."""
    parent_cpu_share: float | None = None
    measuring_share: float | None = None
    rounds_share: float | None = None
    seconds: float = 0.0
    processes: ProcessResult | None = None
    notes: list[str] = field(default_factory=list)

    def curve(self, share: float, launches: int) -> Point:
        """The point of a planted share after so many launches; empty at first."""
        return self.curves.setdefault(share, {}).setdefault(launches, Point())

    def json(self) -> dict[str, Any]:
        """The object that scripts rely on."""
        return {
            "identical": self.identical.identical_json(),
            "identical_in_bursts": self.identical_in_bursts.identical_json(),
            "identical_full_size": self.identical_full_size.identical_json(),
            "planted": {
                f"{share:g}": {**tally.planted_json(), "found_after": self._curve_json(share)}
                for share, tally in self._planted()
            },
            "parent_cpu_share": self.parent_cpu_share,
            "measuring_share": self.measuring_share,
            "rounds_share": self.rounds_share,
            "seconds": round(self.seconds, 1),
            "processes": None if self.processes is None else self.processes.json(),
            "held": {line.what: line.held for line in self.lines()},
            "notes": self.notes,
        }

    def lines(self) -> Iterator[Line]:
        """The table's lines: what, the figure, what it is held to, whether it holds."""
        most = self.policy.max_wrong_share
        for what, tally in (
            ("identical, called different", self.identical),
            ("the same beside a process in bursts", self.identical_in_bursts),
            ("the same at full size", self.identical_full_size),
        ):
            yield _wrong_line(what, tally.wrong, tally.comparisons, at_most=most)
        for share, tally in self._planted():
            least = self.policy.found_at_least.get(share)
            what = f"{percent(share)} slower, found"
            yield _found_line(what, tally.found, tally.comparisons, at_least=least)
        yield _number_line(
            "the parent's CPU, of one core", self.parent_cpu_share, self.policy.max_parent_cpu_share
        )
        least = self.policy.min_measuring_share
        share_held = None if self.measuring_share is None else self.measuring_share >= least
        yield Line(
            what="measuring time inside calls",
            figure=_spell(self.measuring_share),
            bound=f"at least {percent(least)}",
            held=share_held,
        )

    def table(self) -> str:
        """For the terminal."""
        lines = list(self.lines())
        told = [] if self.processes is None else [process_table(self.processes.json())]
        if not told or any(line.figure != _UNMEASURED for line in lines):
            told.insert(0, _aligned(lines))
        return "\n".join([*told, *self.notes])

    def _curve_json(self, share: float) -> list[dict[str, Any]]:
        """Launch by launch: how the share that is found grows with the time spent."""
        points = sorted(self.curves.get(share, {}).items())
        return [{"launches": launches, **point.json()} for launches, point in points]

    def _planted(self) -> list[tuple[float, Tally]]:
        return sorted(self.planted.items())


_UNMEASURED = "not measured"


def _aligned(lines: list[Line]) -> str:
    rows = [("", "measured", "held to", "")]
    rows += [(line.what, line.figure, line.bound, line.told) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _wrong_line(what: str, wrong: int, of: int, *, at_most: float) -> Line:
    """Wrong verdicts, held to a share that the true rate must stay below for all they show.

    Few comparisons without a wrong one prove no rate: 299 prove 1 %.
    """
    bound = f"at most {percent(at_most)}"
    if of == 0:
        return Line(what=what, figure=_UNMEASURED, bound=bound, held=None)
    possible = shares.at_most(wrong, of)
    figure = f"{wrong} of {of}: at most {percent(possible)}"
    if possible <= at_most:
        return Line(what=what, figure=figure, bound=bound, held=True)
    return Line(what=what, figure=figure, bound=bound, held=False if wrong > at_most * of else None)


def _found_line(what: str, found: int, of: int, *, at_least: float | None) -> Line:
    """Planted slowdowns found, out of all; nothing is promised where no least share is given."""
    bound = "" if at_least is None else f"at least {percent(at_least)}"
    if of == 0:
        return Line(what=what, figure=_UNMEASURED, bound=bound, held=None)
    held = None if at_least is None else found >= at_least * of
    figure = f"{found} of {of} ({percent(found / of)})"
    return Line(what=what, figure=figure, bound=bound, held=held)


def _number_line(what: str, value: float | None, most: float) -> Line:
    held = None if value is None else value <= most
    return Line(what=what, figure=_spell(value), bound=f"at most {percent(most)}", held=held)


def _spell(share: float | None) -> str:
    return _UNMEASURED if share is None else percent(share)
