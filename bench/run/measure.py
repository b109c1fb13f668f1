"""One `bench run` from beginning to end: machine, calibration, matrix, runner, and what is kept."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.engine import environments
from bench.engine.launcher import CACHE, Launcher, told
from bench.engine.progress import Progress
from bench.errors import BenchError, UsageError, WorkerError
from bench.machine import placement
from bench.plan import arguments, variables
from bench.plan.matrix import (
    EXCLUSIONS,
    OF_OWN_MODELS,
    capped_batch_sizes,
    matrix,
    of_own_model,
    select,
)
from bench.plan.profiles import profile_named
from bench.plan.scenario import CONTROL_SUFFIX, Scenario, Status, Task, stock_default, worker_key
from bench.plan.thresholds import DEFAULT, Policy
from bench.run import pictures, resume
from bench.run.limits import find_limits, measure_peak
from bench.run.runner import Runner
from bench.store import records, run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.engine.environments import Environment
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.matrix import Exclusion
    from bench.plan.profiles import Profile
    from bench.run.limits import Limits

_PATH = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_][\w.]*")
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SHAPE = re.compile(r"[1-9]\d*(,[1-9]\d*)*")
_MOST_STARTS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class OwnChoice:
    """A model of the user's own and its inputs (see `bench.worker.workload.own_model`)."""

    model: str
    inputs: str | None = None
    shape: str | None = None
    settings: tuple[str, ...] = ()
    """`name=value` of the factory's arguments; a value is read as Python, else it is text."""

    def check(self) -> None:
        """Refuse what no worker could run.

        Raises:
            UsageError: one sentence says what is wrong.
        """
        for option, path in (("--model", self.model), ("--inputs", self.inputs)):
            if path is not None and not _PATH.fullmatch(path):
                raise UsageError(
                    f"{option} {path!r} is neither package.module:name nor folder/file.py:name"
                )
        for one in self.settings:
            if not _SETTING.fullmatch(one):
                raise UsageError(f"--factory-arg {one!r} is not name=value")
        if (self.inputs is None) == (self.shape is None):
            raise UsageError(
                "say what --model takes: either --inputs package.module:function or, e.g., "
                "--input-shape 3,224,224 (without the batch)"
            )
        if self.shape is not None and not _SHAPE.fullmatch(self.shape):
            raise UsageError(
                f"--input-shape {self.shape!r} is not numbers above zero with commas: 3,224,224"
            )

    def arguments(self) -> list[str]:
        """What a worker is told."""
        takes = ["--inputs", self.inputs] if self.inputs else ["--input-shape", self.shape or ""]
        settings = (part for one in self.settings for part in ("--factory-arg", one))
        return ["--model", self.model, *takes, *settings]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for.

    `only` are shell-style patterns of scenario ids; none means all. `budget_s` replaces the
    profile's own. `vary` are variables (`bench.plan.variables`). `pythons` are the interpreters of
    the other environments, by name. `own` is a model of the user's own in place of the inspector.
    """

    profile: Profile
    data: Path
    results: Path
    budget_s: float | None = None
    only: tuple[str, ...] = ()
    weights: str | None = None
    good: str | None = None
    """The folder of good pills, where it is not called good."""
    seed: int = 0
    threads: int | None = None
    vary: tuple[str, ...] = ()
    pythons: Mapping[str, Path] = field(default_factory=dict)
    own: OwnChoice | None = None
    backends: tuple[str, ...] = ()
    """Further ones, beside stock and IPEX."""

    @property
    def budget(self) -> float:
        """Seconds of measuring."""
        return self.profile.budget_s if self.budget_s is None else self.budget_s

    def kept(self) -> dict[str, Any]:
        """What environment.json keeps, so that a run that was cut can go on."""
        return {
            "data": str(self.data),
            "only": list(self.only),
            "weights": self.weights,
            "good": self.good,
            "seed": self.seed,
            "threads": self.threads,
            "vary": list(self.vary),
            "pythons": {name: str(python) for name, python in self.pythons.items()},
            "own": asdict(self.own) if self.own else None,
            "backends": list(self.backends),
        }

    @classmethod
    def again(cls, environment: Mapping[str, Any], results: Path, budget_s: float) -> RunRequest:
        """The request that a run's environment.json keeps, with what is left of its budget."""
        kept = environment["request"]
        return cls(
            profile=profile_named(environment["profile"]),
            data=Path(kept["data"]),
            results=results,
            budget_s=budget_s,
            only=tuple(kept["only"]),
            weights=kept["weights"],
            good=kept.get("good"),
            seed=kept["seed"],
            threads=kept["threads"],
            vary=tuple(kept.get("vary", ())),
            pythons={name: Path(python) for name, python in kept["pythons"].items()},
            own=_choice(own) if (own := kept.get("own")) else None,
            backends=tuple(kept.get("backends", ())),
        )


