"""A tray of files of any format and name: each gets a decision or a reason."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pillqc.commands.common import Progress
from pillqc.data.decoding import FORMATS, decode_picture
from pillqc.errors import DataError, PillqcError
from pillqc.inspection.boxes import Box
from pillqc.inspection.inspector import Inspection, Tally
from pillqc.inspection.pictures import Album, draw, picture_name
from pillqc.model.artifact import ModelCard
from tests.pillqc.command import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.testing import Result

pytestmark = pytest.mark.torch

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8))
RANDOM = ("--model", "random", "--size", 32)


def inspected(*arguments: object) -> Result:
    """Run `pillqc inspect` with a small random model."""
    return run("inspect", *arguments, *RANDOM)


def lines(result: Result) -> list[dict[str, Any]]:
    """Return the objects that `--json` printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--html", "a.png"), "--html {}/a.png: this is the name of a picture or a model"),
        (("--csv", "a.png"), "--csv {}/a.png: this is the name of a picture or a model"),
        (("--csv", "m.safetensors"), "m.safetensors: this is the name of a picture or a model"),
        (("--html", "page.csv"), "a page ends in .html"),
        (("--csv", "x.html", "--html", "x.html"), "--csv and --html name the same file"),
    ],
)
def test_an_output_that_would_replace_a_picture_a_model_or_another_is_refused(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """Before anything is written: the only photograph of a pill would be lost."""
    for name in ("a.png", "m.safetensors", "page.csv", "x.html"):
        PHOTO.save(tmp_path / name, "PNG")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    named = [one if one.startswith("--") else tmp_path / one for one in options]
    done = inspected(tmp_path, *named)
    assert done.exit_code == 2
    assert words.format(tmp_path) in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_formats_that_are_read_are_decided_and_other_files_are_listed(tmp_path: Path) -> None:
    """By any of their suffixes; a file that was not read must not pass for a good pill."""
    formats = ("jfif", "JPE", "jp2", "gif", "ppm", "tga", "ico", "qoi")
    for suffix in formats:
        PHOTO.resize((16, 16)).save(
            tmp_path / f"pill.{suffix}", {"jfif": "JPEG", "JPE": "JPEG"}.get(suffix)
        )
    unseen = {"a.heic", "notes.txt", "pill", "pill.png~", ".hidden.png", "folder.png"}
    for name in unseen - {"folder.png"}:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    done = inspected(tmp_path, "--json")
    reported = {Path(line["path"]).name: line for line in lines(done)}
    assert set(reported) == {*(f"pill.{suffix}" for suffix in formats), *unseen}
    assert {name for name, line in reported.items() if line["decision"] == "error"} == unseen
    assert {reported[name]["looked_at"] for name in unseen} == {False}
    assert {one["looked_at"] for name, one in reported.items() if name not in unseen} == {True}
    assert "looked at 8: " in done.stderr
    assert "not looked at: 6" in done.stderr
    assert done.exit_code == 1


def test_results_of_an_earlier_call_in_the_tray_are_left_out(tmp_path: Path) -> None:
    """Tables that pillqc wrote are known by their first line; they are counted."""
    PHOTO.save(tmp_path / "a.png")
    table, objects = tmp_path / "decisions.csv", tmp_path / "decisions.txt"
    for left_out in (1, 2):
        done = inspected(tmp_path, "--json", "--csv", table)
        assert done.exit_code == 0, done.output
        assert f"left out: {left_out}, " in done.stderr
        objects.write_text(done.stdout)
    table.write_text("path,colour\n")
    assert inspected(tmp_path).exit_code == 1


def test_disguised_postscript_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would hand it to Ghostscript; so with PDF and WMF, which others draw."""
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{ } loop\n"
    for name, content in {"a.png": eps, "b.tif": f"\n{eps}", "c.jpg": "%PDF-1.4\n"}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="not an image"):
            decode_picture(tmp_path / name)
    assert not ran.exists()
    assert not {"EPS", "WMF", "HDF5", "GRIB", "BUFR", "PDF"} & set(FORMATS)


def test_names_that_are_no_text_are_escaped_for_people_only(
    tmp_path: Path,
) -> None:
    """Bytes that are no UTF-8, lines, and names so long that a picture's would not fit."""
    tray, table, marked = tmp_path / "tray", tmp_path / "d.csv", tmp_path / "marked"
    tray.mkdir()
    names = [os.fsdecode(b"\xff\xfe.png"), "new\nline.png", "back\rhere.png", "l" * 248 + ".png"]
    for name in names:
        PHOTO.save(tray / name)
    asked = (tray, "--csv", table, "--pictures", marked)
    done = inspected(*asked, "--json")
    assert done.exit_code == 0, done.output
    assert {Path(line["path"]).name for line in lines(done)} == set(names)
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert {Path(row["path"]).name for row in csv.DictReader(file)} == set(names)
    assert len(list(marked.iterdir())) == 4
    shown = inspected(*asked).stdout.splitlines()
    assert len(shown) == 4
    assert [r"\xff\xfe.png: " in line for line in shown].count(True) == 1
    assert [r"new\nline.png: " in line for line in shown].count(True) == 1


def test_a_name_that_is_no_text_is_trained_on_and_split(tmp_path: Path) -> None:
    """The manifest of the split has its very bytes, and is read again."""
    from pillqc.data.folders import read_samples
    from pillqc.data.split_manifest import apply_split, build_manifest, read_split, write_split

    for name in (b"good/\xff.png", b"bad/\n.png", b"bad/\r.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    samples = read_samples(tmp_path / "data")
    manifest = build_manifest({"train": samples}, tmp_path / "data")
    write_split(tmp_path / "s.csv", manifest)
    assert read_split(tmp_path / "s.csv") == manifest
    assert len(apply_split(manifest, samples, tmp_path / "s.csv")) == 3
    assert len(manifest.sha256) == 64


def test_a_file_that_disappears_keeps_its_decision_or_gets_a_reason(tmp_path: Path) -> None:
    """Before it is read an error; after it, a decision without a picture. The rest goes on."""
    for number in range(4):
        PHOTO.save(tmp_path / f"{number}.png")
    gone = DataError(tmp_path / "0.png", "no such file")
    with mock.patch("pillqc.inspection.pictures.read_image", side_effect=gone):
        done = inspected(
            *(tmp_path, tmp_path / "gone.png", "--json", "--pictures", tmp_path / "marked")
        )
    *decided, missing = lines(done)
    assert [line["picture_error"] for line in decided] == ["no such file"] * 4
    assert "error" not in {line["decision"] for line in decided}
    assert (missing["decision"], missing["reason"]) == ("error", "no such file")
    assert "1 errors; not looked at: 0; 4 without a picture" in done.stderr
    assert done.exit_code == 1


def test_a_picture_that_memory_does_not_suffice_for_costs_itself_alone(tmp_path: Path) -> None:
    """The inspection goes on, and its page and its lines say so."""
    for number in range(2):
        PHOTO.save(tmp_path / f"{number}.png")
    words = ("--json", "--threshold", 0, "--pictures", tmp_path / "marked")
    page = tmp_path / "page.html"
    with mock.patch("pillqc.inspection.pictures.read_image", side_effect=MemoryError):
        done = inspected(tmp_path, *words, "--html", page)
    assert [line["decision"] for line in lines(done)] == ["bad"] * 2
    assert all("memory" in line["picture_error"] for line in lines(done))
    assert page.read_text(encoding="utf-8").count("no picture: ") == 2
    assert done.exit_code == 1


def test_a_large_photograph_is_drawn_smaller_with_its_boxes_in_place(tmp_path: Path) -> None:
    """Drawing takes a hundred bytes a pixel, so that 100 megapixels would not fit into memory."""
    Image.new("RGB", (8192, 1000)).save(tmp_path / "a.png")
    result = Inspection(
        path=tmp_path / "a.png",
        decision="bad",
        probability_bad=0.9,
        heat=np.zeros((4, 4), np.float32),
        boxes=(Box(left=4096, top=400, right=6144, bottom=600, score=0.9, area=0.1),),
    )
    drawn = np.asarray(draw(result))
    assert drawn.shape[1] == 2 * 2048
    photo = drawn[:250, :2048]
    rows, columns = np.nonzero((photo > 0).any(axis=2))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (1024, 1535, 100, 149)


def test_a_picture_is_whole_or_not_there(tmp_path: Path) -> None:
    """A folder in its place is that file's remark."""
    PHOTO.save(tmp_path / "a.png")
    result = Inspection(
        path=tmp_path / "a.png",
        decision="good",
        probability_bad=0.1,
        heat=np.zeros((4, 4), np.float32),
    )
    album = Album(tmp_path / "marked")
    assert album.add(result) is result
    place = tmp_path / "marked" / picture_name(result.path)
    assert [p.name for p in place.parent.iterdir()] == [place.name]
    place.unlink()
    place.mkdir()
    assert "cannot be written" in str(album.add(result).picture_error)
    assert list(place.parent.iterdir()) == [place]


def test_several_frames_are_said(tmp_path: Path) -> None:
    """In every format that has them; the first counts."""
    kinds = {"a.gif": "GIF", "b.png": "PNG", "c.tif": "TIFF", "d.webp": "WEBP", "e.mpo": "MPO"}
    for name, kind in kinds.items():
        PHOTO.save(
            tmp_path / name, kind, save_all=True, append_images=[PHOTO.rotate(90), PHOTO.rotate(45)]
        )
    PHOTO.save(tmp_path / "one.gif")
    reported = {
        Path(line["path"]).name: line["notes"] for line in lines(inspected(tmp_path, "--json"))
    }
    assert reported.pop("one.gif") == []
    assert reported == {name: ["the first of 3 pages or frames"] for name in kinds}


@pytest.mark.parametrize(
    ("decisions", "usual", "asked"),
    [
        (["good"], 0, 0),
        (["good", "bad"], 0, 3),
        (["error", "good"], 1, 1),
        (["error", "undecided"], 1, 4),
    ],
)
def test_exit_codes(tmp_path: Path, decisions: Sequence[str], usual: int, asked: int) -> None:
    """An error does not hide a bad pill."""

    def found(*_: object, **__: object) -> Any:
        for decision in decisions:
            yield Inspection(path=Path("x"), decision=decision, probability_bad=0.5, ms=1.0)  # type: ignore[arg-type]

    with mock.patch("pillqc.inspection.inspector.inspect", found):
        assert inspected(tmp_path).exit_code == usual
        done = inspected(tmp_path, "--exit-code")
    assert done.exit_code == asked
    assert f"{decisions.count('good')} good, {decisions.count('bad')} bad" in done.stderr


def test_the_tally_counts_what_was_not_looked_at_by_itself() -> None:
    """It is no error of reading, and yet a failure."""
    tally = Tally()
    assert (tally.failed, tally.suspicious) == (False, False)
    tally.add({"decision": "error", "looked_at": False})
    assert (tally.failed, tally.suspicious) == (True, False)
    assert re.findall(r"\d+", str(tally)) == ["0", "0", "0", "0", "0", "1"]


def test_a_decision_says_by_what_it_was_made(tmp_path: Path) -> None:
    """Threshold, model, time and every box, for a program and on the error stream."""
    PHOTO.save(tmp_path / "a.png")
    done = inspected(tmp_path / "a.png", "--json", "--threshold", 0, "--csv", tmp_path / "d.csv")
    (line,) = lines(done)
    assert (line["decision"], line["threshold"], line["undecided"]) == ("bad", 0.0, None)
    assert (line["model"], line["model_sha256"], line["batch"]) == ("random", None, 1)
    assert line["time"].endswith("+00:00")
    assert "model random, threshold 0" in done.stderr
    assert "UNTRAINED" in done.stderr.splitlines()[-1]
    with (tmp_path / "d.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["all_boxes"]) == line["boxes"]
    assert (row["boxes"], row["threshold"]) == (str(len(line["boxes"])), "0.0")


def test_a_threshold_is_chosen_by_the_false_rejects_that_it_may_cost(tmp_path: Path) -> None:
    """The card's largest share up to the requested one; else an error."""
    from pillqc.model.network import load_model

    card = ModelCard(thresholds={"0.01": 0.6, "0.05": 0.3}, undecided=(0.3, 0.6), threshold=0.6)
    loaded = replace(load_model("random"), card=card)
    for share, threshold in ((0.01, 0.6), (0.049, 0.6), (0.5, 0.3)):
        chosen = loaded.at_false_rejects(share)
        assert (chosen.threshold, chosen.undecided) == (threshold, None)
    with pytest.raises(PillqcError, match=r"0.01.*--threshold"):
        loaded.at_false_rejects(0.001)
    PHOTO.save(tmp_path / "a.png")
    refused = inspected(tmp_path / "a.png", "--max-false-rejects", 0.1)
    assert refused.exit_code == 1
    assert "card has none" in refused.output
    both = inspected(tmp_path / "a.png", "--max-false-rejects", 0.1, "--threshold", 0.5)
    assert both.exit_code == 2


def test_progress_without_a_known_end_says_how_fast(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal's error stream, unless the lines themselves go to a terminal."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for quiet in (False, True):
        with Progress("inspecting", quiet=quiet) as progress:
            progress(3)
        assert ("inspecting: 3, " in capsys.readouterr().err) is not quiet


def test_pictures_are_neither_hidden_nor_taken_for_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the folder of the photograph is called on the command line."""
    (tmp_path / ".line").mkdir()
    monkeypatch.chdir(tmp_path / ".line")
    wanted = picture_name(tmp_path / ".line" / "a.png")
    assert {picture_name(Path(name)) for name in ("a.png", "../.line/a.png")} == {wanted}
    assert wanted.startswith("line-a-")
    assert picture_name(Path("../a.png")).startswith(f"{tmp_path.name}-a-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_table_that_does_not_fit_the_disk_is_named(tmp_path: Path) -> None:
    """In one line, which also says that it is the table."""
    PHOTO.save(tmp_path / "a.png")
    done = inspected(tmp_path, "--csv", "/dev/full")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("pillqc: /dev/full: cannot be written")
