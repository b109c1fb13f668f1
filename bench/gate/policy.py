"""Read, check and write floors on speedups within one run, for each machine.

    {"format": "pillqc-bench gate policy", "version": 1,
     "machines": [{"fingerprint": "00de025102b5", "name": "m6i.4xlarge", "model": "shipped",
                   "floors": [{"scenario": "inference/ipex/eager/fp32/channels_last/b1",
                               "baseline": "stock_default", "speedup_at_least": 1.2,
                               "threads": 8}]}]}

JSON, because Python 3.10 cannot read TOML without a library. A floor is never in milliseconds.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.analysis.comparison import Ratio
from bench.errors import BenchError
from bench.gate.result import Case, GateReport, NoVerdictError, Outcome
from bench.gate.stored_speedups import spell_threads
from bench.gate.thresholds import DEFAULT
from bench.plan.scenario import BaselineKind
from bench.store import durable, typed_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.gate.stored_speedups import StoredRun

FORMAT = "pillqc-bench gate policy"
VERSION = 1
_BASELINES = (str(BaselineKind.STOCK_DEFAULT), str(BaselineKind.STOCK_TUNED))
_INSPECTOR = "the inspector"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The lowest speedup that a scenario may have."""

    scenario: str
    baseline: str
    """`stock_default` or `stock_tuned`."""
    speedup_at_least: float
    threads: int | None = None
    """Those that computed the scenario; None in files of earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The floors of one machine, for one model."""

    fingerprint: str
    name: str = "?"
    model: str = ""
    """`StoredRun.model`; empty in files of earlier versions, whose floors are the inspector's."""
    floors: tuple[Floor, ...]

    def is_for(self, run: StoredRun) -> bool:
        """Return whether the floors are of the model that the run measured."""
        return run.model == self.model if self.model else run.is_of_inspector


@dataclass(frozen=True, kw_only=True)
class _Machines:
    machines: tuple[Machine, ...]


@dataclass(frozen=True, kw_only=True)
class PolicyFile:
    """A policy file and what it contains."""

    path: Path
    machines: tuple[Machine, ...]


