"""An exported file computes what the model computes, or it does not exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from pillqc.commands.main import main
from pillqc.data.images import load_images
from pillqc.errors import PillqcError
from pillqc.model import export as export_module
from pillqc.model.export import export
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small pills."""
    root = tmp_path_factory.mktemp("data") / "pills"
    render_dataset(root, RenderPlan(size=32, train_good=1, test_good=3, per_defect=1), jobs=1)
    return root


def needed(kind: str) -> None:
    """Skip where the extra `export` is not installed."""
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("kind", "suffix"), [("torchscript", ".pt"), ("onnx", ".onnx")])
def test_the_command_writes_a_file_that_agrees_with_the_model(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    """It prints the difference and writes the card; the file accepts any batch size."""
    needed(kind)
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 64)
    out = tmp_path / f"model{suffix}"
    done = CliRunner().invoke(
        main,
        [
            *("export", "--format", kind, "--data", str(pills), "--model", "random"),
            *("--out", str(out)),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "on 10 images" in done.output
    assert json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["trained"] is False
    images = load_images(sorted(pills.glob("test/*/*.png"))[:3], 64)
    with torch.inference_mode():
        wanted, maps = load_model("random").model(images)
    got, got_maps = _run(out, images)
    assert torch.allclose(wanted, got, atol=1e-4)
    assert torch.allclose(maps, got_maps, atol=1e-3)


def _run(path: Path, images: torch.Tensor) -> Any:
    if path.suffix == ".pt":
        with torch.inference_mode():
            return torch.jit.load(str(path))(images)  # type: ignore[no-untyped-call] # untyped
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(value) for value in session.run(None, {"images": images.numpy()})]


def test_a_file_that_computes_something_else_is_refused(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong weights in the export leave no file behind."""
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 64)
    original = export_module._torchscript

    def with_other_weights(_: Any, path: Path, example: torch.Tensor) -> Any:
        return original(load_model("random", seed=1).model, path, example)

    monkeypatch.setattr(export_module, "_torchscript", with_other_weights)
    with pytest.raises(PillqcError, match="not written, its outputs differ"):
        export(
            load_model("random"),
            tmp_path / "m.pt",
            "torchscript",
            sorted(pills.glob("test/*/*.png")),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_ending_and_no_images_are_said(tmp_path: Path) -> None:
    """Before anything is computed."""
    loaded = load_model("random")
    with pytest.raises(PillqcError, match=r"ends in \.onnx"):
        export(loaded, tmp_path / "m.pt", "onnx", [])
    with pytest.raises(PillqcError, match="there are none"):
        export(loaded, tmp_path / "m.pt", "torchscript", [])
