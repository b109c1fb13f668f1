"""What a system leaves is ignored everywhere; all else that is not read is counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillqc.data.file_names import is_left_by_system
from pillqc.data.folders import read_samples
from pillqc.errors import DataError
from pillqc.inspection.inspector import find_images
from pillqc.inspection.prediction import Unreadable
from tests.fake_files import write_all

SYSTEM = (
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "._a.png", ".directory"),
    *("A.THM", ".nfs0000000012345678", ".pillqc-1f-7", "@eaDir/a.png", "__MACOSX/a.png"),
    *(".Trash-1000/a.png", "lost+found/a.png"),
)


def put(root: Path, *names: str) -> None:
    """Write files with different contents."""
    write_all(root, {name: name for name in names})


def both(root: Path) -> tuple[list[str], list[Path]]:
    """Return the notes about a data set, and what an inspection names as not looked at."""
    notes: list[str] = []
    assert len(read_samples(root, on_note=notes.append)) == 2
    found = list(find_images([root]))
    unread = [one.path for one in found if isinstance(one, Unreadable) and not one.looked_at]
    assert len(found) == 2 + len(unread)
    return notes, unread


@pytest.mark.parametrize("name", SYSTEM)
def test_what_a_system_leaves_is_silent_everywhere(tmp_path: Path, name: str) -> None:
    """In the data set of a training and in an inspected tray; folders are not even entered."""
    put(tmp_path, "good/0.png", "bad/0.png", f"bad/{name}", name)
    assert both(tmp_path) == ([], [])


@pytest.mark.parametrize("name", [".a.png", ".gitkeep", ".notes/a.png"])
def test_hidden_files_and_folders_are_named_everywhere(tmp_path: Path, name: str) -> None:
    """Nobody hides a pill from an inspection by a dot; a training goes on without it."""
    put(tmp_path, "good/0.png", "bad/0.png", f"bad/{name}")
    hidden = tmp_path / "bad" / Path(name).parts[0]
    assert both(tmp_path) == (
        [f"hidden files and folders, not used: 1, the first {hidden}"],
        [hidden],
    )


@pytest.mark.parametrize("name", ["a.heic", "notes.txt", "pill", "thumbs.db.png~"])
def test_other_files_are_an_error_of_both(tmp_path: Path, name: str) -> None:
    """A file of a class that is not read may be a pill."""
    put(tmp_path, "good/0.png", "bad/0.png", f"bad/{name}")
    assert not is_left_by_system(name)
    with pytest.raises(DataError, match=f"1 files .*{name}"):
        read_samples(tmp_path)
    (unread,) = (one for one in find_images([tmp_path]) if isinstance(one, Unreadable))
    assert (unread.path, unread.looked_at) == (tmp_path / "bad" / name, False)
