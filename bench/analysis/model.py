"""The statistical model of a run: how sure the ratio of two scenarios' times is. Pure arithmetic.

    fitted = fit({"inference/b1": {"stock": {(0, 0): 101.2, (0, 1): 99.8}, "ipex": {...}}}, policy)
    fitted.group("inference/b1").contrast({"stock": 1.0, "ipex": -1.0}).interval(0.95)

One model describes every block that a run timed:

    log(block time) = scenario + round + process + error

A *participant* is one scenario's worker in a group; a *process* is that worker in one launch. A
round is shared by all participants that took part in it, so its effect cancels in every comparison.
A process has a level of its own that no number of rounds averages away; only further processes do.
So the level of each process is estimated robustly from its rounds (Huber, since bursts hit single
blocks), and a scenario's level is the plain mean of its processes.

The variances are what makes an interval true. One participant has one to five processes, which is
far too few to estimate a variance from. All participants of a run together have enough: the
variance between processes is estimated once for each class of participants, and a participant whose
own processes vary more than that moves its own variance up. A participant with one process borrows
the variance of the others.

Sources: the additive model of processes and iterations is Kalibera & Jones, *Rigorous benchmarking
in reasonable time* (ISMM 2013); the robust location and its variance Huber, *Robust Statistics*
(1981, section 7.6); the variance between processes Paule & Mandel (J. Res. NBS 87, 1982); moderated
variances Smyth (SAGMB 3, 2004); degrees of freedom Satterthwaite (Biometrics Bulletin 2, 1946).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

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
_ODD_LANE = 0.05
"""A participant whose processes vary more than this share of equal participants would may have a
variance of its own, and counts in the pooled one only as far as an equal participant might."""
_WINSORIZING_PASSES = 4
_RESOLUTION = 1e-5
"""No block's log time is known better than this, however alike scripted times are."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A difference of log times with its uncertainty; positive means the first is slower."""

    log_ratio: float
    standard_error: float
    """Of `log_ratio`."""
    degrees_of_freedom: float
    """Satterthwaite's, for Student's t."""
    borrowed: bool = False
    """Whether a participant has one process, so that the variance between processes is borrowed."""

    def half_width(self, tail: float) -> float:
        """How far the interval reaches to one side on the log scale, at this tail probability."""
        return float(stats.t.isf(tail, self.degrees_of_freedom)) * self.standard_error

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "there is no difference"."""
        if self.standard_error <= 0:
            return 1.0
        statistic = abs(self.log_ratio) / self.standard_error
        return float(2 * stats.t.sf(statistic, self.degrees_of_freedom))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What one class of participants was found to vary by, as standard deviations of log time."""

    between_processes: float
    degrees_of_freedom: float
    """How many degrees of freedom of processes this rests on, assumed ones included."""
    is_assumed: bool
    """Whether no process of the run was repeated, so that nothing of this was seen."""


