"""Check what the user wants `bench run` to measure, before anything starts."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine.launcher import worker_options
from bench.errors import UsageError
from bench.machine import worker_settings
from bench.plan import arguments, variables
from bench.plan.matrix import EXCLUSIONS, capped, matrix, select
from bench.plan.own_models import exclusions, of_own_model, without_repeats
from bench.plan.profiles import profile_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.matrix import Exclusion
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Scenario

_PATH = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_][\w.]*")
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SHAPE = re.compile(r"[1-9]\d*(,[1-9]\d*)*")


@dataclass(frozen=True, kw_only=True)
class OwnChoice:
    """The user's own model and its inputs (see `bench.worker.workload.own_model`)."""

    model: str
    inputs: str | None = None
    shape: str | None = None
    settings: tuple[str, ...] = ()
    """`name=value` for the factory; a value that is no Python literal is text."""
    decide: str | None = None
    calibration: str | None = None
    train_step: str | None = None

    def check(self) -> None:
        """Refuse a choice that no worker could run.

        Raises:
            UsageError: one sentence says what is wrong.
        """
        for option, path in self._paths.items():
            if path is not None and not _PATH.fullmatch(path):
                raise UsageError(
                    f"--{option} {path!r} is neither package.module:name nor folder/file.py:name"
                )
        for setting in self.settings:
            if not _SETTING.fullmatch(setting):
                raise UsageError(f"--factory-arg {setting!r} is not name=value")
        if (self.inputs is None) == (self.shape is None):
            raise UsageError(
                "say what --model takes: either --inputs package.module:function or, e.g., "
                "--input-shape 3,224,224 (without the batch)"
            )
        if self.shape is not None and not _SHAPE.fullmatch(self.shape):
            raise UsageError(
                f"--input-shape {self.shape!r} is not numbers above zero with commas: 3,224,224"
            )

    def worker_options(self) -> tuple[str, ...]:
        """Return the arguments of a worker."""
        settings = (part for one in self.settings for part in ("--factory-arg", one))
        named = worker_options(**self._paths, **{"input-shape": self.shape})
        return (*named, *settings)

    @property
    def _paths(self) -> dict[str, str | None]:
        """Return the paths of the user's functions by their option."""
        return {
            "model": self.model,
            "inputs": self.inputs,
            "decide": self.decide,
            "calibration": self.calibration,
            "train-step": self.train_step,
        }

    @property
    def makes_possible(self) -> dict[str, bool]:
        """Return whether int8 and training can be measured."""
        return {"int8": self.calibration is not None, "training": self.train_step is not None}


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for."""

    profile: Profile
    data: Path
    results: Path
    budget_s: float | None = None
    """Replaces the profile's."""
    only: tuple[str, ...] = ()
    """Shell patterns of scenario ids; none means all."""
    weights: str | None = None
    good: str | None = None
    """The folder of good pills, where it is not called good."""
    seed: int = 0
    threads: int | None = None
    vary: tuple[str, ...] = ()
    """Variables (`bench.plan.variables`)."""
    pythons: Mapping[str, Path] = field(default_factory=dict)
    """The interpreters of other environments, by name."""
    own: OwnChoice | None = None
    """The user's own model, instead of the inspector's."""
    backends: tuple[str, ...] = ()
    """Further ones than stock and IPEX."""

    @property
    def budget(self) -> float:
        """Seconds of measuring."""
        return self.profile.budget_s if self.budget_s is None else self.budget_s

    @property
    def run_profile(self) -> Profile:
        """The profile; without labels there is nothing to compare on more items."""
        labels = self.own is None or self.own.decide is not None
        return self.profile if labels else replace(self.profile, recommended_parity_s=0)

    def worker_options(self) -> tuple[str, ...]:
        """Return the arguments of every worker."""
        if self.own:
            work = self.own.worker_options()
        else:
            work = worker_options(data=self.data, good=self.good)
        return (*work, *worker_options(seed=self.seed, weights=self.weights))

    def scenarios(
        self, largest_batch: int, data: Mapping[str, Any] | None = None
    ) -> tuple[Scenario, ...]:
        """Return the scenarios to measure, with batches up to that size.

        `data` is what the first worker said of the inputs, where that is known.
        """
        chosen = capped(select(self._matrix(), self.only), largest_batch)
        if self.own:
            chosen, _ = without_repeats(chosen, data or {})
        own = () if self.only else self.profile.vary
        wanted = variables.parse_vary(self.vary or own)
        return variables.vary(chosen, wanted, everything=bool(self.only))

    def left_out(self, data: Mapping[str, Any]) -> tuple[Exclusion, ...]:
        """Return what the matrix leaves out, and why."""
        if self.own is None:
            return EXCLUSIONS
        _, repeats = without_repeats((), data)
        return (*repeats, *exclusions(**self.own.makes_possible))

    def _matrix(self) -> tuple[Scenario, ...]:
        """Return every scenario that the request allows, before `only` selects from them."""
        profile = self.profile
        if self.own and self.own.calibration:  # who gives the data wants int8, in `smoke` too
            profile = replace(profile, int8=True)
        every = matrix(profile, environments=self.pythons, backends=self.backends)
        return of_own_model(every, **self.own.makes_possible) if self.own else every

    def check(self) -> None:
        """Refuse early what cannot work.

        Raises:
            UsageError: a number or pattern is wrong.
            BenchError: there are no images.
        """
        worker_settings.chosen_cpus(self.threads)  # refuses more threads than cores
        if self.own:
            self.own.check()
        else:
            arguments.check_pills(self.data)
        chosen = {scenario.backend for scenario in select(self._matrix(), self.only)}
        for backend in self.backends:
            if backend not in chosen:
                raise UsageError(
                    f"--backend {backend}: --only leaves none of its scenarios; "
                    f"add --only '*/{backend}/*'"
                )
        variables.parse_vary(self.vary)

    def kept(self) -> dict[str, Any]:
        """Return the entry `request` of environment.json, from which a run is resumed."""
        return {
            "data": str(self.data),
            "only": list(self.only),
            "weights": self.weights,
            "good": self.good,
            "seed": self.seed,
            "threads": self.threads,
            "vary": list(self.vary),
            "pythons": {name: str(python) for name, python in self.pythons.items()},
            "own": asdict(self.own) if self.own else None,
            "backends": list(self.backends),
        }

    @classmethod
    def again(cls, environment: Mapping[str, Any], results: Path, budget_s: float) -> RunRequest:
        """Read the request from a run's environment.json, with that budget."""
        kept = environment["request"]
        own = kept.get("own")
        return cls(
            profile=profile_named(environment["profile"]),
            data=Path(kept["data"]),
            results=results,
            budget_s=budget_s,
            only=tuple(kept["only"]),
            weights=kept["weights"],
            good=kept.get("good"),
            seed=kept["seed"],
            threads=kept["threads"],
            vary=tuple(kept.get("vary", ())),
            pythons={name: Path(python) for name, python in kept["pythons"].items()},
            own=OwnChoice(**{**own, "settings": tuple(own.get("settings", ()))}) if own else None,
            backends=tuple(kept.get("backends", ())),
        )
