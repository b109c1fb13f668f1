"""Other ways of running the model compute the same; `auto` uses measurements of this CPU only."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pillqc.errors import PillqcError
from pillqc.model import acceleration
from pillqc.model.acceleration import IPEX, STOCK, Way, accelerate, choose
from pillqc.model.network import load_model
from tests.fresh_process import python
from tests.hardware import needs_ipex
from tests.pillqc.command import run

FOUND: dict[str, Any] = {
    "format": acceleration.FORMAT,
    "run_id": "a-run",
    "scenario": "inference/stock/torchscript+fusion/fp32/channels_last/b1",
    "cpu_model": "This CPU",
    "versions": {"torch": torch.__version__},
    "backend": "stock",
    "mode": "torchscript",
    "fusion": True,
    "dtype": "fp32",
    "layout": "channels_last",
}


@pytest.fixture(autouse=True)
def this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the CPU of these tests a fixed name."""
    monkeypatch.setattr(acceleration, "cpu_model", lambda: "This CPU")


def file(tmp_path: Path, **changes: Any) -> Path:
    """What `bench recommend --write` leaves, with changes."""
    path = tmp_path / "acceleration.json"
    path.write_text(json.dumps({**FOUND, **changes}))
    return path


SCRIPT = Way(mode="torchscript", fusion=True, layout="channels_last")


@pytest.mark.parametrize(
    ("backend", "changes", "way", "words"),
    [
        ("stock", {}, STOCK, ""),
        ("ipex", {}, IPEX, ""),
        ("auto", {}, SCRIPT, "a-run"),
        ("auto", {"cpu_model": "Another"}, STOCK, "(Another)"),
        ("auto", {"versions": {"torch": "1.0.0"}}, STOCK, "torch 1.0.0"),
        ("auto", {"versions": {"no-such-package": "1"}}, STOCK, "none is installed"),
    ],
)
def test_auto_takes_what_was_measured_on_this_cpu_with_these_packages(
    tmp_path: Path, backend: str, changes: dict[str, Any], way: Way, words: str
) -> None:
    """The fastest way of another machine may be the slowest of this one; the note says why."""
    chosen, note = choose(backend, file(tmp_path, **changes))
    assert chosen == way
    assert words in note


def test_without_a_file_auto_is_stock_and_says_how_to_get_one(tmp_path: Path) -> None:
    """An inspection needs no benchmark."""
    way, note = choose("auto", tmp_path / "none.json")
    assert way == STOCK
    assert "bench recommend --write" in note


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", json.dumps({**FOUND, "mode": "rm -rf"}), "\x00"]
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str) -> None:
    """It names the file."""
    path = tmp_path / "acceleration.json"
    path.write_text(content)
    with pytest.raises(PillqcError, match=r"acceleration\.json"):
        choose("auto", path)


def test_the_variable_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service has no home."""
    monkeypatch.setenv(acceleration.VARIABLE, str(tmp_path / "x.json"))
    assert acceleration.default_path() == tmp_path / "x.json"


def agrees(way: Way, tolerance: float) -> None:
    """Probabilities and maps are the model's, also for a smaller and for a larger batch."""
    loaded = load_model("random", seed=3)
    fast = accelerate(loaded, way)
    with torch.inference_mode():
        for images in (torch.rand(count, 3, 64, 64) for count in (2, 1, 3)):
            expected, found = loaded.model(images), fast.model(images)
            for one, other in zip(expected, found, strict=True):
                assert other.shape == one.shape
                assert (one - other).abs().max() <= tolerance


@pytest.mark.torch
@pytest.mark.parametrize(
    "way",
    [
        Way(layout="channels_last"),
        Way(mode="torchscript", fusion=True, layout="channels_last"),
        Way(mode="torchscript", fusion=False),
    ],
)
def test_other_stock_ways_agree(way: Way) -> None:
    """The same numbers up to rounding."""
    agrees(way, 1e-3)


@pytest.mark.torch
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "zentorch"])
def test_further_backends_agree(backend: str) -> None:
    """Where they are installed: what `bench` may find fastest, pillqc can run."""
    pytest.importorskip(backend)
    agrees(Way(backend=backend, mode="compile"), 1e-3)


