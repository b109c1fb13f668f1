"""What do we lose or gain by leaving IPEX? The best without it against the best with it. Pure.

    for one in leaving(scenarios, iterations, noise, speedups, DEFAULT.verdict): ...

One answer for every task, batch size, dtype and environment whose stock PyTorch was measured: the
fastest valid stock scenario there against the fastest valid IPEX scenario of the same group, paired
within the rounds that both ran in, like every speedup. So an environment can only be compared with
IPEX where the two were measured in one run.

Both sides are chosen by the rounds that measure them, so the luck that made each the fastest is in
its time. It is on both sides here, of four candidates or more each, and cancels for the most part;
what `speedups` says of stock tuned (1 % at worst) bounds what is left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.scenarios import DEFAULT_ENVIRONMENT, BaselineKind, Status, Verdict
from bench.speedups import block_medians, group_label
from bench.statistics import Ratio, judge, margin, paired_log_ratios, speedup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.policy import VerdictPolicy
    from bench.records import IterationRow, NoiseRow, ScenarioRow, SpeedupRow
    from bench.statistics import BlockMedians

_MEASURED = (Status.OK, Status.NO_STEADY_STATE)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """Leaving IPEX for the stock PyTorch of one environment, for one group and dtype."""

    group: str
    """As in noise.csv: `inference/b8`, `training/b8/frozen`."""
    dtype: str
    environment: str
    stock: ScenarioRow | None
    """The fastest valid stock scenario there; None where none is."""
    ipex: ScenarioRow | None
    """The fastest valid IPEX scenario; None where none is."""
    ratio: Ratio | None
    """IPEX's time over stock's: above 1 leaving makes it faster, below 1 it costs."""
    margin: float | None
    verdict: Verdict
    """Of stock over IPEX: `faster` is a gain by leaving, `slower` a loss."""
    reason: str | None
    """Why there is no verdict, a sentence."""


def leaving(
    scenarios: Iterable[ScenarioRow],
    iterations: Iterable[IterationRow],
    noise: Iterable[NoiseRow],
    speedups: Iterable[SpeedupRow],
    policy: VerdictPolicy,
) -> list[Leaving]:
    """One answer for each group, dtype and environment with both sides in the matrix.

    The order is that of the scenarios; the default environment comes first, as what leaving costs
    a team that stays on the same PyTorch. `speedups` say which scenarios are valid, and hold each
    group's control.
    """
    every = list(scenarios)
    labels = {row.scenario: group_label(row) for row in every}
    run = _Run(block_medians(iterations), labels, list(noise), list(speedups), policy)
    kinds: dict[tuple[str, str], list[ScenarioRow]] = defaultdict(list)
    for row in every:
        kinds[labels[row.scenario], row.dtype].append(row)
    return [
        run.answer(label, dtype, environment, rows)
        for (label, dtype), rows in kinds.items()
        if any(row.backend == "ipex" for row in rows)
        for environment in _environments(rows)
    ]


def _environments(rows: Sequence[ScenarioRow]) -> list[str]:
    """Those with stock scenarios, the default one first."""
    named = dict.fromkeys(row.environment for row in rows if row.backend == "stock")
    return sorted(named, key=lambda name: name != DEFAULT_ENVIRONMENT)


class _Run:
    """What a run's rows say, indexed for these questions."""

    def __init__(
        self,
        blocks: Mapping[str, BlockMedians],
        labels: Mapping[str, str],
        noise: Sequence[NoiseRow],
        speedups: Sequence[SpeedupRow],
        policy: VerdictPolicy,
    ) -> None:
        self._blocks = blocks
        self._policy = policy
        self._quiet = {(row.group, row.launch, row.round): row.quiet for row in noise}
        self._over_default = {
            row.scenario: row for row in speedups if row.baseline_kind == BaselineKind.STOCK_DEFAULT
        }
        self._controls = {
            row.scenario: row for row in speedups if row.baseline_kind == BaselineKind.CONTROL
        }
        self._control_of = {
            labels[name]: _as_ratio(row) for name, row in self._controls.items() if name in labels
        }

    def answer(
        self, label: str, dtype: str, environment: str, rows: Sequence[ScenarioRow]
    ) -> Leaving:
        """The best of both sides against each other, or why there is nothing to compare."""
        there = [r for r in rows if (r.backend, r.environment) == ("stock", environment)]
        with_ipex = [row for row in rows if row.backend == "ipex"]
        stock, ipex = self._best(there), self._best(with_ipex)
        control = self._control_of.get(label)
        ratio = self._ratio(stock, ipex)
        limit = margin(control, ratio.launches, self._policy) if ratio else None
        verdict: Verdict
        reason: str | None
        verdict, reason = self._nothing(there, with_ipex)
        if ratio is not None and limit is not None and stock is not None and ipex is not None:
            verdict, reason = judge(
                ratio,
                control=control,
                margin=limit,
                noisy_share=self._noisy_share(label, stock, ipex),
                invalid_reason=None,
                policy=self._policy,
            )
        return Leaving(
            group=label,
            dtype=dtype,
            environment=environment,
            stock=stock,
            ipex=ipex,
            ratio=ratio,
            margin=limit,
            verdict=verdict,
            reason=reason,
        )

    def _best(self, rows: Sequence[ScenarioRow]) -> ScenarioRow | None:
        """The fastest against stock default, which is 1 itself; only what is valid counts."""
        gains = {row.scenario: gain for row in rows if (gain := self._gain(row)) is not None}
        usable = [row for row in rows if row.scenario in gains]
        return max(usable, key=lambda row: gains[row.scenario], default=None)

    def _gain(self, row: ScenarioRow) -> float | None:
        """Its speedup over stock default; None where it may not be used."""
        if row.status not in _MEASURED:
            return None
        own = self._over_default.get(row.scenario)
        if own is None:
            control = self._controls.get(row.scenario)
            valid = control is not None and control.verdict != Verdict.INVALID
            return 1.0 if valid else None
        return own.speedup if own.verdict != Verdict.INVALID else None

    def _ratio(self, stock: ScenarioRow | None, ipex: ScenarioRow | None) -> Ratio | None:
        if stock is None or ipex is None:
            return None
        pairs = paired_log_ratios(
            self._blocks.get(ipex.scenario, {}), self._blocks.get(stock.scenario, {})
        )
        if not pairs:
            return None
        policy = self._policy
        return speedup(
            pairs, draws=policy.bootstrap_draws, seed=policy.seed, confidence=policy.confidence
        )

    def _noisy_share(self, label: str, one: ScenarioRow, other: ScenarioRow) -> float | None:
        shared = self._blocks[one.scenario].keys() & self._blocks[other.scenario].keys()
        quiet = [self._quiet[k] for key in shared if (k := (label, *key)) in self._quiet]
        return 1 - sum(quiet) / len(quiet) if quiet else None

    def _nothing(
        self, there: Sequence[ScenarioRow], with_ipex: Sequence[ScenarioRow]
    ) -> tuple[Verdict, str]:
        """The verdict and its reason where no ratio can be formed."""
        for rows, name in ((with_ipex, "IPEX"), (there, "stock")):
            if self._best(rows) is None:
                return Verdict.INVALID, f"no {name} scenario is valid{self._first_reason(rows)}"
        return Verdict.INCONCLUSIVE, (
            "no round has both sides: raise the budget or measure fewer scenarios"
        )

    def _first_reason(self, rows: Sequence[ScenarioRow]) -> str:
        judged = [self._over_default.get(row.scenario) for row in rows]
        reasons = [row.reason for row in (*rows, *judged) if row is not None and row.reason]
        return f": {reasons[0].rstrip('.')}" if reasons else ""


def _as_ratio(row: SpeedupRow) -> Ratio | None:
    if row.speedup is None:
        return None
    return Ratio(
        estimate=row.speedup,
        low=row.speedup_low or 0.0,
        high=math.inf if row.speedup_high is None else row.speedup_high,
        launches=row.launches,
        rounds=row.rounds,
    )
