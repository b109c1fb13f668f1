"""Base against head with the real model: a planted regression, a busy core, a broken commit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.analysis.measurements import Disturbance
from bench.gate import against, measuring
from bench.gate.against import AgainstRequest
from bench.gate.side import Code
from bench.gate.thresholds import Effort, GatePolicy
from bench.machine import noise
from bench.plan.thresholds import NoisePolicy, Policy, SteadyStatePolicy
from bench.selfcheck.burner import bursts
from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.bench.git_repository import git
from tests.known import known

if TYPE_CHECKING:
    from bench.gate.result import GateReport

ROOT = Path(__file__).parents[3]
SCENARIO = "inference/stock/eager/fp32/contiguous/b1"
ONE = Effort(launches=1, min_rounds=3, max_rounds=3, budget_s=120)
THRESHOLDS = GatePolicy(screening=ONE, confirmation=ONE, min_launches=1)
"""One launch may screen and one confirm: as few workers as a verdict can need."""
MODEL = Path("pillqc/model/network.py")
BRIEF = Policy(
    steady_state=SteadyStatePolicy(max_calls=4, max_seconds=1.0),
    noise=NoisePolicy(idle_wait_s=0.1),
)
"""On a busy machine, warming up and waiting for idle CPUs would last to their caps each time."""
FIVEFOLD = """

_once = CustomVGG.forward


def _five_times(self, images):
    for _ in range(4):
        _once(self, images)
    return _once(self, images)


CustomVGG.forward = _five_times
"""
"""So much that no neighbour's work hides it in calls this short."""
pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of 15 ms instead of 200 show the same; what is left is starting workers."""
    usual = Code.worker_arguments

    def small(code: Code, options: list[str]) -> tuple[str, ...]:
        return usual(code, [*options, "--image-size", "64"])

    monkeypatch.setattr(Code, "worker_arguments", small)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clone this project's last commit."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--shared", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small images."""
    plan = RenderPlan(size=64, train_good=2, test_good=2, per_defect=1)
    return render_dataset(tmp_path_factory.mktemp("data") / "pills", plan, jobs=1).root


def gate(clone: Path, pills: Path) -> GateReport:
    """The clone's working tree against its last commit; nothing may be left of it."""
    report = against.compare(
        AgainstRequest(
            revision="HEAD",
            data=pills,
            output=clone.parent / "out",
            repository=clone,
            only=(SCENARIO,),
            weights="random",
            threads=1,
            policy=BRIEF,
            thresholds=THRESHOLDS,
        )
    )
    left = [path for path in (clone.parent / "temporary").iterdir() if path.is_dir()]
    assert left == []
    return report


def test_more_compute_is_a_regression(
    clone: Path, pills: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working tree's own model, which is installed nowhere."""
    # what else runs here must not decide
    monkeypatch.setattr(noise, "is_quiet", lambda *_: True)
    monkeypatch.setattr(noise, "saw_other_work", lambda *_: False)
    monkeypatch.setattr(measuring, "disturbance", lambda *_: Disturbance())
    model = clone / MODEL
    model.write_text(model.read_text() + FIVEFOLD)
    report = gate(clone, pills)
    assert report.exit_code == 10, report.cases[0].reason
    assert 0.1 < known(report.cases[0].ratio).estimate < 0.5


def test_a_busy_core_is_no_regression(clone: Path, pills: Path) -> None:
    """Head is base, whatever the noise: no verdict or a pass."""
    with bursts():
        report = gate(clone, pills)
    assert report.exit_code in (0, 11), report.cases[0].reason


def test_a_commit_whose_model_does_not_import_is_no_verdict(clone: Path, pills: Path) -> None:
    """The other commit is broken; the reason is in the report, and it is no pass."""
    model = clone / MODEL
    whole = model.read_text()
    model.write_text(whole + "\nraise RuntimeError('broken on purpose')\n")
    git(clone, "commit", "--all", "--quiet", "--message", "broken")
    model.write_text(whole)
    report = gate(clone, pills)
    assert report.exit_code == 11
    assert "broken on purpose" in report.cases[0].reason
