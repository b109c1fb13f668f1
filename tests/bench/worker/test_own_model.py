"""Models of the user's own: found, checked, and refused in one sentence."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.analysis import parity
from bench.engine.worker_process import worker_arguments
from bench.errors import BenchError, WorkerError
from bench.plan.scenario import FULL, Dtype, Layout, Mode, Status, Task, stock_default
from bench.plan.thresholds import ParityTolerance
from bench.worker import outputs
from bench.worker.backends import pt2e, stock
from bench.worker.prepared_scenario import ActiveScenario
from bench.worker.workload import optimizer_for
from bench.worker.workload.own_model import CALIBRATION_ITEMS, OwnModel
from bench.worker.workload.own_outputs import Flat, flatten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

FOUND = "own_model.OwnModel(factory='users_code:Small', shape=(3, 8, 8), seed=1)"
SCENARIO = stock_default(Task.INFERENCE, 2)
CODE = """
import collections
import dataclasses
import torch
import warnings

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

class Normed(Small):
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch has a newer one
            torch.nn.utils.weight_norm(self.layer)

class Baked(Small):
    def forward(self, images):
        return super().forward(images) * float(images.mean())

class Nothing(Small):
    def forward(self, images):
        return [super().forward(images) * 0, images[:, :0]]

class Attention(torch.nn.TransformerEncoderLayer):
    def __init__(self):
        super().__init__(8, 2, 8, batch_first=True)

class Tokens(torch.nn.Module):
    def __init__(self, width=4, layers=0):
        super().__init__()
        self.words = torch.nn.Embedding(9, width)
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))

    def forward(self, tokens, *, mask, scale=1, more=()):
        found = self.layers(self.words(tokens)) * mask.unsqueeze(-1) * scale
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

def without_onednn():
    torch.backends.mkldnn.enabled = False
    return Small()

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

class Loaded(Small):
    def __init__(self):
        super().__init__()
        for weight in self.parameters():
            torch.nn.init.constant_(weight, 0.5)

class Pair(torch.nn.Module):
    def forward(self, left, right):
        return left + right

Point = collections.namedtuple("Point", "x y")

class OfPoint(torch.nn.Module):
    def forward(self, point):
        return point.x * point.y

def a_point(size):
    return (Point(torch.full((size,), 2.0), torch.full((size,), 3.0)),)

def largest(output):
    return output.logits.sum(2).argmax(1)

def words(output):
    return ["many" if one.sum() > 0 else "few" for one in output.logits.numpy()]

def two_labels(output):
    return [1, 2]

def a_float(output):
    return output.logits.sum((1, 2))

def one_number(output):
    return 3

def raises(*given):
    raise KeyError("no such thing")

def tokens_to_calibrate(size):
    for n in range(1000):
        yield by_keyword(size) | {"tokens": torch.full((size, 3), n % 9)}
    yield by_keyword(size - 1)

def images_to_calibrate(size):
    return [torch.rand(size + 1, 3, 8, 8), torch.rand(size, 3, 8, 8)]

def wrong_to_calibrate(size):
    return [torch.rand(size, 3, 9, 9)]

def no_list(size):
    return 3

def loss_of_tokens(model, batch):
    return model(**batch).logits.square().mean()

def loss_of_images(model, batch):
    return (model(batch) - 1).square().mean()

def no_loss(model, batch):
    return float(model(batch).mean().detach())

@dataclasses.dataclass
class Config:
    width: int = 4

def of_config(config):
    return Tokens(config.width)

CONSTANT = 3
"""
CALL = "users_code:Config(width=7)"


@pytest.fixture(autouse=True)
def _users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the user's, where `python -m bench` would find it."""
    (tmp_path / "users_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "users_code", raising=False)
    monkeypatch.setattr("sys.argv", ["worker", "--backend", "stock"])
    threads = torch.get_num_threads()
    yield
    torch.backends.mkldnn.enabled = True  # type: ignore[assignment] # PyTorch's descriptor
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
        ("without_onednn", {}, "oneDNN"),
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


def test_computed_weights_can_be_copied() -> None:
    """IPEX gets a copy, and PyTorch copies no tensor with a history."""
    work = own("Normed")
    model, images = work.model(SCENARIO).model, work.batch(2).images
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(model)(images), model(images))
    assert work.flop(model, images, training=False)


def test_layers_and_outputs_are_described() -> None:
    """What the evidence can be checked for, the offered code needs, and the comparison is worth."""
    assert own("Small").layouts == {Layout.CHANNELS_LAST}
    attention = own("Attention", shape=(3, 8))
    assert attention.layouts == set()
    forms = [work.facts()["form"] for work in (own("Small"), attention, own("Nothing"))]
    assert [form["has_attention"] for form in forms] == [False, True, False]
    assert [form["has_values"] for form in forms] == [True, True, False]


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


def test_random_weights_are_told_from_loaded_ones() -> None:
    """Another seed gives other ones."""
    assert own("Small").model(SCENARIO).trained is False
    assert own("Loaded").model(SCENARIO).trained is True


