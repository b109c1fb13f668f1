"""Turn the pictures that a run kept in `pictures/` into parts of the page.

A file is taken if pictures.json names it, its name is plain, it is small, and it begins as a PNG or
JPEG does; any other is left out. A run without pictures is no failure.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.run.pictures import CONTENTS, FOLDER
from bench.text.wording import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.analysis.run_facts import Facts

_NAME = re.compile(r"[\w-]{1,60}\.(png|jpg)", re.ASCII)
_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
"""First bytes of a file and its media type."""
_MAX_BYTES = 200_000
"""The largest picture."""
_MAX_TOTAL_BYTES = 450_000
"""Base64 adds a third; a page with drawings of 200 scenarios then stays below 3 MB."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture and its texts."""

    kind: str
    source: str
    """A data URI: the page loads nothing."""
    alternative: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer's class before and after a backend optimised the model."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Album:
    """Everything that the page shows of the pictures."""

    pictures: tuple[Picture, ...] = ()
    layers: tuple[Layer, ...] = ()
    replaced: int = 0
    warning: str = ""


def album(facts: Facts) -> Album:
    """Read the run's pictures, as far as they are usable."""
    folder = facts.run.folder / FOLDER
    try:
        found = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Album()
    if not isinstance(found, dict):
        return Album()
    is_synthetic = found.get("source") == "synthetic"
    warnings = []
    if is_synthetic:
        warnings.append("Synthetic pills: rendered, not photographed.")
    if found.get("trained") is not True:
        warnings.append("The model is UNTRAINED: its decisions, heat maps and boxes mean nothing.")
    layers = _layers(found)
    return Album(
        pictures=_pictures(folder, found, "synthetic " if is_synthetic else ""),
        layers=layers,
        replaced=sum(layer.after.startswith("_IPEX") for layer in layers),
        warning=" ".join(warnings),
    )


def _pictures(folder: Path, contents: Mapping[str, Any], synthetic: str) -> tuple[Picture, ...]:
    pictures, total = [], 0
    for item in _items(contents, "items"):
        content = _content(folder, str(item.get("file"))) if isinstance(item, dict) else None
        total += len(content or b"")
        if content is None or total > _MAX_TOTAL_BYTES:
            continue
        media = next(name for start, name in _TYPES.items() if content.startswith(start))
        alternative, caption = _texts(item, synthetic)
        pictures.append(
            Picture(
                kind=str(item.get("kind")),
                source=f"data:image/{media};base64,{base64.b64encode(content).decode()}",
                alternative=alternative,
                caption=caption,
            )
        )
    return tuple(pictures)


def _texts(item: dict[str, object], synthetic: str) -> tuple[str, str]:
    """Return a picture's alternative text and its caption."""
    text, images = str(item.get("text")), item.get("images")
    number = f"{images:,} " if isinstance(images, int) and not isinstance(images, bool) else ""
    difference = (
        f"Mean bad minus mean good image of {number}{synthetic}test pills. Red: bad pills are "
        "brighter. Blue: bad pills are darker. Faint: within chance, which is "
        f"{text} grey levels by shuffled labels."
    )
    return {
        "gallery": (
            f"Rows of {synthetic}pills, by row: {text}",
            f"Good and bad {synthetic}pills. Rows from the top: {text}.",
        ),
        "difference": (f"Mean of the bad {synthetic}pills minus mean of the good ones", difference),
        "prediction": (
            f"A {synthetic}pill with boxes, and its heat map: {text}",
            f"{text[:1].upper()}{text[1:]}.",
        ),
    }.get(str(item.get("kind")), (text, text))


def _content(folder: Path, name: str) -> bytes | None:
    """Return the file's bytes; None if it must not or cannot be shown."""
    path = folder / name
    if not _NAME.fullmatch(name):
        return None
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return content if content.startswith(tuple(_TYPES)) else None


def _items(contents: Mapping[str, Any], key: str) -> list[Any]:
    found = contents.get(key)
    return found if isinstance(found, list) else []


def _layers(contents: Mapping[str, Any]) -> tuple[Layer, ...]:
    before, after = (
        {
            str(pair[0]): str(pair[1])
            for pair in _items(contents, key)
            if isinstance(pair, list) and len(pair) == 2
        }
        for key in ("layers_before", "layers_after")
    )
    if not before or not after:
        return ()
    return tuple(
        Layer(name=name, before=before.get(name, NOTHING), after=after.get(name, NOTHING))
        for name in before | after
    )
