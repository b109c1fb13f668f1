"""Run one `bench run` from beginning to end: machine, limits, scenarios, measuring, pictures.

What is measured next is decided in `bench.run.planner`, and measured by `bench.run.runner`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.engine import environments
from bench.engine.launcher import CACHE, Launcher, without_log
from bench.engine.progress import Progress
from bench.engine.worker_process import LOG
from bench.errors import BenchError, UsageError, WorkerError
from bench.machine import worker_settings
from bench.plan.scenario import CONTROL_SUFFIX, Scenario, Status, Task, stock_default, worker_key
from bench.plan.thresholds import DEFAULT, Policy
from bench.run import pictures, resume
from bench.run.limits import find_limits, measure_peak
from bench.run.planner import comes_late
from bench.run.request import RunRequest
from bench.run.runner import Runner
from bench.store import records, run_folder
from bench.store.events import Event, EventKind, from_environment, to_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.engine.environments import Environment
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.matrix import Exclusion

_MOST_STARTS_AT_ONCE = 4
_STOCK = worker_key(stock_default(Task.INFERENCE, 1))


def run(request: RunRequest, *, policy: Policy = DEFAULT, progress: Progress | None = None) -> Path:
    """Measure what was asked for and return the run's folder.

    Raises:
        BenchError: it cannot be done, in one line; what was measured stays in the folder.
        KeyboardInterrupt: passed on; the folder holds what was measured until then.
    """
    progress = progress or Progress()
    request.check()
    with run_folder.only_run_here():
        others = _look_at_environments(request, progress)
        progress.show("looking at the machine")
        here = machine.describe()
        code = run_folder.commit()
        folder = run_folder.create(request.results, machine.run_name(here), code.revision)
        environment: dict[str, Any] = {
            **run_folder.first_metadata(folder, code, here),
            "profile": request.profile.name,
            "budget_s": request.budget,
            "events": [],
            "request": request.kept(),
            "environments": {name: other.kept() for name, other in others.items()},
            "policy": asdict(policy),
            **dict.fromkeys(("matrix", "peak", "data", "model", "self")),
        }
        job = _Job(request, policy, progress, folder, environment, _notes(code.notes))
        left_out = environments.exclusions(others)
        try:
            with job.finished():
                job.measure(job.find_scenarios(left_out))
        except (KeyboardInterrupt, BenchError) as error:
            nothing_to_keep = (
                request.own or isinstance(error, KeyboardInterrupt | _UnusableError)
            ) and not (folder / "iterations.csv").exists()
            if nothing_to_keep:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def go_on(
    folder: Path,
    *,
    budget_s: float | None = None,
    policy: Policy = DEFAULT,
    progress: Progress | None = None,
) -> Path:
    """Resume the run in `folder`, which was cut, with launches of later numbers.

    `budget_s` is for the rest of the run, whose budget becomes that and what it used; by default it
    is what the run's budget has left.

    Raises:
        BenchError: it cannot be resumed (see `bench.run.resume`), or its budget is used up.
        KeyboardInterrupt: passed on, as by `run`.
    """
    progress = progress or Progress()
    folder = folder.resolve()  # "." has no name
    resume.check_unfinished(records.read_environment(folder), folder.name)
    with run_folder.only_run_here():
        earlier = records.read_run(folder)
        environment = earlier.environment
        resume.check_unfinished(environment, folder.name)
        check_began_here(environment, folder.name, policy)
        used_s = round(_seconds_used(earlier), 1)
        whole_s = used_s + budget_s if budget_s else float(environment["budget_s"])
        if whole_s <= used_s:
            raise UsageError(f"{folder.name} has used up its budget: give more with --budget")
        request = RunRequest.again(environment, folder.parent, whole_s)
        request.check()
        resume.check_environments(
            environment.get("environments") or {},
            folder.name,
            _look_at_environments(request, progress),
        )
        environment.update(finished_utc=None, used_s=used_s, budget_s=whole_s)
        kept = (e for e in from_environment(environment) if e.kind is not EventKind.INTERRUPTED)
        events = [*kept, Event(kind=EventKind.RESUMED, reason=run_folder.utc_now())]
        run_folder.clear_outputs(folder)
        job = _Job(request, policy, progress, folder, environment, events)
        with job.finished():
            largest = environment["matrix"]["largest_batch"]
            scenarios = request.scenarios(largest, environment["data"])
            job.measure(scenarios, _restore(earlier, scenarios))
    return folder


def check_began_here(
    environment: Mapping[str, Any], name: str, policy: Policy = DEFAULT
) -> run_folder.Commit:
    """Refuse to go on with what began elsewhere, and return the commit of the code here.

    `environment` is that of a run, or of what has runs: a suite or a tutorial.

    Raises:
        BenchError: machine, code, packages or policy differ (see `bench.run.resume`).
    """
    code = run_folder.commit()
    here = machine.describe(frameworks=False)  # asking torch and IPEX would take seconds
    resume.check_same(environment, name, machine=here, code=code, policy=policy)
    return code


class _UnusableError(BenchError):
    """The model or the images cannot be used."""


@dataclass
class _Job:
    """A run under way: its request, its folder, and the content of its environment.json."""

    request: RunRequest
    policy: Policy
    progress: Progress
    folder: Path
    environment: dict[str, Any]
    events: list[Event]

    def write(self, metadata: Mapping[str, Any]) -> None:
        """Write environment.json with these entries and all events."""
        self.environment.update(metadata, **to_environment(self.events))
        records.write_environment(self.folder, self.environment)

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Write when the run ended, whatever ended it, and remove its temporary folders."""
        self.write({})
        try:
            yield
        finally:
            self.progress.clear()
            for temporary in (run_folder.OUTPUTS, CACHE):
                shutil.rmtree(self.folder / temporary, ignore_errors=True)
            self.write({"finished_utc": run_folder.utc_now()})

    def find_scenarios(self, left_out: Sequence[Exclusion]) -> tuple[Scenario, ...]:
        """Find the machine's limits, keep them in environment.json, and return what to measure.

        Raises:
            BenchError: stock PyTorch itself cannot be measured.
        """
        self.progress.show("finding the machine's peak and the largest batch", self.request.budget)
        sizes = self.request.profile.batch_sizes
        every = self.request.scenarios(max(sizes))
        worker = self.launch(_STOCK, False, -1)
        try:
            found = find_limits(
                worker,
                sizes,
                participants=_most_workers(every, self.policy),
                policy=self.policy,
                own=self.request.own is not None,
                training_batch=_training_batch(every),
            )
        except WorkerError as error:
            if self.request.own or error.status is Status.UNAVAILABLE:
                raise _UnusableError(self._why_unusable(error.reason)) from error
            raise BenchError(
                f"stock PyTorch itself cannot be measured: {error.reason} (status {error.status})"
            ) from error
        finally:
            worker.stop()
        scenarios = self.request.scenarios(found.largest_batch, found.data)
        excluded = (*found.excluded, *left_out, *self.request.left_out(found.data or {}))
        self.events += _notes((found.data or {}).get("notes", []))
        self.write(
            {
                "matrix": {
                    "scenarios": [scenario.id for scenario in scenarios],
                    "excluded": [asdict(exclusion) for exclusion in excluded],
                    "largest_batch": found.largest_batch,
                },
                "peak": found.peak,
                "model": found.model,
                "data": found.data,
            }
        )
        return scenarios

    def _why_unusable(self, reason: str) -> str:
        """Return why nothing can be measured, without the log, which goes with the run's folder.

        A model that killed the worker is named, with what the worker printed last.
        """
        if self.request.own is None or LOG not in reason:
            return reason
        return f"--model {self.request.own.model}: worker {without_log(reason, self.folder)}"

    def measure(
        self, scenarios: tuple[Scenario, ...], earlier: resume.Earlier | None = None
    ) -> None:
        """Measure the scenarios, and keep pictures for the report."""
        runner = Runner(
            run_id=self.folder.name,
            folder=self.folder,
            profile=self.request.run_profile,
            scenarios=scenarios,
            policy=self.policy,
            budget_s=self.request.budget,
            launch=self.launch,
            peak=self.environment["peak"],
            peak_again=self._peak_again,
            data=self.environment["data"] or {},
            earlier=earlier or resume.Earlier(),
            keep_metadata=self.write,
            events=self.events,
            starts_at_once=min(_MOST_STARTS_AT_ONCE, len(self._launcher.cpus)),
            progress=self.progress,
        )
        runner.measure()
        if self.request.own is None:
            self.progress.show("keeping pictures for the report")
            self.events += pictures.keep(self.launch, scenarios, self.folder, self.policy)

    def launch(self, key: Scenario, is_control: bool, launch_number: int) -> WorkerHandle:
        """Start a worker of this run."""
        control = CONTROL_SUFFIX if is_control else ""
        return self._launcher.start(f"{key.id}{control}-launch{launch_number + 1}", key)

    @cached_property
    def _launcher(self) -> Launcher:
        return Launcher(
            folder=self.folder,
            cpus=worker_settings.chosen_cpus(self.request.threads),
            options=self.request.worker_options(),
            pythons=self.request.pythons,
        )

    def _peak_again(self) -> dict[str, Any]:
        worker = self.launch(_STOCK, False, -1)
        try:
            return measure_peak(worker, self.policy)
        finally:
            worker.stop()


