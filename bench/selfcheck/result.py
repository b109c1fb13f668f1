"""Count the verdicts of a selfcheck, and report them with their bounds. Pure.

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
from bench.text.wording import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.comparison import Ratio
    from bench.plan.thresholds import SelfcheckPolicy
    from bench.selfcheck.process_result import ProcessResult

_UNMEASURED = "not measured"


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
        """The number of comparisons that the harness judged: `invalid` ones claim nothing."""
        return self.verdicts.total() - self.invalid

    @property
    def invalid(self) -> int:
        """Comparisons that the harness refused to judge."""
        return self.verdicts[Verdict.INVALID]

    @property
    def made(self) -> int:
        """All comparisons, judged or refused."""
        return self.verdicts.total()

    @property
    def wrong(self) -> int:
        """Verdicts that call identical scenarios different."""
        return self.verdicts[Verdict.FASTER] + self.verdicts[Verdict.SLOWER]

    @property
    def found(self) -> int:
        """Verdicts that call a slowed scenario slower."""
        return self.verdicts[Verdict.SLOWER]

    @property
    def median_half_width(self) -> float | None:
        """The median half-width of the intervals."""
        return statistics.median(self.half_widths) if self.half_widths else None

    @property
    def median_slowdown(self) -> float | None:
        """The median slowdown as measured: 0.05 for calls that take 5 % longer."""
        return 1 / statistics.median(self.estimates) - 1 if self.estimates else None

    def json(self, *names: str) -> dict[str, Any]:
        """Return these properties, the verdicts, and the median half-width."""
        return {
            "comparisons": self.comparisons,
            **{name: getattr(self, name) for name in names},
            "verdicts": {str(verdict): self.verdicts[verdict] for verdict in Verdict},
            "median_half_width": self.median_half_width,
        }


@dataclass(kw_only=True)
class Point:
    """The verdicts of the same comparisons after a number of launches."""

    tally: Tally = field(default_factory=Tally)
    seconds: list[float] = field(default_factory=list)
    """From the start of each comparison's experiment to the end of that launch."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    `held` is whether the bound holds; None without a bound, or with too few comparisons to decide.
    """

    what: str
    figure: str
    bound: str
    held: bool | None

    @property
    def conclusion(self) -> str:
        """Whether the bound holds, in words."""
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
        """Return the point of a planted share after so many launches; empty at first."""
        return self.curves.setdefault(share, {}).setdefault(launches, Point())

    def json(self) -> dict[str, Any]:
        """Return the object for scripts."""
        return {
            "identical": self.identical.json("wrong"),
            "identical_in_bursts": self.identical_in_bursts.json("wrong"),
            "identical_full_size": self.identical_full_size.json("wrong"),
            "planted": {
                f"{share:g}": {
                    **tally.json("found", "median_slowdown"),
                    "found_after": self._curve_json(share),
                }
                for share, tally in sorted(self.planted.items())
            },
            "parent_cpu_share": self.parent_cpu_share,
            "measuring_share": self.measuring_share,
            "rounds_share": self.rounds_share,
            "seconds": round(self.seconds, 1),
            "processes": None if self.processes is None else self.processes.json(),
            "held": {line.what: line.held for line in self.lines()},
            "notes": self.notes,
        }

    def _curve_json(self, share: float) -> list[dict[str, Any]]:
        return [
            {
                "launches": launches,
                "seconds": round(statistics.median(point.seconds), 1),
                "comparisons": point.tally.comparisons,
                "found": point.tally.found,
                "median_half_width": point.tally.median_half_width,
            }
            for launches, point in sorted(self.curves.get(share, {}).items())
        ]

    def lines(self) -> Iterator[Line]:
        """Yield the table's lines."""
        policy = self.policy
        yield _wrong_line("identical, called different", self.identical, policy)
        yield _wrong_line("the same beside a process in bursts", self.identical_in_bursts, policy)
        yield _wrong_line("the same at full size", self.identical_full_size, policy)
        for share, tally in sorted(self.planted.items()):
            what = f"{percent(share)} slower, found"
            yield _found_line(what, tally, policy.found_at_least.get(share))
        most, cpu = policy.max_parent_cpu_share, self.parent_cpu_share
        yield Line(
            what="the parent's CPU, of one core",
            figure=_UNMEASURED if cpu is None else percent(cpu),
            bound=f"at most {percent(most)}",
            held=None if cpu is None else cpu <= most,
        )
        least, calls = policy.min_measuring_share, self.measuring_share
        yield Line(
            what="measuring time inside calls",
            figure=_UNMEASURED if calls is None else percent(calls),
            bound=f"at least {percent(least)}",
            held=None if calls is None else calls >= least,
        )

    def table(self) -> str:
        """Return the tables for the terminal, and the notes."""
        lines = list(self.lines())
        tables = [] if self.processes is None else [process_table(self.processes.json())]
        if not tables or any(line.figure != _UNMEASURED for line in lines):
            tables.insert(0, _aligned(lines))
        return "\n".join([*tables, *self.notes])


def _aligned(lines: list[Line]) -> str:
    rows = [("", "measured", "held to", "")]
    rows += [(line.what, line.figure, line.bound, line.conclusion) for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _wrong_line(what: str, tally: Tally, policy: SelfcheckPolicy) -> Line:
    """Compare the upper bound of the rate of wrong verdicts with the largest allowed rate.

    Few comparisons without a wrong one prove no rate: 299 prove 1 %.
    """
    wrong, count, most = tally.wrong, tally.comparisons, policy.max_wrong_share
    bound = f"at most {percent(most)}"
    if tally.made == 0:
        return Line(what=what, figure=_UNMEASURED, bound=bound, held=None)
    possible = shares.at_most(wrong, count)
    held = True if possible <= most else False if wrong > most * count else None
    figure = f"{wrong} of {count}: at most {percent(possible)}{_refused(tally)}"
    return Line(what=what, figure=figure, bound=bound, held=held)


def _found_line(what: str, tally: Tally, least: float | None) -> Line:
    """Compare the bounds of the share of planted slowdowns that were found with the least share.

    Few found ones prove no share: 29 of 29 prove 90 %. None proves 100 %, which one miss refutes.
    """
    found, count = tally.found, tally.comparisons
    bound = "" if least is None else f"at least {percent(least)}"
    if tally.made == 0:
        return Line(what=what, figure=_UNMEASURED, bound=bound, held=None)
    surely, possible = shares.at_least(found, count), shares.at_most(found, count)
    held = None
    if least is not None and (surely >= least or possible < least):
        held = surely >= least
    figure = f"{found} of {count}: at least {percent(surely)}{_refused(tally)}"
    return Line(what=what, figure=figure, bound=bound, held=held)


def _refused(tally: Tally) -> str:
    return f", and {tally.invalid} invalid" if tally.invalid else ""
