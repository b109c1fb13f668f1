"""Divide the time of a call into parts, and find those that make a scenario faster. Pure.

    found = explain(log_of(facts, slower), log_of(facts, faster), facts.policy.log)
    found.causes            # the parts that give most of the difference, the largest first

A call is divided into its layers (the convolutions and matrix products that oneDNN logged),
reorders, oneDNN's other primitives, and the time outside oneDNN. What the logged calls have more or
less than the timed ones is a part too: so the parts of each scenario add up to its timed median,
and those of the difference to the measured difference.

The machine is never in one state: a logged call and the timed ones beside it are slow or fast
together, as all that a round compares. So a logged call counts in shares of the calls beside it,
and its times are these shares of the timed median, which is of all rounds and which no log slows.

Layers of two scenarios are the same if their arithmetic is (`problems.Shape.key`), in the order in
which they run. A fused kernel counts for the layer that it computes.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bench.analysis import layer_names, problems
from bench.analysis.comparison_groups import group_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.analysis.problems import Key, Shape
    from bench.analysis.run_facts import Facts
    from bench.plan.thresholds import LogPolicy
    from bench.store.records import KernelRow, LoggedCallRow, ScenarioRow

LAYER, REORDERS, PRIMITIVE, OUTSIDE, REST = "layer", "reorders", "primitive", "outside", "rest"
"""Kinds of parts."""
NAMES = {REORDERS: "reorders", OUTSIDE: "outside oneDNN", REST: "not in the logged calls"}
_FORWARD = ("forward_training", "forward_inference", "forward", "undef", "", None)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one part of a call takes in one scenario."""

    calls_ms: tuple[float, ...]
    """In each logged call."""
    kernels: tuple[KernelRow, ...] = ()

    @property
    def ms(self) -> float:
        """The median of the logged calls."""
        return statistics.median(self.calls_ms)

    @property
    def range_ms(self) -> tuple[float, float] | None:
        """The lowest and the highest logged call; None for a single one."""
        several = len(self.calls_ms) > 1
        return (min(self.calls_ms), max(self.calls_ms)) if several else None

    @cached_property
    def _shapes(self) -> tuple[tuple[KernelRow, Shape], ...]:
        found = ((row, problems.shape_of(row)) for row in self.kernels)
        return tuple((row, shape) for row, shape in found if shape is not None)

    @property
    def gflop_per_s(self) -> float | None:
        """Its rate; None if its arithmetic is not known."""
        flop = sum(shape.flop for _, shape in self._shapes)
        return flop / self.ms / 1e6 if flop and self.ms else None

    @property
    def flop_per_byte(self) -> float | None:
        """Operations for each byte of its tensors, each read or written once."""
        flop = sum(shape.flop for _, shape in self._shapes)
        moved = sum(problems.bytes_of(row, shape) for row, shape in self._shapes)
        return flop / moved if flop and moved else None

    @property
    def dtype(self) -> str | None:
        """The dtype that it computes in; None if there is none or are several."""
        names = {problems.dtype_of(row) for row in self.kernels}
        return next(iter(names)) if len(names) == 1 else None

    def share_of_peak(self, peaks: Mapping[str, float]) -> float | None:
        """Return its rate as a share of the peak of its dtype, by GFLOP/s of each dtype."""
        peak, rate = peaks.get(self.dtype or ""), self.gflop_per_s
        return rate / peak if rate and peak else None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a call, in both scenarios."""

    name: str
    kind: str
    """One of the constants of this module."""
    words: str = ""
    """The shape of a layer."""
    first: Cost | None
    second: Cost | None
    """None where no such part was logged."""

    @property
    def saved_ms(self) -> float:
        """How much less it takes in the second scenario."""
        return (self.first.ms if self.first else 0.0) - (self.second.ms if self.second else 0.0)

    @property
    def overlaps(self) -> bool:
        """Whether a logged call of the one took as long as one of the other."""
        ranges = [cost.range_ms for cost in (self.first, self.second) if cost]
        known = [one for one in ranges if one]
        if len(known) < 2:
            return False
        (low, high), (other_low, other_high) = known
        return low <= other_high and other_low <= high


@dataclass(frozen=True, kw_only=True)
class Log:
    """The logged calls of one scenario, and its timed median."""

    row: ScenarioRow
    kernels: tuple[KernelRow, ...]
    times_ms: tuple[tuple[float, ...], ...]
    """Of each logged call, of each kernel."""
    walls_ms: tuple[float, ...]
    """Of each logged call; empty in runs that kept none."""
    costs_ms: tuple[float, ...]
    """How much longer each logged call took than the unlogged ones beside it; may be below 0."""
    paces: tuple[float, ...] = ()
    """What the calls beside each logged one took, in timed medians: its times are divided by it.
    Empty where there were none."""

    @property
    def timed_ms(self) -> float:
        """The scenario's timed median, without a log."""
        return self.row.median_ms or 0.0

    @property
    def pace(self) -> float | None:
        """The median of `paces`; None without any."""
        return statistics.median(self.paces) if self.paces else None

    @property
    def log_cost_ms(self) -> float | None:
        """What the log adds to a call: the median; None where no call was made beside one."""
        return statistics.median(self.costs_ms) if self.costs_ms else None

    @property
    def outside_ms(self) -> tuple[float, ...]:
        """The time of each logged call that no primitive of oneDNN took, with what the log costs.

        Without the logged calls' whole times it is what the primitives leave of the timed median.
        """
        whole = self.walls_ms or (self.timed_ms,) * len(self.times_ms)
        pairs = zip(whole, self.times_ms, strict=True)
        return tuple(max(0.0, wall - sum(times)) for wall, times in pairs)

    def cost(self, places: Sequence[int]) -> Cost | None:
        """Return the cost of the kernels at these places together; None for none."""
        if not places:
            return None
        return Cost(
            calls_ms=tuple(sum(times[place] for place in places) for times in self.times_ms),
            kernels=tuple(self.kernels[place] for place in places),
        )


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The difference between two scenarios, divided into parts that add up to it."""

    first: Log
    second: Log
    parts: tuple[Part, ...]
    """Layers in the order in which they run, reorders, other primitives, outside, the rest."""
    policy: LogPolicy

    @property
    def saved_ms(self) -> float:
        """How much less the second scenario's timed median is; below 0 if it is slower."""
        return self.first.timed_ms - self.second.timed_ms

    def share(self, part: Part) -> float:
        """Return a part's share of the difference; below 0 if it works against it."""
        return part.saved_ms / self.saved_ms if self.saved_ms else 0.0

    def ordered(self) -> list[Part]:
        """Return the parts by their share of the difference, the largest first.

        Without the rest, which is no part of a call: it may be as large as a layer's difference,
        but only because the logged calls ran at another speed than the timed ones.
        """
        parts = [part for part in self.parts if part.kind != REST]
        return sorted(parts, key=lambda part: -self.share(part))

    @property
    def causes(self) -> tuple[Part, ...]:
        """The fewest parts that together give `named_share` of the difference; most first.

        Empty where that takes more parts than `most_named`: no few parts are the cause.
        """
        found: list[Part] = []
        for part in self.ordered()[: self.policy.most_named]:
            found.append(part)
            if sum(map(self.share, found)) >= self.policy.named_share:
                return tuple(found)
        return ()

    def of_kind(self, kind: str) -> list[Part]:
        """Return the parts of a kind."""
        return [part for part in self.parts if part.kind == kind]

    def accounted(self, log: Log) -> float | None:
        """Return the share of a scenario's timed median that its logged calls account for.

        None where the whole times of logged calls were not kept: time outside is then a remainder,
        and adds up whatever it is.
        """
        if not log.walls_ms or not log.timed_ms:
            return None
        cost = (part.first if log is self.first else part.second for part in self.of_kind(REST))
        return 1 - sum(abs(one.ms) for one in cost if one) / log.timed_ms

    @property
    def is_accounted(self) -> bool | None:
        """Whether enough of both scenarios' time is; None where that cannot be checked."""
        shares = [self.accounted(log) for log in (self.first, self.second)]
        known = [share for share in shares if share is not None]
        if len(known) < len(shares):
            return None
        return min(known) >= self.policy.accounted_share


