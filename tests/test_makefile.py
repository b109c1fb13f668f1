"""What `make` refuses and what it would run, without installing anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` at the root of the project."""
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_unknown_environment_is_one_line() -> None:
    """Before anything is installed or measured."""
    done = make("known-envs", "ENVS=ipex nightly")
    assert done.returncode
    assert done.stderr.startswith("make: ENVS=nightly is not known: say ipex, latest or NAME=")


def test_an_unknown_backend_is_one_line() -> None:
    """Pip would only warn of an extra that does not exist, and the marker would stay."""
    done = make("known-backends", "BACKENDS=onnxruntime tvm")
    assert done.returncode
    assert done.stderr.startswith("make: BACKENDS=tvm is not known: say openvino or onnxruntime\n")


@pytest.mark.parametrize(
    ("envs", "given"),
    [
        ("ipex", []),
        ("ipex latest", ["--env torch-latest=.venv-latest"]),
        ("mine=/opt/python", ["--env mine=/opt/python"]),
    ],
)
def test_environments_reach_the_command(envs: str, given: list[str]) -> None:
    """`latest` is built first, and then handed over by its folder."""
    shown = make("bench", "--dry-run", f"ENVS={envs}").stdout
    (line,) = [line for line in shown.splitlines() if "bench run" in line]
    assert [part for part in given if part in line] == given
    assert line.count("--env ") == len(given)
    assert ("constraints-latest.txt" in shown) == ("latest" in envs)


def test_further_backends_are_installed_when_named() -> None:
    """By the extra of their name."""
    shown = make("bench", "--dry-run", "BACKENDS=onnxruntime").stdout
    assert "-e '.[ipex,onnxruntime]'" in shown
    assert "--backend onnxruntime" in shown
