"""Floors on speedups within one run, per machine: the policy file, checking it, writing it.

    {"format": "pillqc-bench gate policy", "version": 1,
     "machines": [{"fingerprint": "00de025102b5", "name": "m6i.4xlarge",
                   "floors": [{"scenario": "inference/ipex/eager/fp32/channels_last/b1",
                               "baseline": "stock_default", "speedup_at_least": 1.2}]}]}

JSON, because Python 3.10 reads no TOML and a policy needs no library. Never milliseconds.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError, RecordError
from bench.gate import stored
from bench.gate.result import Case, GateReport, Interval, NoVerdictError, Outcome
from bench.gate.thresholds import DEFAULT, GatePolicy
from bench.plan.scenario import BaselineKind
from bench.store import durable, typed_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.store.records import Run, SpeedupRow

FORMAT = "pillqc-bench gate policy"
VERSION = 1
_BASELINES = (str(BaselineKind.STOCK_DEFAULT), str(BaselineKind.STOCK_TUNED))


@dataclass(frozen=True, kw_only=True)
class Floor:
    """One scenario's speedup must not lie below this."""

    scenario: str
    baseline: str
    """`stock_default` or `stock_tuned`."""
    speedup_at_least: float


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The floors of one machine."""

    fingerprint: str
    name: str = "?"
    floors: tuple[Floor, ...]


@dataclass(frozen=True, kw_only=True)
class _Machines:
    machines: tuple[Machine, ...]


@dataclass(frozen=True, kw_only=True)
class PolicyFile:
    """A policy as read."""

    path: Path
    machines: tuple[Machine, ...]

    def machine(self, fingerprint: str) -> Machine | None:
        """The floors for that machine, or None."""
        return next((m for m in self.machines if m.fingerprint == fingerprint), None)


def read(path: Path) -> PolicyFile:
    """Read a policy.

    Raises:
        BenchError: there is none, or it says something that a policy cannot say.
    """
    try:
        found = typed_json.read_object(path)
        _check_format(found)
        machines = typed_json.convert(_Machines, found).machines
        _check(machines)
    except FileNotFoundError as error:
        raise BenchError(
            f"there is no policy at {path}: write one with `bench gate --write-policy {path} RUN`"
        ) from error
    except ValueError as error:
        raise BenchError(f"the policy {path} is damaged: {error}") from error
    return PolicyFile(path=path, machines=machines)


def _check_format(found: Mapping[str, object]) -> None:
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise ValueError(f'this bench reads "format": "{FORMAT}", "version": {VERSION}')


def _check(machines: Sequence[Machine]) -> None:
    """Raise ValueError for what the types allow and a policy does not."""
    _check_once([machine.fingerprint for machine in machines], "machine")
    for machine in machines:
        if not all([machine.fingerprint, *(floor.scenario for floor in machine.floors)]):
            raise ValueError(f"a fingerprint or a scenario of {machine.name} is empty text")
        _check_once(
            [f"{floor.scenario} over {floor.baseline}" for floor in machine.floors],
            f"floor of {machine.name}",
        )
        for floor in machine.floors:
            if floor.baseline not in _BASELINES:
                known = " or ".join(_BASELINES)
                raise ValueError(f"{floor.scenario}: baseline is {floor.baseline!r}, not {known}")
            if floor.speedup_at_least <= 0:
                raise ValueError(
                    f"{floor.scenario}: speedup_at_least is {floor.speedup_at_least}, not above 0"
                )


def _check_once(names: Sequence[str], what: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"there are two entries for the {what} {twice}")


def check(policy: PolicyFile, run: Run, *, thresholds: GatePolicy = DEFAULT) -> GateReport:
    """Hold a run against the floors of its machine."""
    here = stored.fingerprint(run)
    machine = policy.machine(here)
    cases: tuple[Case, ...] = ()
    problem = None
    if machine is None:
        known = ", ".join(f"{m.name} ({m.fingerprint})" for m in policy.machines) or "none"
        problem = (
            f"the policy has no floors for this machine ({stored.machine_name(run)}, fingerprint "
            f"{here}); it knows: {known}"
        )
    elif not machine.floors:
        problem = f"the policy has no floors for {machine.name} ({here})"
    else:
        rows = _rows(run)
        cases = tuple(_case(floor, rows, thresholds) for floor in machine.floors)
    return GateReport(
        title="Floors on speedups",
        compared=(
            f"Speedups of {run.metadata.run_id or run.folder.name} against the floors of "
            f"{policy.path} for {stored.machine_name(run)}."
        ),
        repeat=(
            f"bench gate --policy {shlex.quote(str(policy.path))} {shlex.quote(str(run.folder))}"
        ),
        cases=cases,
        problem=problem,
        notes=tuple(run.warnings),
    )


def _rows(run: Run) -> dict[tuple[str, str], SpeedupRow]:
    found: dict[tuple[str, str], SpeedupRow] = {}
    for row in run.speedups:
        key = (row.scenario, row.baseline_kind)
        if key in found:
            raise RecordError(f"{run.folder}/speedups.csv has {row.scenario} twice: measure again")
        found[key] = row
    return found


def _case(floor: Floor, rows: dict[tuple[str, str], SpeedupRow], thresholds: GatePolicy) -> Case:
    row = rows.get((floor.scenario, floor.baseline))
    known = any(scenario == floor.scenario for scenario, _ in rows)
    missing = (
        f"the run has no speedup of it over {floor.baseline}"
        if known
        else "the run has no such scenario (`bench scenarios` lists them; was it left out?)"
    )
    found = stored.usable(row) if row else missing
    if isinstance(found, str) or row is None:
        return Case(scenario=floor.scenario, outcome=Outcome.NO_VERDICT, reason=str(found))
    outcome, reason = _held(found, floor, row.launches, thresholds)
    return Case(
        scenario=floor.scenario,
        outcome=outcome,
        reason=reason,
        ratio=found,
        limit=floor.speedup_at_least,
        details={
            "baseline": floor.baseline,
            "launches": row.launches,
            "rounds": row.rounds,
            "verdict": row.verdict,
        },
    )


def _held(
    found: Interval, floor: Floor, launches: int, thresholds: GatePolicy
) -> tuple[Outcome, str]:
    limit = floor.speedup_at_least
    seen = (
        f"{found.estimate:.3f} times {floor.baseline} (between {found.low:.3f} and "
        f"{found.high:.3f}, 95 % sure)"
    )
    if found.low >= limit:
        return Outcome.PASSED, f"{seen}, at least {limit:.3f} is asked"
    if found.high >= limit:
        return Outcome.NO_VERDICT, (
            f"{seen}: the interval holds the floor of {limit:.3f}; more rounds would tell"
        )
    if launches < thresholds.min_launches:
        return Outcome.NO_VERDICT, (
            f"{seen}: below the floor of {limit:.3f}, but one launch confirms nothing: "
            "measure with more"
        )
    return Outcome.REGRESSION, f"{seen}: the whole interval lies below the floor of {limit:.3f}"


def write(path: Path, runs: Sequence[Run], *, thresholds: GatePolicy = DEFAULT) -> PolicyFile:
    """Write a policy from accepted runs; several runs of one machine give the lowest floor.

    A floor lies `floor_slack` below the lower end of the interval, so that the accepted runs pass.
    Machines that the file has already and these runs have not are kept.

    Raises:
        NoVerdictError: no run has a speedup that a floor can rest on.
        BenchError: the file there is not a policy, or cannot be written.
    """
    made: dict[str, Machine] = {m.fingerprint: m for m in _present(path)}
    fresh: dict[str, dict[tuple[str, str], float]] = {}
    names: dict[str, str] = {}
    for run in runs:
        here = stored.fingerprint(run)
        names[here] = stored.machine_name(run)
        floors = fresh.setdefault(here, {})
        for key, row in _rows(run).items():
            found = stored.usable(row)
            if row.baseline_kind not in _BASELINES or isinstance(found, str):
                continue
            if row.launches < thresholds.min_launches:
                continue
            floor = math.floor(1000 * found.low / (1 + thresholds.floor_slack)) / 1000
            floors[key] = min(floor, floors.get(key, floor))
    for here, lowest in fresh.items():
        if not lowest:
            raise NoVerdictError(
                f"no accepted run of {names[here]} has a valid speedup of two launches or more: "
                "measure with a larger budget"
            )
        floors_ = tuple(
            Floor(scenario=scenario, baseline=baseline, speedup_at_least=value)
            for (scenario, baseline), value in sorted(lowest.items())
            if value > 0
        )
        made[here] = Machine(fingerprint=here, name=names[here], floors=floors_)
    policy = PolicyFile(path=path, machines=tuple(made.values()))
    durable.replace(path, _text_of(policy).encode())
    return policy


def _present(path: Path) -> tuple[Machine, ...]:
    return read(path).machines if path.exists() else ()


def _text_of(policy: PolicyFile) -> str:
    machines = [
        {
            "fingerprint": machine.fingerprint,
            "name": machine.name,
            "floors": [vars(floor) for floor in machine.floors],
        }
        for machine in policy.machines
    ]
    whole = {"format": FORMAT, "version": VERSION, "machines": machines}
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"
