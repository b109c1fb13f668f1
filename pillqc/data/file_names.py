"""Decide by its name whether a file is read, reported or ignored.

    is_image_name("a.JPG")             # True
    is_left_by_system("Thumbs.db")     # True

What an operating system, a file server or a camera writes by itself is ignored silently. All other
files and folders that are not read are counted and named.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from pillqc.data.decoding import SUFFIXES
from pillqc.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SYSTEM_NAMES: Final = frozenset(
    {
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        *("$recycle.bin", "system volume information"),
        # macOS
        *(".ds_store", "__macosx", ".appledouble", ".apdisk", ".localized", "icon\r", ".trashes"),
        *(".volumeicon.icns", ".fseventsd", ".spotlight-v100", ".temporaryitems"),
        ".documentrevisions-v100",
        # Linux desktops and file systems
        *(".directory", ".thumbnails", "lost+found"),
        # file servers of Synology and QNAP
        *("@eadir", "#recycle", "#snapshot", ".@__thumb", "@recycle"),
        # cameras
        "autprint.mrk",
    }
)
_SYSTEM_PATTERN: Final = re.compile(
    r"\._.*|\.nfs[0-9a-f]{8,}|\.fuse_hidden.*|\.trash-\d+"  # macOS, NFS, FUSE, desktops
    r"|.+\.(?:thm|ctg)"  # thumbnails and catalogues of cameras
    r"|\.pillqc-.*",  # a file that pillqc is writing
    re.IGNORECASE | re.DOTALL,
)
_MAX_NAMED: Final = 5


def is_image_name(name: str) -> bool:
    """Return whether a file in a folder counts as an image: a known suffix, and not hidden."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES


def is_left_by_system(name: str) -> bool:
    """Return whether the system, a file server or a camera makes files or folders of this name."""
    return name.lower() in _SYSTEM_NAMES or bool(_SYSTEM_PATTERN.fullmatch(name))


def visible(folder: Path) -> list[Path]:
    """List a folder, sorted, without hidden entries and those that the system left."""
    entries = sorted(folder.iterdir())
    return [p for p in entries if not (p.name.startswith(".") or is_left_by_system(p.name))]


def hidden_below(folder: Path) -> Iterator[Path]:
    """Yield the hidden files and folders at any depth, but none that the system left."""
    for place, folders, files in os.walk(folder):
        kept = [name for name in folders if not is_left_by_system(name)]
        folders[:] = [name for name in kept if not name.startswith(".")]
        for name in sorted({*kept, *files}):
            if name.startswith(".") and not is_left_by_system(name):
                yield Path(place, name)


def why_not_read(path: Path) -> str:
    """Return the reason why a file or folder inside a given folder is not read."""
    if path.is_symlink() and path.is_dir():
        return "not looked at: a link to a folder"
    if path.name.startswith("."):
        return f"not looked at: a hidden {'folder' if path.is_dir() else 'file'}"
    if path.is_dir():
        return "not looked at: a folder, not an image"
    if not path.suffix:
        return "not looked at: its name has no suffix of an image format"
    return f"not looked at: pillqc reads no format with the suffix {shown(path.suffix)!r}"


def describe_unread(paths: Sequence[Path]) -> str:
    """Return one sentence with the number of files that are not read and the first names."""
    names = ", ".join(shown(path.name) for path in paths[:_MAX_NAMED])
    more = ", ..." if len(paths) > _MAX_NAMED else ""
    return (
        f"{len(paths)} files would not be looked at, because their names are not those of images:"
        f" {names}{more}; convert them or take them out of the folder"
    )
