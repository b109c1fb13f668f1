"""Other environments: named, looked at before anything is measured, and refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.engine import environments
from bench.engine.environments import Environment
from bench.errors import BenchError, UsageError
from bench.machine import frameworks
from bench.plan.matrix import matrix, select
from bench.plan.profiles import PROFILES
from bench.worker import protocol
from bench.worker.conditions import differences

HEALTHY = {
    "missing": None,
    "error": None,
    "protocol": protocol.VERSION,
    "packages": {"torch": "2.14.1"},
    "version": "2.14.1",
}
LATEST = Environment(
    python=Path("python"), version="3.11.7", packages={"torch": "2.14.1"}, frameworks={}
)


def interpreter(folder: Path, version: str = "3.11.7", **changes: Any) -> Path:
    """A script that answers as a Python of that version and those packages would."""
    path = folder / "python"
    answer = json.dumps({**HEALTHY, **changes})
    path.write_text(
        "#!/bin/sh\n"
        f'if [ $# -eq 2 ]; then echo "{version}"; exit 0; fi\n'
        f"cat > \"$3\" <<'END'\n{answer}\nEND\n"
    )
    path.chmod(0o755)
    return path


def test_environments_are_named_by_the_user(tmp_path: Path) -> None:
    """A path is an interpreter, or the folder of an environment that has one."""
    given = environments.parse((f"torch-latest={tmp_path}", "nightly=/opt/python"))
    assert given == {
        "torch-latest": tmp_path / "bin" / "python",
        "nightly": Path("/opt/python"),
    }


@pytest.mark.parametrize(
    "text", ["latest", "=python", "latest=", "a@b=python", "A=python", "a/b=p"]
)
def test_what_is_no_name_and_path_is_refused(text: str) -> None:
    """A name becomes part of ids and file names, so characters with a meaning there are refused."""
    with pytest.raises(UsageError, match="NAME=PATH"):
        environments.parse((text,))


@pytest.mark.parametrize("given", [("ipex-2.8=p",), ("a=p", "a=q")])
def test_a_name_that_is_taken_is_refused(given: tuple[str, ...]) -> None:
    """Two environments under one id would be averaged."""
    with pytest.raises(UsageError, match="is taken"):
        environments.parse(given)


def test_a_healthy_environment_tells_what_it_has(tmp_path: Path) -> None:
    """Its Python, its packages, and what its frameworks say are kept with the run."""
    found = environments.look_at("latest", interpreter(tmp_path))
    assert found.version == "3.11.7"
    assert found.packages == {"torch": "2.14.1"}
    assert found.kept()["frameworks"]["torch"]["version"] == "2.14.1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "3.8.10"}, "3.8.10"),
        ({"version": "hello"}, "Python"),
        ({"missing": "PIL"}, "pillow"),
        ({"error": "RuntimeError: nms does not exist"}, "RuntimeError: nms"),
        ({"protocol": 99}, "protocol 99"),
        (None, "No such file"),
    ],
)
def test_an_environment_that_cannot_run_a_worker_is_one_line(
    tmp_path: Path, changes: dict[str, Any] | None, words: str
) -> None:
    """The line names the environment and what would help, before anything is measured."""
    python = tmp_path / "nowhere" if changes is None else interpreter(tmp_path, **changes)
    with pytest.raises(BenchError, match=words) as refused:
        environments.look_at("latest", python)
    assert "environment latest" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_real_empty_environment_lacks_its_first_package(tmp_path: Path) -> None:
    """A fresh virtual environment of this Python cannot run a worker."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")]
    subprocess.run(make, check=True)
    with pytest.raises(BenchError, match=r"empty.*numpy"):
        environments.look_at("empty", tmp_path / "empty" / "bin" / "python")


@pytest.mark.torch
def test_this_environment_could_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter of the tests runs workers, so it passes under any name.

    What its frameworks say takes seconds, and is tested in `machine/test_frameworks.py`.
    """
    monkeypatch.setattr(frameworks, "frameworks", lambda python: {"torch": {"version": python}})
    found = environments.look_at("again", Path(sys.executable))
    assert found.packages["torch"]
    assert found.frameworks["torch"]["version"] == sys.executable


@pytest.mark.torch
def test_of_a_package_that_is_there_twice_the_imported_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an environment that also sees the system's packages."""
    for folder, version in (("own", "2.0"), ("system", "1.0")):
        metadata = tmp_path / folder / f"thing-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'own'}:{tmp_path / 'system'}")
    monkeypatch.setattr(frameworks, "frameworks", lambda _: {})
    assert environments.look_at("again", Path(sys.executable)).packages["thing"] == "2.0"


def test_its_processes_find_this_code_first() -> None:
    """An installation of another version there would run other code; PYTHONHOME other packages."""
    variables = environments.variables({"PYTHONPATH": "/mine", "PYTHONHOME": "/x", "A": "1"})
    root = Path(environments.__file__).parents[2]
    assert variables == {"PYTHONPATH": f"{root}:/mine", "A": "1"}


def test_code_among_other_packages_is_not_lent() -> None:
    """Site-packages on another environment's path would bring this environment's torch along."""
    assert environments.code_folder(Path("/venv/lib/python3.11/site-packages/bench")) is None
    assert environments.code_folder(Path("/home/me/checkout/bench")) == Path("/home/me/checkout")


def test_stock_scenarios_are_measured_there_and_ipex_is_excluded_with_its_reason() -> None:
    """The default environment's ids stay as they are; the others carry the environment."""
    plain = matrix(PROFILES["standard"])
    both = matrix(PROFILES["standard"], environments=("torch-latest",))
    assert both[: len(plain)] == plain
    added = both[len(plain) :]
    assert {scenario.id for scenario in added} == {
        f"{scenario.id}@torch-latest" for scenario in plain if scenario.backend == "stock"
    }
    assert not any(scenario.is_stock_default for scenario in added)
    (left_out,) = environments.exclusions({"torch-latest": LATEST})
    assert left_out.what == "{ipex,placebo}/*@torch-latest"
    assert "ipex-2.8" in left_out.reason


def test_a_pattern_means_every_environment_unless_it_names_one() -> None:
    """`--only` written for one environment must not drop the others without a word."""
    both = matrix(PROFILES["smoke"], environments=("torch-latest",))
    name = "inference/stock/eager/fp32/channels_last/b1"
    assert {s.id for s in select(both, (name,))} >= {name, f"{name}@torch-latest"}
    there = {s.id for s in select(both, ("inference/*/b1@torch-latest",))}
    assert {item for item in there if "@" not in item} == {
        "inference/stock/eager/fp32/contiguous/b1"
    }


def test_another_openmp_belongs_to_another_environment_and_another_allocator_does_not() -> None:
    """PyTorch brings its OpenMP runtime along; the allocator must be the same."""
    one = {"openmp": ["libgomp.so.1"], "allocator": "glibc"}
    other = {"openmp": ["libiomp5.so"], "allocator": "tcmalloc"}
    assert len(differences(one, other)) == 2
    (found,) = differences(one, other, same_packages=False)
    assert found.startswith("allocator")


def test_an_environment_that_changed_is_reported_from_what_it_was() -> None:
    """A run that was cut must not go on with other packages under the same name."""
    before = LATEST.kept()
    assert environments.difference(before, LATEST) is None
    newer = replace(LATEST, packages={"torch": "2.15.0"})
    assert environments.difference(before, newer) == "torch"
