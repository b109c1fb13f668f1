"""`bench run` for real: real workers, a real VGG-16, real images, one small comparison."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from bench.errors import BenchError, WorkerError
from bench.plan.profiles import profile_named
from bench.plan.scenario import Status, Task, stock_default
from bench.run import measure
from bench.store import records

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.timeout(600)]

CHANNELS_LAST = "inference/stock/eager/fp32/channels_last/b1"
IPEX = "inference/ipex/eager/fp32/channels_last/b1"
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
RUN = (sys.executable, "-m", "bench", "run")
ENOUGH_S = "15"
"""The first visit is made whatever the budget is, so that no machine's speed decides a test; what
is open afterwards uses all of it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pills, rendered by the command that the README names."""
    root = tmp_path_factory.mktemp("data") / "pills"
    sizes = ["--train-good", "2", "--test-good", "6", "--per-defect", "1"]
    subprocess.run(
        [sys.executable, "-m", "pillqc", "render", "--out", str(root), "--seed", "5", *sizes],
        check=True,
    )
    return root


def command(data: Path, results: Path, *more: str) -> list[str]:
    """The command line of a run into a folder of the test's."""
    where = ["--data", str(data), "--results", str(results), "--reports", str(results / "pages")]
    return [*RUN, "--profile", "smoke", *where, *more]


def only_run(results: Path) -> records.Run:
    """The run that the command left."""
    (folder,) = (path.parent for path in results.glob("*/environment.json"))
    return records.read_run(folder)


@pytest.mark.ipex
def test_a_real_run_is_whole(data: Path, tmp_path: Path) -> None:
    """CSVs, evidence, parity and page of stock and IPEX, and stock never saw IPEX."""
    done = subprocess.run(
        command(data, tmp_path, "--only", IPEX, "--threads", "1", "--budget", ENOUGH_S),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr, "progress belongs to terminals"
    run = only_run(tmp_path)
    rows = {row.scenario: row for row in run.scenarios}
    assert set(rows) == {DEFAULT, IPEX}
    for row in rows.values():
        assert row.status in ("ok", "no_steady_state"), row.reason
        assert row.median_ms is not None
        assert row.percent_of_peak is not None
        assert row.threads == 1
    assert rows[IPEX].layers_replaced == 14
    assert not rows[DEFAULT].layers_replaced
    assert {row.scenario for row in run.kernels} == set(rows)
    assert all(row.within_tolerance for row in run.parity)
    assert run.environment["complete"] is True
    assert run.environment["model"]["trained"] in (True, False)
    assert run.environment["self"]["parent_cpu_share"] < 0.01
    assert 0.5 < run.environment["self"]["peak_memory_gib"] < 16
    conditions = run.environment["workers"]
    assert conditions[IPEX]["allocator"] == conditions[DEFAULT]["allocator"]
    assert not (run.folder / "outputs").exists()
    page = tmp_path / "pages" / f"{run.folder.name}.html"
    assert IPEX in page.read_text()


def test_an_interrupted_run_leaves_whole_rows_no_worker_and_a_page(
    data: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the middle; a report can be made of it, and the run can go on later."""
    process = subprocess.Popen(
        command(data, tmp_path, "--only", CHANNELS_LAST, "--threads", "1"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    timed = tmp_path
    for _ in range(1200):
        timed = next(iter(tmp_path.glob("*/iterations.csv")), tmp_path)
        if timed.is_file() and ",timed," in timed.read_text():
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    run = only_run(tmp_path)
    assert run.environment["complete"] is False
    assert any("interrupted" in note for note in run.environment["notes"])
    assert run.iterations
    left = subprocess.run(
        ["pgrep", "-f", f"bench.worker.*{data}"], capture_output=True, text=True, check=False
    )
    assert left.stdout == ""
    again = subprocess.run(
        [sys.executable, "-m", "bench", "report", str(run.folder), "--reports", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    resumed = subprocess.run(
        [*RUN, "--resume", str(run.folder), "--budget", ENOUGH_S, "--reports", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    after = records.read_run(run.folder)
    assert after.environment["complete"] is True
    assert after.iterations[: len(run.iterations)] == run.iterations
    for row in after.scenarios:
        assert row.status in ("ok", "no_steady_state"), row.reason
    assert max(row.launch for row in after.iterations) > max(r.launch for r in run.iterations)


def test_the_folder_of_good_pills_reaches_every_worker_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on must not take good pills for a defect."""
    asked = measure.RunRequest(
        profile=profile_named("smoke"), data=tmp_path, results=tmp_path, good="ok"
    )
    kept = {"profile": "smoke", "request": asked.kept()}
    again = measure.RunRequest.again(kept, tmp_path, 1.0)
    monkeypatch.setattr("bench.engine.launcher.WorkerProcess", lambda command: command)
    command: Any = measure._launcher(again, tmp_path)(stock_default(Task.INFERENCE, 1), False, 0)
    given = list(command.arguments)
    assert given[given.index("--good") + 1] == "ok"


def test_images_that_cannot_be_used_leave_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's sentence about the folders is the whole answer."""
    refused = WorkerError(Status.UNAVAILABLE, "pills: it is not clear which pills are good")
    monkeypatch.setattr(measure, "find_limits", Mock(side_effect=refused))
    monkeypatch.setattr("bench.engine.launcher.WorkerProcess", Mock())
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    monkeypatch.setattr("bench.machine.describe", lambda: {"affinity": [0]})
    (tmp_path / "pills").mkdir()
    request = measure.RunRequest(
        profile=profile_named("smoke"), data=tmp_path / "pills", results=tmp_path / "results"
    )
    with pytest.raises(BenchError, match=r"^pills: it is not clear which pills are good$"):
        measure.run(request)
    assert list((tmp_path / "results").iterdir()) == []
