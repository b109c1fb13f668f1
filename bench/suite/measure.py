"""Measure a suite: one small run for each model, one after the other, resumable.

results/suite/<suite>/environment.json    models, settings, machine, commit, failures
results/suite/<suite>/<model>/<run>/      a run like any other; `bench report` reads it
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.errors import BenchError, UsageError
from bench.plan.profiles import PROFILES
from bench.plan.thresholds import DEFAULT
from bench.run import measure as runs
from bench.run.request import OwnChoice, RunRequest
from bench.store import records, run_folder
from bench.store.run_folder import Commit
from bench.suite.models import SuiteModel
from bench.text.numbers import spell_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROFILE = PROFILES["suite"]
ONLY = (
    "inference/stock/eager/fp32/contiguous/*",
    "inference/stock/eager/bf16/channels_last/*",
    "inference/stock/torchscript+fusion/*",
    "inference/stock/compile/fp32/channels_last/b?",
    "inference/ipex/eager/*",
    "inference/ipex/torchscript+fusion/*",
)
"""Stock default, and the best ways of stock PyTorch and IPEX in fp32 and bf16."""
_OVERHEAD_S = 40.0
"""A run's time outside its budget, on two cores: the machine, its peak, the batch sizes."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite's folder and what it measures."""

    folder: Path
    models: tuple[SuiteModel, ...]
    budget_s: float
    """Of each model."""
    seed: int
    threads: int | None
    machine: dict[str, Any]
    code: Commit = field(default_factory=Commit)
    """What every run is measured with."""
    command: tuple[str, ...] = field(default_factory=lambda: ("bench", *sys.argv[1:]))
    """How it was begun."""

    def save(self, failures: Mapping[str, str], *, complete: bool = False) -> None:
        """Write environment.json; `failures` are the reasons of models without a run, by name."""
        kept = {
            "run_id": self.folder.name,
            "study": "suite",
            "complete": complete,
            "notes": [],
            "command": self.command,
            **self.code.kept,
            "policy": asdict(DEFAULT),
            "machine": self.machine,
            "budget_s": self.budget_s,
            "seed": self.seed,
            "threads": self.threads,
            "models": [
                {"name": model.name, "kind": model.kind, **asdict(model.choice)}
                for model in self.models
            ],
            "failures": dict(failures),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        records.write_environment(self.folder, kept)


def new(
    results: Path,
    models: tuple[SuiteModel, ...],
    *,
    budget_s: float,
    seed: int,
    threads: int | None,
) -> Suite:
    """Return a suite in a new folder of `results`/suite."""
    return Suite(
        folder=results / "suite" / run_folder.stamp(),
        models=models,
        budget_s=budget_s,
        seed=seed,
        threads=threads,
        machine=machine.describe(),
        code=run_folder.commit(),
    )


def read(folder: Path) -> tuple[Suite, dict[str, str]]:
    """Read a suite from its folder, with the reasons of models that failed.

    Raises:
        RecordError: the folder has no environment.json, or the file is damaged.
        UsageError: it is another study's.
    """
    kept = records.read_environment(folder)
    try:
        models = tuple(_model(one) for one in kept["models"])
        suite = Suite(
            folder=folder,
            models=models,
            budget_s=float(kept["budget_s"]),
            seed=int(kept["seed"]),
            threads=kept["threads"],
            machine=kept["machine"],
            code=Commit.of(kept),
            command=tuple(kept.get("command", ())),
        )
        return suite, dict(kept["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is not the folder of a suite: name one such as results/suite/<suite>"
        ) from error


def resumed(folder: Path) -> Suite:
    """Read a suite to measure it on here, with the same code.

    Raises:
        RecordError, UsageError: as by `read`.
        BenchError: machine, code, packages or policy differ from those that it began with.
    """
    suite, _ = read(folder)
    code = runs.check_began_here(records.read_environment(folder), folder.resolve().name)
    return replace(suite, code=code)


def _model(kept: dict[str, Any]) -> SuiteModel:
    name, kind = kept.pop("name"), kept.pop("kind")
    choice = OwnChoice(**{**kept, "settings": tuple(kept["settings"])})
    return SuiteModel(name=name, kind=kind, choice=choice)


def run_of(suite: Suite, model: SuiteModel) -> Path | None:
    """Return the model's newest run; None if it has none, or none that measured anything."""
    found = sorted((suite.folder / model.name).glob("*/iterations.csv"))
    return found[-1].parent if found else None


def is_whole(run: Path) -> bool:
    """Return whether a run went to its end."""
    return bool(records.read_environment(run).get("complete"))


def measure(suite: Suite, say: Callable[[str], None]) -> None:
    """Measure every model that has no whole run yet. A model that fails does not stop the others.

    The suite is complete unless a run that was cut could not be finished.

    Raises:
        BenchError: another run is measuring.
        KeyboardInterrupt: passed on; the same suite can be measured on.
    """
    with run_folder.only_run_here():
        is_new = not (suite.folder / records.ENVIRONMENT).exists()
        failures = {} if is_new else read(suite.folder)[1]
        suite.save(failures)
    for done, model in enumerate(suite.models):
        earlier = run_of(suite, model)
        if earlier and is_whole(earlier):
            failures.pop(model.name, None)
            continue
        left = (len(suite.models) - done) * (suite.budget_s + _OVERHEAD_S)
        say(f"{model.name}, {done + 1} of {len(suite.models)}; at most {spell_seconds(left)} left")
        try:
            if earlier:
                runs.go_on(earlier, budget_s=suite.budget_s)
            else:
                runs.run(_request(suite, model))
            failures.pop(model.name, None)
        except BenchError as error:
            failures[model.name] = str(error)
            suite.save(failures)
    is_cut = any(run_of(suite, model) for model in suite.models if model.name in failures)
    suite.save(failures, complete=not is_cut)


def _request(suite: Suite, model: SuiteModel) -> RunRequest:
    return RunRequest(
        profile=PROFILE,
        data=Path(),
        results=suite.folder / model.name,
        budget_s=suite.budget_s,
        only=ONLY,
        seed=suite.seed,
        threads=suite.threads,
        own=model.choice,
    )
