"""The headlines of a run as claims: two families of scenarios, and which has the faster best. Pure.

    claims = Claims(run_analysis)
    claims.answer("ipex", "inference/b1", "fp32")      # best IPEX over best stock, a Comparison

Each headline compares the best of one family with the best of another, both chosen by the data
(`Judge.best`). All headlines of a run share one error: the chance that any of them is wrong is at
most the policy's `headline_error`, however many there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis.ways import is_a_choice, is_stock_default, may_be_tuned, varied
from bench.plan.scenario import DEFAULT_ENVIRONMENT, MEASURED, Dtype, Verdict
from bench.store.records import ClaimRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.speedups import RunAnalysis
    from bench.store.records import ScenarioRow

BEST = "best"
"""Whatever is fastest over stock default. Without the placebo, which optimises nothing, and without
int8, which is another model."""
IPEX = "ipex"
"""The best of IPEX over the best of stock PyTorch in the same environment and dtype."""
BF16 = "bf16"
"""The best way in bf16 over the best in fp32, stock PyTorch or IPEX, where bf16 is native."""
LEAVING = "leaving"
"""The best stock PyTorch of another environment over the best of IPEX in the same dtype."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One headline: is the best of the candidates faster than the best of the opponents?"""

    kind: str
    """`best`, `ipex`, `bf16` or `leaving`."""
    group: str
    """As in noise.csv: `inference/b8`, `training/b8/frozen`."""
    dtype: str
    """Empty where it does not matter."""
    environment: str
    """Of the candidates."""
    candidates: tuple[str, ...]
    opponents: tuple[str, ...]

    @property
    def id(self) -> str:
        """How the claim is called in files: `ipex/inference/b1/fp32`."""
        where = "" if self.environment == DEFAULT_ENVIRONMENT else self.environment
        return "/".join(part for part in (self.kind, self.group, self.dtype, where) if part)


class Claims:
    """The claims of a run and their answers."""

    def __init__(self, run: RunAnalysis) -> None:
        self._run = run
        self.all: tuple[Claim, ...] = claims_of(run.groups)

    @cached_property
    def confidence(self) -> float:
        """Of each claim's interval, so that together they keep the error of the headlines."""
        error = self._run.policy.verdict.headline_error
        return 1 - error / max(1, len(self.all))

    def find(
        self, kind: str, group: str, dtype: str = "", environment: str = DEFAULT_ENVIRONMENT
    ) -> Claim | None:
        """The claim of that kind; None where the run does not make it."""
        wanted = (kind, group, dtype, environment)
        return next(
            (
                one
                for one in self.all
                if (one.kind, one.group, one.dtype, one.environment) == wanted
            ),
            None,
        )

    def answer(
        self,
        kind: str,
        group: str,
        dtype: str = "",
        environment: str = DEFAULT_ENVIRONMENT,
        *,
        named: str | None = None,
    ) -> Comparison | None:
        """The answer to a claim; None where a side has nothing usable, or nobody makes it.

        `named` is the candidate that the answer is told of; otherwise the fastest.
        """
        claim = self.find(kind, group, dtype, environment)
        found = None if claim is None else self.compare(claim, named=named)
        return found if found is not None and found.ratio is not None else None

    def compare(
        self, claim: Claim, *, confidence: float | None = None, named: str | None = None
    ) -> Comparison | None:
        """The best of the candidates over the best of the opponents; None without one a side."""
        return self._run.judge.best(
            claim.candidates,
            claim.opponents,
            confidence=confidence or self.confidence,
            named=named,
        )

    def rows(self, decided_s: Mapping[str, float]) -> list[ClaimRow]:
        """The rows of claims.csv; `decided_s` says when each claim was decided, by its id."""
        return [self._row(claim, decided_s.get(claim.id)) for claim in self.all]

    def _row(self, claim: Claim, decided_s: float | None) -> ClaimRow:
        found = self.compare(claim)
        ratio = found.ratio if found else None
        return ClaimRow(
            run_id=self._run.run_id,
            claim=claim.id,
            kind=claim.kind,
            group=claim.group,
            dtype=claim.dtype or None,
            environment=claim.environment,
            candidates=" ".join(claim.candidates),
            opponents=" ".join(claim.opponents),
            best=found.scenario if found else None,
            best_opponent=found.baseline if found else None,
            speedup=ratio.estimate if ratio else None,
            speedup_low=ratio.low if ratio else None,
            speedup_high=ratio.high if ratio and math.isfinite(ratio.high) else None,
            confidence=self.confidence,
            verdict=str(found.verdict if found else Verdict.INCONCLUSIVE),
            reason=found.reason if found else "a side of it was not measured",
            decided_s=decided_s,
            processes_to_decide=found.processes_to_decide if found else None,
            seconds_to_decide=found.seconds_to_decide if found else None,
        )


def claims_of(groups: Mapping[str, Sequence[ScenarioRow]]) -> tuple[Claim, ...]:
    """The claims of a run whose rows of scenarios.csv are these, by comparison group."""
    return tuple(
        claim
        for label, rows in groups.items()
        for claim in _claims_of(label, [row for row in rows if not varied(row)])
    )


def _claims_of(label: str, rows: Sequence[ScenarioRow]) -> Iterator[Claim]:
    """Every claim of one comparison group that has both sides."""
    default = [row.scenario for row in rows if is_stock_default(row)]
    leaders = [row.scenario for row in rows if _may_lead(row)]
    others = [
        name for name in dict.fromkeys(r.environment for r in rows) if name != DEFAULT_ENVIRONMENT
    ]
    yield from _claim(BEST, label, "", DEFAULT_ENVIRONMENT, leaders, default)
    low, full = (
        [
            row.scenario
            for row in rows
            if row.environment == DEFAULT_ENVIRONMENT
            and any(_is_native(row, backend, dtype) for backend in ("stock", "ipex"))
        ]
        for dtype in (Dtype.BF16, Dtype.FP32)
    )
    yield from _claim(BF16, label, "", DEFAULT_ENVIRONMENT, low, [*default, *full])
    for dtype in (Dtype.FP32, Dtype.BF16):
        ipex = [row.scenario for row in rows if _is_native(row, "ipex", dtype)]
        stock = [row.scenario for row in rows if may_be_tuned(row, dtype) and is_a_choice(row)]
        yield from _claim(IPEX, label, dtype, DEFAULT_ENVIRONMENT, ipex, [*default, *stock])
        for name in others:
            there = [
                row.scenario
                for row in rows
                if _is_native(row, "stock", dtype) and row.environment == name
            ]
            yield from _claim(LEAVING, label, dtype, name, there, ipex)


def _claim(
    kind: str,
    group: str,
    dtype: str,
    environment: str,
    candidates: Sequence[str],
    opponents: Sequence[str],
) -> Iterator[Claim]:
    if candidates and opponents:
        yield Claim(
            kind=kind,
            group=group,
            dtype=str(dtype),
            environment=environment,
            candidates=tuple(candidates),
            opponents=tuple(dict.fromkeys(opponents)),
        )


def _may_lead(row: ScenarioRow) -> bool:
    """Whether it ran and may be the fastest way."""
    return is_a_choice(row) and not is_stock_default(row) and row.status in MEASURED


def _is_native(row: ScenarioRow, backend: str, dtype: str) -> bool:
    """Whether that backend ran it in that dtype, without emulating it: no way to choose else."""
    ran = row.status in MEASURED and row.native_dtype is not False
    return ran and is_a_choice(row) and (row.backend, row.dtype) == (backend, dtype)