def _choice(kept: Mapping[str, Any]) -> OwnChoice:
    """As JSON kept it."""
    return OwnChoice(**{**kept, "settings": tuple(kept.get("settings", ()))})


def run(request: RunRequest, *, policy: Policy = DEFAULT, progress: Progress | None = None) -> Path:
    """Measure what was asked and return the run's folder.

    Raises:
        BenchError: it cannot be done, in one line; what was measured stays in the folder.
        KeyboardInterrupt: passed on; the folder holds what was measured until then.
    """
    progress = progress or Progress()
    _check(request)
    with run_folder.only_run_here():
        others = _look_at(request, progress)
        progress.show("looking at the machine")
        here = machine.describe()
        code = run_folder.commit()
        folder = run_folder.create(request.results, machine.run_name(here), code.revision)
        environment: dict[str, Any] = {
            "run_id": folder.name,
            "started_utc": _now(),
            "finished_utc": None,
            "profile": request.profile.name,
            "budget_s": request.budget,
            "complete": False,
            "notes": code.notes,
            "commit": code.revision,
            "dirty": code.dirty,
            "command": ["bench", *sys.argv[1:]],
            "request": request.kept(),
            "machine": here,
            "environments": {name: other.kept() for name, other in others.items()},
            "policy": asdict(policy),
            **dict.fromkeys(("matrix", "peak", "data", "model", "self")),
            "workers": {},
        }
        with _nothing_left_of(folder, request), _keeping(folder, environment, progress):
            _measure(request, policy, progress, folder, environment, others=others)
    return folder


class _UnusableError(BenchError):
    """The model or the images that were asked for cannot be used."""


