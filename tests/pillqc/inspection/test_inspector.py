"""A decision for every file, boxes only where there is something to show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pillqc.inspection.inspector import decide, find_images, inspect
from pillqc.inspection.prediction import Prediction, Unreadable
from pillqc.model.network import load_model

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("bad", "band", "expected"),
    [
        (0.49, None, "good"),
        (0.5, None, "bad"),
        (0.3, (0.3, 0.7), "undecided"),
        (0.69, (0.3, 0.7), "undecided"),
        (0.7, (0.3, 0.7), "bad"),
        (0.29, (0.3, 0.7), "good"),
    ],
)
def test_bad_from_the_threshold(
    bad: float, band: tuple[float, float] | None, expected: str
) -> None:
    """Inside the band a person should look."""
    assert decide(bad, 0.5, band) == expected


def test_folders_are_searched_and_files_taken_as_given(tmp_path: Path) -> None:
    """Sorted, in all folders below; what is not an image by name is left out of folders only."""
    for name in ("b/2.png", "b/1.JPG", "a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    notes = tmp_path / "notes.txt"
    found = [p for p in find_images([tmp_path, notes]) if isinstance(p, Path)]
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "a.png",
        "b/1.JPG",
        "b/2.png",
        "notes.txt",
    ]


def test_an_empty_folder_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    """In its place, as what it is; a link to a folder above is not followed for ever."""
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "a.png").write_bytes(b"")
    (full / "circle").symlink_to(tmp_path)
    first, second, third = find_images([empty, full])
    assert isinstance(first, Unreadable)
    assert "holds no images" in first.reason
    assert second == full / "a.png"
    assert isinstance(third, Unreadable)
    assert (third.path, third.looked_at) == (full / "circle", False)


def test_a_folder_is_walked_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file comes before the second folder was looked at."""
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    looked: list[str] = []
    original = os.scandir

    def scandir(place: str) -> Any:
        looked.append(Path(place).name)
        return original(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert next(find_images([tmp_path])) == tmp_path / "a/1.png"
    assert "b" not in looked


def test_a_good_pill_gets_no_box_and_a_bad_one_its_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hot map alone draws nothing on a pill that is called good."""
    heat = np.zeros((10, 10), np.float32)
    heat[2:5, 3:6] = 0.9
    good, bad = (
        Prediction(
            path=Path("x"),
            bad=probability,
            heat=heat,
            width=100,
            height=50,
            ms=1.0,
            batch=1,
            notes=(),
            statistics={},
        )
        for probability in (0.1, 0.9)
    )
    monkeypatch.setattr("pillqc.inspection.inspector.predict", lambda *_, **__: iter([good, bad]))
    first, second = inspect(load_model("random"), [])
    assert first.boxes == ()
    (box,) = second.boxes
    assert (box.left, box.top, box.right, box.bottom) == (30, 10, 60, 25)
    printed = json.loads(json.dumps(second.as_dict()))
    assert list(printed)[:5] == ["path", "decision", "probability_bad", "boxes", "ms"]