@dataclass(frozen=True, kw_only=True)
class GroupFit:
    """The fitted levels of one comparison group."""

    participants: tuple[str, ...]
    processes: Mapping[str, int]
    """Processes that each participant has."""
    _levels: Floats
    """The fitted log time of each participant."""
    _solver: Floats
    """participants x observations: each level as a weighted sum of the processes' levels."""
    _variances: Floats
    """The pooled variance of each observation, one observation a process."""
    block_variance: float
    """Of one block's log time within its process, the median over all processes."""
    _owner: NDArray[np.intp]
    """The participant of each observation."""
    _factors: Floats
    """By how much each participant's variance differs from the pooled one."""
    _dof: Floats
    """Degrees of freedom of each participant's variance; those that share one share its number."""

    def has(self, participant: str) -> bool:
        """Whether the participant has at least one process with a usable block."""
        return participant in self.processes

    def contrast(self, weights: Mapping[str, float]) -> Estimate:
        """The weighted sum of participants' log times; the weights add up to zero.

        Raises:
            KeyError: a participant is not in the group.
        """
        vector = np.zeros(len(self.participants))
        for participant, weight in weights.items():
            vector[self.participants.index(participant)] += weight
        squares = (vector @ self._solver) ** 2
        pooled = np.bincount(
            self._owner, squares * self._variances, minlength=len(self.participants)
        )
        by_participant = pooled * self._factors
        variance = float(by_participant.sum())
        return Estimate(
            log_ratio=float(vector @ self._levels),
            standard_error=math.sqrt(variance),
            degrees_of_freedom=self._degrees_of_freedom(by_participant, variance),
            borrowed=any(self.processes[participant] == 1 for participant in weights),
        )

    def _degrees_of_freedom(self, by_participant: Floats, variance: float) -> float:
        """Satterthwaite's, of a sum of variances of which each class's is known with its own."""
        if variance <= 0:
            return math.inf
        parts = [
            (float(by_participant[self._dof == dof].sum()) / variance, dof)
            for dof in set(self._dof.tolist())
        ]
        relative = float(sum(part**2 / dof for part, dof in parts))
        return max(1.0, 1 / max(relative, _TINY))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The model of a run."""

    groups: Mapping[str, GroupFit]
    spreads: Mapping[str, Spread]
    """By class of participants."""


@dataclass
class _Processes:
    """Step one's result for a group: the level of each process, and how sure it is."""

    participants: list[str]
    owner: NDArray[np.intp]
    launch: NDArray[np.intp]
    level: Floats
    error: Floats
    """Variance of `level` by the rounds alone."""
    block: Floats
    """Variance of a single block of that process."""


@dataclass
class _Design:
    """Step two's least squares for a group: participants and launches."""

    processes: _Processes
    solver: Floats
    levels: Floats
    residuals: Floats
    freedom: Floats
    """1 - leverage of each process: its part of the degrees of freedom."""


def fit(
    groups: Mapping[str, Participants],
    policy: ModelPolicy,
    classes: Mapping[str, str] | None = None,
) -> Fitted:
    """Fit the model to the blocks of a run.

    `groups` holds each comparison group's participants; times must be positive and finite.
    `classes` names the class of a participant whose processes may vary unlike the others' (a heap
    as glibc ships).
    """
    classes = classes or {}
    measured = {
        name: _process_levels(participants, policy)
        for name, participants in groups.items()
        if any(participants.values())
    }
    kinds = {
        name: [f"{name}|{classes.get(participant, '')}" for participant in processes.participants]
        for name, processes in measured.items()
    }
    equal = {name: _design(one, np.ones_like(one.level)) for name, one in measured.items()}
    spreads = _between(equal, kinds, policy)
    fits = {
        name: _group_fit(one, [spreads[kind] for kind in kinds[name]], policy)
        for name, one in measured.items()
    }
    return Fitted(groups=fits, spreads=spreads)


def _group_fit(processes: _Processes, spreads: Sequence[Spread], policy: ModelPolicy) -> GroupFit:
    """Return the levels of one group's participants with their variances, given their `spreads`."""
    between = np.array([spread.between_processes**2 for spread in spreads])
    variances = between[processes.owner] + processes.error
    design = _design(processes, 1 / variances)
    pooled_dof = np.array([spread.degrees_of_freedom for spread in spreads])
    factors, dof = _own_variances(design, variances, pooled_dof, policy)
    counts = np.bincount(processes.owner, minlength=len(processes.participants))
    return GroupFit(
        participants=tuple(processes.participants),
        processes=dict(zip(processes.participants, counts.tolist(), strict=True)),
        _levels=design.levels,
        _solver=design.solver,
        _variances=variances,
        block_variance=float(np.median(processes.block)),
        _owner=processes.owner,
        _factors=factors,
        _dof=dof,
    )


# ---- step one: the level of each process ---------------------------------------------------


def _process_levels(participants: Participants, policy: ModelPolicy) -> _Processes:
    """Fit participant + round within each launch, robustly; one observation a process."""
    names = [participant for participant, blocks in participants.items() if blocks]
    launches = sorted({launch for participant in names for launch, _ in participants[participant]})
    rounds = 1 + max(round_ for participant in names for _, round_ in participants[participant])
    times = np.full((len(launches), len(names), rounds), np.nan)
    place = {launch: number for number, launch in enumerate(launches)}
    for number, participant in enumerate(names):
        for (launch, round_), ms in participants[participant].items():
            times[place[launch], number, round_] = math.log(ms)
    level, residuals, scale = _additive(times, policy)
    present = ~np.isnan(times)
    count = present.sum(axis=2)
    error = _error_variances(residuals, present, scale, policy)
    where = np.argwhere(count)
    place_of, owner = where[:, 0], where[:, 1]
    return _Processes(
        participants=names,
        owner=owner,
        launch=place_of,
        level=level[place_of, owner],
        error=error[owner] / count[place_of, owner],
        block=error[owner],
    )


