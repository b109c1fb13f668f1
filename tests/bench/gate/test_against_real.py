"""Base against head with the real model: one planted regression, planted noise, a broken commit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.analysis.measurements import Disturbance
from bench.gate import against, duel
from bench.gate.against import AgainstRequest
from bench.gate.side import Code
from bench.gate.thresholds import Effort, GatePolicy
from bench.machine import noise
from bench.plan.thresholds import Policy, SteadyStatePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.gate.result import GateReport

ROOT = Path(__file__).parents[3]
SCENARIO = "inference/stock/eager/fp32/contiguous/b1"
ONE = Effort(launches=1, min_rounds=3, max_rounds=3, budget_s=120)
"""One launch decides nothing, so every gate here confirms, and both together have the two that a
verdict needs."""
BRIEF = Policy(steady_state=SteadyStatePolicy(max_calls=4, max_seconds=1.0))
"""A warm-up of a second: whoever else works here would have it last to its cap each time."""
FIVEFOLD = """

_once = CustomVGG.forward


def _five_times(self, images):
    for _ in range(4):
        _once(self, images)
    return _once(self, images)


CustomVGG.forward = _five_times
"""
"""So much that no neighbour's work hides it in calls this short."""
BURN = """
import random, time
rng = random.Random(0)
while True:
    end = time.monotonic() + rng.uniform(0.2, 2.0)
    while time.monotonic() < end:
        pass
    time.sleep(rng.uniform(0.2, 2.0))
"""

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
    """This project's last commit in a repository of its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--shared", str(ROOT), str(folder))
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@example.invalid")
    return folder


def git(folder: Path, *arguments: str) -> None:
    """Git in that folder."""
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few real images."""
    folder = tmp_path_factory.mktemp("data") / "pills"
    counts = ["--train-good", "2", "--test-good", "2", "--per-defect", "1"]
    arguments = [sys.executable, "-m", "pillqc", "render", "--out", str(folder), *counts]
    subprocess.run(arguments, check=True, capture_output=True, cwd=ROOT)
    return folder


@pytest.fixture
def burner() -> Iterator[None]:
    """Another process that burns a core in bursts."""
    process = subprocess.Popen([sys.executable, "-c", BURN])
    yield
    process.kill()
    process.wait()


def gate(clone: Path, pills: Path, effort: Effort = ONE) -> GateReport:
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
            thresholds=GatePolicy(screening=effort, confirmation=effort),
        )
    )
    left = [path for path in (clone.parent / "temporary").iterdir() if path.is_dir()]
    assert left == []
    return report


def test_five_times_the_compute_is_a_regression(
    clone: Path, pills: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working tree's own model, which is installed nowhere."""
    # what else runs here must not decide
    monkeypatch.setattr(noise, "is_quiet", lambda *_: True)
    monkeypatch.setattr(duel, "disturbance", lambda *_: Disturbance())
    model = clone / "pillqc" / "model.py"
    model.write_text(model.read_text() + FIVEFOLD)
    report = gate(clone, pills)
    assert report.exit_code == 10, report.cases[0].reason
    assert report.cases[0].ratio is not None
    assert 0.1 < report.cases[0].ratio.estimate < 0.5


@pytest.mark.usefixtures("burner")
def test_a_burning_neighbour_is_no_regression(clone: Path, pills: Path) -> None:
    """Head is base, whatever the noise: no verdict or a pass."""
    report = gate(clone, pills, replace(ONE, launches=2))
    assert report.exit_code in (0, 11), report.cases[0].reason


def test_a_commit_whose_model_does_not_import_is_no_verdict(clone: Path, pills: Path) -> None:
    """The other commit is broken; the reason is in the report, and it is no pass."""
    model = clone / "pillqc" / "model.py"
    whole = model.read_text()
    model.write_text(whole + "\nraise RuntimeError('broken on purpose')\n")
    git(clone, "commit", "--all", "--quiet", "--message", "broken")
    model.write_text(whole)
    report = gate(clone, pills)
    assert report.exit_code == 11
    assert "broken on purpose" in report.cases[0].reason
