"""Inspect one list of images with several processes, on one machine or many.

    torchrun --nproc-per-node 2 -m pillqc inspect tray/ --shards out/
    pillqc merge out/

Each process takes every N-th image of the sorted list and appends its results to its own file, line
by line. Processes do not communicate, so a lost one stops no other: its results so far stay in its
file, `merge` reports what is missing, and the same command continues after its last complete line.
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
from pillqc.inspection.inspector import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pillqc.inspection.inspector import Inspection
    from pillqc.inspection.prediction import Unreadable

_NAME: Final = re.compile(r"shard-(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of the images for one process: number `rank` (from 0) of `size`."""

    rank: int
    size: int

    def numbers(self, images: int) -> range:
        """Return the positions of its images in the sorted list."""
        return range(self.rank, images, self.size)

    def path(self, folder: Path) -> Path:
        """Return the path of its file, the same after a restart."""
        return folder / f"shard-{self.rank + 1}-of-{self.size}.jsonl"


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a process did."""

    done_before: int
    done_now: int
    tally: Tally
    """Counts of all results in its file."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The results of all shards."""

    results: tuple[dict[str, Any], ...]
    """In the order of the images."""
    images: int
    missing: Mapping[str, int]
    """Shard (`2/4`) -> number of its images without a result, if any."""


def parse_shard(text: str | None, environment: Mapping[str, str] | None = None) -> Shard:
    """Parse `K/N` with K from 1 to N; without a text use torchrun's variables, or one shard.

    Raises:
        UsageError: the text does not have that form.
    """
    if text is None:
        known = os.environ if environment is None else environment
        return Shard(rank=int(known.get("RANK", "0")), size=int(known.get("WORLD_SIZE", "1")))
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text!r} is not K/N with K from 1 to N, e.g. 2/4")
    return Shard(rank=int(found[1]) - 1, size=int(found[2]))


def fingerprint(paths: Sequence[Path | Unreadable], model: str | None, size: int | None) -> str:
    """Hash what all shards of an inspection share: the images in order, and the model."""
    names = [str(path if isinstance(path, Path) else path.path) for path in paths]
    return hashlib.sha256(json.dumps([names, model, size]).encode()).hexdigest()


def inspect_shard(
    shard: Shard,
    folder: Path,
    paths: Sequence[Path | Unreadable],
    *,
    common: str,
    inspect: Callable[[Iterable[Path | Unreadable]], Iterator[Inspection]],
) -> ShardResult:
    """Inspect the images of this shard that have no result yet.

    Raises:
        PillqcError: its file belongs to another inspection, or cannot be written.
    """
    header = {"images": len(paths), "inspection": common}
    tally = Tally()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _continue_file(shard.path(folder), header)
        for line in before:
            tally.add(line)
        finished = {int(line["number"]) for line in before}
        todo = [number for number in shard.numbers(len(paths)) if number not in finished]
        with shard.path(folder).open("ab", buffering=0) as file:
            for number, result in zip(todo, inspect(paths[number] for number in todo), strict=True):
                line = {"number": number, **result.as_dict()}
                file.write(_encode_line(line))
                tally.add(line)
    except OSError as error:
        raise PillqcError(f"{folder}: cannot write there ({error.strerror or error})") from error
    return ShardResult(done_before=len(before), done_now=len(todo), tally=tally)


def merge(folder: Path) -> Merged:
    """Read the results of all shards in a folder.

    Raises:
        PillqcError: there is no shard, they belong to different inspections, or one is damaged.
    """
    names = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob("*.jsonl"))}
    found = {path: name for path, name in names.items() if name}
    if not found:
        raise PillqcError(f"{folder} holds no shards: make some with `pillqc inspect --shards`")
    headers: dict[str, Path] = {}
    results: dict[int, dict[str, Any]] = {}
    images, size = 0, 0
    for path, name in found.items():
        first, *lines = _decode_lines(path, _whole_lines(path.read_bytes())) or [{}]
        images, size = int(first.get("images", 0)), int(name[2])
        headers.setdefault(json.dumps([first, size]), path)
        results |= {int(line.pop("number")): line for line in lines}
    if len(headers) > 1:
        one, other, *_ = headers.values()
        raise PillqcError(
            f"{one.name} and {other.name} come from different inspections; use one output folder"
            " for each"
        )
    missing = {}
    for rank in range(size):
        numbers = Shard(rank=rank, size=size).numbers(images)
        without = sum(number not in results for number in numbers)
        if without:
            missing[f"{rank + 1}/{size}"] = without
    ordered = tuple(results[number] for number in sorted(results))
    return Merged(results=ordered, images=images, missing=missing)


def _continue_file(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the file's results; remove a line cut short by a kill, or write the header."""
    content = path.read_bytes() if path.exists() else b""
    whole = _whole_lines(content)
    if not whole:
        path.write_bytes(_encode_line(header))
        return []
    first, *lines = _decode_lines(path, whole)
    if {key: first.get(key) for key in header} != dict(header):
        raise PillqcError(
            f"{path} belongs to another inspection (other images, order, model or size): "
            "give another folder, or remove it"
        )
    if len(whole) != len(content):
        os.truncate(path, len(whole))
    return lines


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _encode_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _decode_lines(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Decode JSON lines.

    Raises:
        PillqcError: a line is not a JSON object.
    """
    try:
        lines = [json.loads(line) for line in content.splitlines()]
    except ValueError as error:
        raise PillqcError(f"{path} is damaged: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise PillqcError(f"{path} is damaged: a line is no object")
    return lines
