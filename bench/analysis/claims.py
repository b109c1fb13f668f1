"""Decide the claims of a run: which of two families of scenarios has the faster best? Pure.

    claims = Claims(run_analysis)
    claims.answer("ipex", "inference/b1", "fp32")      # best IPEX over best stock, a Comparison

Each claim compares the best of one family with the best of another, both chosen by the data
(`Judge.best`). The chance that any claim of a run is wrong is at most the policy's
`headline_error`, however many claims there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis.scenario_kinds import is_a_choice, is_stock_default, may_be_tuned, varied
from bench.plan.scenario import DEFAULT_ENVIRONMENT, MEASURED, Dtype, Task, Verdict
from bench.plan.support import is_supported
from bench.store.records import ClaimRow
from bench.text.wording import finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.speedups import RunAnalysis
    from bench.store.records import ScenarioRow

BEST = "best"
"""The fastest way over stock default; without the placebo, which optimises nothing, and without
int8, which is another model."""
IPEX = "ipex"
"""The best of IPEX over the best of stock PyTorch in the same environment and dtype."""
BF16 = "bf16"
"""The best way in bf16 over the best in fp32, stock PyTorch or IPEX, where bf16 is native."""
LEAVING = "leaving"
"""The best stock PyTorch of another environment over the best of IPEX in the same dtype."""
SUPPORTED = "supported"
"""At inference with the smallest batch: the best way that rests on nothing archived, deprecated or
private, over the best of the ways that do."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim: is the best of the candidates faster than the best of the opponents?"""

    kind: str
    """`best`, `supported`, `ipex`, `bf16` or `leaving`."""
    group: str
    """As in noise.csv: `inference/b8`, `training/b8/frozen`."""
    dtype: str
    """Empty if it does not matter."""
    environment: str
    """Of the candidates."""
    candidates: tuple[str, ...]
    opponents: tuple[str, ...]

    @property
    def id(self) -> str:
        """The claim's name in files: `ipex/inference/b1/fp32`."""
        where = "" if self.environment == DEFAULT_ENVIRONMENT else self.environment
        return "/".join(part for part in (self.kind, self.group, self.dtype, where) if part)


class Claims:
    """The claims of a run and their answers."""

    def __init__(self, run: RunAnalysis) -> None:
        self._run = run
        self.all: tuple[Claim, ...] = claims_of(run.groups)

    @cached_property
    def confidence(self) -> float:
        """Of each claim's interval, so that all claims together keep `headline_error`."""
        error = self._run.policy.verdict.headline_error
        return 1 - error / max(1, len(self.all))

    def find(
        self, kind: str, group: str, dtype: str = "", environment: str = DEFAULT_ENVIRONMENT
    ) -> Claim | None:
        """Return the claim of that kind; None if the run does not make it."""
        wanted = (kind, group, dtype, environment)
        return next(
            (c for c in self.all if (c.kind, c.group, c.dtype, c.environment) == wanted), None
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
        """Return the answer to a claim; None if the run has none, or a side has nothing usable.

        `named` is the candidate that the answer is about; by default the fastest.
        """
        claim = self.find(kind, group, dtype, environment)
        found = None if claim is None else self.compare(claim, named=named)
        return found if found is not None and found.ratio is not None else None

    def compare(
        self, claim: Claim, *, confidence: float | None = None, named: str | None = None
    ) -> Comparison | None:
        """Compare the best of the candidates with the best of the opponents; None without both."""
        return self._run.judge.best(
            claim.candidates,
            claim.opponents,
            confidence=confidence or self.confidence,
            named=named,
        )

    def best_over(
        self, names: Sequence[str], default: ScenarioRow, *, named: str | None = None
    ) -> Comparison | None:
        """Compare the fastest of `names`, or `named`, with stock default; None without any.

        The data choose it from all of them, so its interval is that of the best, as for a headline.
        """
        judge, confidence = self._run.judge, self.confidence
        return judge.best(names, (default.scenario,), confidence=confidence, named=named)

    def rows(self, decided_s: Mapping[str, float]) -> list[ClaimRow]:
        """Return the rows of claims.csv; `decided_s` has when each claim was decided, by its id."""
        return [self._row(claim, decided_s.get(claim.id)) for claim in self.all]

    def _unanswered(self, claim: Claim) -> tuple[Verdict, str]:
        """Return the verdict and its reason where a side has nothing usable."""
        judge = self._run.judge
        sides = (claim.candidates, claim.opponents)
        names = next(names for names in sides if judge.fastest(names) is None)
        refused = [why for name in names if (why := judge.measurements.unusable.get(name))]
        if len(refused) == len(names):
            return Verdict.INVALID, refused[0]
        return Verdict.INCONCLUSIVE, "a side of it was not measured"

    def _row(self, claim: Claim, decided_s: float | None) -> ClaimRow:
        found = self.compare(claim)
        ratio = found.ratio if found else None
        verdict, reason = (found.verdict, found.reason) if found else self._unanswered(claim)
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
            speedup_high=finite(ratio.high) if ratio else None,
            confidence=self.confidence,
            verdict=str(verdict),
            reason=reason,
            decided_s=decided_s,
            processes_to_decide=found.processes_to_decide if found else None,
            seconds_to_decide=found.seconds_to_decide if found else None,
        )


