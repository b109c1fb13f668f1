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
from bench.errors import RecordError
from bench.gate.result import Case, GateReport, NoVerdictError, Outcome, weigh
from bench.gate.thresholds import DEFAULT, GatePolicy
from bench.plan.scenario import MEASURED, BaselineKind, Verdict
from bench.store.records import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.store.records import Run, SpeedupRow

_NEEDED = ("speedups.csv", "scenarios.csv")
_FACTS = ("speedup", "speedup_low", "speedup_high", "launches", "rounds", "verdict")
_PACKAGES = ("intel-extension-for-pytorch", "numpy", "torch")


def read(folder: Path) -> Run:
    """Read a run whose summaries are whole.

    Raises:
        RecordError: the folder is not a run, or a file that the verdict needs is damaged.
    """
    run = read_run(folder)
    for warning in run.warnings:
        if any(name in warning for name in _NEEDED):
            raise RecordError(f"{folder} cannot be judged: {warning}; measure it again")
    return run


def name_of(run: Run) -> str:
    """Return the run's id."""
    return run.metadata.run_id or run.folder.name


def machine_of(run: Run) -> tuple[str, str]:
    """Return the fingerprint and the name of the machine that the run was measured on.

    Raises:
        NoVerdictError: the run does not say.
    """
    machine = run.metadata.machine
    if not machine.fingerprint:
        raise NoVerdictError(f"{run.folder} does not say on which machine it was measured")
    return machine.fingerprint, machine.name or "?"


def rows_of(run: Run) -> dict[tuple[str, str], SpeedupRow]:
    """Return the run's speedups by scenario and kind of baseline.

    Raises:
        RecordError: a scenario has two.
    """
    found: dict[tuple[str, str], SpeedupRow] = {}
    for row in run.speedups:
        key = (row.scenario, str(row.baseline_kind))
        if key in found:
            raise RecordError(f"{run.folder}/speedups.csv has {row.scenario} twice: measure again")
        found[key] = row
    return found


def usable(row: SpeedupRow) -> Ratio | str:
    """Return the row's speedup, or why no verdict can rest on it."""
    if row.verdict == Verdict.INVALID:
        return row.reason or "its verdict is invalid"
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return row.reason or "it has no speedup"
    found = Ratio(
        estimate=row.speedup,
        low=row.speedup_low,
        high=row.speedup_high,
        launches=row.launches,
        rounds=row.rounds,
    )
    if not found.is_sound:
        return row.reason or "its interval has no finite ends: more rounds are needed"
    return found


def compare(
    baseline: Run, candidate: Run, *, only: Sequence[str] = (), policy: GatePolicy = DEFAULT
) -> GateReport:
    """Compare every scenario that the baseline run measured with the candidate's.

    Raises:
        NoVerdictError: a run does not say on which machine it was measured.
        RecordError: a run has two rows for one scenario.
    """
    (one, name), (other, other_name) = machine_of(baseline), machine_of(candidate)
    before, after = _over_stock_default(baseline), _over_stock_default(candidate)
    measured = {row.scenario for row in baseline.scenarios if row.status in MEASURED}
    chosen = [
        row
        for scenario, row in before.items()
        if scenario in measured and (not only or any(fnmatch.fnmatch(scenario, p) for p in only))
    ]
    problem = None
    if one != other:
        problem = (
            f"the runs are of different machines ({name}, fingerprint {one}, and {other_name}, "
            f"{other}), and speedups differ between machines: measure both on one"
        )
    elif not chosen:
        which = f" that matches {', '.join(only)}" if only else ""
        problem = f"{name_of(baseline)} measured no scenario{which} against stock default"
    command = ["bench", "gate", "--baseline", baseline.folder, "--candidate", candidate.folder]
    command += [part for pattern in only for part in ("--only", pattern)]
    return GateReport(
        title="Stored runs",
        compared=(
            f"Speedups over stock default of {name_of(candidate)} against {name_of(baseline)}, "
            f"both on {name}."
        ),
        repeat=shlex.join(map(str, command)),
        cases=()
        if problem
        else tuple(_case(row, after.get(row.scenario), policy) for row in chosen),
        problem=problem,
        notes=(*_notes(baseline, candidate, sorted(after.keys() - before.keys())),),
    )


def _over_stock_default(run: Run) -> dict[str, SpeedupRow]:
    kind = str(BaselineKind.STOCK_DEFAULT)
    return {scenario: row for (scenario, of), row in rows_of(run).items() if of == kind}


def _case(row: SpeedupRow, other: SpeedupRow | None, policy: GatePolicy) -> Case:
    def unknown(reason: str) -> Case:
        return Case(scenario=row.scenario, outcome=Outcome.NO_VERDICT, reason=reason)

    before = usable(row)
    if isinstance(before, str):
        return unknown(f"in the baseline run: {before}")
    if other is None:
        return unknown("the candidate run does not have it")
    after = usable(other)
    if isinstance(after, str):
        return unknown(f"in the candidate run: {after}")
    change = quotient(after, before)
    margin = max(policy.margin, row.margin or 0.0, other.margin or 0.0)
    outcome, reason = weigh(change, margin=margin, ruled_out=policy.ruled_out_stored)
    if outcome is Outcome.REGRESSION and change.launches < policy.min_launches:
        outcome = Outcome.NO_VERDICT
        reason += f", but {change.launches} launch a run confirms nothing: measure with more"
    return Case(
        scenario=row.scenario,
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


def _notes(baseline: Run, candidate: Run, new: list[str]) -> Iterator[str]:
    for run in (baseline, candidate):
        if not run.metadata.complete:
            yield f"{name_of(run)} is incomplete: it shows what was measured until it ended."
        yield from (f"{name_of(run)}: {warning}" for warning in run.warnings)
    if new:
        yield f"Only in the candidate, so not judged: {', '.join(new)}."
    one, other = (run.metadata.machine.packages for run in (baseline, candidate))
    changed = [name for name in _PACKAGES if one.get(name) != other.get(name)]
    if one and other and changed:
        yield f"The two runs have other versions of: {', '.join(changed)}."