@contextmanager
def _nothing_left_of(folder: Path, request: RunRequest) -> Iterator[None]:
    """What ended before anything was measured is no run.

    That is one that was interrupted so early, and one of a model or of images that cannot be used.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not (folder / "iterations.csv").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except BenchError as error:
        if (request.own or isinstance(error, _UnusableError)) and not (
            folder / "iterations.csv"
        ).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def go_on(
    folder: Path,
    *,
    budget_s: float | None = None,
    policy: Policy = DEFAULT,
    progress: Progress | None = None,
) -> Path:
    """Finish the run in `folder`, which was cut, with launches after those that it has.

    `budget_s` is for what is still to come; by default what the run's own budget has left.

    Raises:
        BenchError: it cannot go on here (see `bench.run.resume`), or its budget is used up.
        KeyboardInterrupt: passed on, as by `run`.
    """
    progress = progress or Progress()
    with run_folder.only_run_here():
        earlier = records.read_run(folder)
        environment = earlier.environment
        resume.check_unfinished(environment, folder.name)
        resume.check_same(
            environment,
            folder.name,
            fingerprint=machine.describe()["fingerprint"],
            commit=run_folder.commit().revision,
            policy=policy,
        )
        request = RunRequest.again(environment, folder.parent, _left(earlier, budget_s))
        _check(request)
        resume.check_environments(
            environment.get("environments") or {}, folder.name, _look_at(request, progress)
        )
        environment["notes"].append(
            f"The run was cut and went on at {_now()}: what follows has later launch numbers."
        )
        environment.update(finished_utc=None)
        run_folder.clear_outputs(folder)
        with _keeping(folder, environment, progress):
            _measure(request, policy, progress, folder, environment, earlier=earlier)
    return folder


def _look_at(request: RunRequest, progress: Progress) -> dict[str, Environment]:
    """The other environments, each found fit to run a worker.

    Raises:
        BenchError: one is not.
    """
    found = {}
    for name, python in request.pythons.items():
        progress.show(f"looking at environment {name}")
        found[name] = environments.look_at(name, python)
    return found


def _left(earlier: records.Run, budget_s: float | None) -> float:
    """Seconds for the rest of a run.

    Raises:
        UsageError: the run's budget is used up and no other was given.
    """
    if budget_s is not None:
        return budget_s
    written = (earlier.folder / "iterations.csv").stat().st_mtime
    used = resume.seconds_used(earlier.environment, datetime.fromtimestamp(written, timezone.utc))
    left = float(earlier.environment["budget_s"]) - used
    if left <= 0:
        raise UsageError(f"{earlier.folder.name} has used up its budget: give more with --budget")
    return left


@contextmanager
def _keeping(folder: Path, environment: dict[str, Any], progress: Progress) -> Iterator[None]:
    """Whatever ends the run inside, its environment.json says so and leftovers are gone."""
    records.write_environment(folder, environment)
    try:
        yield
    finally:
        progress.clear()
        environment["finished_utc"] = _now()
        for leftover in (run_folder.OUTPUTS, CACHE):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        records.write_environment(folder, environment)


def _measure(
    request: RunRequest,
    policy: Policy,
    progress: Progress,
    folder: Path,
    environment: dict[str, Any],
    *,
    earlier: records.Run | None = None,
    others: Mapping[str, Environment] | None = None,
) -> None:
    launch = _launcher(request, folder)
    if earlier is None:
        progress.show("finding the machine's peak and the largest batch", request.budget)
        left_out = [*environments.exclusions(others or {}), *(OF_OWN_MODELS if request.own else ())]
        scenarios = _found(launch, request, policy, environment, left_out)
        records.write_environment(folder, environment)
    else:
        scenarios = _scenarios(request, environment["matrix"]["largest_batch"])
    notes = list(environment["notes"])
    runner = Runner(
        run_id=folder.name,
        folder=folder,
        profile=_profile(request),
        scenarios=scenarios,
        policy=policy,
        budget_s=request.budget,
        launch=launch,
        peak=environment["peak"],
        peak_again=lambda: _peak_again(launch, policy),
        earlier=_restored(earlier, scenarios) if earlier else None,
        keep_workers=lambda workers: records.write_environment(
            folder, {**environment, "workers": workers}
        ),
        starts_at_once=min(_MOST_STARTS_AT_ONCE, len(placement.chosen_cpus(request.threads))),
        progress=progress,
    )
    try:
        runner.measure()
    finally:
        environment.update(
            complete=runner.complete,
            notes=[*notes, *runner.notes],
            peak=dict(runner.peak),
            self=runner.self_use(),
            workers=runner.workers(),
        )
    if request.own is None:  # a model of the user's own says nothing of pills
        progress.show("keeping pictures for the report")
        environment["notes"] += pictures.keep(launch, scenarios, folder, policy)


def _profile(request: RunRequest) -> Profile:
    """The profile. A model of the user's own has one batch to compare, and no more images."""
    return replace(request.profile, recommended_parity_s=0) if request.own else request.profile


def _restored(earlier: records.Run, scenarios: tuple[Scenario, ...]) -> resume.Earlier:
    """What the run had measured; evidence of who starts over goes, for it will come again."""
    story = resume.restore(earlier, scenarios)
    kept = [
        row
        for row in earlier.kernels
        if row.scenario in story.outcomes and not story.outcomes[row.scenario].is_new
    ]
    records.replace_rows(earlier.folder / "kernels.csv", kept, records.KernelRow)
    return story


