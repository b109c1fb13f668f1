"""Find other interpreters with other packages, to be measured beside the default one.

    pythons = parse(("torch-latest=.venv-latest/bin/python",))
    found = {name: look_at(name, python) for name, python in pythons.items()}

A worker there runs this project's code on that environment's PyTorch, so two environments differ in
their packages only. Anything that prevents this is found before the run and reported in one line.
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
"""Packages whose module has another name."""
_LONGEST_REASON = 200
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter that can run a worker, and what is installed there."""

    python: Path
    version: str
    """Of Python, such as `3.11.7`."""
    packages: Mapping[str, str]
    """The version of every installed package, by its normalised name."""
    frameworks: Mapping[str, Any]
    """Its torch, oneDNN and IPEX, as in environment.json's `machine`."""

    def kept(self) -> dict[str, Any]:
        """Return its entry in environment.json."""
        return {
            "python": str(self.python),
            "version": self.version,
            "packages": dict(self.packages),
            "frameworks": dict(self.frameworks),
        }


def parse(given: Sequence[str]) -> dict[str, Path]:
    """Parse the `NAME=PATH` of each `--env`; PATH is an interpreter or an environment's folder.

    Raises:
        UsageError: one is not of that form, or a name is taken.
    """
    pythons: dict[str, Path] = {}
    for text in given:
        name, equals, path_text = text.partition("=")
        if not (equals and path_text and _NAME.fullmatch(name)):
            raise UsageError(
                f"--env {text!r} is not NAME=PATH/TO/python, with a NAME of small letters, digits, "
                "dots and dashes"
            )
        if name == DEFAULT_ENVIRONMENT or name in pythons:
            raise UsageError(f"--env {name}: that name is taken; give this environment another")
        path = Path(path_text).expanduser()
        pythons[name] = path / "bin" / "python" if path.is_dir() else path  # a link stays one
    return pythons


def look_at(name: str, python: Path) -> Environment:
    """Check that an interpreter can run a worker, and list what is installed. Takes seconds.

    Raises:
        BenchError: it cannot; one sentence says what is missing and how to get it.
    """
    version = _python_version(name, python)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise BenchError(
            f"environment {name} has Python {version}, and workers need {oldest} or newer: "
            f"build it with another Python ({python})"
        )
    answer = frameworks.ask("ask_environment", str(python), variables(os.environ))
    found = answer.result
    if found is None:
        raise BenchError(f"environment {name} cannot run a worker ({python}): {answer.reason}")
    if found["missing"]:
        package = _PACKAGES.get(found["missing"], found["missing"])
        raise BenchError(
            f"environment {name} lacks {package}: install it there with "
            f"`{python} -m pip install {package}`"
        )
    if found["error"]:
        raise BenchError(
            f"environment {name} cannot run a worker: {found['error'][:_LONGEST_REASON]} "
            f"(its packages do not fit together, or do not fit this project; see {python})"
        )
    if found["protocol"] != protocol.VERSION:
        raise BenchError(
            f"environment {name} speaks protocol {found['protocol']}, this harness speaks "
            f"{protocol.VERSION}: install the same version of pillqc-bench there"
        )
    return Environment(
        python=python,
        version=version,
        packages=found["packages"],
        frameworks=frameworks.frameworks(str(python)),
    )


def _python_version(name: str, python: Path) -> str:
    """Return the interpreter's version.

    Raises:
        BenchError: it is not an interpreter, or cannot be run.
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
            f"environment {name}: {python} did not print its version in {_VERSION_TIMEOUT_S} s"
        ) from error
    version = done.stdout.strip()
    if done.returncode or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        output = " ".join((done.stderr or done.stdout).split())[-_LONGEST_REASON:] or "nothing"
        raise BenchError(
            f"environment {name}: {python} is not a Python that works (it printed: {output})"
        )
    return version


def variables(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of another environment's process: `base`, with this code first.

    Where this project is installed among other packages, its folder would bring those along in
    other versions than the environment's own. The environment then needs its own installation of
    this project, and the version of the protocol shows whether the two fit.
    """
    chosen = {key: value for key, value in base.items() if key != "PYTHONHOME"}
    code = code_folder()
    if code is not None:
        rest = [base["PYTHONPATH"]] if base.get("PYTHONPATH") else []
        chosen["PYTHONPATH"] = os.pathsep.join([str(code), *rest])
    return chosen


def code_folder(package: Path = _PACKAGE) -> Path | None:
    """Return the folder to import this project from; None where it holds other packages too."""
    folder = package.parent
    return None if folder.name in ("site-packages", "dist-packages") else folder


def exclusions(found: Mapping[str, Environment]) -> list[Exclusion]:
    """Return what is not measured in other environments, and why."""
    excluded = []
    for name, environment in found.items():
        ipex = environment.frameworks.get("ipex") or {}
        there = ipex.get("unavailable") or f"it has {ipex.get('version', 'another version')}"
        excluded.append(
            Exclusion(
                what=f"{{ipex,placebo}}/*@{name}",
                reason=f"other environments are measured for their stock PyTorch: IPEX belongs to "
                f"{DEFAULT_ENVIRONMENT} ({there})",
            )
        )
    return excluded


def difference(before: Mapping[str, Any], now: Environment) -> str | None:
    """Return why a run may not be resumed in this environment; None if it is unchanged."""
    changed = changed_packages(before.get("packages", {}), now.packages)
    if changed or before.get("version") == now.version:
        return changed
    return f"Python {before.get('version')} against {now.version}"


def changed_packages(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Name up to five packages whose versions differ; None if all are the same."""
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(changed[:5]) or None
