"""From a study's blocks to speedups with verdicts, by a run's own rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import conditions, statistics
from bench.scenarios import CONTROL_SUFFIX, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.policy import VerdictPolicy
    from bench.statistics import BlockMedians, Floats, Ratio
    from bench.studies.study import Measured


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One seat against another."""

    ratio: Ratio | None
    verdict: Verdict
    reason: str | None
    margin: float | None


def compare(
    measured: Measured, seat: str, base: str, group: str, policy: VerdictPolicy
) -> Compared:
    """The speedup of a seat over its base; above 1 the seat is faster."""
    for name in (seat, base):
        if name in measured.failures and not measured.blocks.get(name):
            error = measured.failures[name]
            return Compared(
                ratio=None, verdict=Verdict.INVALID, reason=f"{name}: {error}", margin=None
            )
    ratio = ratio_of(measured.blocks.get(base, {}), measured.blocks.get(seat, {}), policy)
    if ratio is None:
        return Compared(
            ratio=None,
            verdict=Verdict.INCONCLUSIVE,
            reason="no round has both: raise --budget",
            margin=None,
        )
    control = ratio_of(
        measured.blocks.get(base, {}), measured.blocks.get(base + CONTROL_SUFFIX, {}), policy
    )
    margin = statistics.margin(control, ratio.launches, policy)
    differing = measured.workers.get(seat, {}).get(conditions.DIFFERS)
    verdict, reason = statistics.judge(
        ratio,
        control=control,
        margin=margin,
        noisy_share=_noisy_share(measured, group),
        invalid_reason=f"other conditions than {base}'s: {'; '.join(differing)}"
        if differing
        else None,
        policy=policy,
    )
    return Compared(ratio=ratio, verdict=verdict, reason=reason, margin=margin)


def ratio_of(base: BlockMedians, seat: BlockMedians, policy: VerdictPolicy) -> Ratio | None:
    """The paired ratio with its interval; None without a shared round."""
    return interval(statistics.paired_log_ratios(base, seat), policy)


def interval(logs: Sequence[Floats], policy: VerdictPolicy) -> Ratio | None:
    """The median of anything positive with its two-level interval, from its logarithms."""
    if not logs:
        return None
    return statistics.speedup(
        logs, draws=policy.bootstrap_draws, seed=policy.seed, confidence=policy.confidence
    )


def level(blocks: Mapping[tuple[int, int], float], policy: VerdictPolicy) -> Ratio | None:
    """A seat's own value (ms, share, rate) with its interval over launches and rounds."""
    return interval(statistics.paired_log_ratios(blocks, dict.fromkeys(blocks, 1.0)), policy)


def _noisy_share(measured: Measured, group: str) -> float | None:
    quiet = [row.quiet for row in measured.noise if row.group == group]
    return 1 - sum(quiet) / len(quiet) if quiet else None
