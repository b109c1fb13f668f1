"""Pictures on the page: real, small, and described."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from bench.analysis.run_facts import Facts
from bench.report import build
from bench.report.pictures import album
from tests.bench.made_up_runs import DEFAULT_1, HOSTILE, MakeRun

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import Run


def picture(kind: str = "PNG") -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def keep(make_run: MakeRun, tmp_path: Path) -> MakeRun:
    """A run whose folder holds these pictures."""
    run = make_run(only=(DEFAULT_1,), rounds=3)

    def make(files: dict[str, bytes], **contents: Any) -> Run:
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "pictures.json").write_text(json.dumps(contents))
        return dataclasses.replace(run, folder=tmp_path)

    return make


def test_pictures_are_in_the_page_and_say_what_they_are(keep: MakeRun) -> None:
    """The page warns of synthetic pills and of an untrained model, and loads nothing."""
    run = keep(
        {"gallery.jpg": picture("JPEG"), "prediction-0.jpg": picture("JPEG")},
        items=[
            {"file": "gallery.jpg", "kind": "gallery", "text": "good, crack"},
            {"file": "prediction-0.jpg", "kind": "prediction", "text": "bad, probability 0.9"},
        ],
        source="synthetic",
        trained=False,
        layers_before=[["features.0", "Conv2d"], ["head", "Linear"]],
        layers_after=[["features_0", "_IPEXConv2d"], ["head", "_IPEXLinear"]],
    )
    page = build(run)
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "good, crack" in page
    assert "UNTRAINED" in page
    assert "<strong>_IPEXLinear</strong>" in page
    assert album(Facts(run)).replaced == 2


def test_other_files_are_left_out(keep: MakeRun, tmp_path: Path) -> None:
    """Paths out of the folder, links, large files, and files of another type."""
    (tmp_path / "secret.png").write_bytes(picture())
    names = ("../secret.png", "link.png", "large.png", "text.png", "missing.png", "x.svg")
    run = keep(
        {"large.png": picture() + b"\0" * 500_000, "text.png": b"secret", "x.svg": b"<svg/>"},
        items=[{"file": name, "kind": "prediction", "text": "x"} for name in names] + [3],
    )
    (tmp_path / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    assert album(Facts(run)).pictures == ()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"items": 3, "layers_before": 4}'])
def test_damaged_contents_are_none(keep: MakeRun, tmp_path: Path, content: str) -> None:
    """A damaged pictures.json counts as none."""
    run = keep({})
    (tmp_path / "pictures" / "pictures.json").write_text(content)
    assert album(Facts(run)).pictures == ()
    assert "</html>" in build(run)


def test_script_in_what_a_picture_shows_stays_text(keep: MakeRun) -> None:
    """Kinds, texts and layers come from a file."""
    page = build(
        keep(
            {"a.png": picture()},
            items=[{"file": "a.png", "kind": HOSTILE, "text": HOSTILE}],
            layers_before=[[HOSTILE, HOSTILE]],
            layers_after=[[HOSTILE, HOSTILE]],
        )
    )
    assert page.count("<script") == 1


def test_pictures_never_make_the_page_heavy(keep: MakeRun) -> None:
    """Photographs may be large: what exceeds the page's share is left out."""
    heavy = picture() + b"\0" * 150_000
    files = {f"p{number}.png": heavy for number in range(5)}
    items = [{"file": name, "kind": "prediction", "text": "x"} for name in files]
    shown = album(Facts(keep(files, items=items))).pictures
    assert 0 < len(shown) < len(files)
    assert sum(len(one.source) for one in shown) < 650_000
