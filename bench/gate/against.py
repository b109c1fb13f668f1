"""Compare this working tree with another commit, measured now, on this machine, in the same rounds.

    report = compare(AgainstRequest(revision=None, ...))   # None: the commit where we left main

Every scenario is screened. Those that do not pass are measured again in fresh processes, and only
what is slower both times is a regression. The output folder keeps the raw rows in any case.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.engine.launcher import CACHE, Launcher, worker_options
from bench.engine.progress import Progress
from bench.gate import base, checkout, environment
from bench.gate.evidence import settle
from bench.gate.measuring import Measurer
from bench.gate.result import Case, GateReport, NoVerdictError, Outcome
from bench.gate.scenarios import gated
from bench.gate.side import Code, Side
from bench.gate.thresholds import DEFAULT as DEFAULT_THRESHOLDS
from bench.gate.thresholds import GatePolicy
from bench.machine import worker_settings
from bench.plan import arguments
from bench.plan.thresholds import DEFAULT, Policy
from bench.store import records, run_folder
from bench.store.git import git

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.engine.worker_process import WorkerHandle
    from bench.gate.evidence import Evidence, Finding
    from bench.gate.measuring import Launch
    from bench.plan.scenario import Scenario

_FILES = {"iterations.csv": records.IterationRow, "noise.csv": records.NoiseRow}
_CONFIRMING = 100
"""The number of a confirmation's first launch."""


@dataclass(frozen=True, kw_only=True)
class AgainstRequest:
    """The settings of a comparison with another commit."""

    revision: str | None
    data: Path
    output: Path
    repository: Path
    only: tuple[str, ...] = ()
    good: str | None = None
    """The folder of good pills, if it is not `good`; old commits do not have this option."""
    weights: str | None = None
    seed: int = 0
    threads: int | None = None
    base_python: Path | None = None
    """The interpreter that runs the other commit."""
    policy: Policy = DEFAULT
    thresholds: GatePolicy = DEFAULT_THRESHOLDS


def compare(request: AgainstRequest, progress: Progress | None = None) -> GateReport:
    """Measure both sides and judge every scenario.

    Raises:
        BenchError: the other commit cannot be found, checked out or run, or a setting is wrong.
        KeyboardInterrupt: passed on, after the other commit's checkout is removed.
    """
    worker_settings.chosen_cpus(request.threads)  # refuses more threads than cores
    arguments.check_pills(request.data)
    arguments.check_writable(request.output, "--output")
    scenarios = gated(request.only)
    progress = progress or Progress()
    tree = base.top_level(request.repository)
    project = base.project(tree, request.repository)
    found = base.resolve(project, request.revision)
    commit = found.commit
    sides = f"The working tree ({base.describe_tree(project)}) against {commit[:10]} ({found.why})"
    changed = git(project, "diff", "--name-only", commit, "--", *base.CODE)
    with ExitStack() as stack:
        stack.callback(progress.clear)
        stack.enter_context(run_folder.only_run_here())
        progress.show(f"checking out {commit[:10]}")
        other = stack.enter_context(checkout.checked_out(tree, commit))
        folder = run_folder.create(request.output, "against", commit)
        for temporary in (CACHE, run_folder.OUTPUTS):
            stack.callback(shutil.rmtree, folder / temporary, ignore_errors=True)
        codes = _codes(request, project, other / project.relative_to(tree), progress.show)
        measurer = Measurer(
            run_id=folder.name,
            launch=worker_launcher(request, folder, codes),
            record=stack.enter_context(records.RunWriter(folder, _FILES)).append,
            thresholds=request.thresholds,
            policy=request.policy,
            same_packages=codes[Side.BASE].python == codes[Side.HEAD].python,
            say=progress.show,
        )
        before = base.sources(project)
        cases = judge(scenarios, measurer)
    problem = None
    if base.sources(project) != before:
        problem = (
            "the working tree's code changed while it was measured: leave it, and measure again"
        )
    notes = [] if changed else ["No tracked file of the code differs between the two sides."]
    here = machine.describe(frameworks=False)
    return GateReport(
        title="Base against head",
        compared=(
            f"{sides}, in the same rounds, with a second base worker as control, on "
            f"{here['name']} (fingerprint {here['fingerprint']}). Raw rows: {folder}."
        ),
        repeat=_repeat(request, commit),
        cases=() if problem else tuple(cases),
        problem=problem,
        notes=(*measurer.notes, *notes),
    )


