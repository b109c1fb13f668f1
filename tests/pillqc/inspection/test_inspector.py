"""A decision for every file, boxes only where there is something to show."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pillqc.commands.text import CsvLines, inspection_line
from pillqc.inspection.inspector import Inspection, decide, find_images, inspect
from pillqc.inspection.pictures import draw
from pillqc.inspection.prediction import Prediction, Unreadable
from pillqc.model.artifact import ModelCard, save_artifact
from pillqc.model.network import LoadedModel, load_model
from tests.pillqc.command import run

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
        (float("nan"), None, "bad"),
        (float("nan"), (0.3, 0.7), "bad"),
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


def test_a_result_that_is_no_number_is_no_decision(pills: Path, tmp_path: Path) -> None:
    """As after a flipped bit of a weight: an error of each file, and no good pill."""
    loaded, damaged = load_model(), tmp_path / "damaged.safetensors"
    assert loaded.card is not None
    loaded.model.features[0].weight.data.mul_(1.0e38)
    save_artifact(damaged, loaded.model, replace(loaded.card, size=32))
    words = (pills / "test/good", "--model", damaged, "--json")
    inspected = run("inspect", *words, "--csv", tmp_path / "table.csv")
    assert inspected.exit_code == 1
    printed = [json.loads(line) for line in inspected.stdout.splitlines()]
    assert [one["decision"] for one in printed] == ["error"] * 4
    assert "NaN" not in inspected.stdout
    judged = run("evaluate", "--data", pills, "--model", damaged, "--json")
    assert (judged.exit_code, judged.stdout) == (1, "")
    sized = run("evaluate", "--sizes", "--per-defect", 20, "--model", damaged, "--json")
    assert (sized.exit_code, sized.stdout) == (1, "")


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Inspection]:
    """A good and a bad pill, inspected by a model that names three defects."""
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    pills = [
        Prediction(
            path=tmp_path / "x.png",
            bad=bad,
            heat=np.zeros((10, 10), np.float32),
            width=20,
            height=20,
            ms=1.0,
            batch=1,
            notes=(),
            statistics={},
            defects=np.array([0.25, 0.5, 0.125], np.float32),
            defect_heat=np.stack([np.full((10, 10), heat, np.float32) for heat in (0.0, 1.0, 0.0)]),
        )
        for bad in (0.1, 0.9)
    ]
    monkeypatch.setattr("pillqc.inspection.inspector.predict", lambda *_, **__: iter(pills))
    card = ModelCard(defects=("color", "crack", "scratch"))
    plain = load_model("random")
    loaded = LoadedModel(model=plain.model, trained=True, threshold=0.5, name="m", card=card)
    return list(inspect(loaded, []))


def test_the_likeliest_defect_comes_first(named: list[Inspection]) -> None:
    """In JSON it is the last key; a line for people has it for pills that are not good."""
    good, bad = named
    printed = json.loads(json.dumps(bad.as_dict()))
    assert list(printed)[-1] == "defects"
    assert list(printed["defects"].items()) == [("crack", 0.5), ("color", 0.25), ("scratch", 0.125)]
    assert inspection_line(bad).endswith("; most likely crack 0.500, color 0.250, scratch 0.125")
    assert "likely" not in inspection_line(good)


def test_a_model_that_names_defects_has_columns_for_them(
    named: list[Inspection], tmp_path: Path
) -> None:
    """At the end of the row; other models' tables have none."""
    table = tmp_path / "d.csv"
    headers = []
    for defects in (False, True):
        with CsvLines(table, defects=defects) as rows:
            rows.add(named[1].as_dict())
        with table.open(newline="") as file:
            reader = csv.DictReader(file)
            (row,) = reader
        headers.append(list(row))
    assert headers[0][-1] == "undecided_to"
    assert headers[1] == [*headers[0], "defect", "probability_defect", "defects"]
    assert (row["defect"], row["probability_defect"]) == ("crack", "0.5")
    assert json.loads(row["defects"]) == named[1].defects


def test_an_earlier_table_stays_until_the_first_row(
    named: list[Inspection], tmp_path: Path
) -> None:
    """What fails before costs nothing; an inspection of nothing ends with an empty table."""
    table = tmp_path / "d.csv"
    with CsvLines(table) as rows:
        rows.add(named[0].as_dict())
    earlier = table.read_text()
    with contextlib.suppress(KeyboardInterrupt), CsvLines(table):
        raise KeyboardInterrupt
    assert table.read_text() == earlier
    with CsvLines(table) as rows:
        assert table.read_text() == earlier
        rows.add(named[1].as_dict())
    assert [line.split(",")[1] for line in table.read_text().splitlines()] == ["decision", "bad"]
    with CsvLines(table):
        pass
    assert table.read_text() == earlier.splitlines(keepends=True)[0]
    table.write_text("a list of mine\n")
    with CsvLines(table):
        assert table.read_text().startswith("path,decision")


def test_a_picture_shows_the_map_of_the_likeliest_defect(named: list[Inspection]) -> None:
    """As the third picture, for pills that are not good."""
    good, bad = (np.asarray(draw(one)) for one in named)
    assert bad[:20, 40:60].mean() > 50, "the crack's map is hot everywhere"
    assert bad[:20, 20:40].max() == 0
    assert good[:20, 40:60].min() == 255
