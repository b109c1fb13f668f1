from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import FROZEN, FULL, FUSED_ADAM, Mode, Scenario, Status, Task
from bench.worker.backends import Prepared
from bench.worker.workload import (
    CALIBRATION_IMAGES,
    Workload,
    flop_per_call,
    mixed,
    optimizer_for,
    step,
)
from pillqc.data.images import Sample, load_images
from pillqc.errors import DataError
from pillqc.model.artifact import ModelCard, save_artifact
from pillqc.model.network import CustomVGG, load_model

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

SIDE = 32
TRAINING = Scenario(
    task=Task.TRAINING, backend="stock", mode=Mode.EAGER, batch_size=2, options=(FROZEN,)
)
FULL_TRAINING = Scenario(
    task=Task.TRAINING, backend="stock", mode=Mode.EAGER, batch_size=2, options=(FULL, FUSED_ADAM)
)
INFERENCE = Scenario(task=Task.INFERENCE, backend="stock", mode=Mode.EAGER, batch_size=2)


@pytest.fixture(scope="module")
def work(small_pills: Path) -> Workload:
    """The workload on them, with random weights."""
    return Workload(small_pills, seed=0, weights="random", image_size=SIDE)


def samples(**counts: int) -> list[Sample]:
    """So many samples of each defect."""
    return [
        Sample(
            path=Path(f"{defect}/{i}"), defect=defect, bad=defect != "good", mask=None, split="test"
        )
        for defect, count in counts.items()
        for i in range(count)
    ]


def test_good_and_bad_take_turns_and_so_do_the_defects() -> None:
    """Every start of the list is as mixed as it can be."""
    order = [sample.defect for sample in mixed(samples(good=4, crack=2, color=2), seed=0)]
    assert order == ["good", "color", "good", "crack", "good", "color", "good", "crack"]


def test_mixing_keeps_every_sample_and_the_seed_decides_the_order() -> None:
    """All workers of a run see the same images; another seed gives others."""
    given = samples(good=20, crack=27, color=1)
    assert sorted(mixed(given, 1)) == sorted(given)
    assert mixed(given, 1) == mixed(given, 1) != mixed(given, 2)


def test_a_replaced_model_file_has_another_checksum(small_pills: Path, tmp_path: Path) -> None:
    """Shipped and random weights have none: the commit tells of them."""
    file = tmp_path / "one.safetensors"
    file.write_bytes(b"one")
    before = Workload(small_pills, seed=0, weights=str(file)).facts()
    file.write_bytes(b"two")
    after = Workload(small_pills, seed=0, weights=str(file)).facts()
    assert before["sha256"] == after["sha256"]
    assert before["weights_sha256"] != after["weights_sha256"]
    assert Workload(small_pills, seed=0, weights="random").facts()["weights_sha256"] == ""


def test_two_workers_get_the_same_images_and_weights(small_pills: Path, work: Workload) -> None:
    """Or their outputs could not be compared."""
    other = Workload(small_pills, seed=0, weights="random", image_size=SIDE)
    assert torch.equal(work.batch(4).tensor, other.batch(4).tensor)
    left, right = work.model(INFERENCE).model, other.model(INFERENCE).model
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_every_scenario_gets_a_model_of_its_own(work: Workload) -> None:
    """`ipex.optimize` changes the model it is given; no other scenario may see that."""
    assert work.model(INFERENCE).model is not work.model(INFERENCE).model


def test_training_starts_with_a_head_that_has_learnt_nothing(work: Workload) -> None:
    """The same in all workers: a trained model's loss is mostly rounding."""
    first, again = work.model(TRAINING).model, work.model(FULL_TRAINING).model
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, work.model(INFERENCE).model.head.weight)
    batch = work.batch(2)
    loss = torch.nn.functional.cross_entropy(first.train()(batch.images), batch.labels)
    assert 0.1 < float(loss.detach()) < 3.0


def test_a_batch_larger_than_the_set_starts_again(work: Workload) -> None:
    """45 test images (of 59, the others are learnt from) make a batch of 64."""
    batch = work.batch(64)
    count = len(work.samples)
    assert count == 17 + 7 * 4
    assert batch.tensor.shape == (64, 3, SIDE, SIDE)
    assert torch.equal(batch.images[0], batch.images[count])
    assert batch.labels[:4].tolist() == [0, 1, 0, 1]


