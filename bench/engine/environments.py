"""Other environments: interpreters with other packages, measured beside the default one.

    pythons = parse(("torch-latest=.venv-latest/bin/python",))
    found = {name: look_at(name, python) for name, python in pythons.items()}

A worker there runs this project's own code on that environment's PyTorch, so what differs between
two environments is their packages and nothing else. What would make that untrue, or impossible, is
found out before anything is measured and said in one line.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, UsageError
from bench.machine import frameworks
from bench.plan.matrix import Exclusion
from bench.plan.scenario import DEFAULT_ENVIRONMENT
from bench.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OLDEST = (3, 10)
_VERSION = "import sys; print('%d.%d.%d' % tuple(sys.version_info[:3]))"
_VERSION_TIMEOUT_S = 30
_PACKAGES = {"PIL": "pillow", "bench": "pillqc-bench", "pillqc": "pillqc-bench"}
"""Modules whose package has another name."""
_LONGEST_REASON = 200
_HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter that can run a worker, and what is installed there."""

    python: Path
    version: str
    """Of Python, e.g. `3.11.7`."""
    packages: Mapping[str, str]
    """Every installed package and its version, under its normalised name."""
    frameworks: Mapping[str, Any]
    """What its torch, oneDNN and IPEX say, as in environment.json's `machine`."""

    def kept(self) -> dict[str, Any]:
        """What environment.json keeps of it."""
        return {
            "python": str(self.python),
            "version": self.version,
            "packages": dict(self.packages),
            "frameworks": dict(self.frameworks),
        }


def parse(given: Sequence[str]) -> dict[str, Path]:
    """`NAME=PATH` of each `--env`; PATH is an interpreter, or the folder of an environment.

    Raises:
        UsageError: one is not of that form, or a name is taken.
    """
    pythons: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (equals and path and _NAME.fullmatch(name)):
            raise UsageError(
                f"--env {text!r} is not NAME=PATH/TO/python, with a NAME of small letters, digits, "
                "dots and dashes"
            )
        if name == DEFAULT_ENVIRONMENT or name in pythons:
            raise UsageError(f"--env {name}: that name is taken; give this environment another")
        pythons[name] = _interpreter(Path(path).expanduser())
    return pythons


def _interpreter(path: Path) -> Path:
    """The interpreter itself; links are kept, since an environment's python is one."""
    return path / "bin" / "python" if path.is_dir() else path


def look_at(name: str, python: Path) -> Environment:
    """Ask an interpreter whether it can run a worker, and what it has. Takes seconds.

    Raises:
        BenchError: it cannot; one sentence says what is missing and what would help.
    """
    version = _version(name, python)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise BenchError(
            f"environment {name} has Python {version}, and workers need {oldest} or newer: "
            f"build it with another Python ({python})"
        )
    answer = frameworks.ask("ask_environment", str(python), variables(os.environ))
    said = answer.result
    if said is None:
        raise BenchError(f"environment {name} cannot run a worker ({python}): {answer.reason}")
    if said["missing"]:
        raise BenchError(_what_is_missing(name, python, said["missing"]))
    if said["error"]:
        raise BenchError(
            f"environment {name} cannot run a worker: {said['error'][:_LONGEST_REASON]} "
            f"(its packages do not fit together, or not this project; see {python})"
        )
    if said["protocol"] != protocol.VERSION:
        raise BenchError(
            f"environment {name} speaks protocol {said['protocol']}, this harness speaks "
            f"{protocol.VERSION}: install the same version of pillqc-bench there"
        )
    return Environment(
        python=python,
        version=version,
        packages=said["packages"],
        frameworks=frameworks.frameworks(str(python)),
    )


def _version(name: str, python: Path) -> str:
    """Which Python it is.

    Raises:
        BenchError: it is none, or cannot be run.
    """
    try:
        done = subprocess.run(
            [str(python), "-c", _VERSION],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_VERSION_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=variables(os.environ),
        )
    except OSError as error:
        raise BenchError(
            f"environment {name}: {python} cannot be run ({error.strerror}): give the path of an "
            "environment's python, e.g. .venv-latest/bin/python"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"environment {name}: {python} did not tell its version in {_VERSION_TIMEOUT_S} s"
        ) from error
    version = done.stdout.strip()
    if done.returncode or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        said = " ".join((done.stderr or done.stdout).split())[-_LONGEST_REASON:] or "nothing"
        raise BenchError(
            f"environment {name}: {python} is not a Python that works (it said: {said})"
        )
    return version


def _what_is_missing(name: str, python: Path, module: str) -> str:
    package = _PACKAGES.get(module, module)
    return (
        f"environment {name} lacks {package}: install it there with "
        f"`{python} -m pip install {package}`"
    )


def variables(base: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process of another environment: `base`, with this project's code first.

    Where this project is installed among other packages, its folder would bring those along, other
    versions of them than the environment's own; then the environment needs its own installation,
    and the protocol's version tells whether the two fit.
    """
    chosen = {key: value for key, value in base.items() if key != "PYTHONHOME"}
    code = code_folder()
    if code is not None:
        rest = [base["PYTHONPATH"]] if base.get("PYTHONPATH") else []
        chosen["PYTHONPATH"] = os.pathsep.join([str(code), *rest])
    return chosen


def code_folder(package: Path = _HERE) -> Path | None:
    """The folder to import this project from; None where it holds other packages too."""
    folder = package.parent
    return None if folder.name in ("site-packages", "dist-packages") else folder


def exclusions(found: Mapping[str, Environment]) -> list[Exclusion]:
    """What is not measured in other environments, and why."""
    return [
        Exclusion(
            what=f"{{ipex,placebo}}/*@{name}",
            reason=f"other environments are measured for their stock PyTorch: IPEX belongs to "
            f"{DEFAULT_ENVIRONMENT} ({_about_ipex(environment)})",
        )
        for name, environment in found.items()
    ]


def _about_ipex(environment: Environment) -> str:
    said = environment.frameworks.get("ipex") or {}
    return str(said.get("unavailable") or f"here it is {said.get('version', 'of another version')}")


def difference(before: Mapping[str, Any], now: Environment) -> str | None:
    """Why a run that was cut may not go on in this environment; None if it is what it was."""
    if before.get("version") == now.version and before.get("packages") == dict(now.packages):
        return None
    changed = sorted(
        package
        for package in {*before.get("packages", {}), *now.packages}
        if before.get("packages", {}).get(package) != now.packages.get(package)
    )
    return ", ".join(changed[:5]) or f"Python {before.get('version')} against {now.version}"