def judge(scenarios: Sequence[Scenario], measurer: Measurer) -> list[Case]:
    """Screen every scenario, confirm those that do not pass, and return a case for each.

    All are screened first, so that the confirmations can share the time that is left.
    """
    allowed_s = measurer.thresholds.allowed_s(len(scenarios))
    until = measurer.clock() + allowed_s
    judged = [
        _Judged(scenario=scenario, measurer=measurer, where=f"{number}/{len(scenarios)}")
        for number, scenario in enumerate(scenarios, start=1)
    ]
    for one in judged:
        one.screen()
    doubtful = [
        one for one in judged if one.found.outcome is not Outcome.PASSED and not one.found.final
    ]
    for number, one in enumerate(doubtful):
        one.confirm((until - measurer.clock()) / (len(doubtful) - number))
    return [one.case() for one in judged]


@dataclass(kw_only=True)
class _Judged:
    """One scenario, its measurements and what they show so far."""

    scenario: Scenario
    measurer: Measurer
    where: str
    evidence: Evidence = field(init=False)
    found: Finding = field(init=False)
    reason: str = field(init=False)
    details: dict[str, Any] = field(init=False)

    def screen(self) -> None:
        """Measure the scenario once."""
        measurer = self.measurer
        effort = measurer.thresholds.screening
        title = f"{self.where} {self.scenario.id} · screening ·"
        self.evidence = measurer.measure(self.scenario, effort, measurer.read, title=title)
        self.found = measurer.read(self.evidence)
        self.reason = self.found.reason
        self.details = {"screening": self.found.facts}

    def confirm(self, budget_s: float) -> None:
        """Measure the scenario again, in fresh processes, and settle its outcome."""
        measurer = self.measurer
        effort = measurer.thresholds.confirmation
        effort = replace(effort, budget_s=min(effort.budget_s, budget_s))

        def read(second: Evidence, *, early: bool) -> Finding:
            both = self.evidence.and_then(second)
            return settle(measurer.read(second, early=early), measurer.read(both, early=early))

        title = f"{self.where} {self.scenario.id} · confirming ·"
        second = measurer.measure(
            self.scenario, effort, read, title=title, first_launch=_CONFIRMING
        )
        alone = measurer.read(second)
        together = measurer.read(self.evidence.and_then(second))
        self.details |= {"confirmation": alone.facts, "together": together.facts}
        doubt, self.found = self.found, settle(alone, together)
        self.reason = _reason_of_both(doubt, alone, self.found)

    def case(self) -> Case:
        """Return the scenario's answer."""
        found = self.found
        return Case(
            scenario=self.scenario.id,
            outcome=found.outcome,
            reason=self.reason,
            ratio=found.ratio,
            limit=found.limit or None,
            details=self.details,
        )


def _reason_of_both(doubt: Finding, alone: Finding, found: Finding) -> str:
    """Explain how two measurements gave one outcome."""
    if found.outcome is Outcome.PASSED and doubt.outcome is Outcome.REGRESSION:
        return f"{found.reason}; fresh processes did not confirm the first look ({doubt.reason})"
    if found is alone:
        return f"{found.reason} (measured again after a first look: {doubt.reason})"
    return f"{found.reason} (two measurements together; fresh processes alone: {alone.reason})"


def _codes(
    request: AgainstRequest, project: Path, other: Path, say: Callable[[str], None]
) -> dict[Side, Code]:
    """Return which code and interpreter each side runs, proven before anything is measured.

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
        code.check(worker_settings.worker_environment(1, Path("unused")))
    return {Side.BASE: before, Side.CONTROL: before, Side.HEAD: head}


def worker_launcher(request: AgainstRequest, folder: Path, codes: dict[Side, Code]) -> Launch:
    """Return how workers are started: with their side's code, and a cache for each side."""
    launcher = Launcher(
        folder=folder,
        cpus=worker_settings.chosen_cpus(request.threads),
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


def _repeat(request: AgainstRequest, commit: str) -> str:
    """Return the command that makes this comparison again."""
    only = [part for pattern in request.only for part in ("--only", pattern)]
    others = worker_options(
        good=request.good,
        weights=request.weights,
        seed=request.seed or None,
        threads=request.threads,
        **{"base-python": request.base_python},
        data=request.data,
    )
    return shlex.join(["bench", "gate", "--against", commit[:10], *only, *others])
