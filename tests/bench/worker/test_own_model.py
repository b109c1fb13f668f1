"""Models of the user's own: found, checked, and refused in one sentence."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.engine.worker_process import worker_arguments
from bench.errors import BenchError
from bench.plan.scenario import FULL, Layout, Mode, Task, stock_default
from bench.worker.backends import stock
from bench.worker.workload import optimizer_for
from bench.worker.workload.own_model import OwnModel
from bench.worker.workload.own_outputs import Flat, flatten
from tests.bench.worker.users_code import SCENARIO, own

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("users_code")]

FOUND = "own_model.OwnModel(factory='users_code:Small', shape=(3, 8, 8), seed=1)"


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


@pytest.mark.parametrize("factory", ["kept", "cached", "around_kept"])
def test_a_factory_may_return_what_it_keeps(factory: str) -> None:
    """Each scenario gets weights of its own: bf16 and training change theirs."""
    work = own(factory, shape=(3, 8, 8), train_step="users_code:loss_of_images")
    work.rehearse(2)
    images, step = work.batch(2).tensor, stock_default(Task.TRAINING, 2, (FULL,))
    with torch.inference_mode():
        expected = work.model(SCENARIO).model(images)
    stock.hold_weights_in(work.model(SCENARIO).model, torch.bfloat16)
    trained = work.model(step).model
    optimizer = optimizer_for(trained, step)
    work.step(stock.prepare(trained, step, images, optimizer), work.batch(2))
    again = work.model(SCENARIO).model
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    with torch.inference_mode():
        assert torch.equal(again(images), expected)


def test_what_a_factory_keeps_must_be_copyable() -> None:
    """Otherwise the reason says that it is kept."""
    with pytest.raises(BenchError, match=r"returned before.*TypeError.*new ones at every call"):
        own("locked").model(SCENARIO)
    assert own("Locked").model(SCENARIO).model is not own("Locked").model(SCENARIO).model


def test_weights_that_are_made_on_import_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker imports the file, and all must get the same."""
    one = own("kept").model(SCENARIO).model
    monkeypatch.delitem(sys.modules, "users_code")
    torch.manual_seed(7)
    other = own("kept").model(SCENARIO).model
    assert all(
        torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True)
    )


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
        ("FillingInPlace", {"inputs": "users_code:with_gaps"}, "in place"),
        ("scripted", {}, "TorchScript"),
        ("compiled", {}, "compiled"),
        ("half", {}, r"holds weights in torch\.bfloat16"),
        ("exits", {}, r"users_code.py:\d+: SystemExit: 3"),
        ("downloads", {}, r"users_code.py:\d+: URLError.*network"),
        ("threads", {}, "threads"),
        ("without_onednn", {}, "oneDNN"),
        ("products_in_bf16", {}, "changed what fp32 numbers are multiplied in"),
        ("products_in_tf32", {}, "changed what fp32 numbers are multiplied in"),
        ("Text", {}, "returned a dict: .* with tensors in it"),
        ("NotANumber", {}, "returned NaN"),
        ("Sparse", {}, "sparse"),
        ("Forces", {}, r"users_code.py:\d+: RuntimeError.*inference_mode"),
        ("compiled_part", {}, "compiled already in its part 0"),
        ("scripted_part", {}, "TorchScript already in its part 0"),
        ("Decorated", {}, "compiles a part of itself"),
        ("quantised", {}, "quantised already in its part 1"),
        ("exported", {}, "exported already, so"),
        ("exported_part", {}, "exported already in its part 1"),
        ("Narrow", {}, r"\(1, 3, 8, 8\).*users_code.py"),
        ("Small", {"shape": (1, 8, 8)}, r"failed.*RuntimeError"),
        ("Small", {"inputs": "users_code:no_tensor"}, "no tensor"),
        ("Small", {"inputs": "users_code:sparse"}, "sparse"),
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


def test_inputs_may_hold_nan() -> None:
    """As gaps that the model fills; they are the same in every batch of these."""
    work = own("Filling", inputs="users_code:with_gaps", decide="users_code:largest")
    assert work.batch(2).tensor.isnan().sum() == 2 * 3 * 8
    assert len([*islice(work.batches(2), 3)]) == 1


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


def test_a_lazy_module_gets_its_shapes_first() -> None:
    """With random values that the seed decides, as other weights."""
    work = own("Lazy")
    assert [tuple(t.shape) for t in work.model(SCENARIO).model.parameters()] == [(4, 3, 3, 3), (4,)]
    assert work.model(SCENARIO).trained is False
    again = own("Lazy").model(SCENARIO).model
    assert torch.equal(*(one.layer.weight for one in (work.model(SCENARIO).model, again)))  # type: ignore[union-attr,arg-type] # the user's layer


def test_texts_and_numbers_beside_tensors_are_passed_over() -> None:
    """They are no output that rounding could change; `--decide` sees them."""
    work = own("Remarked", shape=(3, 8, 8), decide="users_code:by_unit")
    found = work.model(SCENARIO).model(work.batch(2).images)
    assert [tuple(t.shape) for t in found] == [(2, 4, 6, 6)]
    assert work.labels(found, 2) == ["mm", "mm"]


def test_a_module_that_may_be_quantised_is_plain_until_it_is() -> None:
    """Torchvision's quantisable models hold such parts."""
    assert own("MayBeQuantised").model(SCENARIO).model is not None


@pytest.mark.parametrize(
    ("factory", "inputs", "shapes"),
    [
        ("Recurrent", "time_first", [(3, 4, 5), (1, 4, 5), (1, 4, 5)]),
        ("OfGraph", "a_graph", [(8, 4)]),
    ],
)
def test_the_batch_need_not_be_the_first_dimension(
    factory: str, inputs: str, shapes: list[tuple[int, ...]]
) -> None:
    """Recurrent layers have the time before it, and graphs count nodes."""
    work = own(factory, inputs=f"users_code:{inputs}")
    found = work.model(SCENARIO).model(work.batch(4).images)
    tensors = found if isinstance(found, tuple) else (found,)
    assert [tuple(t.shape) for t in tensors] == shapes


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