def _additive(times: Floats, policy: ModelPolicy) -> tuple[Floats, Floats, Floats]:
    """Fit participant + round in each launch by Huber's method: levels, residuals and scales.

    `times` is launches x participants x rounds, NaN where a participant took no part. The scale of
    a participant is that of all its launches, moderated towards the group's, because a launch may
    have three rounds.
    """
    present = ~np.isnan(times)
    filled = np.where(present, times, 0.0)
    weights: Floats = present.astype(float)  # least squares at first: a shift of a round cancels
    level: Floats = np.zeros(times.shape[:2])
    effect: Floats = np.zeros((times.shape[0], times.shape[2]))
    scale: Floats = np.ones(times.shape[1])
    residuals: Floats = np.zeros_like(filled)
    for sweep in range(_SWEEPS):
        effect = _weighted(filled - level[:, :, None], weights, 1)
        level = _weighted(filled - effect[:, None, :], weights, 2)
        residuals = np.where(present, filled - level[:, :, None] - effect[:, None, :], 0.0)
        if sweep < _SWEEPS / 2:
            scale = _scales(residuals, present, policy)
        reach = _HUBER * scale[None, :, None]
        weights = present * np.minimum(1.0, reach / np.maximum(np.abs(residuals), _TINY))
    return level, residuals, scale


def _weighted(values: Floats, weights: Floats, axis: int) -> Floats:
    total = weights.sum(axis=axis)
    return np.asarray((values * weights).sum(axis=axis) / np.where(total > 0, total, 1.0))


def _scales(residuals: Floats, present: NDArray[np.bool_], policy: ModelPolicy) -> Floats:
    """The scale of each participant's errors, moderated towards the group's median."""
    own = _NORMAL_MAD * np.array(
        [
            np.median(np.abs(residuals[:, participant][present[:, participant]]))
            for participant in range(present.shape[1])
        ]
    )
    count = present.sum(axis=(0, 2))
    common = max(float(np.median(own)), _TINY)
    prior = policy.error_prior_dof
    return np.asarray(np.sqrt((prior * common**2 + count * own**2) / (prior + count)))


def _error_variances(
    residuals: Floats, present: NDArray[np.bool_], scale: Floats, policy: ModelPolicy
) -> Floats:
    """The variance that one round adds to each participant's level (Huber 1981, 7.6), moderated.

    Residuals spend one degree of freedom on each process's level, and share one a round.
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


# ---- step two: participants and launches ---------------------------------------------------


def _design(processes: _Processes, weights: Floats) -> _Design:
    """Weighted least squares of process levels on participants and launches."""
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
    return _Design(
        processes=processes,
        solver=inverse[:participants],
        levels=coefficients[:participants],
        residuals=processes.level - matrix @ coefficients,
        freedom=freedom,
    )


def _between(
    designs: Mapping[str, _Design], kinds: Mapping[str, Sequence[str]], policy: ModelPolicy
) -> dict[str, Spread]:
    """The variance between processes of each class, moderated towards the whole run's."""
    participants = [
        _LaneSquares(
            kind=kinds[name][number],
            rows=np.stack([design.residuals**2, design.processes.error, design.freedom])[
                :, design.processes.owner == number
            ],
        )
        for name, design in designs.items()
        for number in range(len(design.processes.participants))
    ]
    run_dof = sum(participant.dof for participant in participants)
    names = {participant.kind for participant in participants}
    missing = max(0.0, policy.assumed_dof - run_dof)
    assumed = policy.assumed_process_sd**2
    known_dof = run_dof + missing
    floor = policy.process_sd_floor**2 * min(1.0, policy.floor_dof / known_dof)
    run = max((missing * assumed + run_dof * _winsorized(participants)) / known_dof, floor)
    borrowed = min(policy.class_prior_dof, known_dof)
    found = {}
    for kind in names:
        own = [participant for participant in participants if participant.kind == kind]
        dof = sum(participant.dof for participant in own)
        variance = (borrowed * run + dof * _winsorized(own)) / (borrowed + dof)
        found[kind] = Spread(
            between_processes=math.sqrt(max(variance, floor)),
            degrees_of_freedom=min(borrowed + dof, known_dof),
            is_assumed=run_dof <= 0,
        )
    return found


