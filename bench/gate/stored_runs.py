"""Compare two stored runs of one machine: did a scenario's speedup shrink?

Times are not compared, since days differ; a speedup divides by its own day's baseline. The runs did
not share rounds, so the interval of the quotient contains the uncertainty of both.
"""

from __future__ import annotations

import fnmatch
import math
import shlex
from typing import TYPE_CHECKING

from bench.analysis.comparison import Ratio
from bench.gate.result import Case, GateReport, Outcome, weigh
from bench.gate.stored_speedups import spell_threads
from bench.gate.thresholds import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.gate.stored_speedups import StoredRun
    from bench.store.records import SpeedupRow

_FACTS = ("speedup", "speedup_low", "speedup_high", "launches", "rounds", "verdict")
_PACKAGES = ("intel-extension-for-pytorch", "numpy", "torch")


def compare(
    baseline: StoredRun,
    candidate: StoredRun,
    *,
    only: Sequence[str] = (),
) -> GateReport:
    """Compare every scenario that the baseline run measured with the candidate's.

    Raises:
        NoVerdictError: a run does not say on which machine it was measured.
        RecordError: a run has two rows for one scenario.
    """
    problem = _problem(baseline, candidate, only)
    chosen = [
        scenario
        for scenario in (() if problem else _measured(baseline))
        if not only or any(fnmatch.fnmatch(scenario, pattern) for pattern in only)
    ]
    folders = (baseline.record.folder, candidate.record.folder)
    command = ["bench", "gate", "--baseline", folders[0], "--candidate", folders[1]]
    command += [part for pattern in only for part in ("--only", pattern)]
    return GateReport(
        title="Stored runs",
        compared=(
            f"Speedups over stock default of {candidate.name} against {baseline.name}, "
            f"both on {baseline.machine[1]}."
        ),
        repeat=shlex.join(map(str, command)),
        cases=tuple(_case(scenario, baseline, candidate) for scenario in chosen),
        problem=problem,
        notes=tuple(_notes(baseline, candidate)),
    )


def _problem(baseline: StoredRun, candidate: StoredRun, only: Sequence[str]) -> str | None:
    """Return why nothing of the two runs can be compared, or None."""
    (one, name), (other, other_name) = baseline.machine, candidate.machine
    if one != other:
        return (
            f"the runs are of different machines ({name}, fingerprint {one}, and {other_name}, "
            f"{other}), and speedups differ between machines: measure both on one"
        )
    if baseline.model != candidate.model:
        return (
            f"the runs are of different models ({baseline.model} and {candidate.model}): measure "
            "one model in both"
        )
    measured = _measured(baseline)
    lost = [pattern for pattern in only if not fnmatch.filter(measured, pattern)]
    if lost or not measured:
        which = f" that matches {', '.join(map(repr, lost))}" if lost else ""
        return f"{baseline.name} measured no scenario{which} against stock default"
    return None


def _measured(run: StoredRun) -> list[str]:
    """Return the scenarios that the run measured against stock default."""
    return [scenario for scenario in run.over_stock_default if scenario in run.measured]


def _case(scenario: str, baseline: StoredRun, candidate: StoredRun) -> Case:
    def unknown(reason: str) -> Case:
        return Case(scenario=scenario, outcome=Outcome.NO_VERDICT, reason=reason)

    row = baseline.over_stock_default[scenario]
    before = baseline.usable(row)
    if isinstance(before, str):
        return unknown(f"in the baseline run: {before}")
    other = candidate.over_stock_default.get(scenario)
    if other is None:
        return unknown("the candidate run does not have it")
    after = candidate.usable(other)
    if isinstance(after, str):
        return unknown(f"in the candidate run: {after}")
    if unlike := _other_threads(row, baseline, candidate):
        return unknown(unlike)
    change = quotient(after, before)
    margin = max(DEFAULT.margin, row.margin or 0.0, other.margin or 0.0)
    outcome, reason = weigh(change, margin=margin, ruled_out=DEFAULT.ruled_out_stored)
    if outcome is Outcome.REGRESSION and change.launches < DEFAULT.min_launches:
        outcome = Outcome.NO_VERDICT
        reason += f", but {change.launches} launch a run confirms nothing: measure with more"
    return Case(
        scenario=scenario,
        outcome=outcome,
        reason=reason,
        ratio=change,
        limit=1 / (1 + margin),
        details={
            "baseline": {name: getattr(row, name) for name in _FACTS},
            "candidate": {name: getattr(other, name) for name in _FACTS},
            "margin": margin,
        },
    )


def _other_threads(row: SpeedupRow, baseline: StoredRun, candidate: StoredRun) -> str | None:
    """Return how the threads differ that computed the scenario or what it is divided by."""
    for name in (row.scenario, row.baseline):
        one, other = baseline.threads(name), candidate.threads(name)
        if one != other:
            return (
                f"{name} had {spell_threads(one)} in the baseline run and {spell_threads(other)} "
                "in the candidate run: measure both with the same --threads"
            )
    return None


def quotient(above: Ratio, below: Ratio) -> Ratio:
    """Return the quotient of two independent ratios: half-widths add up as squares, in logs."""
    centre = math.log(above.estimate / below.estimate)
    down = math.hypot(math.log(above.estimate / above.low), math.log(below.high / below.estimate))
    up = math.hypot(math.log(above.high / above.estimate), math.log(below.estimate / below.low))
    return Ratio(
        estimate=math.exp(centre),
        low=math.exp(centre - down),
        high=math.exp(centre + up),
        launches=min(above.launches, below.launches),
        rounds=min(above.rounds, below.rounds),
    )


def _notes(baseline: StoredRun, candidate: StoredRun) -> Iterator[str]:
    for run in (baseline, candidate):
        if not run.record.metadata.complete:
            yield f"{run.name} is incomplete: it shows what was measured until it ended."
        yield from (f"{run.name}: {warning}" for warning in run.record.warnings)
    new = sorted(candidate.over_stock_default.keys() - baseline.over_stock_default.keys())
    if new:
        yield f"Only in the candidate, so not judged: {', '.join(new)}."
    one, other = (run.record.metadata.machine.packages for run in (baseline, candidate))
    changed = [name for name in _PACKAGES if one.get(name) != other.get(name)]
    if one and other and changed:
        yield f"The two runs have other versions of: {', '.join(changed)}."
