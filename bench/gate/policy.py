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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, RecordError
from bench.gate import stored
from bench.gate.result import Case, GateReport, Interval, NoVerdictError, Outcome
from bench.gate.thresholds import DEFAULT, GatePolicy
from bench.plan.scenario import BaselineKind
from bench.store import durable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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
    name: str
    floors: tuple[Floor, ...]


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
        content = durable.read(path)
    except FileNotFoundError as error:
        raise BenchError(
            f"there is no policy at {path}: write one with `bench gate --write-policy {path} RUN`"
        ) from error
    try:
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
        return PolicyFile(path=path, machines=tuple(_machines(found)))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"the policy {path} is damaged: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once: the second of two would silently win."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key stands twice in {sorted(key for key, _ in pairs)}")
    return found


def _machines(found: object) -> Iterable[Machine]:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f'it does not start with "format": "{FORMAT}"')
    if found.get("version") != VERSION:
        raise ValueError(f"its version is {found.get('version')!r}, this bench reads {VERSION}")
    seen: set[str] = set()
    for entry in _list(found, "machines"):
        print_ = _text(entry, "fingerprint")
        if print_ in seen:
            raise ValueError(f"the machine {print_} stands twice")
        seen.add(print_)
        floors = tuple(_floor(floor) for floor in _list(entry, "floors"))
        keys = [(floor.scenario, floor.baseline) for floor in floors]
        if len(set(keys)) != len(keys):
            raise ValueError(f"machine {print_} has two floors for one scenario and baseline")
        yield Machine(fingerprint=print_, name=str(entry.get("name", "?")), floors=floors)


def _floor(entry: object) -> Floor:
    scenario = _text(entry, "scenario")
    baseline = _text(entry, "baseline")
    if baseline not in _BASELINES:
        raise ValueError(f"{scenario}: baseline is {baseline!r}, not {' or '.join(_BASELINES)}")
    value = entry.get("speedup_at_least") if isinstance(entry, dict) else None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(float(value)) or value <= 0:  # type: ignore[arg-type,operator] # `number` says so
        raise ValueError(f"{scenario}: speedup_at_least is {value!r}, not a number above 0")
    return Floor(scenario=scenario, baseline=baseline, speedup_at_least=float(value))  # type: ignore[arg-type] # checked


def _list(entry: object, key: str) -> list[Any]:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, list):
        raise ValueError(f"`{key}` is not a list")  # noqa: TRY004 - one kind of error for a damaged file
    return value


def _text(entry: object, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{key}` is missing, or is not text")
    return value


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
