"""A run splits, trains, chooses and saves; killed, it resumes to the same bits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pillqc.data.folders import read_samples
from pillqc.data.split_manifest import manifest_path, read_split
from pillqc.errors import ModelFileError, PillqcError, UsageError
from pillqc.evaluation.evaluate import evaluate
from pillqc.model.artifact import read_artifact, save_artifact
from pillqc.model.narrowing import narrow_form
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RenderPlan, render_dataset
from pillqc.rendering.design import PillDesign
from pillqc.training import run as run_module
from pillqc.training.batches import FileSource
from pillqc.training.run import Trained, TrainingRun, run_training
from tests.hardware import ONEDNN_HAS_BF16, needs_ipex
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pillqc.model.network import CustomVGG
    from pillqc.training.loop import Epoch

pytestmark = pytest.mark.torch

EPOCHS = 3


@pytest.fixture(scope="module")
def pills(pills_to_train: Path) -> Path:
    """Some pills of every kind."""
    return pills_to_train


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as if its thresholds had been chosen at 32 px."""
    shipped, out = load_model(), tmp_path_factory.mktemp("shipped") / "small.safetensors"
    assert shipped.card is not None
    save_artifact(out, shipped.model, replace(shipped.card, size=32), dtype=torch.float16)
    return out


@pytest.fixture
def small_shipped(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ship that one."""
    monkeypatch.setattr("pillqc.model.network.SHIPPED_MODEL", small_file)


def short(pills: Path, out: Path, **options: Any) -> TrainingRun:
    """A short training of the shipped model, as narrow as it was trained."""
    usual = {"size": 32, "epochs": EPOCHS, "target_accuracy": None, "narrow": True}
    return TrainingRun(data=pills, out=out, **(usual | options))


def trained(run: TrainingRun) -> tuple[Trained, dict[str, torch.Tensor]]:
    """The training's result and the weights in its file."""
    done = run_training(run)
    assert done is not None
    return done, read_artifact(run.out)[1]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the given optimizer step raise."""
    original, steps = torch.optim.Adam.step, []

    def counted(self: torch.optim.Adam, *arguments: Any) -> Any:
        steps.append(self)
        if len(steps) == step:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (5, {}),
        (7, {"full": True, "augment": True, "masks": True, "cycle": True}),
        (6, {"masks": True, "classes": "defects"}),
    ],
)
def test_a_killed_training_ends_with_the_same_bits(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, options: dict[str, Any]
) -> None:
    """Between epochs and inside one: weights, history and threshold are those of a whole run."""
    whole, expected = trained(short(pills, tmp_path / "whole.safetensors", **options))
    run = short(pills, tmp_path / "killed.safetensors", **options)
    with monkeypatch.context() as patched:
        # a checkpoint after every step
        patched.setattr("pillqc.training.loop.CHECKPOINT_SECONDS", 0.0)
        kill_at(patched, step)
        with pytest.raises(Killed):
            run_training(run)
    assert run.out.with_suffix(".checkpoint").is_file()
    assert not run.out.exists()
    done, got = trained(run)
    assert done.result.resumed_at is not None
    assert [e.loss for e in done.result.history] == [e.loss for e in whole.result.history]
    assert done.chosen == whole.chosen
    assert all(torch.equal(expected[name], value) for name, value in got.items())
    assert not run.out.with_suffix(".checkpoint").exists()


def test_a_checkpoint_of_another_training_is_refused(pills: Path, tmp_path: Path) -> None:
    """With other settings it would not be the same training."""

    def kill(_: Epoch) -> None:
        raise Killed

    out = tmp_path / "m.safetensors"
    with pytest.raises(Killed):
        run_training(short(pills, out), on_epoch=kill)
    with pytest.raises(ModelFileError, match="other settings, images or weights"):
        run_training(short(pills, out, seed=1))


@pytest.mark.parametrize("name", ["m.safetensors", "m.split.csv", "there/../m.safetensors"])
@pytest.mark.parametrize("scratch", [False, True])
def test_a_checkpoint_is_no_other_output(
    pills: Path, tmp_path: Path, name: str, scratch: bool
) -> None:
    """It is removed at the end, and would take the model or its split along."""
    (tmp_path / "there").mkdir()
    out = tmp_path / "m.safetensors"
    how = ["--from-scratch", "--images", 1] if scratch else ["--data", pills, "--epochs", 1]
    done = run("train", *how, "--out", out, "--checkpoint", tmp_path / name)
    assert done.exit_code == 2
    assert "--checkpoint and " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_training_whose_only_step_diverges_is_one_error(pills: Path, tmp_path: Path) -> None:
    """The loss before the step is finite; validation sees what became of the weights."""
    out = tmp_path / "m.safetensors"
    with pytest.raises(PillqcError, match="diverged"):
        run_training(short(pills, out, batch_size=64, learning_rate=1e30))
    assert not out.exists()


def test_the_best_epoch_by_validation_is_kept(pills: Path, tmp_path: Path) -> None:
    """Its number is in the card, and its figures are the best of the history."""
    run = short(pills, tmp_path / "m.safetensors", epochs=4)
    run_training(run)
    training = read_artifact(run.out)[0].training
    scores = [(e["validation_auroc"], -e["validation_loss"]) for e in training["history"]]
    assert training["best_epoch"] == scores.index(max(scores)) + 1
    assert json.dumps(training)


@pytest.mark.usefixtures("small_shipped")
@pytest.mark.parametrize("narrow", [True, False])
def test_names_alone_leave_the_decision_as_it_was(
    pills: Path, tmp_path: Path, narrow: bool
) -> None:
    """Weights, thresholds and maps of good and bad are those of the shipped model, bit by bit."""
    out = tmp_path / "m.safetensors"
    run = short(pills, out, classes="defects", names_only=True, narrow=narrow, epochs=2)
    run = replace(run, learning_rate=0.01, masks=True)
    done, tensors = trained(run)
    shipped, card = load_model(), read_artifact(out)[0]
    assert shipped.card is not None
    for name, value in shipped.model.state_dict().items():
        rows = slice(None) if name.startswith("features") or not value.ndim else slice(0, 2)
        mine, its = (v[rows] if v.ndim else v for v in (tensors[name], value))
        assert torch.equal(mine, its), name
    for name in ("threshold", "undecided", "thresholds", "temperature", "known", "drift"):
        assert getattr(card, name) == getattr(shipped.card, name), name
    assert len(card.defects) == 6
    assert len(tensors["map_low"]) == 8
    assert not torch.allclose(tensors["head.weight"][2], tensors["head.weight"][3])
    aurocs = [epoch.validation_auroc for epoch in done.result.history]
    assert aurocs == [aurocs[0]] * len(aurocs), "good and bad do not move while names are learnt"


@pytest.mark.usefixtures("small_shipped")
def test_names_with_features_of_their_own_leave_the_decision_as_it_was(
    pills: Path, tmp_path: Path
) -> None:
    """Good and bad decide alike up to rounding, while all layers learnt the names."""
    out = tmp_path / "m.safetensors"
    run = short(pills, out, classes="defects", names_only=True, full=True, epochs=1, masks=True)
    trained(replace(run, learning_rate=1e-3))
    shipped, named = load_model(), load_model(out)
    assert shipped.card is not None
    assert named.card is not None
    for name in ("threshold", "undecided", "thresholds", "temperature", "known", "drift"):
        assert getattr(named.card, name) == getattr(shipped.card, name), name
    narrow = narrow_form(named.model)
    assert (narrow.head.in_features, narrow.n_defects) == (256, 6)
    images = FileSource(read_samples(pills), size=32).images(range(8), 0)
    with torch.inference_mode():
        (mine, maps), (its, expected) = (m.model(images) for m in (named, shipped))
    assert torch.allclose(mine[:, :2], its[:, :2], atol=5e-3), "half precision rounds the weights"
    assert torch.allclose(maps[:, :2], expected[:, :2], atol=2e-2)
    first, names = (narrow.features[0].weight[part] for part in (slice(0, 16), slice(16, 32)))
    assert not torch.allclose(first, names), "the features learnt too"


@pytest.mark.usefixtures("small_shipped")
@pytest.mark.parametrize(
    "options",
    [{}, {"classes": "defects", "names_only": True, "full": True, "masks": True}],
)
def test_half_precision_halves_the_file_and_choices_are_made_on_it(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Thresholds and probabilities were chosen on the features that are in the file."""
    chosen_on: list[CustomVGG] = []
    for name in ("choose", "choose_names"):
        choose = getattr(run_module, name)

        def watched(model: CustomVGG, *words: Any, _choose: Any = choose, **more: Any) -> Any:
            chosen_on.append(model)
            return _choose(model, *words, **more)

        monkeypatch.setattr(run_module, name, watched)
    out = tmp_path / "m.safetensors"
    done, tensors = trained(short(pills, out, half=True, epochs=1, **options))
    assert out.stat().st_size < 32_000_000
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.bool}
    loaded = load_model(out)
    assert loaded.card is not None
    assert loaded.card.training["half"] is True
    assert done.chosen is None or loaded.threshold == done.chosen.threshold
    judged, saved = (narrow_form(model) for model in (chosen_on[0], loaded.model))
    expected = judged.features.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in saved.features.state_dict().items())
    images = FileSource(read_samples(pills), size=32).images(range(8), 0)
    with torch.inference_mode():
        mine, its = (model.eval()(images)[0] for model in (saved, judged))
    assert torch.allclose(mine, its, atol=1e-3), "the head alone is rounded after that"


