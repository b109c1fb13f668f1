"""Inspection of one list of images by several processes, on one machine or on many.

    torchrun --nproc-per-node 2 -m pillqc inspect tray/ --shards out/
    pillqc merge out/

Each process takes every N-th image of the sorted list and appends its results to a file of its own,
line by line. Nothing is sent between them, so one that is lost takes no other along: what it had
done stays in its file, `merge` says what is missing, and the same command started again goes on
behind its last whole line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pillqc.errors import PillqcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pillqc.inspection.inspector import Inspection
    from pillqc.inspection.prediction import Unreadable

_NAME: Final = re.compile(r"shard-(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of the images a process takes: number `rank` (from 0) of `size`."""

    rank: int
    size: int

    def numbers(self, images: int) -> range:
        """The places of its images in the sorted list."""
        return range(self.rank, images, self.size)

    def path(self, folder: Path) -> Path:
        """Its file, the same whenever it is started again."""
        return folder / f"shard-{self.rank + 1}-of-{self.size}.jsonl"


def parse(text: str | None, environment: Mapping[str, str] | None = None) -> Shard:
    """`K/N` with K from 1 to N; without one what torchrun says, or all of it.

    Raises:
        UsageError: it is not of that form.
    """
    if text is None:
        known = os.environ if environment is None else environment
        return Shard(rank=int(known.get("RANK", "0")), size=int(known.get("WORLD_SIZE", "1")))
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text!r} is not K/N with K from 1 to N, e.g. 2/4")
    return Shard(rank=int(found[1]) - 1, size=int(found[2]))


def fingerprint(paths: Sequence[Path | Unreadable], model: str | None, size: int | None) -> str:
    """What every shard of one inspection has in common: the images in order, and the model."""
    text = json.dumps([[_name(path) for path in paths], model, size])
    return hashlib.sha256(text.encode()).hexdigest()


def inspect_shard(
    shard: Shard,
    folder: Path,
    paths: Sequence[Path | Unreadable],
    *,
    common: str,
    inspect: Callable[[Iterable[Path | Unreadable]], Iterator[Inspection]],
) -> tuple[int, int]:
    """Inspect what this shard has not done yet. Returns how many it had, and how many it did now.

    Raises:
        PillqcError: its file is of another inspection, or cannot be written.
    """
    header = {"images": len(paths), "inspection": common}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        had = _prepared(shard.path(folder), header)
        todo = [number for number in shard.numbers(len(paths)) if number not in had]
        with shard.path(folder).open("ab", buffering=0) as file:
            for number, result in zip(todo, inspect(paths[number] for number in todo), strict=True):
                file.write(_line({"number": number, **result.as_dict()}))
    except OSError as error:
        raise PillqcError(f"{folder}: cannot write there ({error.strerror or error})") from error
    return len(had), len(todo)


def _prepared(path: Path, header: Mapping[str, Any]) -> set[int]:
    """The numbers that a file has already; a line cut short by a kill is taken off it."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        path.write_bytes(_line(header))
        return set()
    first, *lines = _objects(path, whole)
    if {key: first.get(key) for key in header} != dict(header):
        raise PillqcError(
            f"{path} is of another inspection (other images, order, model or size): "
            "give another folder, or remove it"
        )
    if len(whole) != len(content):
        os.truncate(path, len(whole))
    return {int(line["number"]) for line in lines}


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What all shards together have."""

    results: tuple[dict[str, Any], ...]
    """In the order of the images."""
    images: int
    missing: Mapping[str, int]
    """Shard (`2/4`) -> images that it has not done, where there are any."""

    @property
    def is_whole(self) -> bool:
        """Whether every image has its result."""
        return not self.missing


def merge(folder: Path) -> Merged:
    """Everything that the shards in a folder have done.

    Raises:
        PillqcError: there is no shard, or they do not belong together, or one is damaged.
    """
    names = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob("*.jsonl"))}
    found = {path: name for path, name in names.items() if name}
    if not found:
        raise PillqcError(f"{folder} holds no shards: make some with `pillqc inspect --shards`")
    headers: dict[str, Path] = {}
    results: dict[int, dict[str, Any]] = {}
    images, size = 0, 0
    for path, name in found.items():
        content = path.read_bytes()
        first, *lines = _objects(path, content[: content.rfind(b"\n") + 1]) or [{}]
        images, size = int(first.get("images", 0)), int(name[2])
        headers.setdefault(json.dumps([first, size]), path)
        results |= {int(line.pop("number")): line for line in lines}
    if len(headers) > 1:
        one, other, *_ = headers.values()
        raise PillqcError(f"{one.name} and {other.name} are of different inspections: part them")
    missing = {}
    for rank in range(size):
        lacking = [n for n in Shard(rank=rank, size=size).numbers(images) if n not in results]
        if lacking:
            missing[f"{rank + 1}/{size}"] = len(lacking)
    return Merged(
        results=tuple(results[number] for number in sorted(results)),
        images=images,
        missing=missing,
    )


def _name(item: Path | Unreadable) -> str:
    return str(item if isinstance(item, Path) else item.path)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _objects(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The lines of a file.

    Raises:
        PillqcError: one is no object of JSON.
    """
    try:
        lines = [json.loads(line) for line in content.splitlines()]
    except ValueError as error:
        raise PillqcError(f"{path} is damaged: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise PillqcError(f"{path} is damaged: a line is no object")
    return lines
