"""Simulated runs whose truth is known, judged by the shipped judge.

    found = coverage(Noise(process=0.01), processes=3, runs=100, seed=1)
    found.covered / found.intervals

A run has 20 participants (stock default, its control and 18 scenarios) whose true speeds are drawn
anew, rounds that all participants share, processes and blocks with luck of their own. Where a
participant has one process, a second group of the same run has three, as a run whose contenders get
further processes; a restless second group has three always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.plan.scenario import CONTROL_SUFFIX, Verdict
from bench.plan.thresholds import DEFAULT

PARTICIPANTS = 20
BASE = "base"
VARIABLE = "participant2"
"""The participant that varies three times as much, where one does."""
_FIRST = (BASE, BASE + CONTROL_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a machine does to times; shares, on the log scale."""

    process: float = 0.01
    """Standard deviation between processes of one build."""
    block: float = 0.02
    """Between blocks of one process."""
    round: float = 0.03
    """Between rounds, shared by all participants."""
    hit: float = 0.0
    """Share of the blocks that a burst makes longer, by a fifth on average."""
    slow_kind: float = 0.0
    """Share of the processes that are of a slower kind, by 6 %."""
    variable: bool = False
    """Whether one participant's processes vary three times as much."""
    restless: float = 1.0
    """How many times as much the processes of the run's second group vary."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A simulated run."""

    judge: Judge
    log_times: dict[str, float]
    """The true log time of each participant of the first group."""


def participant_names() -> list[str]:
    """Stock default, its control, and the scenarios."""
    return [*_FIRST, *(f"participant{number}" for number in range(2, PARTICIPANTS))]


def run(
    noise: Noise,
    rng: np.random.Generator,
    *,
    processes: int,
    rounds: int | None = None,
    log_times: dict[str, float] | None = None,
    borrow: bool = True,
) -> Run:
    """One run; `log_times` are the true ones of the first group, drawn where they are not given."""
    truth = log_times or _drawn(rng)
    groups = {"first": _group(truth, noise, rng, processes, rounds)}
    if (processes == 1 and borrow) or noise.restless != 1.0:
        second = {f"second/{name}": value for name, value in _drawn(rng).items()}
        others = replace(noise, process=noise.process * noise.restless)
        groups["second"] = _group(second, others, rng, 3, rounds)
    return Run(judge=Judge(Measurements(groups=groups), DEFAULT), log_times=truth)


def _drawn(rng: np.random.Generator) -> dict[str, float]:
    times = dict(zip(participant_names(), rng.normal(0, 0.1, PARTICIPANTS).tolist(), strict=True))
    times[_FIRST[1]] = times[BASE]
    return times


def _group(
    truth: dict[str, float],
    noise: Noise,
    rng: np.random.Generator,
    processes: int,
    rounds: int | None,
) -> dict[str, dict[tuple[int, int], float]]:
    number = rounds or int(rng.integers(6, 20))
    shared = rng.normal(0, noise.round, (processes, number))
    participants = {}
    for name, level in truth.items():
        spread = noise.process * (3 if noise.variable and name == VARIABLE else 1)
        own = rng.normal(0, spread, (processes, 1))
        slow = rng.random((processes, 1)) < noise.slow_kind
        own = own + 0.06 * (slow - noise.slow_kind)
        blocks = rng.normal(0, noise.block, (processes, number))
        struck = rng.random((processes, number)) < noise.hit
        blocks = blocks + struck * rng.exponential(0.2, (processes, number))
        ms = np.exp(level + own + blocks + shared)
        participants[name] = {
            (launch, place): float(ms[launch, place])
            for launch in range(processes)
            for place in range(number)
        }
    return participants


@dataclass(kw_only=True)
class Coverage:
    """How often intervals covered the truth."""

    intervals: int = 0
    covered: int = 0
    variable_intervals: int = 0
    variable_covered: int = 0
    half_widths: list[float] | None = None

    @property
    def share(self) -> float:
        """Of all participants but the variable one."""
        return self.covered / self.intervals

    @property
    def variable_share(self) -> float:
        """Of the variable participant."""
        return self.variable_covered / self.variable_intervals


def coverage(
    noise: Noise, *, processes: int, runs: int, seed: int, rounds: int | None = None
) -> Coverage:
    """Every scenario of so many runs over stock default."""
    rng = np.random.default_rng(seed)
    found = Coverage(half_widths=[])
    for _ in range(runs):
        one = run(noise, rng, processes=processes, rounds=rounds)
        for name in participant_names()[2:]:
            ratio = one.judge.compare(name, BASE).known
            truth = float(np.exp(one.log_times[BASE] - one.log_times[name]))
            held = ratio.low <= truth <= ratio.high
            if noise.variable and name == VARIABLE:
                found.variable_intervals += 1
                found.variable_covered += held
            else:
                found.intervals += 1
                found.covered += held
                found.half_widths = [*(found.half_widths or ()), ratio.half_width]
    return found


def verdicts(
    noise: Noise, *, difference: float, processes: int, rounds: int, runs: int, seed: int
) -> dict[Verdict, float]:
    """How often each verdict is given of a scenario that is slower by that share."""
    rng = np.random.default_rng(seed)
    truth = dict.fromkeys(participant_names(), 0.0)
    slow = participant_names()[2:5]
    truth.update(dict.fromkeys(slow, float(np.log1p(difference))))
    given = []
    for _ in range(runs):
        one = run(noise, rng, processes=processes, rounds=rounds, log_times=truth)
        given += [one.judge.compare(name, BASE).verdict for name in slow]
    return {verdict: given.count(verdict) / len(given) for verdict in Verdict}


def wrong_headlines(noise: Noise, *, processes: int, runs: int, seed: int) -> float:
    """The share of runs in which a headline is wrong, where all participants are equally fast.

    Six headlines: the best of nine against stock default and the best of four against the best of
    six, in three groups that are judged together, each with its part of the error.
    """
    rng = np.random.default_rng(seed)
    names, wrong, rule = participant_names(), 0, DEFAULT.verdict
    confidence = 1 - rule.headline_error / 6
    for _ in range(runs):
        groups = {}
        for label in "abc":
            truth = {f"{label}/{name}": 0.0 for name in names}
            groups[label] = _group(truth, noise, rng, processes, 8)
        judge = Judge(Measurements(groups=groups), DEFAULT)
        bad = False
        for label in "abc":
            participants = [f"{label}/{name}" for name in names]
            default, stock, ipex = participants[0], participants[2:7], participants[7:11]
            for ours, theirs in (([*stock, *ipex], [default]), (ipex, [default, *stock])):
                found = judge.best(ours, theirs, confidence=confidence)
                bad |= found is not None and found.found
        wrong += bad
    return wrong / runs
