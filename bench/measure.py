"""One `bench run` from beginning to end: machine, calibration, matrix, runner, and what is kept."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, placement, records, run_folder
from bench.client import WorkerCommand, WorkerProcess, worker_arguments
from bench.errors import BenchError, UsageError, WorkerError
from bench.limits import find_limits, measure_peak
from bench.policy import DEFAULT, Policy
from bench.progress import Progress
from bench.runner import Runner
from bench.scenarios import (
    CONTROL_SUFFIX,
    EXCLUSIONS,
    Scenario,
    Task,
    capped_batch_sizes,
    matrix,
    select,
    stock_default,
    worker_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.client import WorkerHandle
    from bench.limits import Limits
    from bench.scenarios import Profile

_CACHE = "inductor-cache"
_MOST_STARTS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for.

    `only` are shell-style patterns of scenario ids; none means all. `budget_s` replaces the
    profile's own. `pythons` are the interpreters of the environments, by name.
    """

    profile: Profile
    data: Path
    results: Path
    budget_s: float | None = None
    only: tuple[str, ...] = ()
    weights: str | None = None
    seed: int = 0
    threads: int | None = None
    pythons: Mapping[str, Path] = field(default_factory=dict)

    @property
    def budget(self) -> float:
        """Seconds of measuring."""
        return self.profile.budget_s if self.budget_s is None else self.budget_s


def run(request: RunRequest, *, policy: Policy = DEFAULT, progress: Progress | None = None) -> Path:
    """Measure what was asked and return the run's folder.

    Raises:
        BenchError: it cannot be done, in one line; what was measured stays in the folder.
        KeyboardInterrupt: passed on; the folder holds what was measured until then.
    """
    progress = progress or Progress()
    _check(request)
    with run_folder.only_run_here():
        progress.show("looking at the machine")
        here = machine.describe()
        revision, dirty = run_folder.commit(Path(__file__).parent)
        folder = run_folder.create(request.results, machine.run_name(here), revision)
        environment: dict[str, Any] = {
            "run_id": folder.name,
            "started_utc": _now(),
            "finished_utc": None,
            "profile": request.profile.name,
            "budget_s": request.budget,
            "complete": False,
            "notes": [],
            "commit": revision,
            "dirty": dirty,
            "command": ["bench", *sys.argv[1:]],
            "machine": here,
            "policy": asdict(policy),
            **dict.fromkeys(("matrix", "peak", "data", "model", "self")),
            "workers": {},
        }
        records.write_environment(folder, environment)
        try:
            _measure(request, policy, progress, folder, environment)
        finally:
            progress.clear()
            environment["finished_utc"] = _now()
            for leftover in (run_folder.OUTPUTS, _CACHE):
                shutil.rmtree(folder / leftover, ignore_errors=True)
            records.write_environment(folder, environment)
    return folder


def _measure(
    request: RunRequest,
    policy: Policy,
    progress: Progress,
    folder: Path,
    environment: dict[str, Any],
) -> None:
    launch = _launcher(request, folder)
    progress.show("finding the machine's peak and the largest batch", request.budget)
    found = _limits(launch, request, policy)
    sizes = capped_batch_sizes(request.profile.batch_sizes, found.largest_batch)
    scenarios = select(matrix(request.profile, sizes), request.only)
    environment["matrix"] = {
        "scenarios": [scenario.id for scenario in scenarios],
        "excluded": [asdict(exclusion) for exclusion in (*found.excluded, *EXCLUSIONS)],
    }
    environment.update(peak=found.peak, model=found.model, data=found.data)
    records.write_environment(folder, environment)
    runner = Runner(
        run_id=folder.name,
        folder=folder,
        profile=request.profile,
        scenarios=scenarios,
        policy=policy,
        budget_s=request.budget,
        launch=launch,
        peak=found.peak,
        peak_again=lambda: _peak_again(launch, policy),
        starts_at_once=min(_MOST_STARTS_AT_ONCE, len(_cpus(request))),
        progress=progress,
    )
    try:
        runner.measure()
    finally:
        environment.update(
            complete=runner.complete,
            notes=runner.notes,
            peak=dict(runner.peak),
            self=runner.self_use(),
            workers=runner.workers(),
        )


def _limits(
    launch: Callable[[Scenario, bool, int], WorkerHandle], request: RunRequest, policy: Policy
) -> Limits:
    worker = launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    lanes = _most_workers(matrix(request.profile))
    try:
        return find_limits(worker, request.profile.batch_sizes, lanes=lanes, policy=policy)
    except WorkerError as error:
        raise BenchError(
            f"stock PyTorch itself could not run the model: {error.reason} (status {error.status})"
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
    """How this run starts a worker: same CPUs, threads, variables and data for every one."""
    cpus = _cpus(request)
    threads = request.threads or len(cpus)
    variables = placement.worker_environment(threads, folder.resolve() / _CACHE)
    common = ["--data", str(request.data), "--seed", str(request.seed), "--threads", str(threads)]
    if request.weights:
        common += ["--weights", request.weights]

    def launch(key: Scenario, is_control: bool, launch_number: int) -> WorkerHandle:
        control = CONTROL_SUFFIX.replace("#", "-") if is_control else ""
        name = key.id.replace("/", "-") + control
        python = request.pythons.get(key.environment, Path(sys.executable))
        return WorkerProcess(
            WorkerCommand(
                name=name,
                arguments=worker_arguments(python, ["--backend", key.backend, *common]),
                environment=variables,
                cpus=cpus,
                log=folder / run_folder.LOGS / f"{name}-launch{launch_number + 1}.log",
            )
        )

    return launch


def _cpus(request: RunRequest) -> tuple[int, ...]:
    cpus = placement.worker_cpus(placement.allowed_cpus())
    return cpus[: request.threads] if request.threads else cpus


def _check(request: RunRequest) -> None:
    """Refuse early what cannot work.

    Raises:
        UsageError: a wrong number or pattern.
        BenchError: there is no data.
    """
    if not request.budget > 0:
        raise UsageError(f"the budget must be above zero seconds, not {request.budget:g}")
    if request.threads is not None and request.threads < 1:
        raise UsageError(f"threads must be 1 or more, not {request.threads}")
    if not request.data.is_dir():
        raise BenchError(
            f"there are no pill images at {request.data}: run `make data`, or "
            f"`python -m pillqc render --out {request.data}`"
        )
    select(matrix(request.profile), request.only)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
