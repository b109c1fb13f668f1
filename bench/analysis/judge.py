"""The one judge: every verdict of a run, a study, the gate and the selfcheck is made here.

    judge = Judge(measurements, policy)
    judge.compare("inference/ipex/...", "inference/stock/...")      # a Comparison
    judge.best(ipex_scenarios, stock_scenarios)                      # the best of each, compared
    judge.check("inference/b1", "inference/stock/...")              # two identical workers

Nothing else calls the statistics of `bench.analysis.model`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.model import Estimate, Fitted, GroupFit, fit, level_of, mean_of
from bench.plan.scenario import CONTROL_SUFFIX, Verdict
from bench.text.numbers import percent, plural, spell_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.analysis.measurements import BlockTimes, Measurements
    from bench.plan.thresholds import Policy

_FAR_MORE = 50
"""Further processes that nobody would wait for."""
_NO_ROUND = "no round has both it and its baseline: raise the budget or measure fewer scenarios"


def compare(
    measurements: Measurements, candidate: str, baseline: str, policy: Policy
) -> Comparison:
    """The speedup of a candidate over a baseline, judged; for more than one, keep a `Judge`."""
    return Judge(measurements, policy).compare(candidate, baseline)


class Judge:
    """Judges any two participants of some measurements; the model is fitted once.

    Raises (from any method):
        BenchError: a block has a time that is not positive and finite.
    """

    def __init__(self, measurements: Measurements, policy: Policy) -> None:
        self.measurements = measurements
        self.policy = policy

    def barring(self, refuted: Mapping[str, str]) -> Judge:
        """The same judge of the same blocks, for whom these participants are unusable too."""
        barred = {**self.measurements.unusable, **refuted}
        other = Judge(replace(self.measurements, unusable=barred), self.policy)
        other.__dict__["fitted"] = self.fitted
        return other

    @cached_property
    def fitted(self) -> Fitted:
        """The model of all clean blocks."""
        measured = self.measurements
        return fit(
            {
                group: {
                    participant: measured.clean(group, participant) for participant in participants
                }
                for group, participants in measured.groups.items()
            },
            self.policy.model,
            measured.classes,
        )

    # ---- two participants -------------------------------------------------------------------

    def compare(
        self,
        candidate: str,
        baseline: str,
        *,
        group: str | None = None,
        confidence: float | None = None,
    ) -> Comparison:
        """The speedup of a candidate over a baseline.

        A participant that has a control counts with it: both are processes of one scenario. `group`
        names the group where participants stand in several.
        """
        group = group or self.measurements.group_of(candidate, baseline)
        ratio = self._ratio(group, candidate, baseline, confidence or self._confidence)
        return self._judged(group, candidate, baseline, ratio)

    def check(self, group: str, participant: str) -> Comparison | None:
        """Compare a participant with its own control: the model's check of itself, or None."""
        control = participant + CONTROL_SUFFIX
        blocks = self.measurements.groups.get(group, {})
        if not (blocks.get(participant) and blocks.get(control)):
            return None
        ratio = self._ratio(group, participant, control, self._confidence, alone=True)
        return self._judged(group, participant, control, ratio)

    def failed_check(self, group: str) -> str | None:
        """Why the group's variances cannot be believed: two identical workers differ beyond them.

        The check fails where even an interval at the policy's `check_error` excludes everything
        within the minimal effect.
        """
        rule = self.policy.verdict
        for participant in self.measurements.groups.get(group, {}):
            check = self._ratio(
                group, participant, participant + CONTROL_SUFFIX, 1 - rule.check_error, alone=True
            )
            limit = 1 + rule.minimal_effect
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
        """The speedup with its interval; None without a common round."""
        sides = self._sides(group, candidate, baseline, alone=alone)
        if group is None or sides is None:
            return None
        tail = (1 - confidence) / 2
        estimate = self._estimate(group, *sides)
        reach = estimate.half_width(tail)
        return self._as_ratio(group, sides, estimate, down=reach, up=reach)

    def _sides(
        self, group: str | None, candidate: str, baseline: str, *, alone: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Both sides with their controls; None where they have no clean round in common."""
        if group is None:
            return None
        ours = self.measurements.copies(group, candidate)
        theirs = self.measurements.copies(group, baseline)
        if alone or candidate in theirs or baseline in ours:
            ours, theirs = (candidate,), (baseline,)
        return (ours, theirs) if self._common(group, candidate, baseline) else None

    def _estimate(self, group: str, candidate: Sequence[str], baseline: Sequence[str]) -> Estimate:
        """log(baseline's time) - log(candidate's time)."""
        weights = dict.fromkeys(baseline, 1 / len(baseline))
        for participant in candidate:
            weights[participant] = weights.get(participant, 0.0) - 1 / len(candidate)
        return self._fit(group).contrast(weights)

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
        processes = self._fit(group).processes
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
        """The rounds in which both have a clean block.

        Where they never met, those of the one with fewer in which it met a third that the other met
        too: the model compares both with that one.
        """
        clean = self.measurements.clean
        ours, theirs = {*clean(group, one)}, {*clean(group, other)}
        if ours & theirs or not (ours and theirs):
            return ours & theirs
        links = (
            (ours & between, theirs & between)
            for participant in self.measurements.groups.get(group, {})
            if (between := {*clean(group, participant)})
        )
        met = [min(pair, key=len) for pair in links if all(pair)]
        return max(met, key=len, default=set())

    def _fit(self, group: str) -> GroupFit:
        return self.fitted.groups[group]

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
        """The fastest of one family over the fastest of another; None without one on each side.

        `named` is the candidate that stands for its family, if it is usable; else the fastest.

        Both are chosen by the blocks that measure them, so an interval of just those two would be
        too narrow and too kind to whoever had luck. This one holds for the difference of the two
        true bests. That the best candidate beats the best opponent is shown by one candidate that
        beats every opponent; each candidate must then be surer (Bonferroni), while the opponents
        cost nothing (intersection-union, Berger 1982). With one candidate and one opponent it is
        the interval of `compare`.
        """
        group = self._group_of_any(candidates)
        ours = [participant for participant in candidates if self._is_usable(group, participant)]
        theirs = [participant for participant in opponents if self._is_usable(group, participant)]
        if group is None or not ours or not theirs:
            return None
        tail = (1 - (confidence or self._confidence)) / 2
        low = max(
            min(self._bound(group, one, other, tail / len(ours), -1) for other in theirs)
            for one in ours
        )
        high = min(
            max(self._bound(group, one, other, tail / len(theirs), +1) for one in ours)
            for other in theirs
        )
        candidate = named if named in ours else self._fastest(group, ours)
        baseline = self._fastest(group, theirs)
        sides = self._sides(group, candidate, baseline, alone=False)
        if sides is None:
            return self._judged(group, candidate, baseline, None)
        estimate = self._estimate(group, *sides)
        ratio = self._as_ratio(
            group,
            sides,
            estimate,
            down=estimate.log_ratio - low,
            up=high - estimate.log_ratio,
        )
        return self._judged(group, candidate, baseline, ratio)

    def _group_of_any(self, participants: Sequence[str]) -> str | None:
        """The group of a family, of which some may not have been measured."""
        found = (self.measurements.group_of(participant) for participant in participants)
        return next((group for group in found if group is not None), None)

    def _is_usable(self, group: str | None, participant: str) -> bool:
        measured = self.measurements
        barred = participant in measured.unusable or participant in measured.unchecked
        return group is not None and not barred and bool(measured.clean(group, participant))

    def _bound(self, group: str, one: str, other: str, tail: float, sign: int) -> float:
        """One end of the interval of two participants' log speedup."""
        copies = self.measurements.copies
        estimate = self._estimate(group, copies(group, one), copies(group, other))
        return estimate.log_ratio + sign * estimate.half_width(tail)

    def fastest(self, participants: Sequence[str]) -> str | None:
        """The usable participant with the least time; None where none is usable."""
        group = self._group_of_any(participants)
        usable = [
            participant for participant in participants if self._is_usable(group, participant)
        ]
        return self._fastest(group, usable) if group is not None and usable else None

    def _fastest(self, group: str, participants: Sequence[str]) -> str:
        copies = self.measurements.copies
        first = copies(group, participants[0])
        return max(
            participants,
            key=lambda participant: (
                self._estimate(group, copies(group, participant), first).log_ratio
                if participant != participants[0]
                else 0.0
            ),
        )

    # ---- verdicts --------------------------------------------------------------------------

    def _judged(
        self, group: str | None, candidate: str, baseline: str, ratio: Ratio | None
    ) -> Comparison:
        found = Comparison(
            scenario=candidate,
            baseline=baseline,
            ratio=ratio,
            verdict=Verdict.INCONCLUSIVE,
            reason=_NO_ROUND,
            margin=None if ratio is None else self.policy.verdict.minimal_effect,
        )
        objection = self._objection(group, candidate, baseline, ratio)
        if objection is not None:
            return replace(found, verdict=objection[0], reason=objection[1])
        if ratio is None or group is None:
            return found
        verdict = self._by_interval(ratio)
        if verdict is not Verdict.INCONCLUSIVE:
            return replace(found, verdict=verdict, reason=None)
        return self._open(found, ratio, self._pair_seconds(group, candidate, baseline))

    def objection(self, candidate: str, baseline: str) -> str | None:
        """Why no interval of these two may be believed, however narrow; None where none speaks."""
        group = self.measurements.group_of(candidate, baseline)
        ratio = self._ratio(group, candidate, baseline, self._confidence)
        found = self._objection(group, candidate, baseline, ratio)
        return found[1] if found is not None else None

    def _objection(
        self, group: str | None, candidate: str, baseline: str, ratio: Ratio | None
    ) -> tuple[Verdict, str] | None:
        """What speaks against a comparison before its interval is looked at, the gravest first."""
        measured, rule = self.measurements, self.policy.verdict
        if candidate in measured.unusable:
            return Verdict.INVALID, measured.unusable[candidate]
        if baseline in measured.unusable:
            why = measured.unusable[baseline]
            return Verdict.INVALID, f"its baseline {baseline} cannot be used: {why}"
        if noise := self._why_too_noisy(group, candidate, baseline):
            return Verdict.INVALID, noise
        for participant in (candidate, baseline):
            if participant in measured.unchecked:
                return Verdict.INCONCLUSIVE, measured.unchecked[participant]
        if ratio is None or group is None:
            return Verdict.INCONCLUSIVE, _NO_ROUND
        if ratio.rounds < rule.min_rounds:
            return Verdict.INCONCLUSIVE, (
                f"{plural(ratio.rounds, 'paired round')}, {rule.min_rounds} are needed: "
                "raise the budget or measure fewer scenarios"
            )
        if failed := self._failed_checks.get(group):
            return Verdict.INVALID, failed
        if unlike := self._why_unlike(candidate, baseline):
            return Verdict.INCONCLUSIVE, unlike
        return None

    @cached_property
    def _failed_checks(self) -> Mapping[str, str]:
        found = {group: self.failed_check(group) for group in self.measurements.groups}
        return {group: why for group, why in found.items() if why}

    def _why_too_noisy(self, group: str | None, candidate: str, baseline: str) -> str | None:
        """Whether what other work left of the blocks cannot carry a comparison."""
        if group is None:
            return None
        measured, least = self.measurements, self.policy.verdict.min_rounds
        for participant in (candidate, baseline):
            blocks, clean = measured.blocks(group, participant), measured.clean(group, participant)
            if len(clean) < least <= len(blocks):
                return (
                    f"other work disturbed {len(blocks) - len(clean)} of the "
                    f"{plural(len(blocks), 'block')} of {participant}, and {least} clean ones are "
                    "needed: "
                    "stop what else runs on this machine"
                )
        return None

    def _why_unlike(self, candidate: str, baseline: str) -> str | None:
        """Whether one side lost many more blocks: leaving them out would then favour it."""
        shares = self.measurements.disturbed_shares
        one, other = shares.get(candidate, 0.0), shares.get(baseline, 0.0)
        if abs(one - other) <= self.policy.verdict.max_disturbed_gap:
            return None
        return (
            f"other work disturbed {percent(one)} of its calls and {percent(other)} of its "
            "baseline's, so that leaving them out would favour one: stop what else runs here"
        )

    def _by_interval(self, ratio: Ratio) -> Verdict:
        """The verdict of an interval that nothing speaks against."""
        rule = self.policy.verdict
        if ratio.low > 1 + rule.minimal_effect:
            return Verdict.FASTER
        if ratio.high < 1 / (1 + rule.minimal_effect):
            return Verdict.SLOWER
        if 1 / (1 + rule.same_within) <= ratio.low and ratio.high <= 1 + rule.same_within:
            return Verdict.SAME
        return Verdict.INCONCLUSIVE

    def _open(self, found: Comparison, ratio: Ratio, process_s: float) -> Comparison:
        """A comparison whose interval decides nothing, with what would decide it."""
        more = self._further_processes(ratio)
        seconds = more * process_s if more and process_s else None
        if more is None:
            remedy = "only a quieter machine would tell"
        else:
            remedy = f"{plural(more, 'further process', 'further processes')} of each"
            remedy += f", about {spell_seconds(seconds)}, would tell" if seconds else " would tell"
        return replace(
            found,
            reason=(
                f"the interval {ratio.low:.3g} to {ratio.high:.3g} allows both no difference and "
                f"one that matters: {remedy}"
            ),
            processes_to_decide=more,
            seconds_to_decide=seconds,
        )

    def _further_processes(self, ratio: Ratio) -> int | None:
        """How many more of each side decide it if the estimate stays; None for too many to ask."""
        rule = self.policy.verdict
        if ratio.low <= 0 or not math.isfinite(ratio.high):
            return 1
        centre = abs(math.log(ratio.estimate))
        wanted = max(
            centre - math.log1p(rule.minimal_effect), math.log1p(rule.same_within) - centre
        )
        reach = max(math.log(ratio.high / ratio.estimate), math.log(ratio.estimate / ratio.low))
        more = max(1, math.ceil(max(1, ratio.processes) * ((reach / wanted) ** 2 - 1)))
        return more if more <= _FAR_MORE else None

    def _pair_seconds(self, group: str, candidate: str, baseline: str) -> float:
        """What one further process of both sides takes."""
        measured = self.measurements
        participants = {*measured.copies(group, candidate), *measured.copies(group, baseline)}
        return sum(measured.process_s.get(participant, 0.0) for participant in participants)


# ---- values of one participant -------------------------------------------------------------


def level(blocks: BlockTimes, policy: Policy) -> Ratio | None:
    """Estimate a participant's own value (ms, share, rate), with its interval over processes.

    Of one process the interval is over its rounds, and says nothing of how processes differ.
    """
    return _own(level_of(blocks), blocks, policy)


def mean_ratio(logs: Sequence[float], policy: Policy) -> Ratio | None:
    """The geometric mean of independent ratios with its interval; None without any."""
    blocks = {(number, 0): math.exp(value) for number, value in enumerate(logs)}
    return _own(mean_of(logs), blocks, policy)


def _own(
    estimate: Estimate | None, blocks: Mapping[tuple[int, int], float], policy: Policy
) -> Ratio | None:
    if estimate is None:
        return None
    tail = (1 - policy.verdict.confidence) / 2
    reach = estimate.half_width(tail) if math.isfinite(estimate.standard_error) else math.inf
    found = Ratio(
        estimate=math.exp(estimate.log_ratio),
        low=math.exp(estimate.log_ratio - reach),
        high=math.exp(estimate.log_ratio + reach),
        launches=len({launch for launch, _ in blocks}),
        rounds=len(blocks),
        standard_error=estimate.standard_error,
        degrees_of_freedom=estimate.degrees_of_freedom,
    )
    return found if math.isfinite(reach) else replace(found, standard_error=None)
