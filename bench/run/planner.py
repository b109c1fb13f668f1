"""Decide what a run measures next, and that it ends: all decided, or no budget left. Pure.

    planner = Planner(scenarios, profile=profile, policy=policy, budget_s=900)
    while (visit := planner.next(known)) is not None:
        ...  # fresh processes of `visit.scenarios`, up to `visit.rounds` paired rounds

A visit is one launch of one comparison group. The order, as `Planner.next` has it:

1. the scenarios of the first group that a claim needs, those without a compiler first; with the
   others stock PyTorch's compile in bf16, which a team without IPEX would use (with a profile's
   `compiles_last` all that compile wait for 6);
2. further processes of the best and their close rivals, until that group's claims are decided, or
   it has had its share of the budget;
3. a comparison of the best scenario's decisions with stock default's, on many more images; then
   the group's int8, which the first screen asks about and no claim is made of;
4. the other groups as in 1 and 2; at a further batch size, scenarios that the first group showed to
   be a fifth slower or more come last;
5. the comparison of 3 for another way that leads in another group;
6. what no claim waits for: variables, what was slower, the rest;
7. compile in bf16 elsewhere and ahead of time, if time is kept to decide their claims again;
8. the comparison of 3 for a best that has changed;
9. what this CPU emulates slowly, but for one scenario that shows in 1 what emulation costs;
10. further processes for open claims, then for open rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.claims import BEST, Claims
from bench.plan import variables
from bench.plan.scenario import Dtype, Mode, Scenario, Task, group_name, only_shows
from bench.run.forecast import Forecast
from bench.run.open_claims import contenders, open_claims, open_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from bench.analysis.speedups import RunAnalysis
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Group
    from bench.plan.thresholds import Policy
    from bench.run.forecast import Cost
    from bench.run.open_claims import Question


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One launch of one comparison group."""

    group: Group
    scenarios: tuple[str, ...]
    """Ids in the matrix' order, with stock default, whose control is added."""
    rounds: int
    """At most."""
    is_first: bool
    """Whether its scenarios were not measured before; each then gets the minimum of rounds."""
    thorough: frozenset[str] = frozenset()
    """Scenarios whose outputs are compared on all images that a minute allows."""


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
    """Analyses the rows so far."""
    thorough: Collection[str] = ()
    """Scenarios whose outputs were compared thoroughly."""
    hopeless: Collection[str] = ()
    """Scenarios whose problem would be the same in fresh processes."""