def test_the_parity_set_holds_good_and_every_defect(work: Workload) -> None:
    """All test images, good and bad in turn, so that a slow scenario sees both kinds."""
    chosen = work.samples
    assert len(chosen) == 45
    assert len({sample.defect for sample in chosen[:32]}) == 8
    assert [sample.bad for sample in chosen[:8]] == [False, True] * 4


def test_facts_identify_the_images(small_pills: Path, work: Workload, tmp_path: Path) -> None:
    """A checksum over names and bytes; rendered ones are called synthetic."""
    facts = work.facts()
    assert (facts["source"], facts["images"]) == ("synthetic", 45)

    copy = tmp_path / "test" / "good"
    copy.mkdir(parents=True)
    source = small_pills / "test" / "good" / "000.png"
    (copy / "000.png").write_bytes(source.read_bytes())
    one = Workload(tmp_path, seed=0, weights="random", image_size=SIDE).facts()
    (copy / "000.png").rename(copy / "001.png")
    renamed = Workload(tmp_path, seed=0, weights="random", image_size=SIDE).facts()
    assert one["source"] == "folder"
    assert len({facts["sha256"], one["sha256"], renamed["sha256"]}) == 3


def test_a_set_without_test_images_is_refused(small_pills: Path, tmp_path: Path) -> None:
    """In a sentence that says what to do."""
    (tmp_path / "train" / "good").mkdir(parents=True)
    image = small_pills / "train" / "good" / "000.png"
    (tmp_path / "train" / "good" / "000.png").write_bytes(image.read_bytes())
    with pytest.raises(BenchError, match="make data"):
        Workload(tmp_path, seed=0)


def test_vgg_16_costs_30_gflop_an_image() -> None:
    """30.7 in the features at 224 px, as published, of which 3.3 % would multiply padding."""
    model = load_model("random").model
    one = flop_per_call(model, torch.empty(1, 3, 224, 224), training=False)
    two = flop_per_call(model, torch.empty(2, 3, 224, 224), training=False)
    assert one == pytest.approx(29.7e9, rel=0.003)
    assert two == 2 * one


def test_frozen_layers_spare_their_backward_pass(work: Workload) -> None:
    """Full fine-tuning costs three times the forward pass, less the first layer's input."""
    images = torch.empty(2, 3, SIDE, SIDE)
    forward = flop_per_call(work.model(INFERENCE).model, images, training=False)
    frozen = flop_per_call(work.model(TRAINING).model, images, training=True)
    full = flop_per_call(work.model(FULL_TRAINING).model, images, training=True)
    assert forward < frozen < 1.5 * forward
    assert full == pytest.approx(3 * forward, rel=0.05)


def test_counting_leaves_the_model_as_it_was(work: Workload) -> None:
    """No gradient, no other mode, no weight moved."""
    model = work.model(TRAINING).model
    before = [parameter.clone() for parameter in model.parameters()]
    flop_per_call(model, torch.empty(2, 3, SIDE, SIDE), training=True)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_optimizer_is_the_scenarios(work: Workload) -> None:
    """None for inference; frozen layers are not in it; fused where the option says so."""
    frozen = optimizer_for(work.model(TRAINING).model, TRAINING)
    full = optimizer_for(work.model(FULL_TRAINING).model, FULL_TRAINING)
    assert optimizer_for(work.model(INFERENCE).model, INFERENCE) is None
    assert frozen is not None
    assert full is not None
    assert len(frozen.param_groups[0]["params"]) < len(full.param_groups[0]["params"]) == 28
    assert not frozen.defaults["fused"]
    assert full.defaults["fused"]


def test_a_step_trains(work: Workload) -> None:
    """The head moves, a frozen layer stays as it was, and the loss comes back."""
    model = work.model(TRAINING).model.train()
    first, head = model.features[0].weight.clone(), model.head.weight.clone()
    prepared = Prepared(model=model, optimizer=optimizer_for(model, TRAINING))
    loss = step(prepared, work.batch(2))
    assert torch.isfinite(loss)
    assert torch.equal(first, model.features[0].weight)
    assert not torch.equal(head, model.head.weight)