def _look_at_environments(request: RunRequest, progress: Progress) -> dict[str, Environment]:
    """Return the other environments.

    Raises:
        BenchError: one cannot run a worker.
    """
    found = {}
    for name, python in request.pythons.items():
        progress.show(f"looking at environment {name}")
        found[name] = environments.look_at(name, python)
    return found


def _seconds_used(earlier: records.Run) -> float:
    written = (earlier.folder / "iterations.csv").stat().st_mtime
    return resume.seconds_used(earlier.environment, datetime.fromtimestamp(written, timezone.utc))


def _restore(earlier: records.Run, scenarios: tuple[Scenario, ...]) -> resume.Earlier:
    """Return what the run had measured; drop the kernels of scenarios that start over."""
    known = resume.restore(earlier, scenarios)
    kept = {name for name, outcome in known.outcomes.items() if not outcome.is_new}
    kernels = [row for row in earlier.kernels if row.scenario in kept]
    logged = [row for row in earlier.logged_calls if row.scenario in kept]
    records.replace_rows(earlier.folder / "kernels.csv", kernels, records.KernelRow)
    records.replace_rows(earlier.folder / "logged_calls.csv", logged, records.LoggedCallRow)
    return known


def _most_workers(scenarios: tuple[Scenario, ...], policy: Policy) -> int:
    """Return how many workers are alive together: as many as may wait, or a larger visit's.

    A group's scenarios have one visit at least for those that compile and for those that come late.
    """
    tasks = Counter(key.task for key in set(map(worker_key, scenarios)))
    visits = Counter((s.group, "late" if comes_late(s) else s.compiles) for s in scenarios)
    largest = max(visits.values()) + 2  # with stock default and its control
    return min(max(tasks.values()) + 1, max(largest, policy.budget.most_workers))


def _training_batch(scenarios: tuple[Scenario, ...]) -> int | None:
    """Return the batch size of training steps; None if there are none."""
    sizes = (one.batch_size for one in scenarios if one.task is Task.TRAINING)
    return next(sizes, None)


def _notes(sentences: Sequence[str]) -> list[Event]:
    return [Event(kind=EventKind.NOTE, reason=sentence) for sentence in sentences]