def claims_of(groups: Mapping[str, Sequence[ScenarioRow]]) -> tuple[Claim, ...]:
    """Return the claims of a run from its rows of scenarios.csv by comparison group."""
    return tuple(
        claim
        for label, rows in groups.items()
        for claim in _claims_of(label, [row for row in rows if not varied(row)])
        if claim.candidates
        and claim.opponents
        and (claim.kind != SUPPORTED or label == advised_group(groups))
    )


def advised_group(groups: Mapping[str, Sequence[ScenarioRow]]) -> str | None:
    """Return inference at the smallest batch size, for which advice is a claim; None without it.

    Every claim costs time and widens the intervals of all; further groups compare without one.
    """
    sizes = {
        label: row.batch_size
        for label, rows in groups.items()
        for row in rows
        if row.task == Task.INFERENCE
    }
    return min(sizes, key=sizes.__getitem__, default=None)


def _claims_of(label: str, rows: Sequence[ScenarioRow]) -> Iterator[Claim]:
    """Yield the claims of one comparison group; a side may be empty."""

    def claim(
        kind: str,
        candidates: Iterable[ScenarioRow],
        opponents: Iterable[ScenarioRow],
        dtype: str = "",
        environment: str = DEFAULT_ENVIRONMENT,
    ) -> Claim:
        return Claim(
            kind=kind,
            group=label,
            dtype=str(dtype),
            environment=environment,
            candidates=tuple(row.scenario for row in candidates),
            opponents=tuple(dict.fromkeys(row.scenario for row in opponents)),
        )

    default = [row for row in rows if is_stock_default(row)]
    ran = [row for row in rows if row.status in MEASURED and is_a_choice(row)]
    leaders = [row for row in ran if not is_stock_default(row)]
    yield claim(BEST, leaders, default)
    others = [row for row in leaders if not is_supported(row)]
    yield claim(SUPPORTED, [*default, *filter(is_supported, leaders)], others)
    low, full = (
        [
            row
            for row in rows
            if row.environment == DEFAULT_ENVIRONMENT
            and any(_is_native(row, backend, dtype) for backend in ("stock", "ipex"))
        ]
        for dtype in (Dtype.BF16, Dtype.FP32)
    )
    yield claim(BF16, low, [*default, *full])
    for dtype in (Dtype.FP32, Dtype.BF16):
        ipex = [row for row in rows if _is_native(row, "ipex", dtype)]
        stock = [row for row in rows if may_be_tuned(row, dtype) and is_a_choice(row)]
        yield claim(IPEX, ipex, [*default, *stock], dtype)
        for name in dict.fromkeys(row.environment for row in rows):
            if name != DEFAULT_ENVIRONMENT:
                there = [r for r in rows if _is_native(r, "stock", dtype) and r.environment == name]
                yield claim(LEAVING, there, ipex, dtype, name)


def _is_native(row: ScenarioRow, backend: str, dtype: str) -> bool:
    """Return whether it ran with that backend and dtype, not emulated, and may be chosen."""
    ran = row.status in MEASURED and row.native_dtype is not False
    return ran and is_a_choice(row) and (row.backend, row.dtype) == (backend, dtype)