def test_a_model_that_names_defects_is_measured_for_good_and_bad(
    small_pills: Path, tmp_path: Path
) -> None:
    """A call and a step are the same work, and parity that of decisions, whatever they name."""
    path = tmp_path / "named.safetensors"
    torch.manual_seed(0)  # some random maps have next to no contrast, which rounding then fills
    save_artifact(path, CustomVGG(n_defects=2), ModelCard(defects=("crack", "scratch")))
    work = Workload(small_pills, seed=0, weights=str(path), image_size=SIDE)
    model = work.model(TRAINING).model.train()
    prepared = Prepared(model=model, optimizer=optimizer_for(model, TRAINING))
    assert torch.isfinite(step(prepared, work.batch(2)))
    measured, whole = work.model(INFERENCE), load_model(path)
    assert (measured.model.n_defects, measured.defects) == (0, ())
    images = work.batch(2).tensor
    with torch.inference_mode():
        for mine, its in zip(measured.model(images), whole.model(images), strict=True):
            assert torch.allclose(mine, its[:, :2], atol=1e-5)
    assert [one.defects for one in work.inspected(measured, work.first(2))] == [None, None]


def test_a_step_without_optimizer_is_refused(work: Workload) -> None:
    """It would be a forward pass under the name of training."""
    with pytest.raises(TypeError, match="optimizer"):
        step(Prepared(model=work.model(TRAINING).model), work.batch(2))


def test_int8_is_calibrated_on_both_kinds_and_never_on_a_test_image(work: Workload) -> None:
    """MVTec AD's train folder is all good; what only a defect excites must be seen all the same."""
    kinds = {sample.bad for sample in mixed(work.training_samples, 0)[:CALIBRATION_IMAGES]}
    assert kinds == {False, True}
    judging = {sample.path for sample in work.samples}
    assert not judging & {sample.path for sample in work.training_samples}
    assert {sample.split for sample in work.samples} == {"test"}


def test_calibration_comes_in_batches_of_the_scenarios_size(work: Workload) -> None:
    """The last one filled up from the start."""
    first = load_images([mixed(work.training_samples, 0)[0].path], size=SIDE)[0]
    batches = [batch for batch in work.calibration(5) if isinstance(batch, torch.Tensor)]
    assert {tuple(batch.shape) for batch in batches} == {(5, 3, SIDE, SIDE)}
    assert torch.equal(batches[0][0], first)


def test_folders_with_both_kinds_stay_as_they_are(small_pills: Path, tmp_path: Path) -> None:
    """A division by folders is kept."""
    shutil.copytree(small_pills / "test", tmp_path / "test")
    for kind in ("good", "crack"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        one = next((small_pills / "test" / kind).iterdir())
        shutil.copy(one, tmp_path / "train" / kind)
    work = Workload(tmp_path, seed=0, weights="random", image_size=SIDE)
    assert len(work.samples) == len(list((tmp_path / "test").rglob("*.png")))
    assert [sample.defect for sample in work.training_samples] == ["crack", "good"]


def test_int8_needs_images_to_learn_from(small_pills: Path, tmp_path: Path) -> None:
    """A test image's range would be in the model that is judged by it."""
    for kind in ("good", "crack"):
        (tmp_path / "test" / kind).mkdir(parents=True)
        shutil.copy(small_pills / "test" / kind / "000.png", tmp_path / "test" / kind)
    work = Workload(tmp_path, seed=0, weights="random", image_size=SIDE)
    with pytest.raises(WorkerError, match="too few images") as caught:
        work.calibration(1)
    assert caught.value.status is Status.UNAVAILABLE


def test_pills_that_no_folders_split_are_divided(small_pills: Path, tmp_path: Path) -> None:
    """Folders of good and bad pills are enough, under the names that they have."""
    shutil.copytree(small_pills / "test/good", tmp_path / "ok")
    shutil.copytree(small_pills / "test/crack", tmp_path / "ko")
    with pytest.raises(DataError, match="say --good ok"):
        Workload(tmp_path, seed=0, weights="random", image_size=SIDE)
    work = Workload(tmp_path, seed=0, weights="random", image_size=SIDE, good="ok")
    assert {sample.bad for sample in work.samples} == {False, True}
    assert len(work.samples) + len(work.training_samples) == 24 + 5
    assert work.facts()["notes"] == ["taken for good pills: ok"]


def test_validation_images_are_learnt_from(small_pills: Path, tmp_path: Path) -> None:
    """None of the folders beside test/ goes unused."""
    shutil.copytree(small_pills / "test", tmp_path / "test")
    shutil.copytree(small_pills / "test/color", tmp_path / "val/color")
    shutil.rmtree(tmp_path / "test/color")
    shutil.copytree(small_pills / "train", tmp_path / "train")
    work = Workload(tmp_path, seed=0, weights="random", image_size=SIDE)
    assert [s.defect for s in work.training_samples].count("color") == 5
    assert len(work.samples) == 24 + 6 * 5
