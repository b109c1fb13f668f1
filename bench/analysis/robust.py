"""Estimate the level of each process robustly from its rounds: step one of the model. Pure.

In each launch: log(block time) = participant + round + error, fitted by Huber's method, since
bursts hit single blocks. Sources as in `bench.analysis.noise_model`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bench.plan.thresholds import ModelPolicy

Floats = NDArray[np.float64]
Blocks = Mapping[tuple[int, int], float]
"""(launch, round) -> time of the block in ms."""
Participants = Mapping[str, Blocks]

_HUBER = 1.345
"""Huber's constant: 95 % as efficient as the mean where nothing is disturbed."""
_SWEEPS = 12
"""Reweighted sweeps of the additive fit; levels then move by less than 1e-5."""
_NORMAL_MAD = 1.4826
"""Median absolute deviation to standard deviation, for normal errors."""
_RESOLUTION = 1e-5
"""No block's log time is known better than this, however equal scripted times are."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a group, one observation each."""

    participants: list[str]
    owner: NDArray[np.intp]
    """The participant of each process."""
    launch: NDArray[np.intp]
    """The launch of each process; one whose participants share no round counts as several."""
    level: Floats
    """The log time of each process."""
    error: Floats
    """Variance of `level` by the rounds alone."""
    block: Floats
    """Variance of a single block of that process."""


def process_levels(participants: Participants, policy: ModelPolicy) -> Processes:
    """Fit participant + round within each launch; one observation a process."""
    names = [participant for participant, blocks in participants.items() if blocks]
    launches = sorted({launch for participant in names for launch, _ in participants[participant]})
    rounds = 1 + max(round_ for participant in names for _, round_ in participants[participant])
    times = np.full((len(launches), len(names), rounds), np.nan)
    place = {launch: number for number, launch in enumerate(launches)}
    for number, participant in enumerate(names):
        for (launch, round_), ms in participants[participant].items():
            times[place[launch], number, round_] = math.log(ms)
    present = ~np.isnan(times)
    meet = linked(present)
    level, residuals, scale = _additive(times, meet, policy)
    count = present.sum(axis=2)
    error = _error_variances(residuals, present, scale, policy)
    launch_of, owner = np.nonzero(count)
    first_met = meet.argmax(axis=2)[launch_of, owner]
    _, together = np.unique(launch_of * len(names) + first_met, return_inverse=True)
    return Processes(
        participants=names,
        owner=owner,
        launch=together,
        level=level[launch_of, owner],
        error=error[owner] / count[launch_of, owner],
        block=error[owner],
    )


def linked(took_part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which participants share something, directly or through others.

    `took_part` is ... x participants x what they may share; the result ... x participants x
    participants. Everybody is linked to itself.
    """
    shared = took_part.astype(float)
    found = shared @ np.swapaxes(shared, -1, -2) > 0
    found |= np.eye(took_part.shape[-2], dtype=bool)
    while True:
        wider = found.astype(float) @ found.astype(float) > 0
        if (wider == found).all():
            return np.asarray(found)
        found = wider


def _additive(
    times: Floats, meet: NDArray[np.bool_], policy: ModelPolicy
) -> tuple[Floats, Floats, Floats]:
    """Fit participant + round in each launch: levels, residuals and scales.

    `times` is launches x participants x rounds, NaN where a participant took no part; `meet` says
    whose rounds are linked. The scale of a participant is that of all its launches, moderated
    towards the group's, because a launch may have three rounds.
    """
    present = ~np.isnan(times)
    filled = np.where(present, times, 0.0)
    weights: Floats = present.astype(float)  # least squares at first: a shift of a round cancels
    level: Floats = np.zeros(times.shape[:2])
    scale: Floats = np.ones(times.shape[1])
    residuals: Floats = np.zeros_like(filled)
    for sweep in range(_SWEEPS):
        level = _levels(filled, weights, meet)
        effect = _weighted(filled - level[:, :, None], weights, 1)
        residuals = np.where(present, filled - level[:, :, None] - effect[:, None, :], 0.0)
        if sweep < _SWEEPS / 2:
            scale = _scales(residuals, present, policy)
        reach = _HUBER * scale[None, :, None]
        weights = present * np.minimum(1.0, reach / np.maximum(np.abs(residuals), _TINY))
    return level, residuals, scale


def _levels(filled: Floats, weights: Floats, meet: NDArray[np.bool_]) -> Floats:
    """Solve the weighted least squares for the participants' levels, without the rounds' effects.

    Exactly, and not participants and rounds in turn: where a slow participant left after a few of
    many rounds, its time would stay in these rounds' effects for thousands of turns. The levels of
    those that meet add up to zero.
    """
    total = weights.sum(axis=1, keepdims=True)
    share = weights / np.where(total > 0, total, 1.0)
    own = weights.sum(axis=2)
    normal = own[:, :, None] * np.eye(own.shape[1]) - weights @ share.transpose(0, 2, 1)
    above = filled - (filled * share).sum(axis=1, keepdims=True)
    wanted = (weights * above).sum(axis=2)
    return np.asarray(np.linalg.solve(normal + meet, wanted[:, :, None])[:, :, 0])


def _weighted(values: Floats, weights: Floats, axis: int) -> Floats:
    total = weights.sum(axis=axis)
    return np.asarray((values * weights).sum(axis=axis) / np.where(total > 0, total, 1.0))


def _scales(residuals: Floats, present: NDArray[np.bool_], policy: ModelPolicy) -> Floats:
    """Return the scale of each participant's errors, moderated towards the group's median."""
    known = np.where(present, np.abs(residuals), np.nan)
    own = _NORMAL_MAD * np.nanmedian(known, axis=(0, 2))
    count = present.sum(axis=(0, 2))
    common = max(float(np.median(own)), _TINY)
    prior = policy.error_prior_dof
    return np.asarray(np.sqrt((prior * common**2 + count * own**2) / (prior + count)))


def _error_variances(
    residuals: Floats, present: NDArray[np.bool_], scale: Floats, policy: ModelPolicy
) -> Floats:
    """Return the variance that one round adds to each participant's level, moderated.

    After Huber (1981, 7.6). Residuals spend one degree of freedom on each process's level, and
    share one a round.
    """
    reach = _HUBER * scale[None, :, None]
    squares = (np.clip(residuals, -reach, reach) ** 2).sum(axis=(0, 2))
    inside = (np.abs(residuals) < reach) & present
    kept = max(inside.sum() / max(1, present.sum()), 0.3)
    sharing = np.maximum(present.sum(axis=1, keepdims=True), 1)
    own = np.maximum(present.sum(axis=2, keepdims=True), 1)
    freedom = (present * (1 - 1 / sharing) * (1 - 1 / own)).sum(axis=(0, 2))
    squares = squares / kept**2
    common = squares.sum() / max(float(freedom.sum()), 1.0)
    prior = policy.error_prior_dof
    return np.asarray((prior * common + squares) / (prior + freedom) + _RESOLUTION**2)
