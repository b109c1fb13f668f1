"""The pictures that a run kept, as parts of the page. Reads `pictures/` of the run's folder.

Only files that are named in pictures.json, have a plain name, are small, and begin as a PNG or JPEG
does are taken; anything else is left out. A run without pictures is no failure.
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

    from bench.analysis.facts import Facts

_NAME = re.compile(r"[\w-]{1,60}\.(png|jpg)", re.ASCII)
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
_MOST_BYTES = 200_000
"""Of one picture."""
_MOST_IN_ALL = 450_000
"""A third more as text, so that a page with drawings for 200 scenarios stays below 3 MB."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with what it shows in words."""

    kind: str
    source: str
    """A data URI: the page loads nothing."""
    alternative: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer before and after a backend optimised the model."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Album:
    """What the page shows of the pictures."""

    pictures: tuple[Picture, ...] = ()
    layers: tuple[Layer, ...] = ()
    replaced: int = 0
    warning: str = ""


def album(facts: Facts) -> Album:
    """The run's pictures, as far as they can be used."""
    folder = facts.run.folder / FOLDER
    try:
        found = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Album()
    if not isinstance(found, dict):
        return Album()
    layers = _layers(found)
    return Album(
        pictures=_pictures(folder, found),
        layers=layers,
        replaced=sum(layer.after.startswith("_IPEX") for layer in layers),
        warning=_warning(found),
    )


def _warning(found: Mapping[str, Any]) -> str:
    parts = []
    if found.get("source") == "synthetic":
        parts.append("Synthetic pills: rendered, not photographed.")
    if found.get("trained") is not True:
        parts.append("The model is UNTRAINED: its decisions, heat maps and boxes mean nothing.")
    return " ".join(parts)


def _pictures(folder: Path, found: Mapping[str, Any]) -> tuple[Picture, ...]:
    pictures, total = [], 0
    items = found.get("items")
    for item in items if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        content = _content(folder, str(item.get("file")))
        total += len(content or b"")
        if content is None or total > _MOST_IN_ALL:
            continue
        kind, text = str(item.get("kind")), str(item.get("text"))
        synthetic = "synthetic " if found.get("source") == "synthetic" else ""
        pictures.append(_picture(kind, text, content, synthetic, _count(item)))
    return tuple(pictures)


def _count(item: Mapping[str, Any]) -> str:
    """`96 `, where the picture is made from so many images."""
    images = item.get("images")
    return f"{images:,} " if isinstance(images, int) and not isinstance(images, bool) else ""


def _picture(kind: str, text: str, content: bytes, synthetic: str, count: str) -> Picture:
    suffix = next(name for start, name in _KINDS.items() if content.startswith(start))
    source = f"data:image/{suffix};base64,{base64.b64encode(content).decode()}"
    difference = (
        f"Mean bad minus mean good image of {count}{synthetic}test pills. "
        "Red: bad ones are brighter; blue: darker. Faint: within chance, which shuffled labels put "
        f"at {text} grey levels."
    )
    words = {
        "gallery": (
            f"Rows of {synthetic}pills, by row: {text}",
            f"Good and bad {synthetic}pills. Rows from the top: {text}.",
        ),
        "difference": (
            f"Mean of the bad {synthetic}pills minus mean of the good ones",
            difference,
        ),
        "prediction": (
            f"A {synthetic}pill with boxes, and its heat map: {text}",
            f"{text[:1].upper()}{text[1:]}.",
        ),
    }
    alternative, caption = words.get(kind, (text, text))
    return Picture(kind=kind, source=source, alternative=alternative, caption=caption)


def _content(folder: Path, name: str) -> bytes | None:
    if not _NAME.fullmatch(name):
        return None
    path = folder / name
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return content if content.startswith(tuple(_KINDS)) else None


def _layers(found: Mapping[str, Any]) -> tuple[Layer, ...]:
    before, after = _kinds(found.get("layers_before")), _kinds(found.get("layers_after"))
    if not before or not after:
        return ()
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        Layer(name=name, before=before.get(name, NOTHING), after=after.get(name, NOTHING))
        for name in names
    )


def _kinds(layers: object) -> dict[str, str]:
    pairs = layers if isinstance(layers, list) else []
    return {
        str(pair[0]): str(pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2
    }
