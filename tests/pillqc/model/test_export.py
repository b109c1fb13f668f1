"""An exported file computes what the model computes, or it does not exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch

from pillqc.data.images import load_images
from pillqc.errors import PillqcError
from pillqc.model.export import COMPARED, export
from pillqc.model.network import load_model
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 64)


def outputs(path: Path, images: torch.Tensor) -> Any:
    """Return what the exported file computes."""
    if path.suffix == ".pt":
        with torch.inference_mode():
            return torch.jit.load(str(path))(images)  # type: ignore[no-untyped-call] # untyped
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(value) for value in session.run(None, {"images": images.numpy()})]


@pytest.mark.parametrize(("kind", "suffix"), [("torchscript", ".pt"), ("onnx", ".onnx")])
def test_the_command_writes_a_file_that_agrees_with_the_model(
    rendered: Path, tmp_path: Path, kind: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints the difference, writes the card too, and makes the folder of both.

    It is compared on images of every kind, and accepts any batch size.
    """
    if kind == "onnx":  # the extra `export`
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    out = tmp_path / "missing" / f"model{suffix}"
    compared: list[Path] = []

    def loading(paths: list[Path], size: int) -> torch.Tensor:
        compared.extend(paths)
        return load_images(paths, size)

    monkeypatch.setattr("pillqc.model.export.load_images", loading)
    done = run("export", "--format", kind, "--data", rendered, "--model", "random", "--out", out)
    assert done.exit_code == 0, done.output
    assert f"on {COMPARED} images" in done.output
    kinds = {path.parent.name for path in rendered.glob("test/*/*.png")}
    assert {path.parent.name for path in compared} == kinds
    assert json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["trained"] is False
    images = load_images(sorted(rendered.glob("test/*/*.png"))[:3], 64)
    with torch.inference_mode():
        wanted, maps = load_model("random").model(images)
    got, got_maps = outputs(out, images)
    assert torch.allclose(wanted, got, atol=1e-4)
    assert torch.allclose(maps, got_maps, atol=1e-3)


def test_a_file_that_computes_something_else_is_refused(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong weights in the export leave no file behind."""
    trace: Any = torch.jit.trace

    def with_other_weights(_: Any, example: torch.Tensor) -> Any:
        return trace(load_model("random", seed=1).model.eval(), example)

    monkeypatch.setattr(torch.jit, "trace", with_other_weights)
    images = sorted(rendered.glob("test/*/*.png"))
    with pytest.raises(PillqcError, match="outputs differ"):
        export(load_model("random"), tmp_path / "m.pt", "torchscript", images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ['{"path": "a.png", "decision": "good"}\n' * 2, "[1]", "{}", ""]
)
def test_a_file_beside_it_that_is_no_card_stays(
    rendered: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of `inspect --json` may have that name; nothing is computed before it is said."""
    monkeypatch.setattr("pillqc.model.export.load_images", lambda *_: pytest.fail("computed"))
    beside = tmp_path / "m.json"
    beside.write_text(content)
    words = ("--format", "torchscript", "--data", rendered, "--model", "random")
    done = run("export", *words, "--out", tmp_path / "m.pt")
    assert (done.exit_code, "m.json" in done.stderr) == (2, True)
    assert beside.read_text() == content
    assert list(tmp_path.iterdir()) == [beside]


def test_the_card_of_an_earlier_export_is_replaced(rendered: Path, tmp_path: Path) -> None:
    """As the model itself is."""
    images = sorted(rendered.glob("test/*/*.png"))[:2]
    for threshold in (0.5, 0.25):
        loaded = load_model("random").at_threshold(threshold)
        export(loaded, tmp_path / "m.pt", "torchscript", images)
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["threshold"] == 0.25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.pt"]


def test_a_wrong_ending_and_no_images_are_said(tmp_path: Path) -> None:
    """Before anything is computed."""
    loaded = load_model("random")
    with pytest.raises(PillqcError, match=r"\.onnx"):
        export(loaded, tmp_path / "m.pt", "onnx", [])
    with pytest.raises(PillqcError, match="none"):
        export(loaded, tmp_path / "m.pt", "torchscript", [])


def test_a_full_disk_is_one_line_and_leaves_nothing(rendered: Path, tmp_path: Path) -> None:
    """PyTorch's own writer ends the process there."""
    images = sorted(rendered.glob("test/*/*.png"))[:2]
    full = OSError(28, "No space left on device")
    with (
        mock.patch("pathlib.Path.write_bytes", side_effect=full),
        pytest.raises(PillqcError, match=r"m\.pt: cannot be written"),
    ):
        export(load_model("random"), tmp_path / "m.pt", "torchscript", images)
    assert list(tmp_path.iterdir()) == []
