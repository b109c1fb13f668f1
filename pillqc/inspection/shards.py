"""Inspect one list of images with several processes, on one machine or many.

    torchrun --nproc-per-node 2 -m pillqc inspect tray/ --shards out/
    pillqc merge out/

Each process takes every N-th image of the sorted list and appends its results to its own file, line
by line. Processes do not communicate, so a lost one stops no other: its results so far stay in its
file, `merge` reports what is missing, and the same command continues after its last complete line.

Beside each result stands which file it is of (`pillqc.inspection.file_state`). The same command
inspects an image again whose file has changed since. The first line of a shard, its header, says of
how many images, of which inspection, and of how large files it is a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pillqc.data.marker import write_whole
from pillqc.errors import PillqcError, UsageError
from pillqc.inspection.file_state import file_state, is_unchanged, size_in_bytes
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
    changed: int
    """How many of these had a result, but their files have changed since."""
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
        UsageError: the text does not have that form, or the variables are not torchrun's.
    """
    if text is None:
        known = os.environ if environment is None else environment
        rank, size = known.get("RANK") or "0", known.get("WORLD_SIZE") or "1"
        if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
            raise UsageError(f"RANK={rank} and WORLD_SIZE={size} are not torchrun's: give --shard")
        return Shard(rank=int(rank), size=int(size))
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text!r} is not K/N with K from 1 to N, e.g. 2/4")
    return Shard(rank=int(found[1]) - 1, size=int(found[2]))


def fingerprint(paths: Sequence[Path | Unreadable], settings: Mapping[str, object]) -> str:
    """Hash what all shards of an inspection share: the names of the images in order, and settings.

    Args:
        paths: as `pillqc.inspection.inspector.find_images` yields them.
        settings: all that decides a result beside the images; of any values that JSON has.
    """
    names = [str(path if isinstance(path, Path) else path.path) for path in paths]
    return _digest([names, settings])


def inspect_shard(
    shard: Shard,
    folder: Path,
    paths: Sequence[Path | Unreadable],
    *,
    common: str,
    inspect: Callable[[Iterable[Path | Unreadable]], Iterator[Inspection]],
) -> ShardResult:
    """Inspect the images of this shard that have no result yet, or whose files have changed.

    Raises:
        PillqcError: its file belongs to another inspection, or cannot be written.
    """
    sizes = [size_in_bytes(path) if isinstance(path, Path) else None for path in paths]
    header = {"images": len(paths), "inspection": common, "files": _digest(sizes)}
    tally = Tally()
    states: dict[int, dict[str, Any] | None] = {}

    def taken(numbers: Iterable[int]) -> Iterator[Path | Unreadable]:
        for number in numbers:  # before it is read: a later change must not go unnoticed
            states[number] = _state(paths[number])
            yield paths[number]

    try:
        folder.mkdir(parents=True, exist_ok=True)
        before, changed = _continue_file(shard.path(folder), header, paths)
        for line in before:
            tally.add(line)
        finished = {int(line["number"]) for line in before}
        todo = [number for number in shard.numbers(len(paths)) if number not in finished]
        with shard.path(folder).open("ab", buffering=0) as file:
            for number, result in zip(todo, inspect(taken(todo)), strict=True):
                state = states.pop(number, None)
                line = {"number": number, "file": state, **result.as_dict()}
                file.write(_encode_line(line))
                tally.add(line)
    except OSError as error:
        raise PillqcError(f"{folder}: cannot write there ({error.strerror or error})") from error
    return ShardResult(done_before=len(before), done_now=len(todo), changed=changed, tally=tally)


def merge(folder: Path) -> Merged:
    """Read the results of all shards in a folder.

    Raises:
        PillqcError: there is no shard, they belong to different inspections, or one is damaged or
            has no header.
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
        images, size = _images_of(path, first), int(name[2])
        headers.setdefault(json.dumps([first, size]), path)
        results |= {line.pop("number"): line for line in lines}
    if len(headers) > 1:
        one, other, *_ = headers.values()
        raise PillqcError(
            f"{one.name} and {other.name} come from different inspections, or files changed between"
            " them: use one output folder for each inspection, or run the same `pillqc inspect`"
            " commands again, which inspect what has changed"
        )
    for result in results.values():
        result.pop("file", None)
    missing = {}
    for rank in range(size):
        numbers = Shard(rank=rank, size=size).numbers(images)
        without = sum(number not in results for number in numbers)
        if without:
            missing[f"{rank + 1}/{size}"] = without
    ordered = tuple(results[number] for number in sorted(results))
    return Merged(results=ordered, images=images, missing=missing)


def _continue_file(
    path: Path, header: Mapping[str, Any], images: Sequence[Path | Unreadable]
) -> tuple[list[dict[str, Any]], int]:
    """Leave in a shard's file what is still true, and return it; also how many files changed.

    The header may be new, and a line cut short by a kill is left out.
    """
    content = path.read_bytes() if path.exists() else b""
    first, *lines = _decode_lines(path, _whole_lines(content)) or [dict(header)]
    if any(first.get(key) != header[key] for key in ("images", "inspection")):
        raise PillqcError(
            f"{path} belongs to another inspection (other images, order, model, size, --bits or"
            " --backend): give another folder, or remove it"
        )
    kept = [line for line in lines if _is_true(line, images)]
    whole = b"".join(map(_encode_line, (header, *kept)))
    if whole != content:
        write_whole(path, whole)
    return kept, len(lines) - len(kept)


def _is_true(line: Mapping[str, Any], images: Sequence[Path | Unreadable]) -> bool:
    image = images[line["number"]]
    if isinstance(image, Path):
        return is_unchanged(image, line.get("file"))
    return line.get("file") is None


def _state(image: Path | Unreadable) -> dict[str, Any] | None:
    return file_state(image) if isinstance(image, Path) else None


def _images_of(path: Path, header: Mapping[str, Any]) -> int:
    """Return the number of images of a whole inspection, as the header of a part says.

    Raises:
        PillqcError: it is no header, so that nobody knows how many images are missing.
    """
    images = header.get("images")
    if not isinstance(images, int) or "inspection" not in header:
        raise PillqcError(
            f"{path} has no header: run its `pillqc inspect` command again, or remove it"
        )
    return images


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _encode_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _decode_lines(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Decode a header and results, if there are any.

    Raises:
        PillqcError: a line is not a JSON object, or a result has no number.
    """
    try:
        lines = [json.loads(line, parse_constant=_refuse) for line in content.splitlines()]
    except ValueError as error:
        raise PillqcError(f"{path} is damaged: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise PillqcError(f"{path} is damaged: a line is no object")
    if not all(isinstance(line.get("number"), int) for line in lines[1:]):
        raise PillqcError(f"{path} is damaged: a result has no number")
    return lines


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
