"""No file stops the others: neither one that hangs nor one that ends its decoder."""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

from pillqc.data.decoding_process import Decoder, read_picture
from pillqc.data.images import Sample
from pillqc.data.masks import read_mask, survey_masks
from pillqc.data.read_options import read_options
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """Share one decoder: a child takes a fraction of a second to start."""
    one = Decoder()
    yield one
    one.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture like any other."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(path)
    return path


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of 64 megapixels whose last scan comes a thousand times: minutes in C, in 3 MB."""
    path = tmp_path_factory.mktemp("slow") / "slow.jpg"
    whole = io.BytesIO()
    Image.new("L", (8000, 8000), 90).save(whole, "JPEG", progressive=True)
    body = whole.getvalue()
    scan = body[body.rindex(b"\xff\xda") : -2]
    path.write_bytes(body[:-2] + scan * 1000 + body[-2:])
    return path


def test_endless_decoding_is_given_up(decoder: Decoder, endless: Path, photo: Path) -> None:
    """The system's alarm ends C code, which no exception reaches."""
    with pytest.raises(DataError, match=r"slow.jpg: .*0.2 s") as caught:
        decoder.picture(endless, 0.2)
    assert caught.value.path == endless
    assert decoder.picture(photo, 60.0).image.size == (5, 4)


def test_a_mask_that_decodes_for_ever_is_given_up(endless: Path, photo: Path) -> None:
    """Masks have the time limit of pictures."""
    sample = Sample(path=photo, defect="crack", bad=True, mask=endless, split="all")
    for read in (lambda: survey_masks([sample]), lambda: read_mask(sample, 32)):
        with (
            read_options(seconds=0.2),
            pytest.raises(DataError, match=r"slow.jpg: .*0.2 s"),
        ):
            read()


@pytest.mark.parametrize("dtype", [np.uint8, ">u2", np.int32, np.float32])
def test_a_mask_is_the_same_whoever_decodes_it(tmp_path: Path, dtype: str) -> None:
    """Levels of every type, lying as the turned photograph does."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "photo.png", exif=exif)
    Image.fromarray((np.arange(24).reshape(4, 6) == 3).astype(dtype)).save(tmp_path / "m.tif")
    sample = Sample(
        path=tmp_path / "photo.png", defect="x", bad=True, mask=tmp_path / "m.tif", split="all"
    )
    here = read_mask(sample, 24)
    with read_options():
        assert np.array_equal(read_mask(sample, 24), here)


def test_a_child_that_was_killed_is_replaced(decoder: Decoder, photo: Path) -> None:
    """Between files, by the system for example, it costs no file its decision."""
    first = decoder.picture(photo, 60.0)
    for child in psutil.Process().children():
        alive = child.status() != psutil.STATUS_ZOMBIE  # other tests leave dead ones
        if alive and "decoding_process" in " ".join(child.cmdline()):
            child.kill()
            while child.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
    again = decoder.picture(photo, 60.0)
    assert np.array_equal(np.asarray(again.image), np.asarray(first.image))


def test_a_picture_is_the_same_whoever_decodes_it(photo: Path) -> None:
    """Pixels and notes, with the names of the files as they are."""
    odd = photo.with_name(os.fsdecode(b"\xff\n.png"))
    photo.rename(odd)
    here = read_picture(odd)
    with read_options():
        there = read_picture(odd)
    assert np.array_equal(np.asarray(here.image), np.asarray(there.image))
    assert here.notes == there.notes == ()


def test_each_kind_of_path_that_is_no_file_has_a_reason(tmp_path: Path) -> None:
    """An address, standard input, a device, a name too long: each with its own reason."""
    reported = {
        "-": "standard input is not read",
        "/dev/null": "a device",
        "x" * 300: "File name too long",
        "http://a.b/c.png": "an address",
        "s3://bucket/c.png": "an address",
        "data:image/png;base64,AA": "an address",
    }
    for name, reason in reported.items():
        with pytest.raises(DataError, match=reason):
            read_picture(Path(name))
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(DataError, match=r"a folder|a pipe"):
            read_picture(place)


def test_pictures_are_opened_in_one_place() -> None:
    """Other places would have neither the list of formats nor the time limit."""
    import pillqc

    texts = {p.name: p.read_text() for p in Path(pillqc.__file__).parent.rglob("*.py")}
    assert [name for name, text in texts.items() if "Image.open(" in text] == ["decoding.py"]
    decode = re.compile(r"decode_(picture|mask|layout)\(")
    calling = {name for name, text in texts.items() if decode.search(text)}
    assert calling == {"decoding.py", "decoding_process.py"}