def test_a_named_tuple_stays_one() -> None:
    """Inside the inputs it is rebuilt around the tensors of each call."""
    work = own("OfPoint", inputs="users_code:a_point")
    assert work.model(SCENARIO).model(work.batch(2).images).tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("factory", "takes", "expected"),
    [
        ("Small", {}, (True, 1, [], True, [4], "tensors")),
        ("Named", {}, (True, 1, [], True, [4], "mapping")),
        ("Tokens", {"inputs": "users_code:by_both"}, (False, 1, ["mask"], False, [1, 2], "data")),
        ("Detector", {"inputs": "users_code:list_of_images"}, (False, 1, [], False, [3], "nested")),
    ],
)
def test_the_form_of_the_inputs_is_kept_for_the_code_that_is_offered(
    factory: str, takes: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """How many by position, which by keyword, and how many dimensions they have."""
    form = own(factory, **takes).facts()["form"]
    is_plain, positional, keywords, only_tensors, dims, outputs = expected
    assert (form["is_plain"], form["positional"]) == (is_plain, positional)
    assert form["keywords"][: len(keywords)] == keywords
    assert (form["only_tensors"], form["dims"]) == (only_tensors, dims)
    assert form["outputs"].startswith(outputs)


# ---- --decide


@pytest.mark.parametrize(
    ("mode", "dtype"), [(Mode.EAGER, Dtype.FP32), (Mode.TORCHSCRIPT, Dtype.BF16)]
)
def test_labels_come_from_outputs_as_the_users_model_nests_them(mode: Mode, dtype: Dtype) -> None:
    """Traced models return a flat tuple, and bf16 has no NumPy; the function sees neither."""
    takes = {"inputs": "users_code:by_keyword"}
    scenario = replace(
        SCENARIO, mode=mode, dtype=dtype, fusion=False if mode is Mode.TORCHSCRIPT else None
    )
    for name, kinds in (("largest", {"0", "1", "2"}), ("words", {"many", "few"})):
        work = own("Tokens", **takes, decide=f"users_code:{name}")
        example = work.batch(2).images
        with torch.inference_mode():
            found = stock.prepare(work.model(scenario).model, scenario, example)(example)
        labels = work.labels(found, 2)
        assert labels is not None
        assert len(labels) == 2
        assert set(labels) <= kinds
        work.rehearse()
    assert own("Tokens", **takes).labels(found, 2) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one_number", "returned an int: it is called with the model's outputs"),
        ("two_labels", "returned 2 labels for a batch of 1"),
        ("a_float", "returned floating point numbers"),
        ("raises", r"failed at users_code.py:\d+: KeyError: 'no such thing'"),
    ],
)
def test_labels_that_cannot_be_compared_are_one_sentence(name: str, words: str) -> None:
    """Before the run begins; it names the option and the place in the user's code."""
    work = own("Tokens", inputs="users_code:by_keyword", decide=f"users_code:{name}")
    with pytest.raises(BenchError, match=f"--decide users_code:{name} {words}"):
        work.rehearse()


def test_labels_are_compared_on_further_inputs_where_there_are_any() -> None:
    """Random numbers have no end; a function that returns the same each time has one batch."""
    batches = own("Small").batches(2)
    first, second = next(batches), next(batches)
    assert torch.equal(first, own("Small").batch(2).tensor)  # type: ignore[arg-type] # plain
    assert not torch.equal(first, second)  # type: ignore[arg-type] # plain
    assert len(list(own("Tokens", inputs="users_code:by_keyword").batches(2))) == 1


def test_a_trace_that_fits_only_its_example_is_found(tmp_path: Path) -> None:
    """Tracing made a constant of what it read from the first batch; the second has other values."""
    work, files = own("Baked"), []
    for mode in (Mode.EAGER, Mode.TORCHSCRIPT):
        fusion = False if mode is Mode.TORCHSCRIPT else None
        scenario, batch = replace(SCENARIO, mode=mode, fusion=fusion), work.batch(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own, about the constant
            prepared = stock.prepare(work.model(scenario).model, scenario, batch.images)
        active = ActiveScenario(
            scenario=scenario, prepared=prepared, batch=batch, threshold=0.5, trained=False
        )
        arrays, _calls = outputs.compared(active, work, None)
        files.append(tmp_path / f"{mode}.npz")
        np.savez(files[-1], **arrays)
    eager, traced = (dict(np.load(file)) for file in files)
    assert np.allclose(eager["output_0"], traced["output_0"], atol=1e-5)
    assert not np.allclose(eager["output_1"], traced["output_1"], atol=1e-5)
    found = parity.compare(
        *files, task=Task.INFERENCE, dtype=Dtype.FP32, tolerance=ParityTolerance()
    )
    assert (found.within_tolerance, found.images) == (False, 4)


# ---- --calibration


def test_calibration_data_come_in_the_form_of_the_inputs() -> None:
    """Batches of another size are left out, and a loader without end is cut."""
    takes = {"inputs": "users_code:by_keyword", "calibration": "users_code:tokens_to_calibrate"}
    work = own("Tokens", **takes)
    batches = work.calibration(2)
    assert len(batches) == CALIBRATION_ITEMS // 2
    assert [tuple(tensor.shape) for tensor in batches[4]] == [(2, 3), (2, 3)]
    assert (batches[4][0] == 4).all()
    work.rehearse()
    plain = own("Small", shape=(3, 8, 8), calibration="users_code:images_to_calibrate")
    assert [tuple(one.shape) for one in plain.calibration(2)] == [(2, 3, 8, 8)]  # type: ignore[union-attr] # plain


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", r"failed at users_code.py:\d+: KeyError"),
        ("no_list", "failed: TypeError: 'int' object is not iterable"),
        ("wrong_to_calibrate", "gave no batch of 1 like the inputs"),
    ],
)
def test_calibration_data_that_do_not_fit_are_one_sentence(name: str, words: str) -> None:
    """Before the run begins."""
    work = own("Small", shape=(3, 8, 8), calibration=f"users_code:{name}")
    with pytest.raises(BenchError, match=f"--calibration users_code:{name} {words}"):
        work.rehearse()


