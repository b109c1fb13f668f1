"""`bench run` with real workers, a real VGG-16 and real images, on one small comparison."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from bench.errors import BenchError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status
from bench.run import measure
from bench.run.request import OwnChoice, RunRequest
from bench.store import records
from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.bench.command import bench as command

if TYPE_CHECKING:
    from pathlib import Path

IPEX = "inference/ipex/eager/fp32/channels_last/b1"
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
SMALL_IMAGES = """
from dataclasses import replace
from functools import partial
from bench import machine
from bench.plan import thresholds
machine.describe = partial(machine.describe, frameworks=False)
brief = thresholds.SteadyStatePolicy(max_calls=4, max_seconds=1.0)
noise = thresholds.NoisePolicy(idle_wait_s=0.1)
thresholds.DEFAULT = replace(thresholds.DEFAULT, steady_state=brief, noise=noise)
from bench.cli.main import main
from bench.engine.launcher import Launcher
from bench.plan.scenario import Dtype
from bench.run import limits, pictures
limits.Dtype = (Dtype.FP32,)
pictures.keep = lambda *_: []
start = Launcher.start
def small(self, name, scenario, **options):
    return start(self, name, scenario, **options, more=("--image-size", "64"))
Launcher.start = small
main()
"""
"""The `bench` command, whose workers get images of 64 pixels a side, a tenth of the arithmetic, and
a warm-up of a second, which on a busy machine would last to its cap each time, as would waiting for
idle CPUs. It does not ask torch and IPEX what they can do, which imports both twice; it measures
the peak of the only dtype that it needs; and it keeps no pictures, which two further workers would
make (`test_pictures.py`)."""
BENCH = (sys.executable, "-c", SMALL_IMAGES)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.ipex
@pytest.mark.timeout(600)
def test_a_run_that_is_interrupted_and_resumed_is_whole(tmp_path: Path) -> None:
    """Ctrl-C leaves whole rows, no worker and a page; the resumed run has everything."""
    data, results, pages = (tmp_path / name for name in ("pills", "results", "pages"))
    plan = RenderPlan(seed=5, size=64, train_good=2, test_good=6, per_defect=1)
    render_dataset(data, plan, jobs=1)
    where = ["--data", str(data), "--results", str(results), "--reports", str(pages)]
    process = subprocess.Popen(
        [*BENCH, "run", "--profile", "smoke", *where, "--only", IPEX, "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not any(",timed," in path.read_text() for path in results.glob("*/iterations.csv")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert "\r" not in errors, "progress belongs to terminals"
    (folder,) = results.iterdir()
    cut = records.read_run(folder)
    assert cut.environment["complete"] is False
    assert [event["kind"] for event in cut.environment["events"]] == ["interrupted"]
    assert cut.iterations
    left = subprocess.run(
        ["pgrep", "-f", f"bench.worker.*{data}"], capture_output=True, text=True, check=False
    )
    assert left.stdout == ""
    made = command("report", folder, "--reports", pages)
    assert made.exit_code == 0, made.output
    page = pages / f"{folder.name}.html"
    assert "The run is incomplete" in page.read_text()

    resumed = bench("run", "--resume", str(folder), "--budget", "5", "--reports", str(pages))
    assert resumed.returncode == 0, resumed.stderr
    run = records.read_run(folder)
    assert run.environment["complete"] is True
    assert run.iterations[: len(cut.iterations)] == cut.iterations
    assert max(row.launch for row in run.iterations) > max(row.launch for row in cut.iterations)
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
    assert {row.scenario for row in run.logged_calls} == set(rows)
    assert all(row.within_tolerance for row in run.parity)
    assert run.environment["model"]["trained"] in (True, False)
    assert run.environment["self"]["parent_cpu_share"] < 0.01
    assert 0.5 < run.environment["self"]["peak_memory_gib"] < 16
    workers = run.environment["workers"]
    assert workers[IPEX]["allocator"] == workers[DEFAULT]["allocator"]
    assert not (folder / "outputs").exists()
    assert IPEX in page.read_text()
    assert "The run is incomplete" not in page.read_text()


def test_a_resumed_run_makes_the_same_request(tmp_path: Path) -> None:
    """With another folder of good pills it would take good pills for a defect."""
    request = RunRequest(
        profile=PROFILES["smoke"],
        data=tmp_path,
        results=tmp_path,
        budget_s=9.0,
        good="ok",
        vary=("threads=1,2",),
        pythons={"other": tmp_path / "python"},
        backends=("openvino",),
    )
    own = replace(request, own=OwnChoice(model="m:f", shape="3,8,8", settings=("size=1",)))
    for one in (request, own):
        kept = json.loads(json.dumps({"profile": "smoke", "request": one.kept()}))
        assert RunRequest.again(kept, tmp_path, 9.0) == one
    assert request.worker_options() == ("--data", str(tmp_path), "--good", "ok", "--seed", "0")


def test_a_batch_that_is_too_large_here_may_be_asked_for(tmp_path: Path) -> None:
    """The largest one takes its place, as in a run of everything."""
    request = RunRequest(
        profile=PROFILES["standard"],
        data=tmp_path,
        results=tmp_path,
        only=("inference/stock/eager/fp32/*/b32",),
    )
    assert {one.batch_size for one in request.scenarios(32)} == {32}
    assert [one.id for one in request.scenarios(8)] == [
        "inference/stock/eager/fp32/contiguous/b8",
        "inference/stock/eager/fp32/channels_last/b8",
    ]


@pytest.mark.parametrize(
    ("error", "own", "measured", "kept"),
    [
        (WorkerError(Status.UNAVAILABLE, "pills: which pills are good?"), False, False, False),
        (WorkerError(Status.CRASHED, "planted"), False, False, True),
        (WorkerError(Status.CRASHED, "planted"), True, False, False),
        (KeyboardInterrupt("stopped"), False, False, False),
        (KeyboardInterrupt("stopped"), False, True, True),
    ],
)
def test_a_run_that_measured_nothing_leaves_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    own: bool,
    measured: bool,
    kept: bool,
) -> None:
    """Where it was interrupted, or its images or model cannot be used; the line says why."""
    pills, results = tmp_path / "pills", tmp_path / "results"
    pills.mkdir()

    def fail(*_: object, **__: object) -> None:
        if measured:
            (next(results.iterdir()) / "iterations.csv").write_text("")
        raise error

    monkeypatch.setattr(measure, "find_limits", fail)
    monkeypatch.setattr("bench.engine.launcher.WorkerProcess", Mock())
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    monkeypatch.setattr("bench.machine.describe", lambda: {"affinity": [0]})
    model = OwnChoice(model="m:f", shape="3,8,8") if own else None
    request = RunRequest(profile=PROFILES["smoke"], data=pills, results=results, own=model)
    with pytest.raises((BenchError, KeyboardInterrupt), match=str(error)):
        measure.run(request)
    assert [path.is_dir() for path in results.iterdir()] == [True] * kept


def test_a_model_that_kills_its_worker_is_named_with_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder with the log goes away, so its name would help nobody."""
    results = tmp_path / "results"

    def die(*_: object, **__: object) -> None:
        logs = next(results.iterdir()) / "logs"
        logs.mkdir(exist_ok=True)
        (logs / "stock.log").write_text("loading\nno such device\n\n")
        raise WorkerError(
            Status.CRASHED, "killed by SIGABRT during `hello`; its output is in logs/stock.log"
        )

    monkeypatch.setattr(measure, "find_limits", die)
    monkeypatch.setattr("bench.engine.launcher.WorkerProcess", Mock())
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    monkeypatch.setattr("bench.machine.describe", lambda: {"affinity": [0]})
    own = OwnChoice(model="m:f", shape="3,8,8")
    request = RunRequest(profile=PROFILES["smoke"], data=tmp_path, results=results, own=own)
    with pytest.raises(BenchError, match=r"--model m:f: .*SIGABRT.*: no such device") as caught:
        measure.run(request)
    assert "logs/" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "only", "size", "workers"),
    [
        ("smoke", (), 1, 14),
        ("standard", (), 8, 15),
        ("smoke", ("inference/*",), None, 14),
        ("standard", ("training/*",), 8, 7),
        ("full", (), 8, 47),
    ],
)
def test_what_the_limits_must_hold_is_what_will_be_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    only: tuple[str, ...],
    size: int | None,
    workers: int,
) -> None:
    """Training steps of the profile's batch size, and no more workers than live together."""
    find_limits = Mock(side_effect=WorkerError(Status.CRASHED, "enough"))
    monkeypatch.setattr(measure, "find_limits", find_limits)
    monkeypatch.setattr("bench.engine.launcher.WorkerProcess", Mock())
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    monkeypatch.setattr("bench.machine.describe", lambda: {"affinity": [0]})
    own = OwnChoice(model="m:f", shape="3,8,8", train_step="m:s")
    request = RunRequest(
        profile=PROFILES[profile], data=tmp_path, results=tmp_path, own=own, only=only
    )
    with pytest.raises(BenchError, match="enough"):
        measure.run(request)
    assert find_limits.call_args.kwargs["training_batch"] == size
    assert find_limits.call_args.kwargs["participants"] == workers


def test_the_users_functions_are_kept_and_passed_on(tmp_path: Path) -> None:
    """A resumed run has them, and every worker."""
    own = OwnChoice(model="m:f", inputs="m:i", decide="m:d", calibration="m:c", train_step="t.py:s")
    request = RunRequest(profile=PROFILES["smoke"], data=tmp_path, results=tmp_path, own=own)
    kept = json.loads(json.dumps({"profile": "smoke", "request": request.kept()}))
    assert RunRequest.again(kept, tmp_path, request.budget).own == own
    options = request.worker_options()
    for option, path in (("--decide", "m:d"), ("--calibration", "m:c"), ("--train-step", "t.py:s")):
        assert options[options.index(option) + 1] == path
    ids = [scenario.id for scenario in request.scenarios(4)]
    assert any("/int8/" in one for one in ids)
    assert any(one.startswith("training/ipex") for one in ids)
    assert not any("frozen" in one for one in ids)
