"""Estimate how much processes of one participant differ: step two of the model. Pure.

The variance between processes is estimated once for each class of participants, from all their
processes, and moved up for a participant whose own processes vary more. Sources as in
`bench.analysis.noise_model`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.analysis.robust import Floats, Processes
    from bench.plan.thresholds import ModelPolicy

_ODD = 0.05
"""A participant whose processes vary more than this share of equal participants would may have a
variance of its own, and counts in the pooled one only as far as an equal participant might."""
_STEADY = 0.01
"""A class whose processes vary less than this share of equal classes would has a variance of its
own: another group's bursts say nothing about it."""
_WINSORIZING_PASSES = 4
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Spread:
    """By how much the processes of one class of participants differ."""

    between_processes: float
    """Standard deviation of log time."""
    degrees_of_freedom: float
    """Degrees of freedom of processes that this rests on, assumed ones included."""
    is_assumed: bool
    """Whether no process of the run was repeated, so that all of it is assumed."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Least squares of a group's processes on participants and launches."""

    processes: Processes
    solver: Floats
    """participants x processes: each level as a weighted sum of the processes' levels."""
    levels: Floats
    """The fitted log time of each participant."""
    residuals: Floats
    freedom: Floats
    """1 - leverage of each process: its part of the degrees of freedom."""


def design(processes: Processes, weights: Floats) -> Design:
    """Fit participants and launches to the processes' levels by weighted least squares."""
    participants, launches = len(processes.participants), int(processes.launch.max()) + 1
    number = len(processes.level)
    matrix = np.zeros((number, participants + launches))
    matrix[np.arange(number), processes.owner] = 1.0
    matrix[np.arange(number), participants + processes.launch] = 1.0
    root = np.sqrt(weights)
    inverse = np.linalg.pinv(matrix * root[:, None]) * root[None, :]
    coefficients = inverse @ processes.level
    leverage = np.einsum("ij,ji->i", matrix, inverse)
    freedom = np.clip(1 - leverage, 0.0, 1.0)
    freedom[freedom < 1e-9] = 0.0
    return Design(
        processes=processes,
        solver=inverse[:participants],
        levels=coefficients[:participants],
        residuals=processes.level - matrix @ coefficients,
        freedom=freedom,
    )


def spreads(
    designs: Mapping[str, Design], classes: Mapping[str, Sequence[str]], policy: ModelPolicy
) -> dict[str, Spread]:
    """Return the spread of each class, moderated towards the whole run's.

    A class that is clearly steadier than the run is moderated towards what is assumed of processes,
    because the run's variance comes from others. So is one that hardly repeated a process where the
    run is steadier than what is assumed: groups differ, and of this one nothing is known. `classes`
    has the class of each participant, by group.
    """
    members: dict[str, list[Floats]] = {}  # class -> its participants' rows (`_paule_mandel`)
    for group, found in designs.items():
        rows = np.stack([found.residuals**2, found.processes.error, found.freedom])
        for number, kind in enumerate(classes[group]):
            members.setdefault(kind, []).append(rows[:, found.processes.owner == number])
    run_dof = sum(_dof(rows) for own in members.values() for rows in own)
    missing = max(0.0, policy.assumed_dof - run_dof)
    known_dof = run_dof + missing
    floor = policy.process_sd_floor**2 * min(1.0, policy.floor_dof / known_dof)
    seen = _winsorized([rows for own in members.values() for rows in own])
    assumed = policy.assumed_process_sd**2
    run = max((missing * assumed + run_dof * seen) / known_dof, floor)
    borrowed = min(policy.class_prior_dof, known_dof)
    result = {}
    for kind, own in members.items():
        dof = sum(_dof(rows) for rows in own)
        prior, prior_dof, most = run, borrowed, known_dof
        if run > assumed and _is_steady(own, run):
            prior, prior_dof = assumed, policy.assumed_dof
            most = prior_dof + dof
        elif run < assumed:
            unknown = max(0.0, policy.unlike_dof - dof)
            prior = (borrowed * run + unknown * assumed) / (borrowed + unknown)
        variance = (prior_dof * prior + dof * _winsorized(own)) / (prior_dof + dof)
        result[kind] = Spread(
            between_processes=math.sqrt(max(variance, floor)),
            degrees_of_freedom=min(prior_dof + dof, most),
            is_assumed=run_dof <= 0,
        )
    return result


def _is_steady(participants: Sequence[Floats], variance: float) -> bool:
    """Return whether these vary less than the variance lets equal participants vary."""
    rows = np.concatenate(participants, axis=1)
    dof = _dof(rows)
    squares = float((rows[0] / (variance + rows[1])).sum())
    return dof > 0 and float(special.chdtr(dof, squares)) < _STEADY


def _dof(rows: Floats) -> float:
    return float(rows[2].sum())


def _winsorized(participants: Sequence[Floats]) -> float:
    """Pool the variance between processes, without letting one odd participant dominate it.

    A participant whose squares lie beyond what one equal participant in twenty shows counts as if
    they lay there (after Phipson et al., Annals of Applied Statistics 10, 2016).
    """
    known = [rows for rows in participants if _dof(rows) > 0]
    if not known:
        return 0.0
    squares = [rows[0] for rows in known]
    limits = [float(special.chdtri(_dof(rows), _ODD)) for rows in known]
    found = 0.0
    for _ in range(_WINSORIZING_PASSES):
        pooled = [np.stack([own, *rows[1:]]) for own, rows in zip(squares, known, strict=True)]
        found = _paule_mandel(np.concatenate(pooled, axis=1))
        sums = [float((rows[0] / (found + rows[1])).sum()) for rows in known]
        squares = [
            rows[0] * min(1.0, limit / max(total, _TINY))
            for rows, limit, total in zip(known, limits, sums, strict=True)
        ]
    return found


def _paule_mandel(rows: Floats) -> float:
    """Return the variance at which weighted squares equal their degrees of freedom.

    `rows` has squared residuals, error variances and degrees of freedom, one column a process.
    """
    squares, errors, freedom = rows[:, rows[2] > 0]
    wanted = freedom.sum()

    def excess(variance: float) -> float:
        return float((squares / (variance + errors)).sum() - wanted)

    if excess(0.0) <= 0:
        return 0.0
    high = float(squares.sum() / wanted) + _TINY
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-14, rtol=1e-6))


def own_variances(
    found: Design, variances: Floats, pooled_dof: Floats, policy: ModelPolicy
) -> tuple[Floats, Floats]:
    """Return each participant's variance over the pooled one, and its degrees of freedom.

    A participant's squares are moderated towards the pooled variance as if that were known from
    `participant_prior_dof` of its own processes, and never move it down: with few processes a small
    variance is luck. A participant of several processes that varies more than one equal participant
    in twenty would has its own variance, known from its own processes alone.
    """
    size, owner = len(found.processes.participants), found.processes.owner
    squares = np.bincount(owner, found.residuals**2 / variances, minlength=size)
    dof = np.bincount(owner, found.freedom, minlength=size)
    prior = policy.participant_prior_dof
    moderated = np.maximum((prior + squares) / (prior + dof), 1.0)
    odd = (dof >= policy.own_variance_dof) & (
        squares > special.chdtri(np.maximum(dof, _TINY), _ODD)
    )
    factors = np.where(odd, squares / np.maximum(dof, _TINY), moderated)
    return factors, np.where(odd, dof, pooled_dof)