@dataclass
class _LaneSquares:
    """One participant's processes: squared residuals, error variances and degrees of freedom."""

    kind: str
    rows: Floats

    @property
    def dof(self) -> float:
        return float(self.rows[2].sum())


def _winsorized(participants: Sequence[_LaneSquares]) -> float:
    """Pool the variance between processes, without letting one odd participant dominate it.

    A participant whose squares lie beyond what one equal participant in twenty shows counts as if
    they lay there (after Phipson et al., Annals of Applied Statistics 10, 2016).
    """
    known = [participant for participant in participants if participant.dof > 0]
    if not known:
        return 0.0
    squares = [participant.rows[0] for participant in known]
    found = 0.0
    for _ in range(_WINSORIZING_PASSES):
        rows = np.concatenate(
            [
                np.stack([own, *participant.rows[1:]])
                for own, participant in zip(squares, known, strict=True)
            ],
            axis=1,
        )
        found = _paule_mandel(rows)
        limits = [float(stats.chi2.isf(_ODD_LANE, participant.dof)) for participant in known]
        sums = [
            float((participant.rows[0] / (found + participant.rows[1])).sum())
            for participant in known
        ]
        squares = [
            participant.rows[0] * min(1.0, limit / max(total, _TINY))
            for participant, limit, total in zip(known, limits, sums, strict=True)
        ]
    return found


def _paule_mandel(rows: Floats) -> float:
    """The variance between processes at which weighted squares equal their degrees of freedom.

    `rows` holds squared residuals, error variances and degrees of freedom, one column a process.
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


def _own_variances(
    design: _Design, variances: Floats, pooled_dof: Floats, policy: ModelPolicy
) -> tuple[Floats, Floats]:
    """By how much each participant's variance exceeds the pooled one, and its degrees of freedom.

    The participant's squares are moderated towards the pooled variance as if that were known from
    `participant_prior_dof` of its own processes, and never move it down: with few processes a small
    variance is luck. A participant of several processes that varies more than one equal participant
    in twenty would stands for itself: its own variance, known from its own processes alone.
    """
    size, owner = len(design.processes.participants), design.processes.owner
    squares = np.bincount(owner, design.residuals**2 / variances, minlength=size)
    dof = np.bincount(owner, design.freedom, minlength=size)
    prior = policy.participant_prior_dof
    moderated = np.maximum((prior + squares) / (prior + dof), 1.0)
    odd = (dof >= policy.own_variance_dof) & (
        squares > stats.chi2.isf(_ODD_LANE, np.maximum(dof, _TINY))
    )
    factors = np.where(odd, squares / np.maximum(dof, _TINY), moderated)
    return factors, np.where(odd, dof, pooled_dof)


# ---- values of one participant -------------------------------------------------------------


def level_of(blocks: Blocks) -> Estimate | None:
    """Estimate one participant's own log level with its uncertainty over processes, or None.

    Of one process the uncertainty is that of its rounds.
    """
    launches: dict[int, list[float]] = {}
    for (launch, _), value in blocks.items():
        launches.setdefault(launch, []).append(math.log(value))
    if len(launches) == 1:
        return mean_of(next(iter(launches.values())))
    return mean_of([float(np.median(values)) for values in launches.values()])


def mean_of(logs: Sequence[float]) -> Estimate | None:
    """The mean of independent log values; of one alone the error is infinite, None of none."""
    if not logs:
        return None
    number = len(logs)
    error = float(np.std(logs, ddof=1)) / math.sqrt(number) if number > 1 else math.inf
    return Estimate(
        log_ratio=float(np.mean(logs)),
        standard_error=error,
        degrees_of_freedom=max(1.0, number - 1.0),
    )
