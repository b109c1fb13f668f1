"""Real pills are laid out only from what they were published as, or from the user's own folder."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pillqc.data import preparation
from pillqc.data.preparation import LICENCE, prepare_mvtec
from pillqc.errors import DataError, UsageError
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path


def _png(name: str) -> bytes:
    """A mask with one pixel set, or an image that is no other's copy."""
    image = Image.new("L", (4, 4), 0 if "mask" in name else zlib.crc32(name.encode()) % 200)
    image.putpixel((0, 0), 255)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


_NAMES = ("train/good/000.png", "test/crack/000.png", "ground_truth/crack/000_mask.png")


def _lay_out(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_png(name))


def _archive(path: Path, *extra: str) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name in (*(f"mvtec/pill/{n}" for n in _NAMES), "mvtec/nut/train/good/0.png", *extra):
            info = tarfile.TarInfo(name)
            info.size = len(_png(name))
            tar.addfile(info, io.BytesIO(_png(name)))
    return path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that counts as the published one."""
    path = _archive(tmp_path / "a.tar.xz", "mvtec/pill/../../../escaped.png")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(preparation, "WHOLE_SHA256", digest)
    return path


def test_the_category_is_taken_from_the_archive(published: Path, tmp_path: Path) -> None:
    """Only that category, nothing outside the folder, and a note about another count."""
    done = prepare_mvtec(out=tmp_path / "out", archive=published)
    files = sorted(p.relative_to(done.root).as_posix() for p in done.root.rglob("*.png"))
    assert files == sorted(_NAMES)
    assert (done.images, done.defects) == (2, ("crack",))
    assert "434 images" in done.notes[0]
    assert not list(tmp_path.rglob("escaped.png"))


def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    """A wrong hash stops before anything is unpacked."""
    with pytest.raises(DataError, match=r"b.tar.xz"):
        prepare_mvtec(out=tmp_path / "out", archive=_archive(tmp_path / "b.tar.xz"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_category_leaves_nothing(published: Path, tmp_path: Path) -> None:
    """The archive is whole, the category is not in it."""
    with pytest.raises(DataError, match="'screw'"):
        prepare_mvtec(out=tmp_path / "out", archive=published, category="screw")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.xz"]


def test_a_folder_is_copied_as_it_is(tmp_path: Path) -> None:
    """The user's own unpacked set, whole or one category."""
    _lay_out(tmp_path / "mvtec/pill", *_NAMES)
    for number, root in enumerate((tmp_path / "mvtec", tmp_path / "mvtec/pill")):
        assert prepare_mvtec(out=tmp_path / f"out{number}", root=root).images == 2


def test_unusable_masks_are_named_and_exit_with_1(tmp_path: Path) -> None:
    """The data is written all the same: the user mends it there."""
    root, out = tmp_path / "pill", tmp_path / "out"
    _lay_out(root, *_NAMES, "test/crack/001.png")
    for name in ("000", "001"):
        Image.new("L", (4, 4)).save(root / f"ground_truth/crack/{name}_mask.png")
    done = run("prepare", "mvtec", "--root", root, "--out", out)
    assert done.exit_code == 1
    for name in ("000", "001"):
        assert f"pillqc: {out}/ground_truth/crack/{name}_mask.png" in done.stderr
    assert "2 masks cannot be used" in done.stderr
    assert (out / "test/crack/001.png").is_file()


def test_existing_folders_and_missing_sources_are_said(tmp_path: Path) -> None:
    """Nothing is overwritten or copied into itself, and one source must be given."""
    with pytest.raises(DataError, match="exists already"):
        prepare_mvtec(out=tmp_path, root=tmp_path)
    with pytest.raises(DataError, match="lies inside"):
        prepare_mvtec(out=tmp_path / "pill/out", root=tmp_path)
    with pytest.raises(UsageError, match="either --archive or --root"):
        prepare_mvtec(out=tmp_path / "out")
    with pytest.raises(DataError, match="no such archive"):
        prepare_mvtec(out=tmp_path / "out", archive=tmp_path / "none.tar")


def test_the_licence_is_reported() -> None:
    """Non-commercial, share-alike, with the citation."""
    assert "CC BY-NC-SA 4.0" in LICENCE
    assert "Bergmann" in LICENCE


def test_links_in_circles_and_pipes_are_not_copied(tmp_path: Path) -> None:
    """The images are, and nothing waits for ever."""
    root = tmp_path / "pill"
    _lay_out(root, *_NAMES)
    (root / "test/circle").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "test/crack/pipe.png")
    (root / "test/crack/self.png").symlink_to(root / "test/crack/self.png")
    done = prepare_mvtec(out=tmp_path / "out", root=root)
    files = sorted(p.relative_to(done.root).as_posix() for p in done.root.rglob("*.*"))
    assert files == sorted(_NAMES)
