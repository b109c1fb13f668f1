"""Functions of the user's beside the model: labels, calibration data, losses and settings."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.analysis import parity
from bench.errors import BenchError, WorkerError
from bench.plan.scenario import FULL, Dtype, Mode, Status, Task, stock_default
from bench.plan.thresholds import ParityTolerance
from bench.worker import outputs
from bench.worker.backends import pt2e, stock
from bench.worker.prepared_scenario import ActiveScenario
from bench.worker.workload import optimizer_for
from bench.worker.workload.own_model import CALIBRATION_ITEMS, OwnModel
from tests.bench.worker.users_code import SCENARIO, own

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("users_code")]


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("decide", "one_number", "returned an int: it is called with the model's outputs"),
        ("decide", "two_labels", "returned 2 labels for a batch of 1"),
        ("decide", "a_float", "returned floating point numbers"),
        ("decide", "scores", "returned a list for an item: .* take `argmax"),
        ("decide", "no_label", "returned a NoneType for an item"),
        ("decide", "raises", r"failed at users_code.py:\d+: KeyError: 'no such thing'"),
        ("calibration", "raises", r"failed at users_code.py:\d+: KeyError"),
        ("calibration", "no_list", "returned an int: it is called with a batch size"),
        ("calibration", "wrong_to_calibrate", "gave no batch of 1 like the inputs"),
        ("train_step", "raises", r"failed at users_code.py:\d+: KeyError"),
        ("train_step", "no_loss", "returned a float that is no loss"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(option: str, name: str, words: str) -> None:
    """Before the run begins; it names the option and the place in the user's code."""
    named: dict[str, Any] = {option: f"users_code:{name}"}
    if option == "decide":
        work = own("Tokens", inputs="users_code:by_keyword", **named)
    else:
        work = own("Small", shape=(3, 8, 8), **named)
    with pytest.raises(BenchError, match=f"--{option.replace('_', '-')} users_code:{name} {words}"):
        work.rehearse(2)


@pytest.mark.parametrize(
    ("name", "refused"), [("always_four", True), ("one_at_a_time", False), ("by_keyword", False)]
)
def test_inputs_of_one_size_are_refused_unless_they_say_so(name: str, refused: bool) -> None:
    """Four images for a batch of 1 would count as one, and every rate be four times too low."""
    work = own("Tokens" if name == "by_keyword" else "Small", inputs=f"users_code:{name}")
    with pytest.raises(BenchError, match="a dimension must grow") if refused else nullcontext():
        work.rehearse(2)


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
        work.rehearse(2)
    assert own("Tokens", **takes).labels(found, 2) is None


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
    work.rehearse(2)
    plain = own("Small", shape=(3, 8, 8), calibration="users_code:images_to_calibrate")
    assert [tuple(one.shape) for one in plain.calibration(2)] == [(2, 3, 8, 8)]  # type: ignore[union-attr] # plain


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
    work.rehearse(2)
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


def test_a_training_step_may_change_its_containers() -> None:
    """Each gets its own, in the rehearsal and in what is measured; the tensors are the same."""
    work = own("Labelled", inputs="users_code:labelled", train_step="users_code:loss_of_popped")
    work.rehearse(3)
    scenario = stock_default(Task.TRAINING, 3, (FULL,))
    model, batch = work.model(scenario).model, work.batch(3)
    prepared = stock.prepare(model, scenario, batch.images, optimizer_for(model, scenario))
    losses = [float(work.step(prepared, batch)) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(
    ("factory", "loss", "size", "words"),
    [
        ("Pooled", "loss_of_images", 1, "ValueError: Expected more than 1 value.*batches of 1"),
        ("Pooled", "loss_of_images", 2, None),
        ("Pooled", "loss_of_images", None, None),
        ("Small", "loss_of_first_step", 2, "RuntimeError: .*second time.*batches of 2"),
        ("Small", "loss_of_images", 1, None),
    ],
)
def test_steps_are_rehearsed_as_they_will_be_measured(
    factory: str, loss: str, size: int | None, words: str | None
) -> None:
    """Two, with the batch size of the profile; none if no training will be measured."""
    work = own(factory, shape=(3, 8, 8), train_step=f"users_code:{loss}")
    refused = pytest.raises(BenchError, match=f"--train-step users_code:{loss} failed.*{words}")
    with refused if words else nullcontext():
        work.rehearse(size)


def test_an_error_on_import_names_the_option_and_the_line(tmp_path: Path) -> None:
    """And what a file prints or parses on import harms nothing."""
    file = tmp_path / "odd.py"
    file.write_text("import sys, torch\nprint('hello')\nassert sys.argv[1:] == []\nload = 1 / 0\n")
    with pytest.raises(BenchError, match=r"--model .*odd.py:load failed at odd.py:4: ZeroDivision"):
        OwnModel(factory=f"{file}:load", shape=(3,), seed=1)


def test_an_argument_of_the_factory_may_be_made_by_a_call() -> None:
    """As a model that takes a configuration needs it; each model gets a new one."""
    work = own(
        "of_config",
        inputs="users_code:by_keyword",
        settings={"config": "users_code:Config(width=7)"},
    )
    assert [tuple(t.shape) for t in work.model(SCENARIO).model(work.batch(2).images)] == [(2, 3, 7)]
    for call, words in (
        ("users_code:Config(width=x)", "not Python literals"),
        ("users_code:Config(height=3)", r"--factory-arg users_code:Config failed: TypeError"),
        ("users_code:Absent()", "has no Absent"),
    ):
        with pytest.raises(BenchError, match=words):
            own("of_config", inputs="users_code:by_keyword", settings={"config": call})
