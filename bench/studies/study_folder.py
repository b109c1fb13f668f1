"""Make a study's folder with its run metadata, take its lock, and start its workers."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.engine.launcher import CACHE, Launcher, worker_options
from bench.engine.progress import Progress
from bench.errors import BenchError
from bench.machine import worker_settings
from bench.plan import arguments
from bench.plan.matrix import further
from bench.plan.thresholds import DEFAULT, STUDIES, Policy
from bench.store import records, run_folder
from bench.studies.measured import failures_kept
from bench.studies.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from _typeshed import DataclassInstance

    from bench.engine.execution import Turn
    from bench.engine.participants import Group, Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.profiles import Profile
    from bench.studies.measured import Measured

_FILES = {"iterations.csv": records.IterationRow, "noise.csv": records.NoiseRow}
PILLS = "pills"
OPERATORS = "operators"
"""What a worker works on."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """The options of every study.

    Raises:
        UsageError: a number is wrong, or there is no such backend.
        BenchError: there is no data.
    """

    profile: Profile
    results: Path
    data: Path | None = None
    budget_s: float | None = None
    good: str | None = None
    """The folder of good pills, if it has another name."""
    weights: str | None = None
    seed: int = 0
    threads: int | None = None
    backends: tuple[str, ...] = ()
    """Further backends, beside stock and IPEX."""
    only: tuple[str, ...] = ()
    """Patterns of scenario ids; none for the usual scenarios of the study."""
    image_size: int | None = None
    """Pixels a side, where they are not those of a run."""

    @property
    def budget(self) -> float:
        """Seconds of measuring: those given, else a share of a run's."""
        share = self.profile.budget_s * STUDIES.budget_share
        return share if self.budget_s is None else self.budget_s

    def __post_init__(self) -> None:
        worker_settings.chosen_cpus(self.threads)  # refuses more threads than cores
        for backend in self.backends:
            further(backend, 1)
        if self.data is not None:
            arguments.check_pills(self.data)


@dataclass(kw_only=True)
class Place:
    """One study's folder while it is measured."""

    folder: Path
    request: StudyRequest
    environment: dict[str, Any]
    writer: records.RunWriter
    policy: Policy = DEFAULT
    progress: Progress = field(default_factory=Progress)
    clock: Callable[[], float] = time.monotonic
    work: str = PILLS
    """What workers work on: `pills`, or `operators`."""

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that a run would use on this machine."""
        return worker_settings.chosen_cpus(self.request.threads)

    def launch(self, participant: Participant, number: int) -> WorkerHandle:
        """Start a fresh process for this participant, on all CPUs."""
        return self.start(participant, number, self.cpus)

    def start(
        self,
        participant: Participant,
        number: int,
        cpus: tuple[int, ...],
        instance: str = "",
        cache: str = "",
    ) -> WorkerHandle:
        """Start a fresh process for this participant on these CPUs, one thread each.

        Processes with a `cache` of their own share no compiled code with others.

        Raises:
            WorkerError: a variable of its scenario is not available.
        """
        request = self.request
        launcher = Launcher(
            folder=self.folder,
            cpus=cpus,
            options=worker_options(
                seed=request.seed,
                work=self.work,
                data=request.data,
                good=request.good,
                weights=request.weights,
                **{"image-size": request.image_size},
            ),
        )
        return launcher.start(
            f"{participant.worker}{instance}-launch{number + 1}",
            participant.scenario,
            cache=cache,
        )

    def study(self, groups: Sequence[Group], turn: Turn | None = None) -> Study:
        """Return a study of these groups."""
        return Study(
            run_id=self.run_id,
            profile=self.request.profile,
            policy=self.policy,
            budget_s=self.request.budget,
            groups=groups,
            launch=self.launch,
            turn=turn,
            record_call=self.writer.append,
            record_noise=self.writer.append,
            say=self.progress.show,
        )

    @contextmanager
    def finished(self, measured: Measured) -> Iterator[None]:
        """Keep the study's results for environment.json, however its measuring ends.

        An interruption ends the measuring only: rows and page are made of what was measured.

        Raises:
            BenchError: every participant failed before its first call.
        """
        try:
            yield
            self.environment["complete"] = True
        except KeyboardInterrupt:
            if not measured.prepared:
                raise
            self.environment["interrupted"] = True
        finally:
            noise = measured.noise
            self.environment.update(
                notes=[*measured.notes, *measured.caveats()],
                contradictions=measured.contradictions,
                unchecked=measured.unchecked,
                workers=measured.workers,
                data=measured.data,
                failures=failures_kept(measured.failures),
                noisy_share=1 - sum(row.quiet for row in noise) / len(noise) if noise else None,
            )
        if measured.failures and not measured.prepared:
            name, error = next(iter(measured.failures.items()))
            raise BenchError(f"nothing could be measured: {name}: {error.reason} ({self.folder})")


@contextmanager
def workplace(
    name: str,
    request: StudyRequest,
    row_type: type[DataclassInstance],
    *,
    work: str = PILLS,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[Place]:
    """Make a folder `results/<name>/<run_id>` and hold the machine's lock.

    Its rows go to `<name>.csv`, beside the calls and the noise that the engine records.

    Raises:
        BenchError: another run is measuring, or the folder cannot be written.
    """
    with run_folder.only_run_here():
        progress = Progress()
        progress.show("looking at the machine")
        here = machine.describe()
        code = run_folder.commit()
        folder = run_folder.create(request.results / name, machine.run_name(here), code.revision)
        environment: dict[str, Any] = {
            **run_folder.first_metadata(folder, code, here),
            "study": name,
            "profile": request.profile.name,
            "budget_s": request.budget,
            "notes": code.notes,
            "policy": asdict(DEFAULT),
            "study_policy": asdict(STUDIES),
            **(facts or {}),
        }
        records.write_environment(folder, environment)
        try:
            with records.RunWriter(folder, {f"{name}.csv": row_type, **_FILES}) as writer:
                yield Place(
                    folder=folder,
                    request=request,
                    environment=environment,
                    writer=writer,
                    progress=progress,
                    work=work,
                )
        finally:
            progress.clear()
            environment["finished_utc"] = run_folder.utc_now()
            for leftover in (run_folder.OUTPUTS, CACHE):
                shutil.rmtree(folder / leftover, ignore_errors=True)
            records.write_environment(folder, environment)