class _Same(NamedTuple):
    """The kernels of a call that do the same arithmetic."""

    shape: Shape
    direction: str
    """Empty for forward."""
    places: list[int]


def why_not(facts: Facts, first: str, second: str) -> str | None:
    """Return why the difference between two scenarios of the run cannot be explained, or None."""
    for name in (first, second):
        row = facts.scenarios[name]
        if not facts.is_measured(row) or not row.median_ms:
            return f"{name} has no usable times: {row.reason or row.status}"
        if name not in facts.kernels:
            return (
                f"oneDNN logged nothing that {name} ran, so its time cannot be divided: its "
                "backend has no such log, or ran on other kernels alone"
            )
    if len({group_of(facts.scenarios[name]) for name in (first, second)}) > 1:
        return f"{first} and {second} do different work: name two of one task and batch size"
    return None


def log_of(facts: Facts, scenario: str) -> Log:
    """Return the logged calls of a scenario that `why_not` does not object to."""
    row, kernels = facts.scenarios[scenario], tuple(facts.kernels[scenario])
    timed_ms = row.median_ms or 0.0
    calls = [
        (call, times, (call.unlogged_ms or timed_ms) / timed_ms)
        for call in facts.logged_calls.get(scenario, ())
        if timed_ms and len(times := _times_ms(call)) == len(kernels)
    ]
    beside = [(call.wall_ms, pace) for call, _, pace in calls if call.unlogged_ms]
    return Log(
        row=row,
        kernels=kernels,
        times_ms=tuple(tuple(ms / pace for ms in times) for _, times, pace in calls)
        or (tuple(kernel.ms for kernel in kernels),),
        walls_ms=tuple(call.wall_ms / pace for call, _, pace in calls),
        costs_ms=tuple(wall_ms / pace - timed_ms for wall_ms, pace in beside),
        paces=tuple(pace for _, pace in beside),
    )


