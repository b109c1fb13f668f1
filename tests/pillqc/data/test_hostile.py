"""Files that are no good images meet one outcome in training, evaluation and inspection alike."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pillqc.commands.main import main
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.torch

SIZE = 32
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)


def run(*arguments: object) -> Result:
    """The command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def truncated(path: Path) -> None:
    """Half a file."""
    Image.fromarray(PIXELS).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:400])


def bomb(path: Path) -> None:
    """A small file of 400 megapixels."""
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def turned(path: Path) -> None:
    """Rotated by its metadata."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(path, "JPEG", exif=exif)


def mode(name: str) -> Callable[[Path], None]:
    """An image of another mode."""
    return lambda path: Image.fromarray(PIXELS).convert(name).save(path, "TIFF")


def deep(path: Path) -> None:
    """16 bits a pixel."""
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(path, "PNG")


USABLE: dict[str, Callable[[Path], None]] = {
    "greyscale": mode("L"),
    "palette": mode("P"),
    "alpha": mode("RGBA"),
    "cmyk": mode("CMYK"),
    "sixteen_bit": deep,
    "exif_rotated": turned,
}
USELESS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, "truncated"),
    "bomb": (bomb, "megapixels"),
    "no_image": (lambda path: path.write_text("hello"), "not an image"),
    "empty": (lambda path: path.write_bytes(b""), "not an image"),
    "loop": (lambda path: path.symlink_to(path), "a link that leads nowhere, or to itself"),
    "pipe": (os.mkfifo, "not a regular file"),
}


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to train and to evaluate."""
    root = tmp_path_factory.mktemp("data") / "pills"
    render_dataset(root, RenderPlan(size=SIZE, train_good=4, test_good=4, per_defect=1), jobs=1)
    return root


def with_files(pills: Path, root: Path, makers: Mapping[str, Callable[[Path], object]]) -> Path:
    """A copy of the pills with odd files among the good ones of both splits."""
    shutil.copytree(pills, root)
    for name, make in makers.items():
        make(root / f"test/good/{name}.png")
    return root


def test_odd_but_usable_images_are_used_everywhere(pills: Path, tmp_path: Path) -> None:
    """Trained on, judged and inspected like all others."""
    root = with_files(pills, tmp_path / "data", USABLE)
    out = tmp_path / "m.safetensors"
    trained = run("train", "--data", root, "--out", out, "--size", SIZE, "--epochs", 1)
    assert trained.exit_code == 0, trained.output
    report = run("evaluate", "--data", root, "--model", "random", "--size", SIZE, "--json")
    assert json.loads(report.stdout)["good"] == 4 + len(USABLE)
    done = run("inspect", root / "test/good", "--model", "random", "--size", SIZE, "--json")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 4 + len(USABLE)
    assert {line["decision"] for line in lines} <= {"good", "bad", "undecided"}


@pytest.mark.parametrize("name", list(USELESS))
def test_a_useless_file_is_refused_before_any_training(
    pills: Path, tmp_path: Path, name: str
) -> None:
    """By path and reason, at once: nothing is trained, written or waited for."""
    make, reason = USELESS[name]
    root = with_files(pills, tmp_path / "data", {name: make})
    out = tmp_path / "m.safetensors"
    done = run("train", "--data", root, "--out", out, "--size", SIZE, "--epochs", 1)
    assert done.exit_code == 1
    assert reason in done.output
    assert f"{name}.png" in done.output
    assert "epoch 1" not in done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("name", list(USELESS))
def test_a_useless_file_ends_an_evaluation_with_its_name(
    pills: Path, tmp_path: Path, name: str
) -> None:
    """Figures over what happened to be readable would be figures of something else."""
    make, reason = USELESS[name]
    root = with_files(pills, tmp_path / "data", {name: make})
    done = run("evaluate", "--data", root, "--model", "random", "--size", SIZE)
    assert done.exit_code == 1
    assert reason in done.output
    assert f"{name}.png" in done.output


def test_inspection_reports_useless_files_and_decides_about_the_rest(
    pills: Path, tmp_path: Path
) -> None:
    """Every file has its line, in order, and the exit code is 1."""
    root = with_files(pills, tmp_path / "data", {n: make for n, (make, _) in USELESS.items()})
    (root / "test/good/circle").symlink_to(root, target_is_directory=True)
    missing = root / "gone.png"
    done = run(
        "inspect", root / "test/good", missing, "--model", "random", "--size", SIZE, "--json"
    )
    assert done.exit_code == 1
    lines = {json.loads(line)["path"]: json.loads(line) for line in done.stdout.splitlines()}
    circle = lines.pop(str(root / "test/good/circle"))
    assert (circle["decision"], circle["looked_at"]) == ("error", False)
    assert len(lines) == 4 + len(USELESS) + 1
    for name, (_, reason) in USELESS.items():
        line = lines[str(root / f"test/good/{name}.png")]
        assert line["decision"] == "error"
        assert reason in line["reason"]
    assert lines[str(missing)]["reason"] == "no such file"
    assert sum(line["decision"] != "error" for line in lines.values()) == 4
