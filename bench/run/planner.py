"""What a run measures next, until its claims are decided or its budget is spent. Pure.

    planner = Planner(scenarios, profile=profile, policy=policy, budget_s=900)
    while (visit := planner.next(known)) is not None:
        ...  # fresh processes of `visit.scenarios`, up to `visit.rounds` paired rounds

A visit is one launch of one comparison group. First come the scenarios of the first group that a
headline rests on, those that need no compiler before those that do; then fresh processes of who
leads and who may still beat it, until that group's claims are decided; then the other groups'. At
a further batch size only those that the first group did not show to be slower stand in for their
claims. Then whoever leads at inference is held against stock default's decisions on many more
images. What no claim needs follows: int8, variables, the rest. What is left of the budget decides
single rows. A run ends when nothing is open.

Whether something is decided is asked again and again, so each early look is surer than the last
word (`early_error_share`): what is stopped early was decided at that level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.claims import BEST, Claims
from bench.plan import variables
from bench.plan.scenario import BaselineKind, Mode, Scenario, Task, Verdict, group_name, only_shows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from bench.analysis.claims import Claim
    from bench.analysis.judge import Judge
    from bench.analysis.speedups import RunAnalysis
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Group
    from bench.plan.thresholds import Policy

_OTHER_BATCH, _OTHER_TASK = 1.5, 2.0
"""Times what a scenario takes that one at another batch size, or of another task, is taken to."""
_IMAGES = 100
"""Calls that a thorough look is taken to need."""
_UNKNOWN_PROCESSES = 50
"""What a question is taken to need of which no number can be said."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One launch of one comparison group."""

    group: Group
    scenarios: tuple[str, ...]
    """Ids, in the matrix' order, stock default among them; its control comes with it."""
    rounds: int
    """At most."""
    is_first: bool
    """Whether its scenarios have not been measured yet; then each gets its least rounds."""
    thorough: frozenset[str] = frozenset()
    """Scenarios whose outputs are compared on all images that a minute allows."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one further process of a scenario takes, in seconds."""

    open_s: float
    """Starting, preparing, warming up and ending it."""
    round_s: float
    """One block."""
    first_s: float = 0.0
    """What opening it took the first time, when caches were cold and outputs were compared."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known before a visit."""

    measurable: Collection[str]
    """Scenarios that may still take part."""
    visits: Mapping[str, int]
    """Launches in which each scenario took part."""
    costs: Mapping[str, Cost]
    left_s: float
    """Of the budget."""
    analysis: Callable[[], RunAnalysis]
    """What the rows so far show."""
    thorough: Collection[str] = ()
    """Scenarios whose outputs were compared thoroughly."""
    hopeless: Collection[str] = ()
    """Scenarios whose trouble fresh processes would only repeat."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Something open, and whose processes would decide it."""

    scenarios: tuple[str, ...]
    processes: int
    """Further ones of each, about."""


