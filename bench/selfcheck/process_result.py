"""Report the result of the experiment on processes, as JSON and as tables. Pure.

python -m bench.selfcheck.process_result selfcheck.json     # the tables, in Markdown
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis import nested_variance
from bench.text.wording import percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.analysis.nested_variance import Floats

_LEVELS = ("exec", "prepare", "heap", "block")
_FORK_LEVELS = ("zygote", "fork", "fork's block")
_TAKES = {"exec": ("exec", "prepare"), "fork": ("fork", "prepare"), "prepare": ("prepare",)}
"""The levels whose seconds a launch takes; a level that is not listed takes its own only."""
_CHEAPER = {
    "fork": "fork a zygote, prepare",
    "prepare": "prepare again",
    "heap": "other pages for the heap",
}
_LEAST = 2
"""The fewest fresh processes that show a variance."""


@dataclass(kw_only=True)
class ProcessResult:
    """Everything that the experiment measured.

    A replicate is two arrays: participants x prepares x heaps x blocks of fresh processes, and
    participants x forks x blocks. They contain logarithms of a block's time over the reference's,
    NaN where other work disturbed it.
    """

    max_missed_share: float
    """Share of the variance between fresh processes that a cheaper one may miss."""
    participants: list[str] = field(default_factory=list)
    replicates: list[tuple[Floats, Floats]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Level -> seconds of each renewal."""
    forks_refused: str | None = None
    """Why forked workers cannot be trusted on this machine, if so."""
    notes: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return the object for scripts. Variances are of logarithms of times."""
        with_forks = self.forks_refused is None
        kept = [
            (execs, forks)
            for execs, forks in self.replicates
            if np.isfinite(execs).all() and (np.isfinite(forks).all() or not with_forks)
        ]
        execs = np.array([one for one, _ in kept])
        forks = np.array([one for _, one in kept]) if with_forks else None
        chosen = {name: slice(n, n + 1) for n, name in enumerate(self.participants)}
        found = {
            name: self._variances(
                execs[:, participants], None if forks is None else forks[:, participants]
            )
            for name, participants in {**chosen, "all participants": slice(None)}.items()
            if len(kept) >= _LEAST
        }
        return {
            "replicates": len(kept),
            "replicates_lost": len(self.replicates) - len(kept),
            "pooled": found.pop("all participants", None),
            "participants": found,
            "max_missed_share": self.max_missed_share,
            "seconds": {kind: statistics.median(took) for kind, took in self.seconds.items()},
            "forks_refused": self.forks_refused,
            "notes": self.notes,
            "log_ratios": {
                "exec": execs.round(6).tolist(),
                "fork": None if forks is None else forks.round(6).tolist(),
            },
        }

    def _variances(self, execs: Floats, forks: Floats | None) -> dict[str, Any]:
        """Return the variances; the arrays are replicates x participants x ...."""
        fresh = np.moveaxis(execs, 1, 0)
        squares = nested_variance.mean_squares(fresh)
        found = dict(zip(_LEVELS, _single(squares), strict=True))
        misses = {
            "prepare": nested_variance.between(squares, 0, 1),
            "heap": nested_variance.between(squares, 0, 2),
        }
        ratio = None
        if forks is not None:
            forked = np.moveaxis(forks, 1, 0)
            fork_squares = nested_variance.mean_squares(forked)
            found |= zip(_FORK_LEVELS, _single(fork_squares), strict=True)
            misses["fork"] = nested_variance.between(fork_squares, 0, 1)
            ratio = nested_variance.quotient(forked, fresh)
        whole = nested_variance.between(squares, 0, _LEVELS.index("block"))
        return {
            "whole": asdict(whole),
            "components": {level: asdict(one) for level, one in found.items()},
            "misses": {level: self._judged(one, whole) for level, one in misses.items()},
            "forked_over_fresh": ratio,
        }

    def _judged(
        self, missed: nested_variance.Variance, whole: nested_variance.Variance
    ) -> dict[str, Any]:
        """Decide whether a level misses little enough; without a whole variance no share is."""
        share = missed.upper / whole.estimate if whole.estimate > 0 else None
        accepted = share is not None and share < self.max_missed_share
        return {**asdict(missed), "share": share, "accepted": accepted}


def _single(squares: Sequence[nested_variance.MeanSquare]) -> list[nested_variance.Variance]:
    return [nested_variance.between(squares, level, level + 1) for level in range(len(squares))]


def table(found: Mapping[str, Any]) -> str:
    """Return the tables in Markdown from the JSON, for the terminal and the docs."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    pooled = found["pooled"]
    if pooled is None:
        yield "A variance between processes needs two replicates (--budget raises their number)."
    else:
        yield from _aligned(list(_levels(found, pooled)))
        yield ""
        yield from _aligned(
            list(_components({**found["participants"], "all participants": pooled}))
        )
    if found["forks_refused"]:
        yield f"Forks are left out: {found['forks_refused']}."
    if found["replicates_lost"]:
        yield f"Replicates left out, since other work disturbed them: {found['replicates_lost']}."
    yield from found["notes"]


def _levels(found: Mapping[str, Any], pooled: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each level: its seconds, and the variance that it would miss."""
    limit = f"accepted below {percent(found['max_missed_share'])}"
    yield ("a launch", "seconds", "misses (sd)", "at most", "of the whole variance, at most", limit)
    yield ("a fresh process (exec), prepare", _seconds(found, "exec"), "", "", "", "")
    for level, name in _CHEAPER.items():
        missed = pooled["misses"].get(level)
        if missed is not None:
            yield (
                name,
                _seconds(found, level),
                _sd(missed["estimate"]),
                _sd(missed["upper"]),
                "there is none" if missed["share"] is None else percent(missed["share"]),
                "accepted" if missed["accepted"] else "not accepted",
            )


def _seconds(found: Mapping[str, Any], level: str) -> str:
    return f"{sum(found['seconds'][kind] for kind in _TAKES.get(level, (level,))):.2f}"


def _components(participants: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each participant: the standard deviation of each level, and its bound."""
    levels = (*_LEVELS, *_FORK_LEVELS)
    yield ("sd (at most)", "whole", *levels, "forked over fresh")
    for name, one in participants.items():
        parts = [one["whole"], *(one["components"].get(level) for level in levels)]
        cells = [f"{_sd(p['estimate'])} ({_sd(p['upper'])})" if p else "" for p in parts]
        ratio = one["forked_over_fresh"]
        yield (name, *cells, "{:.3f} [{:.3f}, {:.3f}]".format(*ratio) if ratio else "")


def _sd(variance: float) -> str:
    """Return a standard deviation of times, in percent, from a variance of their logarithms."""
    return f"{100 * math.sqrt(max(0.0, variance)):.2f} %"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in (rows[0], ["-" * width for width in widths], *rows[1:]):
        yield f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())["processes"]))