def read(path: Path) -> PolicyFile:
    """Read a policy.

    Raises:
        BenchError: there is none, or its content is not a policy.
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


def check(policy: PolicyFile, run: StoredRun) -> GateReport:
    """Compare a run with the floors of its machine.

    Raises:
        NoVerdictError: the run does not say on which machine it was measured.
        RecordError: the run has two rows for one scenario and baseline.
    """
    fingerprint, name = run.machine
    machine = next((m for m in policy.machines if m.fingerprint == fingerprint), None)
    cases: tuple[Case, ...] = ()
    problem = None
    if machine is None:
        known = ", ".join(f"{m.name} ({m.fingerprint})" for m in policy.machines) or "none"
        problem = (
            f"the policy has no floors for this machine ({name}, fingerprint {fingerprint}); its "
            f"machines: {known}"
        )
    elif not machine.floors:
        problem = f"the policy has no floors for {machine.name} ({fingerprint})"
    elif not machine.is_for(run):
        problem = (
            f"the floors of {machine.name} are of another model ({machine.model or _INSPECTOR}) "
            f"than the run's ({run.model}): write a policy for each model"
        )
    else:
        cases = tuple(_case(floor, run) for floor in machine.floors)
    return GateReport(
        title="Floors on speedups",
        compared=f"Speedups of {run.name} against the floors of {policy.path} for {name}.",
        repeat=shlex.join(["bench", "gate", "--policy", str(policy.path), str(run.record.folder)]),
        cases=cases,
        problem=problem,
        notes=run.record.warnings,
    )


def _case(floor: Floor, run: StoredRun) -> Case:
    case = partial(Case, scenario=floor.scenario, over=floor.baseline)
    row = run.rows.get((floor.scenario, floor.baseline))
    threads = run.threads(floor.scenario)
    baselines = {one.baseline for (_, kind), one in run.rows.items() if kind == floor.baseline}
    is_itself = floor.scenario in baselines and floor.threads in (None, threads)
    if row is None and is_itself and floor.speedup_at_least <= 1:
        return case(outcome=Outcome.PASSED, reason=f"it is {floor.baseline} itself")
    if row is None and any(scenario == floor.scenario for scenario, _ in run.rows):
        found: Ratio | str = f"the run has no speedup of it over {floor.baseline}"
    elif row is None:
        found = "the run has no such scenario (`bench scenarios` lists them; was it left out?)"
    elif floor.threads not in (None, threads):
        found = (
            f"the floor is of {spell_threads(floor.threads)} and the run of "
            f"{spell_threads(threads)}: measure with --threads {floor.threads}"
        )
    else:
        found = run.usable(row)
    if row is None or isinstance(found, str):
        return case(outcome=Outcome.NO_VERDICT, reason=str(found))
    limit = floor.speedup_at_least
    outcome, reason = Outcome.REGRESSION, f"the whole interval lies below the floor of {limit:.3f}"
    if found.low >= limit:
        outcome, reason = Outcome.PASSED, f"the floor is {limit:.3f}"
    elif found.high >= limit:
        outcome = Outcome.NO_VERDICT
        reason = f"the interval contains the floor of {limit:.3f}; measure more rounds"
    elif row.launches < DEFAULT.min_launches:
        outcome = Outcome.NO_VERDICT
        reason = f"below the floor of {limit:.3f}, but one launch confirms nothing: measure more"
    return case(
        outcome=outcome,
        reason=(
            f"{found.estimate:.3f} times {floor.baseline} (between {found.low:.3f} and "
            f"{found.high:.3f}, 95 % sure): {reason}"
        ),
        ratio=found,
        limit=limit,
        details={
            "baseline": floor.baseline,
            "launches": row.launches,
            "rounds": row.rounds,
            "verdict": row.verdict,
        },
    )


def write(path: Path, runs: Sequence[StoredRun]) -> PolicyFile:
    """Write a policy from accepted runs; several runs of one machine give the lowest floor.

    A floor lies `floor_slack` below the lower end of the interval, so that the accepted runs pass.
    One of them at least has two launches; a further run with a single one may lower it.
    The file keeps the machines that these runs do not have, and the floors of their machines that
    these runs have no speedup for.

    Raises:
        NoVerdictError: a machine's runs have no speedup that a floor can rest on, or they and the
            file's floors are of several models or numbers of threads.
        BenchError: the file at this path is not a policy, or cannot be written.
    """
    machines = {one.fingerprint: one for one in read(path).machines} if path.exists() else {}
    accepted: dict[str, list[StoredRun]] = {}
    for run in runs:
        accepted.setdefault(run.machine[0], []).append(run)
    for fingerprint, of_machine in accepted.items():
        machines[fingerprint] = _with_floors_of(of_machine, machines.get(fingerprint))
    written = [asdict(machine) for machine in machines.values()]
    whole = {"format": FORMAT, "version": VERSION, "machines": written}
    text = f"{json.dumps(whole, indent=2, allow_nan=False)}\n"
    durable.replace(path, text.encode(), make_folder=True)
    return PolicyFile(path=path, machines=tuple(machines.values()))


def _with_floors_of(runs: Sequence[StoredRun], known: Machine | None) -> Machine:
    """Return a machine with the floors of its accepted runs and what else the file has of it."""
    fingerprint, name = runs[-1].machine
    _check_one_model(runs, known)
    accepted = _accepted(runs)
    if all(launches < DEFAULT.min_launches for _, launches in accepted.values()):
        raise NoVerdictError(
            f"no accepted run of {name} has a valid speedup of two launches or more: "
            "measure with a larger budget"
        )
    floors = {(floor.scenario, floor.baseline): floor for floor in known.floors} if known else {}
    for key, (floor, launches) in accepted.items():
        if key in floors and floors[key].threads is not None:
            _check_threads(floors[key], floor)
        if launches >= DEFAULT.min_launches:
            floors[key] = floor
        elif key in floors:
            floors[key] = _lower(floors[key], floor)
    return Machine(
        fingerprint=fingerprint,
        name=name,
        model=runs[-1].model,
        floors=tuple(floor for _, floor in sorted(floors.items()) if floor.speedup_at_least > 0),
    )


def _check_one_model(runs: Sequence[StoredRun], known: Machine | None) -> None:
    """Raise NoVerdictError if the runs, or the floors that the file has, are of several models."""
    models = {run.model: None for run in runs}
    if known is not None and not known.is_for(runs[-1]):
        models[known.model or _INSPECTOR] = None
    if len(models) > 1:
        raise NoVerdictError(
            f"the runs and floors of {runs[-1].machine[1]} are of several models "
            f"({'; '.join(models)}): write a policy for each model"
        )


def _accepted(runs: Sequence[StoredRun]) -> dict[tuple[str, str], tuple[Floor, int]]:
    """Return the lowest floor of each scenario and baseline, with the most launches of a run."""
    found: dict[tuple[str, str], tuple[Floor, int]] = {}
    for run in runs:
        for key, row in run.rows.items():
            ratio = run.usable(row) if key[1] in _BASELINES else None
            if not isinstance(ratio, Ratio):
                continue
            below = ratio.low / (1 + DEFAULT.floor_slack)
            floor = Floor(
                scenario=row.scenario,
                baseline=key[1],
                speedup_at_least=math.floor(1000 * below) / 1000,
                threads=run.threads(row.scenario),
            )
            other, launches = found.get(key, (floor, 0))
            _check_threads(other, floor)
            found[key] = _lower(other, floor), max(launches, row.launches)
    return found


def _check_threads(one: Floor, other: Floor) -> None:
    """Raise NoVerdictError if the two floors are of several numbers of threads."""
    if one.threads != other.threads:
        raise NoVerdictError(
            f"the runs and floors of {one.scenario} are of {spell_threads(one.threads)} and "
            f"{spell_threads(other.threads)}: accept runs of one number"
        )


def _lower(one: Floor, other: Floor) -> Floor:
    return min(one, other, key=lambda floor: floor.speedup_at_least)
