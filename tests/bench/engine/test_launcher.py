"""Workers are started with the same settings, apart from what their scenario varies."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine import launcher
from bench.engine.launcher import Launcher, first_cpus, worker_options
from bench.errors import WorkerError
from bench.machine.cpu import parse_cpuinfo
from bench.plan.scenario import Dtype, Status, Task, stock_default

if TYPE_CHECKING:
    from bench.engine.worker_process import WorkerCommand

STOCK = stock_default(Task.INFERENCE, 1)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commands in place of processes; keywords replace the launcher's parts."""
    monkeypatch.setattr(launcher, "WorkerProcess", lambda command: command)

    def begin(name: str = "w", scenario: Any = STOCK, *, own: Any = None, **more: Any) -> Any:
        fields = {
            "folder": tmp_path,
            "cpus": (0, 1),
            "options": worker_options(data=tmp_path, seed=3),
        }
        return Launcher(**{**fields, **(own or {})}).start(name, scenario, **more)

    return begin


def after(command: WorkerCommand, option: str) -> str:
    """What follows an option on the command line."""
    return command.arguments[command.arguments.index(option) + 1]


def test_workers_get_the_options_of_the_launcher(start: Any, tmp_path: Path) -> None:
    """And each its own; an option that is None is left out."""
    command = start(more=worker_options(**{"image-size": 64, "weights": None}))
    assert command.arguments[0] == sys.executable
    found = {name: after(command, f"--{name}") for name in ("data", "seed", "image-size")}
    assert found == {"data": str(tmp_path), "seed": "3", "image-size": "64"}
    assert "--weights" not in command.arguments
    assert (after(command, "--threads"), command.cpus) == ("2", (0, 1))


def test_a_scenarios_threads_are_its_cpus_and_variables_too(start: Any) -> None:
    """OpenMP reads them when it is loaded."""
    command = start(scenario=replace(STOCK, options=("threads=1",)))
    assert (after(command, "--threads"), command.cpus) == ("1", (0,))
    assert command.environment["OMP_NUM_THREADS"] == "1"


def test_reduced_arithmetic_is_an_argument(start: Any) -> None:
    """Of its own workers alone."""
    plain, reduced = start(), start(scenario=replace(STOCK, options=("fpmath=bf16",)))
    assert "--fpmath" not in plain.arguments
    assert after(reduced, "--fpmath") == "bf16"


def test_processes_of_one_scenario_alone_share_what_they_compile(start: Any) -> None:
    """Another one's first call would be warm, or run code for other threads or instructions."""
    others = (
        *(replace(STOCK, options=(tag,)) for tag in ("fpmath=bf16", "threads=1", "heap=glibc")),
        replace(STOCK, backend="ipex"),
    )
    started = [start(), start("later"), *(start(scenario=one) for one in others)]
    started.append(start(cpus=(0,)))  # as an instance beside others
    first, again, *rest = (one.environment["TORCHINDUCTOR_CACHE_DIR"] for one in started)
    assert first == again
    assert len({first, *rest}) == 1 + len(rest)


def test_a_cache_of_its_own_shares_nothing_compiled(start: Any) -> None:
    """Two sides of a gate, and two environments."""
    folders = [
        start(cache=name, scenario=replace(STOCK, environment=other)).environment
        for name, other in (("base", "a"), ("head", "a"), ("", "a"), ("", "b"))
    ]
    for own in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"):
        assert len({one[own] for one in folders}) == len(folders)


def test_another_interpreters_worker_runs_this_code(start: Any, tmp_path: Path) -> None:
    """Not the packages that are installed beside this one."""
    python = tmp_path / "bin" / "python"
    command = start(
        scenario=replace(STOCK, environment="other"), own={"pythons": {"other": python}}
    )
    assert Path(command.arguments[0]) == python
    assert command.environment["PYTHONPATH"].split(":")[0] == str(Path(__file__).parents[3])


def test_logs_are_named_as_files(start: Any, tmp_path: Path) -> None:
    """A scenario's id has slashes, a control's name a mark."""
    command = start(name="inference/stock#control-launch1")
    assert command.log == tmp_path / "logs" / "inference-stock-control-launch1.log"


def test_threads_bind_as_many_cpus_and_more_than_there_are_is_unavailable() -> None:
    """More threads than cores would be measured as if it were speed."""
    assert first_cpus((4, 5, 6), 2) == (4, 5)
    assert first_cpus((4, 5), None) == (4, 5)
    with pytest.raises(WorkerError, match="8 threads"):
        first_cpus((4, 5), 8)


@pytest.mark.parametrize(
    ("flags", "can"),
    [
        ("avx512f avx512_fp16", True),
        ("amx_tile amx_fp16", True),
        ("avx512f avx512_bf16 amx_tile amx_bf16", False),
        ("amx_fp16", False),
        ("", False),
    ],
)
def test_fp16_needs_instructions_of_the_cpu(
    start: Any, monkeypatch: pytest.MonkeyPatch, flags: str, *, can: bool
) -> None:
    """No process is started where it has none; every other dtype starts anywhere."""
    cpu = parse_cpuinfo(f"model name\t: a CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr("bench.machine.cpu.read_cpu", lambda _: cpu)
    for dtype in set(Dtype) - {Dtype.FP16}:
        start(scenario=replace(STOCK, dtype=dtype))
    if can:
        start(scenario=replace(STOCK, dtype=Dtype.FP16))
        return
    with pytest.raises(WorkerError, match="neither AVX512_FP16 nor AMX_FP16") as caught:
        start(scenario=replace(STOCK, dtype=Dtype.FP16))
    assert caught.value.status is Status.UNAVAILABLE
