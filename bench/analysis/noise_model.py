"""Estimate the ratio of two scenarios' times and its interval: the model of a run. Pure.

    fitted = fit({"inference/b1": {"stock": {(0, 0): 101.2, (0, 1): 99.8}, "ipex": {...}}}, policy)
    fitted.groups["inference/b1"].contrast({"stock": 1.0, "ipex": -1.0}).half_width(0.025)

One model describes every block that a run timed:

    log(block time) = scenario + round + process + error

A *participant* is one scenario's worker in a group; a *process* is that worker in one launch. All
participants of a round share its effect, so it cancels in every comparison. A process has a level
of its own that no number of rounds averages away; only further processes do. So the level of each
process is estimated robustly from its rounds (`robust`), and a scenario's level is the plain mean
of its processes.

The variances make an interval true. One participant has one to five processes, far too few to
estimate a variance from. All participants of a run together have enough (`variances`): the variance
between processes is estimated once for each class of participants, and a participant whose own
processes vary more moves its own variance up. A participant with one process borrows the variance
of the others.

Sources: the additive model of processes and iterations is Kalibera & Jones, *Rigorous benchmarking
in reasonable time* (ISMM 2013); the robust location and its variance Huber, *Robust Statistics*
(1981, section 7.6); the variance between processes Paule & Mandel (J. Res. NBS 87, 1982); moderated
variances Smyth (SAGMB 3, 2004); degrees of freedom Satterthwaite (Biometrics Bulletin 2, 1946).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special  # the functions of scipy.stats, many times as quick

from bench.analysis.robust import linked, process_levels
from bench.analysis.variances import design, own_variances, spreads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bench.analysis.robust import Blocks, Floats, Participants, Processes
    from bench.analysis.variances import Spread
    from bench.plan.thresholds import ModelPolicy

_TINY = 1e-12
_ROUNDING = 1e-9


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
        """Return how far the interval reaches to one side, on the log scale."""
        return -float(special.stdtrit(self.degrees_of_freedom, tail)) * self.standard_error

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "there is no difference"."""
        if self.standard_error <= 0:
            return 1.0
        statistic = abs(self.log_ratio) / self.standard_error
        return 2 * float(special.stdtr(self.degrees_of_freedom, -statistic))


@dataclass(frozen=True, kw_only=True)
class GroupFit:
    """The fitted levels of one comparison group."""

    participants: tuple[str, ...]
    processes: Mapping[str, int]
    """Processes that each participant has."""
    block_variance: float
    """Of one block's log time within its process, the median over all processes."""
    _levels: Floats
    """The fitted log time of each participant."""
    _solver: Floats
    """participants x processes: each level as a weighted sum of the processes' levels."""
    _variances: Floats
    """The pooled variance of each process."""
    _owner: NDArray[np.intp]
    """The participant of each process."""
    _factors: Floats
    """Each participant's variance over the pooled one."""
    _dof: Floats
    """Degrees of freedom of each participant's variance; those that share one share its number."""
    _part: NDArray[np.intp]
    """The part of the group that each participant is in: those of two parts share no launch."""

    def contrast(self, weights: Mapping[str, float]) -> Estimate:
        """Return the weighted sum of participants' log times; the weights add up to zero.

        Nothing is known of participants that no launch links: their standard error is infinite.

        Raises:
            KeyError: a participant is not in the group.
        """
        vector = np.zeros(len(self.participants))
        for participant, weight in weights.items():
            vector[self.participants.index(participant)] += weight
        if np.abs(np.bincount(self._part, vector)).max() > _ROUNDING:
            return Estimate(log_ratio=0.0, standard_error=math.inf, degrees_of_freedom=1.0)
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
        """Return Satterthwaite's, of a sum of variances each known with degrees of its own."""
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


def fit(
    groups: Mapping[str, Participants],
    policy: ModelPolicy,
    classes: Mapping[str, str] | None = None,
) -> Fitted:
    """Fit the model to the blocks of a run.

    `groups` has each comparison group's participants; times must be positive and finite. `classes`
    names the class of a participant whose processes may vary unlike the others' (a heap as glibc
    ships).
    """
    measured = {
        name: process_levels(participants, policy)
        for name, participants in groups.items()
        if any(participants.values())
    }
    kinds = {
        name: [f"{name}|{(classes or {}).get(one, '')}" for one in processes.participants]
        for name, processes in measured.items()
    }
    equal = {name: design(one, np.ones_like(one.level)) for name, one in measured.items()}
    found = spreads(equal, kinds, policy)
    fits = {
        name: _group_fit(one, [found[kind] for kind in kinds[name]], policy)
        for name, one in measured.items()
    }
    return Fitted(groups=fits, spreads=found)


def _group_fit(processes: Processes, known: Sequence[Spread], policy: ModelPolicy) -> GroupFit:
    """Return the levels of one group's participants; `known` has the spread of each."""
    between = np.array([spread.between_processes**2 for spread in known])
    variances = between[processes.owner] + processes.error
    fitted = design(processes, 1 / variances)
    pooled_dof = np.array([spread.degrees_of_freedom for spread in known])
    factors, dof = own_variances(fitted, variances, pooled_dof, policy)
    counts = np.bincount(processes.owner, minlength=len(processes.participants))
    return GroupFit(
        participants=tuple(processes.participants),
        processes=dict(zip(processes.participants, counts.tolist(), strict=True)),
        block_variance=float(np.median(processes.block)),
        _levels=fitted.levels,
        _solver=fitted.solver,
        _variances=variances,
        _owner=processes.owner,
        _factors=factors,
        _dof=dof,
        _part=_parts(processes),
    )


def _parts(processes: Processes) -> NDArray[np.intp]:
    """Return the part of the group that each participant is in, by a number."""
    shape = (len(processes.participants), int(processes.launch.max()) + 1)
    took_part = np.zeros(shape, dtype=bool)
    took_part[processes.owner, processes.launch] = True
    return np.asarray(linked(took_part).argmax(axis=1))


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
    """Return the mean of independent log values; the error of a single one is infinite."""
    if not logs:
        return None
    number = len(logs)
    error = float(np.std(logs, ddof=1)) / math.sqrt(number) if number > 1 else math.inf
    return Estimate(
        log_ratio=float(np.mean(logs)),
        standard_error=error,
        degrees_of_freedom=max(1.0, number - 1.0),
    )