def test_without_calibration_data_int8_is_unsupported() -> None:
    """The reason names the option."""
    with pytest.raises(WorkerError, match="give --calibration") as caught:
        own("Small").calibration(1)
    assert caught.value.status is Status.UNSUPPORTED


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stock_int8_takes_inputs_by_keyword() -> None:
    """Exported, calibrated and compiled with its tuple of tensors; near to fp32, and not equal."""
    work = own(
        "Tokens",
        inputs="users_code:by_keyword",
        calibration="users_code:tokens_to_calibrate",
        settings={"layers": 1},
    )
    scenario = replace(SCENARIO, mode=Mode.COMPILE, dtype=Dtype.INT8)
    example, model = work.batch(2).images, work.model(scenario).model
    with torch.inference_mode():
        expected = model(example)[0].clone()
        prepared = pt2e.quantize(model, scenario, example, work.calibration(2))
        found = prepared(example)[0]
    error = float((found - expected).abs().max())
    assert 0 < error < 0.1 * float(expected.abs().max())


# ---- --train-step


@pytest.mark.parametrize(
    ("factory", "takes", "loss"),
    [
        ("Tokens", {"inputs": "users_code:by_keyword"}, "loss_of_tokens"),
        ("Loop", {"shape": (3, 8, 8)}, "loss_of_images"),
    ],
)
def test_a_training_step_is_the_users_loss_and_adam(
    factory: str, takes: dict[str, Any], loss: str
) -> None:
    """The user's module and batch get there, and the second step starts from the first's end."""
    work = own(factory, **takes, train_step=f"users_code:{loss}")
    work.rehearse()
    scenario = stock_default(Task.TRAINING, 4, (FULL,))

    def losses(rate: float) -> list[float]:
        model = work.model(scenario).model
        optimizer = optimizer_for(model, scenario)
        assert optimizer is not None
        optimizer.param_groups[0]["lr"] = rate
        prepared = stock.prepare(model, scenario, work.batch(4).images, optimizer)
        assert prepared.model.training
        return [float(work.step(prepared, work.batch(4))) for _ in range(3)]

    learning, standing = losses(1e-2), losses(0.0)
    assert learning[0] == pytest.approx(standing[0], rel=1e-6)
    assert learning[0] > learning[1] > learning[2]
    assert standing[2] == pytest.approx(standing[0], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", r"failed at users_code.py:\d+: KeyError"),
        ("no_loss", "returned a float that is no loss"),
    ],
)
def test_a_loss_that_cannot_train_is_one_sentence(name: str, words: str) -> None:
    """Before the run begins."""
    work = own("Small", shape=(3, 8, 8), train_step=f"users_code:{name}")
    with pytest.raises(BenchError, match=f"--train-step users_code:{name} {words}"):
        work.rehearse()


def test_an_error_on_import_names_the_option_and_the_line(tmp_path: Path) -> None:
    """And what a file prints or parses on import harms nothing."""
    file = tmp_path / "odd.py"
    file.write_text("import sys, torch\nprint('hello')\nassert sys.argv[1:] == []\nload = 1 / 0\n")
    with pytest.raises(BenchError, match=r"--model .*odd.py:load failed at odd.py:4: ZeroDivision"):
        OwnModel(factory=f"{file}:load", shape=(3,), seed=1)


def test_an_argument_of_the_factory_may_be_made_by_a_call() -> None:
    """As a model that takes a configuration needs it; each model gets a new one."""
    work = own("of_config", inputs="users_code:by_keyword", settings={"config": CALL})
    assert [tuple(t.shape) for t in work.model(SCENARIO).model(work.batch(2).images)] == [(2, 3, 7)]
    for call, words in (
        ("users_code:Config(width=x)", "not Python literals"),
        ("users_code:Config(height=3)", r"--factory-arg users_code:Config failed: TypeError"),
        ("users_code:Absent()", "has no Absent"),
    ):
        with pytest.raises(BenchError, match=words):
            own("of_config", inputs="users_code:by_keyword", settings={"config": call})