class Planner:
    """Plans the visits of one run; the same facts give the same next visit."""

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        *,
        profile: Profile,
        policy: Policy,
        budget_s: float,
        slow_dtypes: Collection[Dtype] = (),
    ) -> None:
        self._scenarios = {scenario.id: scenario for scenario in scenarios}
        self._profile = profile
        self._policy = policy
        self._budget_s = budget_s
        self._slow_dtypes = slow_dtypes
        self._groups: dict[Group, list[Scenario]] = {}
        for scenario in scenarios:
            self._groups.setdefault(scenario.group, []).append(scenario)

    def next(self, known: Known) -> Visit | None:
        """Return the next visit; None where nothing is open, or nothing more fits."""
        groups = list(self._groups)
        first, reserve_s = groups[:1], self._reserve_s(known)
        again_s = self._policy.budget.others_share * self._budget_s
        rest_s = (1 - self._policy.budget.leading_share) * self._budget_s
        if self._profile.compiles_last:  # it wants every batch size before any repeat
            rest_s = max(rest_s, reserve_s)
        return (
            self._new_claimants(known, first)
            or self._further(known, self._claims(known, first), rest_s)
            or self._thorough(known, first)
            or self._new_late(known, first, self._is_fast_int8)
            or self._new_claimants(known, groups)
            or self._further(known, self._claims(known, groups), reserve_s)
            or self._thorough(known, groups)
            or self._new_late(known, groups, self._is_other)
            or self._new_late(known, groups, self._is_joining, keep_s=again_s)
            or self._thorough(known, groups, again=True)
            or self._new_late(known, groups, self._is_slow)
            or self._further(known, self._claims(known, groups), 0.0)
            or self._further(known, self._rows(known), 0.0)
        )

    def _forecast(self, known: Known) -> Forecast:
        return Forecast(self._scenarios, known.costs, self._profile, self._policy)

    # ---- first visits ----------------------------------------------------------------------

    def _new_claimants(self, known: Known, groups: Sequence[Group]) -> Visit | None:
        """Return the first visit of scenarios that a claim needs."""
        for group in groups:
            new = [one for one in self._new(known, group) if not self._comes_late(known, one)]
            if group != groups[0] and new:
                first_group = next(iter(self._groups.values()))
                new = contenders(known.analysis(), new, first_group, self._policy)
            compiled = [one for one in new if one.compiles]
            simple = [one for one in new if not one.compiles]
            for wave in (simple, compiled) if len(new) > self._policy.budget.wave else (new,):
                if wave and (visit := self._first_visit(known, group, wave)):
                    return visit
        return None

    def _new_late(
        self,
        known: Known,
        groups: Sequence[Group],
        belongs: Callable[[Scenario], bool],
        *,
        keep_s: float = 0.0,
    ) -> Visit | None:
        """Return the first visit of scenarios that belong to a later turn, as many as fit.

        What starts quickly comes first, then what compiles, then int8, whose calibrating takes
        longest.
        """
        for group in groups:
            new = [one for one in self._new(known, group) if belongs(one)]
            new.sort(key=lambda one: (one.dtype is Dtype.INT8, one.compiles))
            if new and (visit := self._first_visit(known, group, new, keep_s=keep_s)):
                return visit
        return None

    def _new(self, known: Known, group: Group) -> list[Scenario]:
        """Return the scenarios without a visit; stock default alone is not worth another one."""
        found = [
            one
            for one in self._groups[group]
            if one.id in known.measurable and not known.visits.get(one.id)
        ]
        only_default = all(one.is_stock_default for one in found)
        return [] if only_default and self._was_visited(known, group) else found

    def _comes_late(self, known: Known, scenario: Scenario) -> bool:
        eager = scenario.mode is Mode.EAGER and not scenario.is_stock_default
        return (
            comes_late(scenario)
            or self._is_slow(scenario)
            or (self._profile.compiles_last and scenario.compiles)
            or (self._profile.eager_last and eager and self._has_torchscript(known, scenario))
        )

    def _is_fast_int8(self, scenario: Scenario) -> bool:
        return scenario.dtype is Dtype.INT8 and not self._is_slow(scenario)

    def _is_other(self, scenario: Scenario) -> bool:
        return not (_joins_late(scenario) or self._is_slow(scenario))

    def _is_joining(self, scenario: Scenario) -> bool:
        return _joins_late(scenario) and not self._is_slow(scenario)

    def _is_slow(self, scenario: Scenario) -> bool:
        """Return whether its dtype is slow here, and it is not the one scenario that shows it."""
        if scenario.dtype not in self._slow_dtypes:
            return False
        plain = scenario.mode is Mode.EAGER and scenario.backend == "stock"
        leading = scenario.group == next(iter(self._groups))
        return not (plain and leading and scenario.task is Task.INFERENCE)

    def _has_torchscript(self, known: Known, scenario: Scenario) -> bool:
        """Return whether TorchScript may run with its library and dtype; else eager leads there."""
        return any(
            one.mode is Mode.TORCHSCRIPT
            and one.id in known.measurable
            and (one.backend, one.dtype) == (scenario.backend, scenario.dtype)
            for one in self._groups[scenario.group]
        )

    def _was_visited(self, known: Known, group: Group) -> bool:
        return any(known.visits.get(one.id) for one in self._groups[group])

    def _first_visit(
        self, known: Known, group: Group, wave: Sequence[Scenario], *, keep_s: float = 0.0
    ) -> Visit | None:
        """Return a visit of that wave with stock default, without what does not fit the budget.

        The first visit of a task takes place whether it fits or not.
        """
        must = not any(known.visits.get(one.id) for one in self._of_task(group[0]))
        usable = [one for one in self._groups[group] if one.id in known.measurable]
        default = [one for one in usable if one.is_stock_default]
        forecast = self._forecast(known)
        chosen, left_s = [], known.left_s - keep_s
        if not must:
            left_s -= sum(forecast.beside_s(one) for one in default)
        for one in wave:
            if one not in default:
                left_s -= forecast.first_s(one)
                if must or left_s > 0:
                    chosen.append(one.id)
        nothing_else = usable == default and (must or known.left_s > 0)
        if not chosen and not nothing_else:
            return None
        return Visit(
            group=group,
            scenarios=self._in_order(group, {*chosen, *(one.id for one in default)}),
            rounds=self._profile.max_rounds,
            is_first=True,
        )

    def _of_task(self, task: Task) -> list[Scenario]:
        return [one for one in self._scenarios.values() if one.task is task]

    def _reserve_s(self, known: Known) -> float:
        """Return the budget that is kept for first visits and a thorough comparison."""
        forecast = self._forecast(known)
        new = [one for group in self._groups for one in self._new(known, group)]
        late = [one for one in new if self._comes_late(known, one) and not _joins_late(one)]
        late_s = sum(forecast.first_s(one) for one in late)
        early_s = sum(forecast.first_s(one) for one in new if not self._comes_late(known, one))
        defaults = [one.id for one in self._of_task(Task.INFERENCE) if one.is_stock_default]
        # at further batch sizes mostly the same way leads, which is compared once
        due = [name for name in defaults[:1] if name not in known.thorough]
        thorough_s = 2 * sum(forecast.thorough_s(name) for name in due)
        return min(self._policy.budget.others_share * self._budget_s, late_s) + thorough_s + early_s

    # ---- further visits --------------------------------------------------------------------

    def _claims(self, known: Known, groups: Collection[Group]) -> Iterator[Question]:
        yield from open_claims(known.analysis(), groups, self._policy)

    def _rows(self, known: Known) -> Iterator[Question]:
        yield from open_rows(
            known.analysis(), known.visits, known.hopeless, self._profile, self._policy
        )

    def _thorough(
        self, known: Known, groups: Sequence[Group], *, again: bool = False
    ) -> Visit | None:
        """Return a visit of the best at inference, if its outputs were compared on few images.

        In a group that had one for another best, only `again`: between equal ways the lead changes
        with every process.
        """
        if not self._profile.recommended_parity_s:
            return None
        forecast = self._forecast(known)
        for group in groups:
            if group[0] is not Task.INFERENCE or not self._was_visited(known, group):
                continue
            found = Claims(known.analysis()).answer(BEST, group_name(group))
            had = not again and self._had_thorough(known, group)
            if found is None or had or self._was_compared(known, found.scenario):
                continue
            visit = self._repeated(known, group, {found.scenario})
            cost_s = forecast.launch_s(visit.scenarios, visit.rounds)
            cost_s += sum(forecast.thorough_s(name) for name in visit.scenarios)
            if found.scenario in known.measurable and cost_s <= known.left_s:
                return replace(visit, thorough=frozenset(visit.scenarios))
        return None

    def _was_compared(self, known: Known, name: str) -> bool:
        """Return whether this way of running was compared thoroughly, at whatever batch size."""
        ways = {replace(self._scenarios[one], batch_size=1) for one in known.thorough}
        return replace(self._scenarios[name], batch_size=1) in ways

    def _had_thorough(self, known: Known, group: Group) -> bool:
        return any(
            one.id in known.thorough and one.id in known.measurable and not one.is_stock_default
            for one in self._groups[group]
        )

    def _further(
        self, known: Known, questions: Iterable[Question], reserve_s: float
    ) -> Visit | None:
        """Return the visit that decides most for its time and leaves the reserve untouched.

        Where all that would be decided in a group does not fit, the two sides nearest to an answer
        may.
        """
        if known.left_s <= reserve_s:
            return None
        by_group: dict[Group, list[Question]] = {}
        for question in questions:
            if self._may_repeat(known, question):
                group = self._scenarios[question.scenarios[0]].group
                by_group.setdefault(group, []).append(question)
        forecast = self._forecast(known)
        best: tuple[float, Visit] | None = None
        for group, in_group in by_group.items():
            nearest = min(in_group, key=lambda one: one.processes)
            alone = {*nearest.scenarios[:2]}, 1 / nearest.processes
            for names, gain in (self._nearest(in_group), alone):
                visit = self._repeated(known, group, names)
                cost_s = forecast.launch_s(visit.scenarios, visit.rounds)
                if cost_s <= known.left_s - reserve_s:
                    if best is None or gain / cost_s > best[0]:
                        best = (gain / cost_s, visit)
                    break
        return None if best is None else best[1]

    def _may_repeat(self, known: Known, question: Question) -> bool:
        """Return whether both sides can take part, and one may still have further processes."""
        sides = question.scenarios[:2]
        counts = [
            known.visits.get(name, 0)
            for name in sides
            if not self._scenarios[name].is_stock_default
        ]
        few = bool(counts) and min(counts) < self._policy.budget.most_processes
        return few and all(name in known.measurable for name in sides)

    def _nearest(self, questions: Sequence[Question]) -> tuple[set[str], float]:
        """Return the scenarios of the questions nearest to an answer, and the gain of a visit."""
        names: set[str] = set()
        gain = 0.0
        for question in sorted(questions, key=lambda one: one.processes):
            wider = names | {*question.scenarios}
            if not names or len(wider) <= self._policy.budget.most_in_visit:
                names = wider
                gain += 1 / question.processes
        return names, gain

    def _repeated(self, known: Known, group: Group, names: set[str]) -> Visit:
        """Return a visit of these and stock default, with the best number of rounds."""
        default = {one.id for one in self._groups[group] if one.is_stock_default}
        scenarios = self._in_order(group, {*names, *default} & {*known.measurable})
        rounds = self._forecast(known).best_rounds(known.analysis(), group, scenarios)
        return Visit(group=group, scenarios=scenarios, rounds=rounds, is_first=False)

    def _in_order(self, group: Group, names: Collection[str]) -> tuple[str, ...]:
        return tuple(one.id for one in self._groups[group] if one.id in names)


def comes_late(scenario: Scenario) -> bool:
    """Return whether no claim waits for it: no user would choose it, or a variable is set."""
    shows = only_shows(scenario.backend, scenario.dtype, scenario.options)
    return shows or _joins_late(scenario) or bool(variables.of(scenario))


def _is_supported_bf16(scenario: Scenario) -> bool:
    """Return whether it is stock PyTorch's compile in bf16 at one image.

    It comes before its rivals are repeated, or what they decided would be open again when it joins.
    """
    compiled = scenario.mode is Mode.COMPILE and scenario.dtype is Dtype.BF16
    return compiled and scenario.backend == "stock" and scenario.batch_size == 1


def _joins_late(scenario: Scenario) -> bool:
    """Return whether it joins claims when others have had their turn, though a user may choose it.

    Packages compiled ahead of time and compilation in bf16 fuse what TorchScript or compilation in
    fp32 fuses, take many seconds to compile, and each equal way in a family makes the family's
    claim need more processes.
    """
    further = scenario.mode is Mode.AOT or (scenario.compiles and scenario.dtype is Dtype.BF16)
    return further and not _is_supported_bf16(scenario)