class Planner:
    """Plans the visits of one run. It keeps nothing: the same facts give the same next visit."""

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        *,
        profile: Profile,
        policy: Policy,
        budget_s: float,
    ) -> None:
        self._scenarios = {scenario.id: scenario for scenario in scenarios}
        self._profile = profile
        self._policy = policy
        self._budget_s = budget_s
        self._groups: dict[Group, list[Scenario]] = {}
        for scenario in scenarios:
            self._groups.setdefault(scenario.group, []).append(scenario)

    def next(self, known: Known) -> Visit | None:
        """The next visit; None where nothing is open, or nothing more fits."""
        groups = list(self._groups)
        leading, reserve_s = groups[:1], self._reserve_s(known)
        late_s = (1 - self._policy.budget.leading_share) * self._budget_s
        return (
            self._new_claimants(known, leading)
            or self._further(known, self._claims(known, leading), max(late_s, reserve_s))
            or self._new_claimants(known, groups)
            or self._further(known, self._claims(known, groups), reserve_s)
            or self._recommended(known, groups)
            or self._new_others(known, groups)
            or self._further(known, self._claims(known, groups), 0.0)
            or self._further(known, self._rows(known), 0.0)
        )

    def decided(self, analysis: RunAnalysis) -> set[str]:
        """The ids of the claims that an early look calls decided."""
        claims = Claims(analysis)
        confidence = self._early(claims.confidence)
        return {
            claim.id
            for claim in claims.all
            if (found := claims.compare(claim, confidence=confidence)) and found.is_decided
        }

    # ---- what is new -----------------------------------------------------------------------

    def _new_claimants(self, known: Known, groups: Sequence[Group]) -> Visit | None:
        """The first visit of scenarios that a claim rests on."""
        for group in groups:
            new = [one for one in self._new(known, group) if not _comes_late(one)]
            if group != groups[0] and new:
                new = self._in_the_race(known, group, new)
            compiled = [one for one in new if one.mode is Mode.COMPILE]
            simple = [one for one in new if one not in compiled]
            for wave in (simple, compiled) if len(new) > self._policy.budget.wave else (new,):
                if wave and (visit := self._first_visit(known, group, wave)):
                    return visit
        return None

    def _new_others(self, known: Known, groups: Sequence[Group]) -> Visit | None:
        """The first visit of what no claim needs, as many as fit."""
        for group in groups:
            new = self._new(known, group)
            if new and (visit := self._first_visit(known, group, new)):
                return visit
        return None

    def _new(self, known: Known, group: Group) -> list[Scenario]:
        """Scenarios that were never in a visit. Stock default stands in every one."""
        found = [
            one
            for one in self._groups[group]
            if one.id in known.measurable and not known.visits.get(one.id)
        ]
        alone = all(one.is_stock_default for one in found)
        return [] if alone and self._was_visited(known, group) else found

    def _was_visited(self, known: Known, group: Group) -> bool:
        return any(known.visits.get(one.id) for one in self._groups[group])

    def _first_visit(self, known: Known, group: Group, wave: Sequence[Scenario]) -> Visit | None:
        """That wave with stock default; what does not fit stays out, but for a task's first."""
        must = not any(known.visits.get(one.id) for one in self._of_task(group[0]))
        default = [
            one
            for one in self._groups[group]
            if one.is_stock_default and one.id in known.measurable
        ]
        chosen, left_s = [], known.left_s
        if not must:
            left_s -= sum(2 * self._first_s(known, one) for one in default)
        for one in wave:
            if one in default:
                continue
            left_s -= self._first_s(known, one)
            if must or left_s > 0:
                chosen.append(one.id)
        others = [one for one in self._groups[group] if one.id in known.measurable]
        nothing_else = others == default and (must or known.left_s > 0)
        if not chosen and not nothing_else:
            return None
        names = {*chosen, *(one.id for one in default)}
        return Visit(
            group=group,
            scenarios=self._in_order(group, names),
            rounds=self._profile.max_rounds,
            is_first=True,
        )

    def _of_task(self, task: Task) -> list[Scenario]:
        return [one for one in self._scenarios.values() if one.task is task]

    def _first_s(self, known: Known, scenario: Scenario) -> float:
        """About what a first visit of a scenario takes, by its likes that were measured.

        Those of its own group; else of its task, at another batch size; else whatever there is.
        """
        compiled = scenario.mode is Mode.COMPILE
        every = {self._scenarios[name]: cost for name, cost in known.costs.items()}
        likes = {
            one: cost for one, cost in every.items() if (one.mode is Mode.COMPILE) == compiled
        } or every
        if not likes:
            return 0.0
        same_task = {one: cost for one, cost in likes.items() if one.task is scenario.task}
        same_group = {one: cost for one, cost in likes.items() if one.group == scenario.group}
        factor = 1.0 if same_group else _OTHER_BATCH if same_task else _OTHER_TASK
        costs = list((same_group or same_task or likes).values())
        rounds_s = self._profile.min_rounds * sum(cost.round_s for cost in costs)
        return factor * (sum(cost.first_s for cost in costs) + rounds_s) / len(costs)

    def _reserve_s(self, known: Known) -> float:
        """What is kept for scenarios that were not measured yet."""
        new = [one for group in self._groups for one in self._new(known, group)]
        late = [one for one in new if _comes_late(one)]
        most_s = self._policy.budget.others_share * self._budget_s
        late_s = min(most_s, sum(self._first_s(known, one) for one in late))
        late_s += self._looks_s(known)
        return late_s + sum(self._first_s(known, one) for one in new if one not in late)

    def _looks_s(self, known: Known) -> float:
        """What looking thoroughly at who leads will take, once a group of inference."""
        defaults = [
            one.id
            for one in self._of_task(Task.INFERENCE)
            if one.is_stock_default and one.id not in known.thorough
        ]
        return 2 * sum(self._look_s(known, name) for name in defaults)

    def _in_the_race(self, known: Known, group: Group, new: Sequence[Scenario]) -> list[Scenario]:
        """Those whose twin at the first batch size was not shown to be slower than the best.

        Stock default and what has no twin stay. Training has none: its groups are unlike.
        """
        leading = next(iter(self._groups))
        if leading[0] is not group[0] or group[0] is not Task.INFERENCE:
            return list(new)
        analysis = known.analysis()
        twins = {replace(one, batch_size=group[1]): one.id for one in self._groups[leading]}
        families = _families(analysis, group_name(leading))
        return [
            one
            for one in new
            if one.is_stock_default
            or (twin := twins.get(one)) is None
            or _may_lead(analysis.judge, twin, families, self._policy.budget.race_confidence)
        ]

    # ---- what is open ----------------------------------------------------------------------

    def _claims(self, known: Known, groups: Collection[Group]) -> Iterator[_Question]:
        """The open claims of these groups."""
        analysis = known.analysis()
        labels = {group_name(group) for group in groups}
        claims = Claims(analysis)
        for claim in claims.all:
            if claim.group in labels and (asked := self._question(analysis, claims, claim)):
                yield asked

    def _question(self, analysis: RunAnalysis, claims: Claims, claim: Claim) -> _Question | None:
        """Who would decide a claim; None where it is decided, or has not both sides yet."""
        judge, confidence = analysis.judge, self._early(claims.confidence)
        found = claims.compare(claim, confidence=confidence)
        if found is None or found.is_decided or not found.is_valid:
            return None
        rivals = [(one, found.baseline) for one in claim.candidates if one != found.scenario] + [
            (found.scenario, one) for one in claim.opponents if one != found.baseline
        ]
        close = [
            one if other == found.baseline else other
            for one, other in rivals
            if not judge.compare(one, other, confidence=confidence).is_decided
        ]
        most = self._policy.budget.rivals
        ranked = sorted(close, key=lambda name: -_speed(judge, name, found.baseline))
        unknown = 1 if found.ratio is None else _UNKNOWN_PROCESSES
        return _Question(
            scenarios=(found.scenario, found.baseline, *ranked[:most]),
            processes=found.processes_to_decide or unknown,
        )

    def _rows(self, known: Known) -> Iterator[_Question]:
        """Open rows of speedups.csv, refused ones that surprise, and scenarios with few processes.

        What cannot be right (refused by the model's check, the placebo or the peak) is measured
        once more.
        """
        analysis = known.analysis()
        confidence = self._early(self._policy.verdict.confidence)
        for row in analysis.rows():
            names = (row.scenario, row.baseline)
            measured = known.visits.get(row.scenario, 0) and known.visits.get(row.baseline, 0)
            if row.baseline_kind == BaselineKind.CONTROL or not measured:
                continue
            if {*names} & {*known.hopeless}:
                continue
            if row.verdict == Verdict.INVALID:
                if row.speedup is not None and known.visits.get(row.scenario, 0) == 1:
                    yield _Question(scenarios=names, processes=1)
                continue
            found = analysis.judge.compare(*names, confidence=confidence)
            few = known.visits.get(row.scenario, 0) < self._profile.processes
            if few or not found.is_decided:
                needs = found.processes_to_decide or (1 if few else _UNKNOWN_PROCESSES)
                yield _Question(scenarios=names, processes=needs)

    # ---- who is recommended ----------------------------------------------------------------

    def _recommended(self, known: Known, groups: Sequence[Group]) -> Visit | None:
        """A visit of who leads at inference, if its outputs were compared on few images only."""
        if not self._profile.recommended_parity_s:
            return None
        for group in groups:
            if group[0] is not Task.INFERENCE or not self._was_visited(known, group):
                continue
            claims = Claims(known.analysis())
            found = claims.answer(BEST, group_name(group))
            if found is None or found.scenario in known.thorough:
                continue
            visit = self._repeated(known, group, {found.scenario})
            cost_s = self._visit_s(known, visit.scenarios, visit.rounds)
            cost_s += sum(self._look_s(known, name) for name in visit.scenarios)
            if found.scenario in known.measurable and cost_s <= known.left_s:
                return replace(visit, thorough=frozenset(visit.scenarios))
        return None

    def _look_s(self, known: Known, name: str) -> float:
        """About what comparing a scenario's outputs thoroughly takes: a call an image, or less."""
        cost = known.costs.get(name)
        most_s = self._profile.recommended_parity_s
        return min(most_s, _IMAGES * cost.round_s) if cost else most_s

    def _early(self, confidence: float) -> float:
        return 1 - self._policy.budget.early_error_share * (1 - confidence)

    def _further(
        self, known: Known, questions: Iterable[_Question], until_left_s: float
    ) -> Visit | None:
        """The visit that decides most in its time, if it leaves that much of the budget."""
        if known.left_s <= until_left_s:
            return None
        by_group: dict[Group, list[_Question]] = {}
        for asked in questions:
            if self._may_repeat(known, asked):
                by_group.setdefault(self._scenarios[asked.scenarios[0]].group, []).append(asked)
        best: tuple[float, Visit] | None = None
        for group, open_here in by_group.items():
            names, gain = self._chosen(open_here)
            visit = self._repeated(known, group, names)
            cost_s = self._visit_s(known, visit.scenarios, visit.rounds)
            fits = cost_s <= known.left_s - until_left_s
            if fits and (best is None or gain / cost_s > best[0]):
                best = (gain / cost_s, visit)
        return None if best is None else best[1]

    def _may_repeat(self, known: Known, asked: _Question) -> bool:
        """Whether both of its sides can take part, and have not both had all that a run gives."""
        sides = asked.scenarios[:2]
        counts = [
            known.visits.get(name, 0)
            for name in sides
            if not self._scenarios[name].is_stock_default
        ]
        few = bool(counts) and min(counts) < self._policy.budget.most_processes
        return few and all(name in known.measurable for name in sides)

    def _chosen(self, questions: Sequence[_Question]) -> tuple[set[str], float]:
        """Scenarios of the questions that are nearest to an answer, and what they are worth."""
        names: set[str] = set()
        gain = 0.0
        for asked in sorted(questions, key=lambda one: one.processes):
            wider = names | {*asked.scenarios}
            if names and len(wider) > self._policy.budget.most_in_visit:
                continue
            names = wider
            gain += 1 / asked.processes
        return names, gain

    def _repeated(self, known: Known, group: Group, names: set[str]) -> Visit:
        """A visit of these and stock default, with the rounds that serve a process best."""
        default = {one.id for one in self._groups[group] if one.is_stock_default}
        scenarios = self._in_order(group, {*names, *default} & {*known.measurable})
        return Visit(
            group=group,
            scenarios=scenarios,
            rounds=self._best_rounds(known, group, scenarios),
            is_first=False,
        )

    def _best_rounds(self, known: Known, group: Group, scenarios: Sequence[str]) -> int:
        """Rounds a process: where a second more of either gains the same.

        The variance of a mean over processes is (between + within / rounds) / processes, and a
        process costs its opening and its rounds (the classic allocation of two-stage sampling,
        Cochran 1977, section 10.6).
        """
        least = self._profile.min_rounds
        most = max(least, min(self._profile.max_rounds, self._policy.budget.most_rounds))
        costs = [cost for name in scenarios if (cost := known.costs.get(name))]
        fitted = known.analysis().judge.fitted
        label = group_name(group)
        if not costs or label not in fitted.groups:
            return least
        within = fitted.groups[label].block_variance
        between = fitted.spreads[f"{label}|"].between_processes ** 2
        open_s = sum(cost.open_s for cost in costs)
        round_s = sum(cost.round_s for cost in costs)
        if between <= 0 or round_s <= 0:
            return most
        return min(most, max(least, round(math.sqrt(open_s / round_s * within / between))))

    def _visit_s(self, known: Known, scenarios: Sequence[str], rounds: int) -> float:
        """What a visit takes; stock default twice, because its control comes with it."""
        total_s = 0.0
        for name in scenarios:
            cost = known.costs.get(name)
            if cost is None:
                continue
            workers = 2 if self._scenarios[name].is_stock_default else 1
            total_s += workers * (cost.open_s + rounds * cost.round_s)
        return max(total_s, 1e-9)

    def _in_order(self, group: Group, names: Collection[str]) -> tuple[str, ...]:
        return tuple(one.id for one in self._groups[group] if one.id in names)


