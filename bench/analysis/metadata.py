"""`environment.json`, read with care. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


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

    def tables(self, *path: str) -> dict[str, dict[str, Any]]:
        """The objects in the object at that path, by name; what is no object is left out."""
        return {key: dict(v) for key, v in self.table(*path).items() if isinstance(v, Mapping)}

    def items(self, *path: str) -> list[Any]:
        """The list at that path, or an empty one."""
        value = self.get(*path)
        return list(value) if isinstance(value, list) else []
