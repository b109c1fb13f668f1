"""No file stops the others: not one that hangs, nor one that ends the process that decodes it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pillqc.data.decoding_process import Decoder, read_picture
from pillqc.data.read_options import read_options
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """One for all tests: a child takes a fraction of a second to start."""
    one = Decoder()
    yield one
    one.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture like any other."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(path)
    return path


def endless(path: Path) -> None:
    """A JPEG of 64 megapixels whose last scan comes a thousand times: minutes in C, in 3 MB."""
    whole = io.BytesIO()
    Image.new("L", (8000, 8000), 90).save(whole, "JPEG", progressive=True)
    body = whole.getvalue()
    scan = body[body.rindex(b"\xff\xda") : -2]
    path.write_bytes(body[:-2] + scan * 1000 + body[-2:])


def test_a_file_that_decodes_for_ever_is_given_up_and_the_next_is_read(
    decoder: Decoder, tmp_path: Path, photo: Path
) -> None:
    """The system's alarm ends C code, which no exception reaches."""
    endless(tmp_path / "slow.jpg")
    with pytest.raises(DataError, match=r"slow.jpg: not decoded within 0.5 s") as caught:
        decoder.picture(tmp_path / "slow.jpg", 0.5)
    assert caught.value.path == tmp_path / "slow.jpg"
    assert decoder.picture(photo, 60.0).image.size == (5, 4)


def test_a_child_that_was_killed_is_replaced(decoder: Decoder, photo: Path) -> None:
    """Between files, by the system for example, it costs no file its decision."""
    first = decoder.picture(photo, 60.0)
    child = decoder._child
    assert child is not None
    child.kill()
    child.wait()
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


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    """An address, standard input, a device, a name too long: each with its own reason."""
    told = {
        "-": "standard input is not read",
        "/dev/null": "a device, not a regular file",
        "x" * 300: "File name too long",
        "http://a.b/c.png": "an address, not a file: nothing is fetched",
        "s3://bucket/c.png": "an address, not a file: nothing is fetched",
        "data:image/png;base64,AA": "an address, not a file: nothing is fetched",
    }
    for name, reason in told.items():
        with pytest.raises(DataError, match=reason):
            read_picture(Path(name))
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(DataError, match=r"a folder, not an image|a pipe, not a regular file"):
            read_picture(place)


def test_pictures_are_opened_in_one_place() -> None:
    """Whoever opens one elsewhere has neither the list of formats nor the limit of time."""
    import pillqc

    package = Path(pillqc.__file__).parent
    opening = [p.name for p in package.rglob("*.py") if "Image.open(" in p.read_text()]
    assert opening == ["decoding.py"]
