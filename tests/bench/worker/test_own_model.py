"""Models of the user's own: found, checked, and refused in one sentence."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.engine.worker_process import worker_arguments
from bench.errors import BenchError
from bench.plan.scenario import Mode, Task, stock_default
from bench.worker.backends import stock
from bench.worker.workload.own_model import Flat, OwnModel, flatten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

FOUND = "own_model.OwnModel(factory='users_code:Small', shape=(3, 8, 8), seed=1)"
SCENARIO = stock_default(Task.INFERENCE, 2)
CODE = """
import dataclasses
import torch

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.layer(images)

class Named(Small):
    def forward(self, images):
        found = super().forward(images)
        return {"map": found, "boxes": [found.sum(), found.mean()]}

class Text(Small):
    def forward(self, images):
        return {"label": "good"}

class Narrow(Small):
    def forward(self, images):
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

class Caching(Small):
    kept = None

    def forward(self, images):
        if self.kept is None:
            self.kept = torch.zeros_like(images)
        return super().forward(images + self.kept)

class Tokens(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.words = torch.nn.Embedding(9, width)

    def forward(self, tokens, *, mask, scale=1, more=()):
        found = self.words(tokens) * mask.unsqueeze(-1) * scale
        return Output(logits=found + sum(more), loss=None)

@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    loss: object

def by_keyword(size):
    return {"tokens": torch.arange(size * 3).reshape(size, 3) % 9, "mask": torch.ones(size, 3)}

def by_both(size):
    more = [torch.full((1,), 1.0), torch.full((1,), 2.0)]
    keywords = by_keyword(size)
    return (keywords.pop("tokens"),), {**keywords, "scale": 2, "more": more}

class Detector(Small):
    def forward(self, images):
        return [{"map": super(Detector, self).forward(one[None])[0]} for one in images]

def list_of_images(size):
    return [torch.rand(3, 8, 8) for _ in range(size)]

class Loop(Small):
    def train(self, loader, epochs):
        raise AssertionError("a training loop was entered")

class Silent(Small):
    def train(self, mode=True):
        super().train(mode)

class Random(Small):
    def forward(self, images):
        return torch.nn.functional.dropout(super().forward(images), training=True)

class InPlace(Small):
    def forward(self, images):
        return super().forward(images.mul_(1.5))

def scripted():
    return torch.jit.script(Small())

def compiled():
    return torch.compile(Small())

def half():
    return Small().bfloat16()

def exits():
    import argparse
    argparse.ArgumentParser().parse_args()
    raise SystemExit(3)

def downloads():
    import urllib.request
    urllib.request.urlopen("http://localhost:1/weights.pt")

def threads():
    torch.set_num_threads(torch.get_num_threads() + 1)
    return Small()

def broken():
    raise ValueError("no weights here\\nsecond line")

def a_number():
    return 3

def images(size):
    return torch.rand(size, 3, 8, 8)

def one(size):
    return torch.rand(1, 3, 8, 8)

def no_tensor(size):
    return [size]

CONSTANT = 3
"""


@pytest.fixture(autouse=True)
def _users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the user's, where `python -m bench` would find it."""
    (tmp_path / "users_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "users_code", raising=False)
    monkeypatch.setattr("sys.argv", ["worker", "--backend", "stock"])
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def own(factory: str, **more: Any) -> OwnModel:
    """That model with random images of 8 by 8 pixels by default."""
    takes = more or {"shape": (3, 8, 8)}
    return OwnModel(factory=f"users_code:{factory}", seed=1, **takes)


def test_two_workers_get_the_same_model_and_inputs() -> None:
    """Random weights and inputs are seeded before the user's code runs."""
    one, other = own("Small"), own("Small", inputs="users_code:images")
    again = own("Small", inputs="users_code:images")
    assert torch.equal(other.batch(3).tensor, again.batch(3).tensor)
    assert torch.equal(one.batch(3).tensor, own("Small").batch(3).tensor)
    left, right = (work.model(SCENARIO).model for work in (one, other))
    assert left is not one.model(SCENARIO).model
    assert all(
        torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True)
    )
    assert not left.training


def test_named_and_nested_outputs_come_as_one_tuple() -> None:
    """Tracing and compiling take tuples; plain tensors stay as they are."""
    work = own("Named")
    model = work.model(SCENARIO).model
    assert isinstance(model, Flat)
    assert [tuple(t.shape) for t in model(work.batch(2).images)] == [(2, 4, 6, 6), (), ()]
    assert not isinstance(own("Small").model(SCENARIO).model, Flat)


def test_what_it_is_and_takes_is_kept_with_the_run() -> None:
    """Its name, and a checksum of the inputs."""
    work = own("Small", inputs="users_code:images")
    assert work.model(SCENARIO).name == "users_code:Small"
    assert work.facts()["source"] == "given"
    assert len(work.facts()["sha256"]) == 64
    assert own("Small").facts()["root"] == "3x8x8"
    assert work.flop(work.model(SCENARIO).model, work.batch(1).images, training=False) == (
        2 * 36 * 4 * 27
    )


@pytest.mark.parametrize(
    ("factory", "takes", "words"),
    [
        ("absent", {}, "users_code.*absent"),
        ("CONSTANT", {}, "int"),
        ("broken", {}, r"users_code.py:\d+: ValueError: no weights here$"),
        ("a_number", {}, "int.*torch.nn.Module"),
        ("Random", {}, "other outputs"),
        ("InPlace", {}, "in place"),
        ("scripted", {}, "TorchScript"),
        ("compiled", {}, "compiled"),
        ("half", {}, r"holds weights in torch\.bfloat16"),
        ("exits", {}, r"users_code.py:\d+: SystemExit: 3"),
        ("downloads", {}, r"users_code.py:\d+: URLError.*network"),
        ("threads", {}, "threads"),
        ("Text", {}, "str"),
        ("Narrow", {}, r"\(1, 3, 8, 8\).*users_code.py"),
        ("Small", {"shape": (1, 8, 8)}, r"failed.*RuntimeError"),
        ("Small", {"inputs": "users_code:no_tensor"}, "no tensor"),
        ("Small", {"inputs": "users_code:absent"}, "has no absent"),
        ("Small", {"inputs": "nowhere:images"}, "'nowhere'"),
    ],
)
def test_a_useless_factory_is_one_sentence(factory: str, takes: dict[str, Any], words: str) -> None:
    """It names the option, the path, and where the user's code failed."""
    with pytest.raises(BenchError, match=words) as caught:
        own(factory, **takes)
    assert str(caught.value).startswith("--")
    assert "\n" not in str(caught.value)


def test_counting_operations_leaves_a_models_caches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is called, once for each shape; the model itself is not."""
    work = own("Caching")
    loaded, images = work.model(SCENARIO), work.batch(2).images
    flop = 2 * 2 * 6 * 6 * 4 * 3 * 9
    assert work.flop(loaded.model, images, training=False) == flop
    monkeypatch.setattr(copy, "deepcopy", None)
    assert work.flop(loaded.model, images, training=False) == flop
    assert getattr(loaded.model, "kept") is None  # noqa: B009 - the user's own attribute
    assert torch.isfinite(loaded.model(images)).all()


@pytest.mark.parametrize("kind", ["Loop", "Silent"])
def test_a_train_method_of_the_users_own_is_not_entered(kind: str) -> None:
    """`eval` calls it; copies, traces and `eval` of backends must not either."""
    work = own(kind)
    model, images = work.model(SCENARIO).model, work.batch(2).images
    assert copy.deepcopy(model).eval() is not None
    assert not any(part.training for part in model.modules())
    traced = torch.jit.freeze(torch.jit.trace(model, images).eval())  # type: ignore[no-untyped-call]
    assert torch.allclose(traced(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "mode"),
    [
        ("by_keyword", Mode.EAGER),
        ("by_keyword", Mode.TORCHSCRIPT),
        ("by_both", Mode.EAGER),
        ("by_both", Mode.COMPILE),
    ],
)
def test_inputs_come_by_place_and_by_keyword(inputs: str, mode: Mode) -> None:
    """Nested as they are, in every mode; a dataclass gives its tensors, and None is passed over."""
    work = own("Tokens", inputs=f"users_code:{inputs}", settings={"width": 5})
    example = work.batch(2).images
    scenario = replace(SCENARIO, mode=mode, fusion=False if mode is Mode.TORCHSCRIPT else None)
    model = work.model(scenario).model
    with torch.inference_mode():
        expected = [tensor.clone() for tensor in model(example)]
        found = stock.prepare(model, scenario, example)(example)
    assert [tuple(tensor.shape) for tensor in found] == [(2, 3, 5)]
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert (float(expected[0].sum()) > 60) == (inputs == "by_both")  # scale and more got there


def test_a_batch_may_be_a_list_of_tensors() -> None:
    """As detection takes it: one tensor an image, of any shape."""
    work = own("Detector", inputs="users_code:list_of_images")
    model = work.model(SCENARIO).model
    assert [tuple(t.shape) for t in model(work.batch(2).images)] == [(4, 6, 6)] * 2


def test_a_users_file_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is started where a file `bench.py` lies runs ours, and finds the user's own."""
    (tmp_path / "bench.py").write_text("raise SystemExit('the wrong bench')")
    monkeypatch.chdir(tmp_path)
    python, flag, code, *_ = worker_arguments(sys.executable, [])
    look = (
        f"{code.partition('import runpy')[0]}from bench.worker.workload import own_model; {FOUND}"
    )
    done = subprocess.run([python, flag, look], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_model_may_lie_in_a_file(tmp_path: Path) -> None:
    """With what lies beside it, though no package holds it."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "beside.py").write_text("WIDTH = 6")
    code = "import torch, beside\ndef load(): return torch.nn.Linear(3, beside.WIDTH)"
    (folder / "model.py").write_text(code)
    work = OwnModel(factory=f"{folder}/model.py:load", shape=(3,), seed=1)
    assert tuple(work.model(SCENARIO).model(work.batch(2).tensor).shape) == (2, 6)
    with pytest.raises(BenchError, match="there is no file"):
        OwnModel(factory=f"{folder}/absent.py:load", shape=(3,), seed=1)


def test_inputs_of_another_batch_size_are_refused() -> None:
    """Their times would get a wrong batch size."""
    work = own("Small", inputs="users_code:one")
    with pytest.raises(BenchError, match=r"batch of 4 .*\(1, 3"):
        work.batch(4)


def test_flattening_keeps_the_order() -> None:
    """Outputs are compared by their place."""
    a, b, c = (torch.full((1,), float(n)) for n in range(3))
    assert flatten({"x": a, "y": (b, [c])}, "m") == (a, b, c)
    with pytest.raises(BenchError, match="must be a tensor"):
        flatten((), "m")