@pytest.mark.parametrize(
    ("backend", "missing"),
    [("openvino", "openvino"), ("onnxruntime", "onnx"), ("zentorch", "zentorch")],
)
def test_a_backend_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, backend: str, missing: str
) -> None:
    """Before an image is read; ONNX Runtime needs onnx, through which PyTorch exports."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else name)
    words = rf"{missing} .*pip install .*{backend}"
    with pytest.raises(PillqcError, match=words):
        accelerate(load_model("random"), Way(backend=backend, mode="compile"))


def test_freezing_follows_the_file(tmp_path: Path) -> None:
    """A file of an earlier version, without the key, means frozen."""
    assert choose("auto", file(tmp_path))[0].freezing is True
    assert choose("auto", file(tmp_path, mode="compile", freezing=False))[0].freezing is False


@pytest.mark.torch
def test_bf16_agrees_within_its_precision() -> None:
    """Eight bits of mantissa; maps of a random model are scaled by their own range."""
    loaded = load_model("random", seed=3)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        fast = accelerate(loaded, Way(dtype="bf16")).model(images)
        assert (loaded.model(images)[0] - fast[0]).abs().max() <= 0.05


@pytest.mark.torch
def test_inspect_runs_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--backend auto`: the same decision by another way, which is named on stderr."""
    from PIL import Image

    photo = tmp_path / "pill.png"
    Image.new("RGB", (64, 64), (90, 120, 150)).save(photo)
    monkeypatch.setenv(acceleration.VARIABLE, str(file(tmp_path)))
    said = {}
    for backend in ("stock", "auto"):
        arguments = ["inspect", str(photo), "--json", "--model", "random", "--size", "64"]
        done = run(*arguments, "--backend", backend)
        assert done.exit_code == 0, done.output
        said[backend] = json.loads(done.stdout.strip().splitlines()[-1])
    assert "torchscript" in done.stderr
    assert said["auto"]["decision"] == said["stock"]["decision"]
    assert said["auto"]["probability_bad"] == pytest.approx(
        said["stock"]["probability_bad"], abs=1e-4
    )


def test_bf16_with_ipex_where_it_has_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ipex.optimize` would raise an assertion error; a stand-in replaces IPEX."""
    native = SimpleNamespace(onednn_has_bf16_support=lambda: False)
    stand_in = SimpleNamespace(_C=native)
    monkeypatch.setitem(sys.modules, "intel_extension_for_pytorch", stand_in)
    loaded = load_model("random")
    assert accelerate(loaded, IPEX).model is not loaded.model
    with pytest.raises(PillqcError, match=r"bf16.*--backend stock"):
        accelerate(loaded, replace(IPEX, dtype="bf16"))


_IPEX_PROGRAM = """
import torch
from pillqc.model.acceleration import IPEX, Way, accelerate
from pillqc.model.network import load_model
from pillqc.model.optimizing import replaced_layers
script = Way(backend="ipex", mode="torchscript", fusion=True, layout="channels_last")
plain = load_model("random", seed=3)
sizes = (2, 1, 3)
images = [torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(n)) for n in sizes]
with torch.inference_mode():
    expected = [plain.model(batch) for batch in images]
    for way in (IPEX, script):
        fast = accelerate(load_model("random", seed=3), way)
        for batch, outputs in zip(images, expected):
            for one, other in zip(outputs, fast.model(batch)):
                assert other.shape == one.shape
                assert (one - other).abs().max() <= 1e-3, way
        if way == IPEX:
            print(replaced_layers(fast.model.prepared))
"""


@pytest.mark.torch
@pytest.mark.ipex
@needs_ipex
def test_ipex_agrees() -> None:
    """Eager and TorchScript, with all 14 layers replaced; importing IPEX changes its process."""
    done = python("-W", "ignore", "-c", _IPEX_PROGRAM, cwd=Path(__file__).parents[3])
    assert done.stdout.split()[-1] == "14"