def _found(
    launch: Callable[[Scenario, bool, int], WorkerHandle],
    request: RunRequest,
    policy: Policy,
    environment: dict[str, Any],
    left_out: Sequence[Exclusion],
) -> tuple[Scenario, ...]:
    """What the machine allows goes into the environment; returns what is to be measured."""
    found = _limits(launch, request, policy)
    scenarios = _scenarios(request, found.largest_batch)
    environment["matrix"] = {
        "scenarios": [scenario.id for scenario in scenarios],
        "excluded": [asdict(exclusion) for exclusion in (*found.excluded, *left_out, *EXCLUSIONS)],
        "largest_batch": found.largest_batch,
    }
    environment.update(peak=found.peak, model=found.model, data=found.data)
    environment["notes"] += (found.data or {}).get("notes", [])
    return scenarios


def _scenarios(request: RunRequest, largest_batch: int) -> tuple[Scenario, ...]:
    sizes = capped_batch_sizes(request.profile.batch_sizes, largest_batch)
    chosen = select(_matrix(request, sizes), request.only)
    own = () if request.only else request.profile.vary
    wanted = variables.parse_vary(request.vary or own)
    return variables.vary(chosen, wanted, everything=bool(request.only))


def _matrix(request: RunRequest, sizes: tuple[int, ...] | None = None) -> tuple[Scenario, ...]:
    """All that the request allows, before `only` chooses from it."""
    every = matrix(request.profile, sizes, environments=request.pythons, backends=request.backends)
    return of_own_model(every) if request.own else every


def _limits(
    launch: Callable[[Scenario, bool, int], WorkerHandle], request: RunRequest, policy: Policy
) -> Limits:
    worker = launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    participants = _most_workers(_scenarios(request, max(request.profile.batch_sizes)))
    try:
        return find_limits(
            worker, request.profile.batch_sizes, participants=participants, policy=policy
        )
    except WorkerError as error:
        if request.own or error.status is Status.UNAVAILABLE:
            raise _UnusableError(error.reason) from error
        raise BenchError(
            f"stock PyTorch itself cannot be measured: {error.reason} (status {error.status})"
        ) from error
    finally:
        worker.stop()


def _peak_again(
    launch: Callable[[Scenario, bool, int], WorkerHandle], policy: Policy
) -> dict[str, Any]:
    worker = launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    try:
        return measure_peak(worker, policy)
    finally:
        worker.stop()


def _most_workers(scenarios: tuple[Scenario, ...]) -> int:
    """How many workers of one task are alive together, the control included."""
    by_task = (
        {worker_key(scenario) for scenario in scenarios if scenario.task is task} for task in Task
    )
    return max(len(keys) for keys in by_task) + 1


def _launcher(request: RunRequest, folder: Path) -> Callable[[Scenario, bool, int], WorkerHandle]:
    """How this run starts a worker."""
    what = request.own.arguments() if request.own else told(data=request.data, good=request.good)
    launcher = Launcher(
        folder=folder,
        cpus=placement.chosen_cpus(request.threads),
        told=(*what, *told(seed=request.seed, weights=request.weights)),
        pythons=request.pythons,
    )

    def launch(key: Scenario, is_control: bool, launch_number: int) -> WorkerHandle:
        control = CONTROL_SUFFIX if is_control else ""
        return launcher.start(f"{key.id}{control}-launch{launch_number + 1}", key)

    return launch


def _check(request: RunRequest) -> None:
    """Refuse early what cannot work.

    Raises:
        UsageError: a wrong number or pattern.
        BenchError: there is no data.
    """
    placement.chosen_cpus(request.threads)  # refuses more threads than cores
    if request.own:
        request.own.check()
        if request.weights:
            raise UsageError("--weights are the inspector's: a model of your own brings its own")
    else:
        arguments.check_pills(request.data)
    chosen = {scenario.backend for scenario in select(_matrix(request), request.only)}
    for backend in request.backends:
        if backend not in chosen:
            raise UsageError(
                f"--backend {backend}: --only leaves none of its scenarios; "
                f"add --only '*/{backend}/*'"
            )
    variables.parse_vary(request.vary)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
