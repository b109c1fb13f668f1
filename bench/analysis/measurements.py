"""What a judgement rests on: block times by group and lane, and what speaks against a lane.

`Measurements` is what every part of the harness hands to `bench.analysis.judge`: a run, a study,
the gate and the selfcheck differ in how they fill it and in nothing that follows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.scenarios import CONTROL_SUFFIX, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.policy import NoisePolicy
    from bench.records import IterationRow, NoiseRow

_UNDISTURBED = 0.9
"""The quantile of a scenario's CPU shares that is its usual one: beside a busy neighbour most of
its blocks may be disturbed, and hardly all of them."""

Key = tuple[int, int]
"""(launch, round)."""
BlockTimes = Mapping[Key, float]
"""(launch, round) -> time of the block in ms."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Blocks of some comparison groups, and what the judge must know about their lanes."""

    groups: Mapping[str, Mapping[str, BlockTimes]]
    """Group -> lane -> its blocks, disturbed ones included. Lanes of a group share rounds."""
    disturbed: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    """Lane -> blocks in which something else took its CPUs; they do not count."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Lane -> why no verdict may rest on it, as a clause."""
    unchecked: Mapping[str, str] = field(default_factory=dict)
    """Lane -> which check it still lacks, as a clause; it has no verdict yet."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Lane -> its class, where its processes vary unlike other lanes'; unnamed ones share one."""
    process_s: Mapping[str, float] = field(default_factory=dict)
    """Lane -> seconds that one process of it takes, from its start to its last round."""

    def __post_init__(self) -> None:
        for lanes in self.groups.values():
            for lane, blocks in lanes.items():
                for key, ms in blocks.items():
                    _check_time(lane, key, ms)

    def group_of(self, *lanes: str) -> str | None:
        """The first group that holds all these lanes."""
        return next(
            (name for name, held in self.groups.items() if all(lane in held for lane in lanes)),
            None,
        )

    def blocks(self, group: str, lane: str) -> BlockTimes:
        """All blocks of a lane, disturbed ones included."""
        return self.groups.get(group, {}).get(lane, {})

    def clean(self, group: str, lane: str) -> BlockTimes:
        """The blocks of a lane that nothing else disturbed."""
        lost = self.disturbed.get(lane, frozenset())
        return {key: ms for key, ms in self.blocks(group, lane).items() if key not in lost}

    def disturbed_share(self, group: str, lane: str) -> float:
        """Which share of a lane's blocks was disturbed."""
        blocks = self.blocks(group, lane)
        return 1 - len(self.clean(group, lane)) / len(blocks) if blocks else 0.0

    def copies(self, group: str, lane: str) -> tuple[str, ...]:
        """The lane, with its control where it has one that was measured: both are one scenario."""
        control = lane + CONTROL_SUFFIX
        return (lane, control) if self.clean(group, control) else (lane,)


def _check_time(lane: str, key: Key, ms: float) -> None:
    if not (math.isfinite(ms) and ms > 0):
        raise BenchError(
            f"{lane}, launch {key[0]}, round {key[1]} has a time of {ms} ms, which is not positive "
            "and finite: iterations.csv is damaged or a worker is faulty; measure again"
        )


def block_medians(iterations: Iterable[IterationRow]) -> dict[str, dict[Key, float]]:
    """Scenario -> (launch, round) -> median wall ms of the block's timed calls."""
    return {
        scenario: {
            key: float(np.median([row.wall_ns for row in calls])) / 1e6
            for key, calls in blocks.items()
        }
        for scenario, blocks in timed_blocks(iterations).items()
    }


def timed_blocks(
    iterations: Iterable[IterationRow],
) -> dict[str, dict[Key, list[IterationRow]]]:
    """Scenario -> (launch, round) -> the timed calls of the block."""
    blocks: dict[str, dict[Key, list[IterationRow]]] = defaultdict(lambda: defaultdict(list))
    for row in iterations:
        if row.phase == Phase.TIMED and row.round is not None:
            blocks[row.scenario][row.launch, row.round].append(row)
    return blocks


def disturbed_blocks(
    iterations: Iterable[IterationRow],
    noise: Iterable[NoiseRow],
    labels: Mapping[str, str],
    policy: NoisePolicy,
) -> dict[str, frozenset[Key]]:
    """Scenario -> blocks in which other work took its CPUs.

    Both must hold: the block had less CPU time for its wall time than the scenario usually has,
    and the kernel saw other work in its round (pressure or steal). The first alone may be
    the scenario's own stall, which is part of its time; the second alone looks at a whole round, of
    which most blocks may be clean. `labels` names the group of each scenario.
    """
    busy = {(row.group, row.launch, row.round) for row in noise if _saw_other_work(row, policy)}
    found = {}
    for scenario, blocks in timed_blocks(iterations).items():
        shares = {key: _cpu_share(calls) for key, calls in blocks.items()}
        usual = float(np.quantile(list(shares.values()), _UNDISTURBED))
        group = labels.get(scenario.removesuffix(CONTROL_SUFFIX), "")
        found[scenario] = frozenset(
            key
            for key, share in shares.items()
            if share < policy.min_cpu_share * usual and (group, *key) in busy
        )
    return found


def _saw_other_work(row: NoiseRow, policy: NoisePolicy) -> bool:
    return (row.cpu_pressure or 0.0) > policy.max_cpu_pressure or (
        row.steal or 0.0
    ) > policy.max_steal


def _cpu_share(calls: list[IterationRow]) -> float:
    """CPU time of all threads over wall time."""
    wall_ns = sum(row.wall_ns for row in calls)
    return sum(row.cpu_ns for row in calls) / wall_ns if wall_ns else 0.0


def process_seconds(
    iterations: Iterable[IterationRow], started_s: Mapping[str, float]
) -> dict[str, float]:
    """Scenario -> seconds of a process: what starting it took and the calls of a usual launch.

    `started_s` is what importing and preparing took; a scenario that is not in it counts its calls.
    """
    calls: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row in iterations:
        calls[row.scenario][row.launch] += row.wall_ns / 1e9
    return {
        scenario: float(np.median(list(launches.values())))
        + started_s.get(scenario.removesuffix(CONTROL_SUFFIX), 0.0)
        for scenario, launches in calls.items()
    }