def test_validation_images_that_the_start_has_seen_are_counted(pills: Path, tmp_path: Path) -> None:
    """Another seed's split shows some of them again: a note and the card say how many."""
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    for out, options in ((first, {}), (again, {"weights": str(first), "seed": 1})):
        notes: list[str] = []
        run = short(pills, out, epochs=1, **options)
        done = run_training(run, on_note=notes.append)
        assert done is not None
        validation = done.manifest.digests("validation")
        before = read_split(manifest_path(first)).digests("train", "validation")
        seen = len(set(validation) & set(before)) if out is again else 0
        assert read_artifact(out)[0].training["validation_seen_before"] == seen
        told = [note for note in notes if "TOO GOOD" in note]
        assert len(told) == (seen > 0)
    assert 0 < seen < len(validation)
    assert f"{seen} of {len(validation)} " in told[0]
    assert first.name in told[0]


@pytest.mark.usefixtures("small_shipped")
def test_a_card_keeps_what_taught_the_decision_beside_what_taught_the_names(
    pills: Path, tmp_path: Path
) -> None:
    """However often names are learnt anew; rendered pills are said to be synthetic."""
    usual = {"classes": "defects", "names_only": True, "epochs": 1, "learning_rate": 0.01}
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    run_training(short(pills, first, **usual))
    run_training(short(pills, again, weights=str(first), **usual))
    shipped, cards = load_model().card, [read_artifact(path)[0] for path in (first, again)]
    assert shipped is not None
    for card in cards:
        assert card.training["decision"] == shipped.training["decision"]
        assert "recipe" in card.training["decision"]["training"]
        assert "synthetic" in card.data["source"]
        assert card.data["rendered_by"].startswith("pillqc render --out pills ")
    assert [card.training["started_from"] for card in cards] == ["shipped", "first.safetensors"]


