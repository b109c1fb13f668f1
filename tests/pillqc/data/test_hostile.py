"""Files that are no good images have the same outcome in training, evaluation and inspection."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from pillqc.data.images import MULTI_FRAME
from tests.pillqc.command import run
from tests.pillqc.odd_files import USABLE, USELESS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.torch

SIZE = 32


def with_files(rendered: Path, root: Path, makers: Mapping[str, Callable[[Path], object]]) -> Path:
    """Copy the pills and put odd files among the good ones."""
    shutil.copytree(rendered, root)
    for name, make in makers.items():
        make(root / f"test/good/{name}.png")
    return root


def test_odd_but_usable_images_are_used_everywhere(rendered: Path, tmp_path: Path) -> None:
    """Trained on, judged and inspected like all others; frames that are not read are reported."""
    root = with_files(rendered, tmp_path / "data", USABLE)
    out = tmp_path / "m.safetensors"
    frames = f"note: {MULTI_FRAME}: 1, the first {root}/test/good/two_frames.png"
    trained = run("train", "--data", root, "--out", out, "--size", SIZE, "--epochs", 1)
    assert trained.exit_code == 0, trained.output
    assert frames in trained.stderr
    report = run("evaluate", "--data", root, "--model", "random", "--size", SIZE, "--json")
    assert json.loads(report.stdout)["good"] == 4 + len(USABLE)
    assert frames in report.stderr
    assert frames in run("check-split", "--data", root).stderr
    assert frames in run("explore", "--data", root, "--out", tmp_path / "x", "--size", 16).stderr
    done = run("inspect", root / "test/good", "--model", "random", "--size", SIZE, "--json")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 4 + len(USABLE)
    assert {line["decision"] for line in lines} <= {"good", "bad", "undecided"}
    assert sum(line["notes"] != [] for line in lines) == 1


@pytest.mark.parametrize("name", list(USELESS))
def test_a_useless_file_stops_both(rendered: Path, tmp_path: Path, name: str) -> None:
    """By path and reason, before anything is trained or written: a subset is another data set."""
    make, reason = USELESS[name]
    root = with_files(rendered, tmp_path / "data", {name: make})
    out = tmp_path / "m.safetensors"
    for command in (
        ("train", "--data", root, "--out", out, "--size", SIZE, "--epochs", 1),
        ("evaluate", "--data", root, "--model", "random", "--size", SIZE),
    ):
        done = run(*command)
        assert done.exit_code == 1
        assert reason in done.output
        assert f"{name}.png" in done.output
        assert "epoch 1" not in done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_inspection_reports_useless_files_beside_the_rest(rendered: Path, tmp_path: Path) -> None:
    """Every file has its line, in order, and the exit code is 1."""
    root = with_files(rendered, tmp_path / "data", {n: make for n, (make, _) in USELESS.items()})
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
