"""`environment.json` read with care, and the policy that it says the run was judged by. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bench.policy import DEFAULT, NoisePolicy, ParityTolerance, Policy, VerdictPolicy


class Environment:
    """`environment.json`, read with care: any part of it may be missing or of another type."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, *path: str) -> Any:  # noqa: ANN401 -- JSON has no narrower type
        """The value at that path, or None."""
        value: Any = self._values
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    def text(self, *path: str) -> str:
        """The value as text; empty where there is none."""
        value = self.get(*path)
        return "" if value is None or isinstance(value, Mapping | list) else str(value)

    def number(self, *path: str) -> float | None:
        """The value if it is a finite number."""
        value = self.get(*path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None

    def flag(self, *path: str) -> bool | None:
        """The value if it is true or false."""
        value = self.get(*path)
        return value if isinstance(value, bool) else None

    def table(self, *path: str) -> dict[str, Any]:
        """The object at that path, or an empty one."""
        value = self.get(*path)
        return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}

    def items(self, *path: str) -> list[Any]:
        """The list at that path, or an empty one."""
        value = self.get(*path)
        return list(value) if isinstance(value, list) else []


def _section(kind: type[Any], values: object) -> Any:  # noqa: ANN401 -- one of the policy classes
    """A policy section from JSON; unknown or missing entries fall back to today's defaults."""
    if not isinstance(values, Mapping):
        return kind()
    names = {item.name for item in dataclasses.fields(kind)}
    usable = {
        key: value
        for key, value in values.items()
        if key in names and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return kind(**usable)


def policy_of(environment: Environment) -> Policy:
    """The thresholds the run was judged by, as far as it says."""
    return dataclasses.replace(
        DEFAULT,
        verdict=_section(VerdictPolicy, environment.get("policy", "verdict")),
        noise=_section(NoisePolicy, environment.get("policy", "noise")),
        parity=_section(ParityTolerance, environment.get("policy", "parity")),
    )
