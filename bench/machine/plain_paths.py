"""Give paths without spaces and other special characters, for a compiler and the loader.

    plain(folder)          # the folder, or a link to it without spaces
    interpreter(python)    # the same interpreter, its packages at such paths

Inductor writes its compiler's command as one line and splits it at spaces, so a space in the path
of the checkout, home or results folder would fail every compiled scenario. The loader splits
LD_PRELOAD at spaces and colons. The links are in a temporary folder that is removed with this
process.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_SPLIT = re.compile(r"[\s:'\"\\$&;()<>|*?!`#]")
"""Characters that are special to a shell, and the colon, which parts paths."""
_HOME = re.compile(r"^home\s*=\s*(.+?)\s*$", re.MULTILINE)
"""Where the Python of an environment is installed, in its settings."""
_ANY_LENGTH = 1 << 16
_LONGEST_PLACE = 35
"""A link in it has 35 characters more."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of our own is made in it


def is_plain(path: Path | str) -> bool:
    """Return whether the absolute path is one word of a command line and one entry of a list."""
    return not _SPLIT.search(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def plain(folder: Path, longest: int = _ANY_LENGTH) -> Path:
    """Return the folder if its path is plain and no longer, else a link to it; then make it."""
    is_short = len(os.path.abspath(folder)) <= longest  # noqa: PTH100 - resolve() follows links
    links = None if is_short and is_plain(folder) else link_folder()
    if links is None:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    return _linked(links / _short(folder), folder)


def interpreter(python: Path) -> Path:
    """Return the interpreter if its environment's paths are plain, else one in a mirror of it.

    The mirror has links to the same packages and starts the same program with the same settings, so
    that the same packages, and Python's headers, are found at plain paths.
    """
    python = Path(os.path.abspath(python))  # noqa: PTH100 - environments are links, which are kept
    prefix = python.parent.parent
    base = _base(prefix)
    links = None if is_plain(prefix) and is_plain(base or prefix) else link_folder()
    if links is None:
        return python
    if base is None:
        return plain(prefix) / python.parent.name / python.name
    mirror = links / f"env-{_short(prefix)}"
    (mirror / "bin").mkdir(parents=True, exist_ok=True)
    for entry in prefix.iterdir():
        if entry.name not in ("bin", "pyvenv.cfg"):
            _linked(mirror / entry.name, entry)
    settings = _HOME.sub(f"home = {plain(base)}/bin", _settings(prefix))
    (mirror / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    return _linked(mirror / "bin" / python.name, plain(base) / "bin" / python.resolve().name)


def _base(prefix: Path) -> Path | None:
    """Return where the Python of an environment is installed; None if this is no environment."""
    found = _HOME.search(_settings(prefix))
    return Path(found[1]).parent if found else None


def _settings(prefix: Path) -> str:
    """Return the settings of an environment; empty if this is none."""
    try:
        return (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""


def _linked(link: Path, target: Path) -> Path:
    if not link.is_symlink():
        link.symlink_to(os.path.abspath(target))  # noqa: PTH100 - as above
    return link


def _short(path: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:12]  # noqa: PTH100 - as above


@functools.cache
def link_folder() -> Path | None:
    """Make a temporary folder with a plain, short path; None if there is no place for one."""
    for place in (tempfile.gettempdir(), *PLACES):
        is_short = len(place) <= _LONGEST_PLACE
        if is_short and is_plain(place) and os.access(place, os.W_OK | os.X_OK):
            folder = Path(tempfile.mkdtemp(prefix="pillqc-bench-", dir=place))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return folder
    return None
