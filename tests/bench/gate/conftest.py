"""The `bench gate` command, and what it compares: runs on disk, and a fake checkout under git."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.plan.scenario import Layout, Mode, Scenario, Status, Task, stock_default
from bench.store import records
from tests.bench.command import bench
from tests.bench.gate.fake_checkout import commit, speed
from tests.bench.git_repository import git

DEFAULT_1 = stock_default(Task.INFERENCE, 1)
IPEX_1 = Scenario(
    task=Task.INFERENCE, backend="ipex", mode=Mode.EAGER, layout=Layout.CHANNELS_LAST, batch_size=1
)

WORKER = Path(__file__).with_name("scripted_worker.py")
_OF_CI = ("CI_", "GITHUB_")


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove CI's variables, which describe CI's own checkout."""
    for name in list(os.environ):
        if name == "CI" or name.startswith(_OF_CI):
            monkeypatch.delenv(name)


@pytest.fixture
def repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_machine: None
) -> Iterator[Path]:
    """A fake checkout of this project under git, with one commit on main.

    No test leaves a worktree of it, in git's list or on disk.
    """
    temporary, folder = tmp_path / "temporary", tmp_path / "repository"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for package in ("bench", "pillqc"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
    (folder / "bench" / "worker.py").write_text(WORKER.read_text())
    speed(folder)
    commit(folder)
    yield folder
    assert git(folder, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert [path.name for path in temporary.iterdir() if path.is_dir()] == []


gate = partial(bench, "gate")
"""The command as CI types it."""


Speedups = dict[str, tuple[float, float, float]]
MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run without calls: scenario -> (estimate, low, high) over stock default.

    `of_scenarios` has further cells of each row of scenarios.csv.
    """

    def make(
        name: str,
        speedups: Speedups,
        *,
        fingerprint: str | None = "abc",
        launches: int = 3,
        verdict: str = "faster",
        reason: str | None = None,
        statuses: dict[str, Status] | None = None,
        kinds: Sequence[str] = ("stock_default",),
        rounds: int = 36,
        of_scenarios: dict[str, Any] | None = None,
        **environment: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        records.RunWriter(folder).close()
        machine = {"name": "lab", "fingerprint": fingerprint, "packages": {"torch": "2.8.0"}}
        records.write_environment(
            folder, {"run_id": name, "complete": True, "machine": machine, **environment}
        )
        status = dict.fromkeys(speedups, Status.OK) | (statuses or {})
        records.replace_rows(
            folder / "scenarios.csv",
            [
                scenario_row(name, scenario, str(found), **(of_scenarios or {}))
                for scenario, found in status.items()
            ],
            records.ScenarioRow,
        )
        rows = [
            records.SpeedupRow(
                run_id=name,
                scenario=scenario,
                baseline_kind=kind,
                baseline=DEFAULT_1.id,
                speedup=estimate,
                speedup_low=low,
                speedup_high=high,
                margin=0.03,
                launches=launches,
                rounds=rounds,
                verdict=verdict,
                reason=reason,
            )
            for kind in kinds
            for scenario, (estimate, low, high) in speedups.items()
        ]
        records.replace_rows(folder / "speedups.csv", rows, records.SpeedupRow)
        return folder

    return make


def scenario_row(run_id: str, scenario: str, status: str, **cells: Any) -> records.ScenarioRow:
    """A row whose other cells do not matter to the gate."""
    fields: dict[str, Any] = dict.fromkeys(records.ScenarioRow.__dataclass_fields__)
    fields.update(
        run_id=run_id,
        scenario=scenario,
        task="inference",
        backend=scenario.split("/")[1],
        mode="eager",
        dtype="fp32",
        layout="contiguous",
        batch_size=1,
        environment="ipex-2.8",
        status=status,
        rounds=36,
        launches=3,
    )
    fields.update(cells)
    return records.ScenarioRow(**fields)
