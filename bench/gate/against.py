"""This working tree against another commit, measured now, on this machine, in the same rounds.

    report = compare(AgainstRequest(revision=None, ...))     # None: where we left the main branch

Every scenario is screened; what looks slower is measured once more in fresh processes, and only
what is slower both times is a regression. Raw rows stay in the output folder whatever is said.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.engine.launcher import CACHE, Launcher, worker_options
from bench.engine.progress import Progress
from bench.errors import BenchError
from bench.gate import base, checkout, environment
from bench.gate.duel import Duel, Evidence, Finding, read_evidence, settle
from bench.gate.gated import gated
from bench.gate.result import Case, GateReport, NoVerdictError, Outcome
from bench.gate.side import Code, Side
from bench.gate.thresholds import DEFAULT as DEFAULT_THRESHOLDS
from bench.gate.thresholds import GatePolicy
from bench.machine import placement
from bench.plan import arguments
from bench.plan.thresholds import DEFAULT, Policy
from bench.store import durable, rows, run_folder
from bench.store.git import git
from bench.store.records import IterationRow, NoiseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.engine.worker_process import WorkerHandle
    from bench.gate.duel import Launch
    from bench.gate.thresholds import Effort
    from bench.plan.scenario import Scenario

_CONFIRMING = 100
"""Launches of a confirmation are numbered from here, so that its rows and orders are its own."""


@dataclass(frozen=True, kw_only=True)
class AgainstRequest:
    """What the user asked for; `base_python` is the interpreter that runs the other commit."""

    revision: str | None
    data: Path
    output: Path
    repository: Path
    only: tuple[str, ...] = ()
    good: str | None = None
    """The folder of good pills, where it is not called good; a base from before it was known has
    no such option."""
    weights: str | None = None
    seed: int = 0
    threads: int | None = None
    base_python: Path | None = None
    policy: Policy = DEFAULT
    thresholds: GatePolicy = DEFAULT_THRESHOLDS


def compare(request: AgainstRequest, progress: Progress | None = None) -> GateReport:
    """Measure and judge.

    Raises:
        BenchError: the other commit cannot be found, checked out or run, or a setting is wrong.
        KeyboardInterrupt: passed on, after the other commit's checkout is gone.
    """
    arguments.check_seed(request.seed)
    arguments.check_threads(request.threads)
    arguments.check_pills(request.data)
    arguments.check_writable(request.output, "--output")
    scenarios = gated(request.only)
    progress = progress or Progress()
    tree = base.top_level(request.repository)
    project = base.project(tree, request.repository)
    found = base.resolve(project, request.revision)
    commit = found.commit
    sides = f"The working tree ({base.describe_tree(project)}) against {commit[:10]} ({found.why})"
    notes = _same_code(project, commit)
    with ExitStack() as stack:
        stack.callback(progress.clear)
        stack.enter_context(run_folder.only_run_here())
        progress.show(f"checking out {commit[:10]}")
        other = stack.enter_context(checkout.checked_out(tree, commit))
        folder = _output(request, commit)
        codes = _codes(request, project, other / project.relative_to(tree), progress.show)
        launch = worker_launcher(request, folder, codes)
        stack.callback(shutil.rmtree, folder / CACHE, ignore_errors=True)
        with _row_files(folder) as record:
            cases, of_measuring = judge(
                scenarios,
                launch,
                record,
                request,
                progress,
                folder.name,
                same_packages=codes[Side.BASE].python == codes[Side.HEAD].python,
            )
    here = machine.describe(frameworks=False)
    return GateReport(
        title="Base against head",
        compared=(
            f"{sides}, in the same rounds, with a second base worker as control, on "
            f"{here['name']} (fingerprint {here['fingerprint']}). Raw rows: {folder}."
        ),
        repeat=_repeat(request, commit),
        cases=tuple(cases),
        notes=(*of_measuring, *notes),
    )


def judge(
    scenarios: tuple[Scenario, ...],
    launch: Launch,
    record: Callable[[Any], None],
    request: AgainstRequest,
    progress: Progress,
    run_id: str,
    clock: Callable[[], float] = time.monotonic,
    *,
    same_packages: bool = True,
) -> tuple[list[Case], list[str]]:
    """Screen every scenario and confirm what is flagged; notes are for the reader.

    All are screened first, so that the flagged ones can share what is left of the time.
    """
    started = clock()
    notes: list[str] = []
    all_judged = [
        _Judged(
            scenario=scenario,
            launch=launch,
            record=record,
            request=request,
            run_id=run_id,
            same_packages=same_packages,
            clock=clock,
            progress=progress,
            where=f"{number}/{len(scenarios)} {scenario.id}",
            notes=notes,
        )
        for number, scenario in enumerate(scenarios, start=1)
    ]
    for judged in all_judged:
        judged.screen()
    flagged = [judged for judged in all_judged if judged.flagged]
    until = started + request.thresholds.allowed_s(len(scenarios))
    for number, judged in enumerate(flagged):
        judged.confirm((until - clock()) / (len(flagged) - number))
    return [judged.case() for judged in all_judged], notes


@dataclass(kw_only=True)
class _Judged:
    """One scenario on its way to its case."""

    scenario: Scenario
    launch: Launch
    record: Callable[[Any], None]
    request: AgainstRequest
    run_id: str
    same_packages: bool
    clock: Callable[[], float]
    progress: Progress
    where: str
    notes: list[str] = field(default_factory=list)
    _first: Evidence = field(init=False)
    _found: Finding = field(init=False)
    _reason: str = field(init=False)
    _details: dict[str, Any] = field(init=False)

    def screen(self) -> None:
        """The first look."""
        self._first = self._measure("screening", self.request.thresholds.screening, self._read)
        self._found = self._read(self._first)
        self._reason = self._found.reason
        self._details = {"screening": self._found.facts}

    @property
    def flagged(self) -> bool:
        """Whether the first look does not pass it and another could say more."""
        return self._found.outcome is not Outcome.PASSED and not self._found.final

    def confirm(self, budget_s: float) -> None:
        """Measure once more, in fresh processes."""
        effort = self.request.thresholds.confirmation
        effort = replace(effort, budget_s=min(effort.budget_s, budget_s))

        def read(second: Evidence, *, early: bool) -> Finding:
            return settle(*self._read_twice(second, early=early))

        second = self._measure("confirming", effort, read, first_launch=_CONFIRMING)
        alone, together = self._read_twice(second)
        self._details |= {"confirmation": alone.facts, "together": together.facts}
        doubt, self._found = self._found, settle(alone, together)
        self._reason = _told(doubt, alone, self._found)

    def case(self) -> Case:
        """What came of it."""
        found = self._found
        return Case(
            scenario=self.scenario.id,
            outcome=found.outcome,
            reason=self._reason,
            ratio=found.ratio,
            limit=None if found.margin is None else 1 / (1 + found.margin),
            details=self._details,
        )

    def _measure(
        self,
        stage: str,
        effort: Effort,
        read: Callable[..., Finding],
        first_launch: int = 0,
    ) -> Evidence:
        """Measuring ends when `read(evidence, early=...)` has one outcome both ways."""

        def decided(found: Evidence) -> bool:
            early, late = (read(found, early=early).outcome for early in (True, False))
            return early is late is not Outcome.NO_VERDICT

        duel = Duel(
            run_id=self.run_id,
            scenario=self.scenario,
            launch=self.launch,
            effort=effort,
            thresholds=self.request.thresholds,
            policy=self.request.policy,
            record=self.record,
            record_noise=self.record,
            say=lambda text: self.progress.show(f"{self.where} · {stage} · {text}"),
            clock=self.clock,
            first_launch=first_launch,
            same_packages=self.same_packages,
            decided=decided,
        )
        try:
            return duel.measure()
        finally:
            self.notes += duel.notes

    def _read_twice(self, second: Evidence, *, early: bool = False) -> tuple[Finding, Finding]:
        """The second measurement alone, and both together."""
        both = self._first.and_then(second)
        return self._read(second, early=early), self._read(both, early=early)

    def _read(self, found: Evidence, *, early: bool = False) -> Finding:
        thresholds, policy = self.request.thresholds, self.request.policy
        return read_evidence(found, thresholds=thresholds, policy=policy, early=early)


def _told(doubt: Finding, alone: Finding, found: Finding) -> str:
    """How two measurements came to one outcome."""
    if found.outcome is Outcome.PASSED and doubt.outcome is Outcome.REGRESSION:
        return f"{found.reason}; fresh processes did not confirm the first look ({doubt.reason})"
    if found is alone:
        return f"{found.reason} (measured again after a first look: {doubt.reason})"
    return f"{found.reason} (two measurements together; fresh processes alone: {alone.reason})"


def _codes(
    request: AgainstRequest, project: Path, other: Path, say: Callable[[str], None]
) -> dict[Side, Code]:
    """Which code and interpreter each side runs, proven before anything is measured.

    Raises:
        NoVerdictError: the other commit does not have the project in this place.
        BenchError: a side would run other code, or its environment cannot be built.
    """
    if not base.is_project(other):
        raise NoVerdictError(
            f"the other commit has no bench/ and pillqc/ where {project} has them, so there is "
            "nothing to compare: name another with --against"
        )
    python = request.base_python
    if python is None and not environment.same(project, other):
        say("the packages differ: building an environment for the other commit")
        python = environment.build(other)
    before = Code(checkout=other, python=python or Path(sys.executable))
    head = Code(checkout=project, python=Path(sys.executable))
    for code in (before, head):
        code.check(placement.worker_environment(1, Path("unused")))
    return {Side.BASE: before, Side.CONTROL: before, Side.HEAD: head}


def worker_launcher(request: AgainstRequest, folder: Path, codes: dict[Side, Code]) -> Launch:
    """Starts workers, each with its side's code; nothing that one side compiled is another's."""
    launcher = Launcher(
        folder=folder,
        cpus=placement.chosen_cpus(request.threads),
        options=worker_options(
            data=request.data.resolve(),
            seed=request.seed,
            good=request.good,
            weights=request.weights,
        ),
    )

    def launch(side: Side, key: Scenario, number: int) -> WorkerHandle:
        name = f"{key.id}-{side}-launch{number + 1}"
        return launcher.start(name, key, code=codes[side], cache=str(side))

    return launch


def _same_code(project: Path, commit: str) -> list[str]:
    """A word to whoever compares a commit with itself."""
    if git(project, "diff", "--name-only", commit, "--", *base.CODE):
        return []
    return ["No tracked file of the code differs between the two sides."]


def _output(request: AgainstRequest, commit: str) -> Path:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for attempt in range(100):
        suffix = f"-{attempt}" if attempt else ""
        folder = request.output / f"{stamp}-against-{commit[:7]}{suffix}"
        try:
            (folder / run_folder.LOGS).mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise BenchError(f"{request.output} already has a hundred gates of this second")


@contextmanager
def _row_files(folder: Path) -> Iterator[Callable[[Any], None]]:
    """Where raw rows go, each by one write, as in a run."""
    types: dict[type[Any], str] = {IterationRow: "iterations.csv", NoiseRow: "noise.csv"}
    with ExitStack() as stack:
        files = {
            kind: stack.enter_context(durable.AppendOnly(folder / name))
            for kind, name in types.items()
        }
        for kind, file in files.items():
            file.append(rows.header_line(kind))

        def record(row: Any) -> None:  # noqa: ANN401 - one of the two rows
            files[type(row)].append(rows.row_line(row))

        yield record


def _repeat(request: AgainstRequest, commit: str) -> str:
    parts = ["bench", "gate", "--against", commit[:10]]
    parts += [part for pattern in request.only for part in ("--only", pattern)]
    named = (
        ("--good", request.good),
        ("--weights", request.weights),
        ("--base-python", request.base_python),
    )
    for option, value in named:
        parts += [option, str(value)] if value else []
    parts += ["--data", str(request.data)]
    return shlex.join(parts)
