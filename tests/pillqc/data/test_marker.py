"""Pictures that pillqc drew are known by what they carry, and are whole or not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from PIL import Image

from pillqc.data.decoding_process import read_image
from pillqc.data.marker import is_drawing, save_drawing, write_whole
from pillqc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_drawing_is_known_under_any_name(tmp_path: Path, name: str) -> None:
    """The mark is in the file; a photograph of the same pixels has none."""
    image = Image.effect_noise((60, 60), 50)
    save_drawing(image, tmp_path / name)
    drawing = (tmp_path / name).rename(tmp_path / f"photo-{name}")
    image.save(tmp_path / name)
    assert is_drawing(drawing)
    assert not is_drawing(tmp_path / name)
    with pytest.raises(DataError, match="not a photograph"):
        read_image(drawing)
    assert read_image(tmp_path / name).size == (60, 60)


def test_what_is_no_file_is_no_drawing(tmp_path: Path) -> None:
    """Reading a pipe would block."""
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_drawing(tmp_path / "pipe.png")
    assert not is_drawing(tmp_path / "none.png")


def test_half_a_file_never_stays(tmp_path: Path) -> None:
    """Neither under its name nor beside it."""
    with (
        mock.patch("pathlib.Path.replace", side_effect=OSError(28, "No space left on device")),
        pytest.raises(OSError, match="No space"),
    ):
        write_whole(tmp_path / "a.png", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path: Path) -> None:
    """`--output /dev/stdout` as root would otherwise replace the device for all programs."""
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
