"""Convert JSON files to declared types, by the annotations of dataclasses.

values = read_object(path)
floor = convert(Floor, values["floor"])                  # raises ValueError where it misfits
model = convert(Model, values.get("model"), lenient=True)     # a misfit reads as the default
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import RecordError
from bench.store import durable
from bench.store.rows import excerpt

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

T = TypeVar("T")

ALSO = "also"
"""Key of a field's metadata: other names that the field has in JSON."""
_NOUNS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
}


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        FileNotFoundError: the file does not exist.
        RecordError: it is not a JSON object, repeats a key or holds NaN; names the file.
    """
    try:
        values = json.loads(durable.read(path).decode("utf-8-sig"), object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: {excerpt(str(error))}") from error
    if not isinstance(values, dict):
        raise RecordError(f"{path} is damaged: it holds {excerpt(values)}, not an object")
    return values


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, but refuse repeated keys, of which the last would win, and NaN."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is there twice: {', '.join(sorted(key for key, _ in pairs))}")
    for key, value in pairs:
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"`{key}` is {item}, which is not a finite number")
    return found


def convert(kind: type[T], value: object, *, lenient: bool = False) -> T:
    """Build a dataclass of type `kind` from a JSON object; unknown keys are ignored.

    With `lenient`, a value that does not fit its field reads as the field's default, and one in a
    list or an object of values is left out.

    Raises:
        ValueError: a value does not fit its field, or is missing; names the field.
    """
    found = _Converter(lenient=lenient).converted(kind, value, "")
    if found is _MISFIT:
        raise ValueError(f"{excerpt(value)} is not an object with the fields of {kind.__name__}")
    return typing.cast("T", found)


_MISFIT = object()
"""Stands for a value that does not fit, where that is allowed."""


@dataclass(frozen=True, kw_only=True)
class _Converter:
    lenient: bool

    def converted(self, hint: Any, value: object, place: str) -> Any:  # noqa: ANN401 - any type
        """Return the value as the type `hint`."""
        origin, parameters = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            (hint,) = (one for one in parameters if one is not types.NoneType)
            return None if value is None else self.converted(hint, value, place)
        if origin is tuple and isinstance(value, list):
            return tuple(self._items(enumerate(value), parameters[0], place).values())
        if origin is Mapping and isinstance(value, Mapping):
            return self._items(value.items(), parameters[1], place)
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hint):
            return self._object(hint, value, place)
        return value if hint is Any else self._scalar(hint, value, place)

    def _items(self, items: Iterable[tuple[Any, object]], hint: Any, place: str) -> dict[Any, Any]:  # noqa: ANN401 - any type
        found = {key: self.converted(hint, one, f"{place}[{key}]") for key, one in items}
        return {key: one for key, one in found.items() if one is not _MISFIT}

    def _object(self, kind: Any, values: Mapping[str, object], place: str) -> object:  # noqa: ANN401 - a dataclass
        found = {}
        for field in dataclasses.fields(kind):
            where = f"{place}.{field.name}" if place else field.name
            names = (field.name, *field.metadata.get(ALSO, ()))
            key = next((name for name in names if name in values), None)
            value: object = _MISFIT
            if key is not None:
                value = self.converted(_hints(kind)[field.name], values[key], where)
            if value is not _MISFIT:
                found[field.name] = value
            elif field.default is field.default_factory is dataclasses.MISSING:
                return self._misfit(f"`{where}` is missing")
        return kind(**found)

    def _scalar(self, hint: Any, value: object, place: str) -> object:  # noqa: ANN401 - any type
        if hint is str and self.lenient and isinstance(value, int | float):
            return str(value)
        fits = type(value) is hint or (hint is float and type(value) is int)
        if fits and (hint is not float or _is_finite(value)):
            return value
        noun = _NOUNS.get(hint, "a list" if typing.get_origin(hint) is tuple else "an object")
        return self._misfit(f"`{place}` is {excerpt(value)}, not {noun}")

    def _misfit(self, sentence: str) -> object:
        if self.lenient:
            return _MISFIT
        raise ValueError(sentence)


def _is_finite(value: Any) -> bool:  # noqa: ANN401 - a number
    """Return whether a number is one as a float: a whole number may be too large."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)
