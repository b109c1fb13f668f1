"""Hold the judge's input: block times by group and participant, and reasons to exclude them.

A run, a study, the gate and the selfcheck differ in how they fill `Measurements`; everything after
that is the same for all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.machine.noise import saw_other_work
from bench.plan.scenario import CONTROL_SUFFIX, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.plan.thresholds import NoisePolicy
    from bench.store.records import IterationRow, NoiseRow

_UNDISTURBED = 0.9
"""The quantile of a scenario's CPU shares that is its usual one."""

Key = tuple[int, int]
"""(launch, round)."""
BlockTimes = Mapping[Key, float]
"""(launch, round) -> time of the block in ms."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Blocks of some comparison groups, and what the judge needs about their participants."""

    groups: Mapping[str, Mapping[str, BlockTimes]]
    """Group -> participant -> blocks, disturbed ones included. Members of a group share rounds."""
    lost: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    """Participant -> blocks without a clean call, because of other work; they do not count."""
    disturbed_shares: Mapping[str, float] = field(default_factory=dict)
    """Participant -> share of its calls that other work disturbed, repeated ones included."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Participant -> why no verdict may rest on it, as a clause."""
    unchecked: Mapping[str, str] = field(default_factory=dict)
    """Participant -> which check it still lacks, as a clause; it has no verdict yet."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Participant -> its class, if its processes vary unlike others'; the rest is one class."""
    process_s: Mapping[str, float] = field(default_factory=dict)
    """Participant -> seconds of one process, from its start to its last round."""

    def __post_init__(self) -> None:
        for participants in self.groups.values():
            for participant, blocks in participants.items():
                for (launch, round_), ms in blocks.items():
                    if not (math.isfinite(ms) and ms > 0):
                        raise BenchError(
                            f"{participant}, launch {launch}, round {round_}: a time of {ms} ms is "
                            "not positive and finite: iterations.csv is damaged or a worker is "
                            "faulty; measure again"
                        )

    def group_of(self, *participants: str) -> str | None:
        """Return the first group that has all these participants."""
        wanted = set(participants)
        return next((name for name, one in self.groups.items() if wanted <= one.keys()), None)

    def blocks(self, group: str, participant: str) -> BlockTimes:
        """Return all blocks of a participant, disturbed ones included."""
        return self.groups.get(group, {}).get(participant, {})

    def clean(self, group: str, participant: str) -> BlockTimes:
        """Return the blocks of a participant that other work did not disturb."""
        return self.all_clean.get(group, {}).get(participant, {})

    @cached_property
    def all_clean(self) -> Mapping[str, Mapping[str, BlockTimes]]:
        """`groups` without the blocks that other work disturbed."""
        nothing: frozenset[Key] = frozenset()
        return {
            group: {
                name: {
                    key: ms for key, ms in blocks.items() if key not in self.lost.get(name, nothing)
                }
                for name, blocks in participants.items()
            }
            for group, participants in self.groups.items()
        }

    def copies(self, group: str, participant: str) -> tuple[str, ...]:
        """Return the participant and its control, if that was measured: both run one scenario."""
        control = participant + CONTROL_SUFFIX
        return (participant, control) if self.clean(group, control) else (participant,)


def block_medians(iterations: Iterable[IterationRow]) -> dict[str, dict[Key, float]]:
    """Return scenario -> (launch, round) -> median wall ms of the block's timed calls.

    Of a block that was repeated because other work disturbed it, the clean calls count.
    """
    return {
        scenario: {
            key: median(row.wall_ns for row in clean_of(calls)) / 1e6
            for key, calls in blocks.items()
        }
        for scenario, blocks in timed_blocks(iterations).items()
    }


def counted_blocks(
    iterations: Sequence[IterationRow],
    noise: Iterable[NoiseRow],
    labels: Mapping[str, str],
    policy: NoisePolicy,
) -> dict[str, dict[Key, float]]:
    """Return `block_medians` without the blocks that have no clean call."""
    lost = disturbance(iterations, noise, labels, policy).lost
    return {
        scenario: {key: ms for key, ms in blocks.items() if key not in lost[scenario]}
        for scenario, blocks in block_medians(iterations).items()
    }


def clean_of(calls: Sequence[IterationRow]) -> Sequence[IterationRow]:
    """Return the undisturbed calls, or all of them if there are none."""
    return [row for row in calls if not row.disturbed] or calls


def timed_blocks(
    iterations: Iterable[IterationRow],
) -> dict[str, dict[Key, list[IterationRow]]]:
    """Return scenario -> (launch, round) -> the block's timed calls, disturbed ones included."""
    blocks: dict[str, dict[Key, list[IterationRow]]] = defaultdict(lambda: defaultdict(list))
    for row in iterations:
        if row.phase == Phase.TIMED and row.round is not None:
            blocks[row.scenario][row.launch, row.round].append(row)
    return blocks


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What other work did to the blocks of some scenarios."""

    lost: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    """Scenario -> blocks without a clean call."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Scenario -> the disturbed share of its timed calls, repeated ones included."""


def disturbance(
    iterations: Iterable[IterationRow],
    noise: Iterable[NoiseRow],
    labels: Mapping[str, str],
    policy: NoisePolicy,
) -> Disturbance:
    """Return which blocks other work disturbed.

    A run marks its calls. Version 0.1 recorded noise by the round instead: there a block is
    disturbed if it had less CPU time than is usual for the scenario, in a round with other work.
    `labels` names the group of each scenario.
    """
    busy = {(row.group, row.launch, row.round) for row in noise if saw_other_work(row, policy)}
    lost, shares = {}, {}
    for scenario, blocks in timed_blocks(iterations).items():
        group = labels.get(scenario.removesuffix(CONTROL_SUFFIX), "")
        usual = upper_share([_cpu_share(calls) for calls in blocks.values()])
        limit = policy.min_cpu_share * usual
        marked = {
            key: [
                row.disturbed
                if row.disturbed is not None
                else (group, *key) in busy and _cpu_share(calls) < limit
                for row in calls
            ]
            for key, calls in blocks.items()
        }
        every = [one for marks in marked.values() for one in marks]
        lost[scenario] = frozenset(key for key, marks in marked.items() if all(marks))
        shares[scenario] = sum(every) / len(every)
    return Disturbance(lost=lost, shares=shares)


def upper_share(shares: Sequence[float]) -> float:
    """Return the CPU share of a scenario's least disturbed blocks.

    Beside a busy neighbour most of its blocks may be disturbed, but hardly all of them.
    """
    return float(np.quantile(shares, _UNDISTURBED))


def _cpu_share(calls: Sequence[IterationRow]) -> float:
    """Return the CPU time of all threads over wall time."""
    wall_ns = sum(row.wall_ns for row in calls)
    return sum(row.cpu_ns for row in calls) / wall_ns if wall_ns else 0.0


def process_seconds(
    iterations: Iterable[IterationRow], started_s: Mapping[str, float]
) -> dict[str, float]:
    """Return scenario -> seconds of a process: its start and the calls of a median launch.

    `started_s` has the seconds for importing and preparing; a missing scenario counts as 0.
    """
    calls: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row in iterations:
        calls[row.scenario][row.launch] += row.wall_ns / 1e9
    return {
        scenario: float(np.median(list(launches.values())))
        + started_s.get(scenario.removesuffix(CONTROL_SUFFIX), 0.0)
        for scenario, launches in calls.items()
    }