def test_good_and_bad_train_as_if_their_model_had_no_names(pills: Path, tmp_path: Path) -> None:
    """The features of names are left out: the narrow form has the quarter that decides."""
    out = tmp_path / "m.safetensors"
    _, tensors = trained(short(pills, out, epochs=1, full=True))
    assert tensors["head.weight"].shape == (2, 512)
    assert narrow_form(load_model(out).model).head.in_features == 128
    card = read_artifact(out)[0]
    assert card.defects == ()
    assert "decision" not in card.training


@pytest.mark.usefixtures("small_shipped")
@pytest.mark.parametrize(
    "options",
    [{"classes": "good-bad"}, {"full": True, "narrow": False}, {"weights": "random"}],
)
def test_names_alone_need_names_and_a_decision_to_keep(
    pills: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Else the options exclude each other."""
    usual = {"classes": "defects", "names_only": True}
    with pytest.raises(UsageError, match="--names-only"):
        run_training(short(pills, tmp_path / "m.safetensors", **(usual | options)))


def test_names_alone_keep_the_size_that_their_threshold_was_chosen_at(
    pills: Path, tmp_path: Path, small_file: Path
) -> None:
    """The threshold of larger pictures says nothing about smaller ones."""
    options = {"classes": "defects", "names_only": True, "epochs": 1}
    out = tmp_path / "m.safetensors"
    with pytest.raises(UsageError, match="--size"):
        run_training(short(pills, out, **options))
    assert not out.exists()
    trained(short(pills, out, weights=str(small_file), size=0, **options))
    assert read_artifact(out)[0].size == 32


@pytest.mark.usefixtures("small_shipped")
@pytest.mark.parametrize("names_only", [False, True])
def test_a_threshold_that_is_kept_is_no_guess(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_only: bool
) -> None:
    """Without validation images of both kinds names are not calibrated, good and bad stay."""
    root, out = tmp_path / "few", tmp_path / "m.safetensors"
    notes: list[str] = []
    for kind, many in (("good", 3), ("crack", 1), ("scratch", 1)):
        (root / kind).mkdir(parents=True)
        for path in sorted(pills.glob(f"test/{kind}/*.png"))[:many]:
            shutil.copy(path, root / kind)
    monkeypatch.chdir(root)
    run = short(Path(), out, epochs=1, classes="defects", names_only=names_only)
    done = run_training(run, on_note=notes.append)
    assert done is not None
    assert done.chosen is None
    assert sum("the threshold is a guess" in note for note in notes) == (not names_only)
    assert sum("the names are not calibrated" in note for note in notes) == names_only
    card, shipped = read_artifact(out)[0], load_model().card
    assert shipped is not None
    assert card.data["folder"] == "few", "the name of the folder that one is in"
    assert card.threshold == (shipped.threshold if names_only else 0.5)


def test_pasting_needs_masks(pills: Path, tmp_path: Path) -> None:
    """Without them nothing tells what to paste, and the option would do nothing."""
    unmarked = shutil.copytree(
        pills, tmp_path / "pills", ignore=shutil.ignore_patterns("ground_truth")
    )
    with pytest.raises(UsageError, match="--paste"):
        run_training(short(unmarked, tmp_path / "m.safetensors", paste=True))
    with pytest.raises(PillqcError, match="without --masks or --adapt"):
        run_training(short(unmarked, tmp_path / "m.safetensors", paste=True, masks=True))


def test_pasting_changes_what_is_learnt(pills: Path, tmp_path: Path) -> None:
    """The training's pictures have other defects, of the same seed."""
    heads = [
        trained(short(pills, tmp_path / f"{paste}.safetensors", epochs=1, paste=paste))[1]
        for paste in (False, True)
    ]
    assert not torch.equal(heads[0]["head.weight"], heads[1]["head.weight"])


def test_a_share_for_the_test_is_not_asked_of_folders(pills: Path, tmp_path: Path) -> None:
    """The option would be ignored there."""
    words = ["train", "--data", pills, "--split-by", "folders", "--test-share", ".1"]
    done = run(*words, "--out", tmp_path / "m.safetensors")
    assert done.exit_code == 2
    assert "--test-share" in done.stderr


@pytest.mark.slow
def test_an_adapted_model_knows_a_product_that_the_shipped_one_does_not(tmp_path: Path) -> None:
    """The result is a model of full width like any other, and can be narrowed again.

    The pills are few and small, so the figures are not to be quoted.
    """
    size, out = 64, tmp_path / "other.safetensors"
    other = PillDesign(imprint="K7", shape="capsule", colour=(205.0, 170.0, 160.0))
    for name, seed, good, bad in (("train", 1, 70, 10), ("test", 2, 35, 5)):
        plan = RenderPlan(
            seed=seed, size=size, train_good=0, test_good=good, per_defect=bad, design=other
        )
        render_dataset(tmp_path / name, plan, jobs=1)
    words = ["train", "--data", tmp_path / "train", "--adapt", "--size", size, "--epochs", 8]
    done = run(*words, "--out", out)
    assert done.exit_code == 0, done.output
    assert "stopped at epochs" in done.output
    card, tensors = read_artifact(out)
    assert tensors["head.weight"].shape == (2, 512)
    training = card.training
    assert all(training[name] for name in ("full", "narrow", "masks", "augment", "paste", "cycle"))
    assert "none of the 140 images is kept for a test" in done.stderr
    assert f"--with {out}" in done.stderr
    assert sum(card.data["images"]["train"].values()) == 112
    assert "test" not in card.data["images"]
    assert (training["batch_size"], training["learning_rate"]) == (16, 1e-3)
    test = read_samples(tmp_path / "test")
    aurocs = []
    for loaded, width in ((load_model(), 256), (load_model(out), 128)):  # without names, half
        narrow = narrow_form(loaded.model)  # computes the same in a fraction of the time
        assert narrow.head.in_features == width
        evaluation = evaluate(replace(loaded, model=narrow), test, size=size)
        aurocs.append(evaluation.image_auroc)
    assert aurocs[0] < 0.7, "the shipped model has never seen this product"
    assert aurocs[1] > aurocs[0] + 0.15


@pytest.mark.ipex
@pytest.mark.slow
@needs_ipex
def test_ipex_learns_the_same_and_resumes_to_the_same_bits(pills: Path, tmp_path: Path) -> None:
    """In a process of its own, because importing IPEX changes PyTorch."""
    dtypes = ["fp32", "bf16"] if ONEDNN_HAS_BF16 else ["fp32"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pillqc.training.ipex_training", pills, tmp_path, *dtypes],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