def _times_ms(row: LoggedCallRow) -> tuple[float, ...]:
    """Return the kernels' times of a logged call; empty if the cell is damaged."""
    try:
        found = tuple(float(part) for part in row.kernels_ms.split())
    except ValueError:
        return ()
    return found if all(math.isfinite(ms) and ms >= 0 for ms in found) else ()


def explain(first: Log, second: Log, policy: LogPolicy) -> Explanation:
    """Divide the difference between two scenarios of one task and batch size into parts."""
    parts = [
        *_layers(first, second),
        *_others(first, second),
        Part(
            name=NAMES[OUTSIDE],
            kind=OUTSIDE,
            first=Cost(calls_ms=first.outside_ms),
            second=Cost(calls_ms=second.outside_ms),
        ),
    ]
    rest = Part(
        name=NAMES[REST],
        kind=REST,
        first=_rest(first, [part.first for part in parts]),
        second=_rest(second, [part.second for part in parts]),
    )
    return Explanation(first=first, second=second, parts=(*parts, rest), policy=policy)


def _rest(log: Log, costs: Sequence[Cost | None]) -> Cost:
    """Return what the parts lack of the timed median; below 0 where they have more.

    Rounded to a nanosecond: where all is accounted for, the sum's rounding error remains.
    """
    lacking = round(log.timed_ms - sum(cost.ms for cost in costs if cost), 6)
    return Cost(calls_ms=(lacking + 0.0,))  # no -0.0


def _layers(first: Log, second: Log) -> list[Part]:
    """Join the layers of two scenarios, in the order of the first."""
    mine, others = _by_arithmetic(first), _by_arithmetic(second)
    found = {**others, **mine}
    known = layer_names.of_vgg16(_forward(mine), _forward(others))
    parts = []
    for key in dict.fromkeys((*mine, *others)):
        shape, direction = found[key].shape, found[key].direction
        here, there = (one[key].places if key in one else [] for one in (mine, others))
        count = max(len(here), len(there))
        names = layer_names.one_by_one(shape, direction, count, known)
        if names is None or min(len(here), len(there)) not in (0, count):
            names, pairs = [layer_names.together(shape, direction, known)], [(here, there)]
        else:
            pairs = [(here[n : n + 1], there[n : n + 1]) for n in range(count)]
        parts += [
            Part(
                name=name,
                kind=LAYER,
                words=shape.words if shape.key in known else "",
                first=first.cost(places[0]),
                second=second.cost(places[1]),
            )
            for name, places in zip(names, pairs, strict=True)
        ]
    return parts


def _forward(found: Mapping[Key, _Same]) -> list[Shape]:
    return [same.shape for same in found.values() if not same.direction]


def _by_arithmetic(log: Log) -> dict[Key, _Same]:
    """Return the kernels that do the same arithmetic in the same direction."""
    found: dict[Key, _Same] = {}
    for place, row in enumerate(log.kernels):
        shape = problems.shape_of(row)
        if shape is not None:
            direction = "" if row.kind in _FORWARD else str(row.kind)
            found.setdefault((*shape.key, direction), _Same(shape, direction, [])).places.append(
                place
            )
    return found


def _others(first: Log, second: Log) -> list[Part]:
    """Return reorders together, and oneDNN's other primitives by their kind."""
    mine, others = _by_primitive(first), _by_primitive(second)
    names = sorted(dict.fromkeys((*mine, *others)), key=lambda name: name != "reorder")
    return [
        Part(
            name=NAMES[REORDERS] if name == "reorder" else name,
            kind=REORDERS if name == "reorder" else PRIMITIVE,
            first=first.cost(mine.get(name, ())),
            second=second.cost(others.get(name, ())),
        )
        for name in names
    ]


def _by_primitive(log: Log) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(log.kernels):
        if problems.shape_of(row) is None:
            found[row.primitive].append(place)
    return dict(found)
