"""Make every verdict of a run, a study, the gate and the selfcheck: the one judge.

    judge = Judge(measurements, policy)
    judge.compare("inference/ipex/...", "inference/stock/...")      # a Comparison
    judge.best(ipex_scenarios, stock_scenarios)                      # the best of each, compared
    judge.check("inference/b1", "inference/stock/...")              # two identical workers

No other module calls the statistics of `bench.analysis.noise_model`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis import verdicts
from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.noise_model import Estimate, Fitted, fit, level_of, mean_of
from bench.plan.scenario import CONTROL_SUFFIX, Verdict
from bench.text.wording import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.analysis.measurements import BlockTimes, Measurements
    from bench.plan.thresholds import Policy


class Judge:
    """Judges any two participants of some measurements. The model is fitted once.

    Raises (from any method):
        BenchError: a block has a time that is not positive and finite.
    """

    def __init__(self, measurements: Measurements, policy: Policy) -> None:
        self.measurements = measurements
        self.policy = policy
        self._estimates: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Estimate] = {}

    def barring(self, refuted: Mapping[str, str]) -> Judge:
        """Return a judge of the same blocks for whom these participants are unusable too."""
        barred = {**self.measurements.unusable, **refuted}
        other = Judge(replace(self.measurements, unusable=barred), self.policy)
        other.__dict__["fitted"] = self.fitted
        other._estimates = self._estimates
        return other

    @cached_property
    def fitted(self) -> Fitted:
        """The model of all clean blocks."""
        measured = self.measurements
        return fit(measured.all_clean, self.policy.model, measured.classes)

    # ---- two participants -------------------------------------------------------------------

    def compare(
        self,
        candidate: str,
        baseline: str,
        *,
        group: str | None = None,
        confidence: float | None = None,
    ) -> Comparison:
        """Return the speedup of a candidate over a baseline, judged.

        A participant that has a control counts with it: both are processes of one scenario. `group`
        names the group of participants that are in several.
        """
        group = group or self.measurements.group_of(candidate, baseline)
        ratio = self._ratio(group, candidate, baseline, confidence or self._confidence)
        return self._judged(group, candidate, baseline, ratio)

    def check(self, group: str, participant: str) -> Comparison | None:
        """Compare a participant with its own control, as the model's check; None without one."""
        control = participant + CONTROL_SUFFIX
        blocks = self.measurements.groups.get(group, {})
        if not (blocks.get(participant) and blocks.get(control)):
            return None
        ratio = self._ratio(group, participant, control, self._confidence, alone=True)
        return self._judged(group, participant, control, ratio)

    def failed_check(self, group: str) -> str | None:
        """Return why a group's variances are refuted by two identical workers, or None.

        The check fails where even an interval at the policy's `check_error` excludes everything
        within the minimal effect.
        """
        rule = self.policy.verdict
        limit = 1 + rule.minimal_effect
        for participant in self.measurements.groups.get(group, {}):
            check = self._ratio(
                group, participant, participant + CONTROL_SUFFIX, 1 - rule.check_error, alone=True
            )
            if (
                check
                and check.rounds >= rule.min_rounds
                and (check.low > limit or check.high < 1 / limit)
            ):
                return (
                    f"two identical workers differed by {percent(abs(check.estimate - 1))}, more "
                    f"than the model allows in {1 / rule.check_error:,.0f} runs: the machine "
                    "favoured one of them; measure again"
                )
        return None

    def _ratio(
        self,
        group: str | None,
        candidate: str,
        baseline: str,
        confidence: float,
        *,
        alone: bool = False,
    ) -> Ratio | None:
        """Return the speedup with its interval; None without a common round."""
        sides = self._sides(group, candidate, baseline, alone=alone)
        if group is None or sides is None:
            return None
        estimate = self._estimate(group, *sides)
        reach = estimate.half_width((1 - confidence) / 2)
        return self._as_ratio(group, sides, estimate, down=reach, up=reach)

    def _sides(
        self, group: str | None, candidate: str, baseline: str, *, alone: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return both sides with their controls; None without a common clean round."""
        if group is None:
            return None
        ours = self.measurements.copies(group, candidate)
        theirs = self.measurements.copies(group, baseline)
        if alone or candidate in theirs or baseline in ours:
            ours, theirs = (candidate,), (baseline,)
        return (ours, theirs) if self._common(group, candidate, baseline) else None

    def _estimate(self, group: str, candidate: Sequence[str], baseline: Sequence[str]) -> Estimate:
        """Estimate log(baseline's time) - log(candidate's time), once: every family asks again."""
        key = (group, tuple(candidate), tuple(baseline))
        if key not in self._estimates:
            self._estimates[key] = self._contrast(group, candidate, baseline)
        return self._estimates[key]

    def _contrast(self, group: str, candidate: Sequence[str], baseline: Sequence[str]) -> Estimate:
        weights = dict.fromkeys(baseline, 1 / len(baseline))
        for participant in candidate:
            weights[participant] = weights.get(participant, 0.0) - 1 / len(candidate)
        return self.fitted.groups[group].contrast(weights)

    def _as_ratio(
        self,
        group: str,
        sides: tuple[Sequence[str], Sequence[str]],
        estimate: Estimate,
        *,
        down: float,
        up: float,
    ) -> Ratio:
        common = self._common(group, sides[0][0], sides[1][0])
        processes = self.fitted.groups[group].processes
        known = len(common) > 1
        return Ratio(
            estimate=math.exp(estimate.log_ratio),
            low=math.exp(estimate.log_ratio - down) if known else 0.0,
            high=math.exp(estimate.log_ratio + up) if known else math.inf,
            launches=len({launch for launch, _ in common}),
            rounds=len(common),
            standard_error=estimate.standard_error if known else None,
            degrees_of_freedom=estimate.degrees_of_freedom if known else None,
            processes=min(sum(processes[participant] for participant in side) for side in sides),
            borrowed=estimate.borrowed,
            p_value=estimate.p_value if known else None,
        )

    def _common(self, group: str, one: str, other: str) -> set[tuple[int, int]]:
        """Return the rounds in which both have a clean block.

        If they are too few, the model compares both with a third participant that each shares
        rounds with: then the rounds that the one with fewer shares with it.
        """
        clean = self.measurements.clean
        ours, theirs = {*clean(group, one)}, {*clean(group, other)}
        direct = ours & theirs
        if len(direct) >= self.policy.verdict.min_rounds:
            return direct
        links = (
            (ours & between, theirs & between)
            for participant in self.measurements.groups.get(group, {})
            if (between := {*clean(group, participant)})
        )
        met = [min(pair, key=len) for pair in links if all(pair)]
        return max((direct, *met), key=len)

    @property
    def _confidence(self) -> float:
        return self.policy.verdict.confidence

    # ---- the best of two families ----------------------------------------------------------

    def best(
        self,
        candidates: Sequence[str],
        opponents: Sequence[str],
        *,
        confidence: float | None = None,
        named: str | None = None,
    ) -> Comparison | None:
        """Compare the fastest of one family with the fastest of another; None if one is empty.

        `named` is the candidate that represents its family, if it is usable; else the fastest.

        The blocks that measure the participants also choose the fastest, so the interval of just
        those two would be too narrow. This one covers the difference of the two true bests. One
        candidate that beats every opponent shows that the best candidate beats the best opponent;
        each candidate then needs a higher confidence (Bonferroni), while the opponents cost nothing
        (intersection-union, Berger 1982). With one candidate and one opponent it is the interval of
        `compare`.

        A candidate that may be compared with no opponent, for its noise, is left out. The best of
        the family may then be faster than it seems, so only `faster` can be shown.
        """
        group = self._group_of_any(candidates)
        ours, theirs = self._usable(group, candidates), self._usable(group, opponents)
        if group is None or not ours or not theirs:
            return None
        chosen = [
            one for one in ours if any(self.objection(one, other) is None for other in theirs)
        ] or ours
        tail = (1 - (confidence or self._confidence)) / 2
        low = max(
            min(self._bound(group, one, other, tail / len(chosen), -1) for other in theirs)
            for one in chosen
        )
        high = min(
            max(self._bound(group, one, other, tail / len(theirs), +1) for one in chosen)
            for other in theirs
        )
        candidate = named if named in chosen else self._by_speed(group, chosen)[0]
        baseline = self._by_speed(group, theirs)[0]
        sides = self._sides(group, candidate, baseline, alone=False)
        if sides is None:
            return self._judged(group, candidate, baseline, None)
        estimate = self._estimate(group, *sides)
        reach = {"down": estimate.log_ratio - low, "up": high - estimate.log_ratio}
        ratio = self._as_ratio(group, sides, estimate, **reach)
        found = self._judged(group, candidate, baseline, ratio)
        left_out = next((one for one in ours if one not in chosen), None)
        if left_out is None or found.verdict not in (Verdict.SLOWER, Verdict.SAME):
            return found
        why = f"{left_out} may be faster: {self.objection(left_out, baseline)}"
        return replace(found, verdict=Verdict.INCONCLUSIVE, reason=why)

    def _group_of_any(self, participants: Sequence[str]) -> str | None:
        """Return the group of a family, of which some may not have been measured."""
        found = map(self.measurements.group_of, participants)
        return next((group for group in found if group is not None), None)

    def _usable(self, group: str | None, participants: Sequence[str]) -> list[str]:
        barred = self.measurements.unusable.keys() | self.measurements.unchecked
        clean = self.measurements.all_clean.get(group or "", {})
        return [one for one in participants if one not in barred and clean.get(one)]

    def _bound(self, group: str, one: str, other: str, tail: float, sign: int) -> float:
        """Return one end of the interval of two participants' log speedup."""
        copies = self.measurements.copies
        estimate = self._estimate(group, copies(group, one), copies(group, other))
        return estimate.log_ratio + sign * estimate.half_width(tail)

    def fastest(self, participants: Sequence[str]) -> str | None:
        """Return the usable participant with the shortest time, or None."""
        return next(iter(self.fastest_first(participants)), None)

    def fastest_first(self, participants: Sequence[str]) -> list[str]:
        """Return the usable participants of one group, the one with the shortest time first."""
        group = self._group_of_any(participants)
        usable = self._usable(group, participants)
        return self._by_speed(group, usable) if group is not None and usable else []

    def _by_speed(self, group: str, participants: Sequence[str]) -> list[str]:
        copies = self.measurements.copies
        first = copies(group, participants[0])

        def slowness(participant: str) -> float:
            if participant == participants[0]:
                return 0.0
            found = self._estimate(group, copies(group, participant), first)
            return -found.log_ratio if math.isfinite(found.standard_error) else math.inf

        return sorted(participants, key=slowness)

    # ---- verdicts --------------------------------------------------------------------------

    def _judged(
        self, group: str | None, candidate: str, baseline: str, ratio: Ratio | None
    ) -> Comparison:
        found = Comparison(
            scenario=candidate,
            baseline=baseline,
            ratio=ratio,
            verdict=Verdict.INCONCLUSIVE,
            reason=verdicts.NO_ROUND,
            margin=None if ratio is None else self.policy.verdict.minimal_effect,
        )
        objection = self._objection(group, candidate, baseline, ratio)
        if objection is not None:
            return replace(found, verdict=objection[0], reason=objection[1])
        if ratio is None or group is None:
            return found
        verdict = verdicts.by_interval(ratio, self.policy.verdict)
        if verdict is not Verdict.INCONCLUSIVE:
            return replace(found, verdict=verdict, reason=None)
        more = verdicts.further_processes(ratio, self.policy.verdict)
        process_s = self._pair_seconds(group, candidate, baseline)
        seconds = more * process_s if more and process_s else None
        return replace(
            found,
            reason=verdicts.why_open(ratio, more, seconds),
            processes_to_decide=more,
            seconds_to_decide=seconds,
        )

    def objection(self, candidate: str, baseline: str) -> str | None:
        """Return why these two may not be compared, however narrow their interval; or None."""
        group = self.measurements.group_of(candidate, baseline)
        ratio = self._ratio(group, candidate, baseline, self._confidence)
        found = self._objection(group, candidate, baseline, ratio)
        return found[1] if found is not None else None

    def _objection(
        self, group: str | None, candidate: str, baseline: str, ratio: Ratio | None
    ) -> tuple[Verdict, str] | None:
        """Return the gravest reason against a comparison that its interval does not show."""
        measured, rule = self.measurements, self.policy.verdict
        pair = (candidate, baseline)
        if candidate in measured.unusable:
            return Verdict.INVALID, measured.unusable[candidate]
        if baseline in measured.unusable:
            why = measured.unusable[baseline]
            return Verdict.INVALID, f"its baseline {baseline} cannot be used: {why}"
        for name in pair if group is not None else ():
            if noise := verdicts.too_noisy(measured, str(group), name, rule.min_rounds):
                return Verdict.INVALID, noise
        for name in pair:
            if name in measured.unchecked:
                return Verdict.INCONCLUSIVE, measured.unchecked[name]
        if few := verdicts.too_few_rounds(ratio, rule):
            return Verdict.INCONCLUSIVE, few
        if failed := self._failed_checks.get(str(group)):
            return Verdict.INVALID, failed
        if unlike := verdicts.unlike_disturbed(measured, *pair, rule.max_disturbed_gap):
            return Verdict.INCONCLUSIVE, unlike
        return None

    @cached_property
    def _failed_checks(self) -> Mapping[str, str | None]:
        return {group: self.failed_check(group) for group in self.measurements.groups}

    def _pair_seconds(self, group: str, candidate: str, baseline: str) -> float:
        """Return the seconds that one further process of both sides takes."""
        copies, process_s = self.measurements.copies, self.measurements.process_s
        both = dict.fromkeys((*copies(group, candidate), *copies(group, baseline)))
        return sum(process_s.get(participant, 0.0) for participant in both)


# ---- values of one participant -------------------------------------------------------------


def level(blocks: BlockTimes, policy: Policy) -> Ratio | None:
    """Estimate a participant's own value (ms, share, rate), with its interval over processes.

    With one process the interval is over its rounds, and does not include how processes differ.
    """
    return _own(level_of(blocks), blocks, policy)


def mean_ratio(logs: Sequence[float], policy: Policy) -> Ratio | None:
    """Return the geometric mean of independent ratios with its interval; None without any."""
    blocks = {(number, 0): math.exp(value) for number, value in enumerate(logs)}
    return _own(mean_of(logs), blocks, policy)


def _own(
    estimate: Estimate | None, blocks: Mapping[tuple[int, int], float], policy: Policy
) -> Ratio | None:
    if estimate is None:
        return None
    tail = (1 - policy.verdict.confidence) / 2
    known = math.isfinite(estimate.standard_error)
    reach = estimate.half_width(tail) if known else math.inf
    return Ratio(
        estimate=math.exp(estimate.log_ratio),
        low=math.exp(estimate.log_ratio - reach),
        high=math.exp(estimate.log_ratio + reach),
        launches=len({launch for launch, _ in blocks}),
        rounds=len(blocks),
        standard_error=estimate.standard_error if known else None,
        degrees_of_freedom=estimate.degrees_of_freedom,
    )
