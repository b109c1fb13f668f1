"""Tell whether a file is still the one that was inspected.

    before = file_state(path)                # kept beside the decision, as JSON
    ... a restart, days later ...
    if is_unchanged(path, before): ...       # no need to inspect it again

Size and time of the last change are cheap to ask for. Copies of a file on two machines may differ
in the time alone; then their content decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillqc.data.splits import content_hash
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def file_state(path: Path) -> dict[str, Any] | None:
    """Return size, time and content of a file, as JSON keeps them; None if it cannot be read."""
    known = _size_and_time(path)
    try:
        return known and known | {"sha256": content_hash(path)}
    except DataError:
        return None


def is_unchanged(path: Path, before: Mapping[str, Any] | None) -> bool:
    """Return whether a file is as it was in that state; what cannot be read stays None."""
    now = _size_and_time(path)
    if now and before and now.items() <= before.items():
        return True
    state = file_state(path)
    if state is None or before is None:
        return state == before
    return bool(state["sha256"] == before.get("sha256"))


def size_in_bytes(path: Path) -> int | None:
    """Return the size of a file, the same for all copies of it; None if it is not there."""
    known = _size_and_time(path)
    return known["size"] if known else None


def _size_and_time(path: Path) -> dict[str, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