def _comes_late(scenario: Scenario) -> bool:
    """Whether no headline rests on it: nobody would choose it, or it runs under a variable."""
    shows = only_shows(scenario.backend, scenario.dtype, scenario.options)
    return shows or bool(variables.of(scenario))


def _families(analysis: RunAnalysis, label: str) -> list[tuple[str, ...]]:
    """The families of the claims of one group."""
    claims = [claim for claim in Claims(analysis).all if claim.group == label]
    return [family for claim in claims for family in (claim.candidates, claim.opponents)]


def _may_lead(
    judge: Judge, name: str, families: Iterable[Sequence[str]], confidence: float
) -> bool:
    """Whether it was not shown to be slower than the best of some family that it belongs to."""
    for family in families:
        best = judge.fastest(family) if name in family else None
        if best is not None and (best == name or _is_close(judge, name, best, confidence)):
            return True
    return False


def _is_close(judge: Judge, one: str, other: str, confidence: float) -> bool:
    """Whether no difference of the two was shown, though both were measured."""
    found = judge.compare(one, other, confidence=confidence)
    return found.is_valid and not found.found and found.ratio is not None


def _speed(judge: Judge, one: str, other: str) -> float:
    ratio = judge.compare(one, other).ratio
    return ratio.estimate if ratio else 0.0
