"""Two stored runs of one machine: did a scenario's speedup shrink? Compares no times.

Times of two days differ because the days differ; a speedup has its own day's baseline in it. The
runs did not share rounds, so the interval of their quotient holds the uncertainty of both.
"""

from __future__ import annotations

import fnmatch
import math
import shlex
from typing import TYPE_CHECKING, Any

from bench.errors import RecordError
from bench.gate.result import Case, GateReport, Interval, NoVerdictError, Outcome, weigh
from bench.gate.thresholds import DEFAULT, GatePolicy
from bench.plan.scenario import MEASURED, BaselineKind, Verdict
from bench.store.records import read_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.store.records import Run, SpeedupRow

_NEEDED = ("speedups.csv", "scenarios.csv")


def read(folder: Path) -> Run:
    """A run whose summaries are whole.

    Raises:
        RecordError: the folder is not a run, or a file that the verdict rests on is damaged.
    """
    run = read_run(folder)
    for warning in run.warnings:
        if any(name in warning for name in _NEEDED):
            raise RecordError(f"{folder} cannot be judged: {warning}; measure it again")
    return run


def fingerprint(run: Run) -> str:
    """Which machine a run was measured on.

    Raises:
        NoVerdictError: the run does not say.
    """
    found = run.metadata.machine.fingerprint
    if not found:
        raise NoVerdictError(f"{run.folder} does not say on which machine it was measured")
    return found


def machine_name(run: Run) -> str:
    """What people call that machine."""
    return run.metadata.machine.name or "?"


def compare(
    baseline: Run, candidate: Run, *, only: Sequence[str] = (), policy: GatePolicy = DEFAULT
) -> GateReport:
    """Every scenario that the baseline run measured, against the same scenario of the candidate."""
    cases: list[Case] = []
    problem = _different_machines(baseline, candidate)
    if problem is None:
        cases = [_case(row, candidate, policy) for row in _chosen(baseline, only)]
        if not cases:
            problem = _nothing(baseline, only)
    patterns = " ".join(f"--only {shlex.quote(pattern)}" for pattern in only)
    return GateReport(
        title="Stored runs",
        compared=(
            f"Speedups over stock default of {_name(candidate)} against {_name(baseline)}, "
            f"both on {machine_name(baseline)}."
        ),
        repeat=(
            f"bench gate --baseline {shlex.quote(str(baseline.folder))} "
            f"--candidate {shlex.quote(str(candidate.folder))} {patterns}"
        ).strip(),
        cases=tuple(cases),
        problem=problem,
        notes=tuple(_notes(baseline, candidate)),
    )


def _name(run: Run) -> str:
    return run.metadata.run_id or run.folder.name


def _different_machines(baseline: Run, candidate: Run) -> str | None:
    one, other = fingerprint(baseline), fingerprint(candidate)
    if one == other:
        return None
    return (
        f"the runs are of different machines ({machine_name(baseline)}, fingerprint {one}, and "
        f"{machine_name(candidate)}, {other}), and speedups differ between machines: measure both "
        "on one"
    )


def default_rows(run: Run) -> dict[str, SpeedupRow]:
    """Scenario -> its row against stock default.

    Raises:
        RecordError: a scenario has two.
    """
    found: dict[str, SpeedupRow] = {}
    for row in run.speedups:
        if row.baseline_kind != BaselineKind.STOCK_DEFAULT:
            continue
        if row.scenario in found:
            raise RecordError(f"{run.folder}/speedups.csv has {row.scenario} twice: measure again")
        found[row.scenario] = row
    return found


def _chosen(run: Run, only: Sequence[str]) -> list[SpeedupRow]:
    measured = {row.scenario for row in run.scenarios if row.status in MEASURED}
    return [
        row
        for name, row in default_rows(run).items()
        if name in measured and (not only or any(fnmatch.fnmatch(name, p) for p in only))
    ]


def _nothing(run: Run, only: Sequence[str]) -> str:
    which = f" that matches {', '.join(only)}" if only else ""
    return f"{_name(run)} measured no scenario{which} against stock default"


def _case(row: SpeedupRow, candidate: Run, policy: GatePolicy) -> Case:
    other = default_rows(candidate).get(row.scenario)
    before = usable(row)
    after = usable(other) if other else "the candidate run does not have it"
    for side, found in (("baseline", before), ("candidate", after)):
        if isinstance(found, str):
            reason = found if other is None else f"in the {side} run: {found}"
            return Case(scenario=row.scenario, outcome=Outcome.NO_VERDICT, reason=reason)
    if isinstance(before, str) or isinstance(after, str) or other is None:
        raise TypeError("both sides were checked above")
    change = quotient(after, before)
    margin = max(policy.margin, row.margin or 0.0, other.margin or 0.0)
    outcome, reason = weigh(change, margin=margin, ruled_out=policy.ruled_out_stored)
    few = min(row.launches, other.launches)
    if outcome is Outcome.REGRESSION and few < policy.min_launches:
        outcome = Outcome.NO_VERDICT
        reason += f", but {few} launch a run confirms nothing: measure with more"
    return Case(
        scenario=row.scenario,
        outcome=outcome,
        reason=reason,
        ratio=change,
        limit=1 / (1 + margin),
        details={"baseline": _facts(row), "candidate": _facts(other), "margin": margin},
    )


def _facts(row: SpeedupRow) -> dict[str, Any]:
    names = ("speedup", "speedup_low", "speedup_high", "launches", "rounds", "verdict")
    return {name: getattr(row, name) for name in names}


def usable(row: SpeedupRow) -> Interval | str:
    """The row's speedup, or the sentence that says why no verdict can rest on it."""
    if row.verdict == Verdict.INVALID:
        return row.reason or "its verdict is invalid"
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return row.reason or "it has no speedup"
    found = Interval(estimate=row.speedup, low=row.speedup_low, high=row.speedup_high)
    if not found.sound:
        return row.reason or "its interval has no finite ends: more rounds are needed"
    return found


def quotient(above: Interval, below: Interval) -> Interval:
    """Quotient of two independent estimates: half-widths add up as squares, in logs."""
    centre = math.log(above.estimate / below.estimate)
    down = math.hypot(math.log(above.estimate / above.low), math.log(below.high / below.estimate))
    up = math.hypot(math.log(above.high / above.estimate), math.log(below.estimate / below.low))
    return Interval(
        estimate=math.exp(centre), low=math.exp(centre - down), high=math.exp(centre + up)
    )


def _notes(baseline: Run, candidate: Run) -> Iterable[str]:
    for run in (baseline, candidate):
        if not run.metadata.complete:
            yield f"{_name(run)} did not end by itself: it shows what was measured until then."
        yield from (f"{_name(run)}: {warning}" for warning in run.warnings)
    new = default_rows(candidate).keys() - default_rows(baseline).keys()
    if new:
        yield f"Only in the candidate, so not judged: {', '.join(sorted(new))}."
    before, after = (run.metadata.machine.packages for run in (baseline, candidate))
    names = ("intel-extension-for-pytorch", "numpy", "torch")
    changed = [name for name in names if before.get(name) != after.get(name)]
    if before and after and changed:
        yield f"Other versions in the two runs: {', '.join(changed)}."
