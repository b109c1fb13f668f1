"""Model files keep weights and card together, and refuse what is not theirs."""

from __future__ import annotations

import json
import os
import pickle
import reprlib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from pillqc.errors import ModelFileError
from pillqc.model.artifact import ModelCard, read_artifact, save_artifact, write_metrics
from pillqc.model.network import CustomVGG, load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model file in half precision."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    card = ModelCard(threshold=0.4, undecided=(0.3, 0.6), known_failures=("faint imprint",))
    save_artifact(path, CustomVGG(), card, dtype=torch.float16)
    return path


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Weights come back bit by bit, the card value by value."""
    path = tmp_path / "m.safetensors"
    model = load_model("random", seed=9).model
    card = ModelCard(threshold=0.25, metrics={"image_auroc": 0.9}, undecided=(0.2, 0.3))
    save_artifact(path, model, card)
    loaded = load_model(path)
    assert loaded.card == card
    assert (loaded.trained, loaded.threshold, loaded.name) == (True, 0.25, "m.safetensors")
    wanted = model.state_dict()
    assert all(
        torch.equal(value, wanted[name]) for name, value in loaded.model.state_dict().items()
    )


def test_a_model_that_names_defects_comes_back_with_their_names(tmp_path: Path) -> None:
    """In the order of its outputs."""
    path = tmp_path / "m.safetensors"
    model = CustomVGG(n_defects=2)
    save_artifact(path, model, ModelCard(defects=("scratch", "crack")))
    loaded = load_model(path)
    assert loaded.defects == ("scratch", "crack")
    assert (loaded.model.n_classes, loaded.model.n_defects) == (2, 2)
    assert torch.equal(loaded.model.head.weight, model.head.weight)
    save_artifact(path, model, ModelCard(defects=("scratch",)))
    with pytest.raises(ModelFileError, match="of another shape"):
        load_model(path)


def test_a_file_without_names_of_defects_is_a_good_bad_model(tmp_path: Path) -> None:
    """Files of version 0.2 and earlier do not have the field."""
    path = tmp_path / "old.safetensors"
    card = asdict(ModelCard(threshold=0.25))
    del card["defects"]
    save_file(CustomVGG().state_dict(), path, metadata={"pillqc_card": json.dumps(card)})
    loaded = load_model(path)
    assert (loaded.defects, loaded.threshold, loaded.model.n_defects) == ((), 0.25, 0)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_says_who_may_read_a_model_file(umask: int, mode: int, tmp_path: Path) -> None:
    """As of any other file: a colleague can use the model, unless the user keeps files private."""
    path = tmp_path / "m.safetensors"
    before = os.umask(umask)
    try:
        save_artifact(path, torch.nn.Linear(2, 2), ModelCard())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """A file where the folder should be, and a folder where the file should be; nothing is left."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "m.safetensors", tmp_path / "folder"):
        with pytest.raises(ModelFileError, match="cannot be written"):
            save_artifact(path, torch.nn.Linear(2, 2), ModelCard())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_half_precision_files_load_as_fp32(saved: Path) -> None:
    """A file of under 32 MB becomes an fp32 model."""
    assert saved.stat().st_size < 32_000_000
    loaded = load_model(saved)
    assert loaded.model.head.weight.dtype == torch.float32
    assert loaded.card is not None
    assert loaded.card.undecided == (0.3, 0.6)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    "make",
    [
        lambda _path, _whole: None,
        *(lambda path, whole, n=n: path.write_bytes(whole[:n]) for n in (0, 4, 100, 1_000_000)),
        lambda path, _whole: path.write_bytes(pickle.dumps(_Bomb())),
        lambda path, _whole: save_file({"a": torch.zeros(2)}, path),
        lambda path, _whole: save_artifact(path, torch.nn.Linear(2, 2), ModelCard()),
    ],
    ids=["missing", "cut 0", "cut 4", "cut 100", "cut 1 MB", "pickle", "foreign", "other network"],
)
def test_what_is_no_model_of_ours_is_refused_and_not_executed(
    saved: Path, tmp_path: Path, make: Callable[[Path, bytes], object]
) -> None:
    """A wrong path, a broken download, code to run on load, weights without our card or shapes."""
    path = tmp_path / "m.safetensors"
    make(path, saved.read_bytes())
    with pytest.raises(ModelFileError, match=r"m\.safetensors"):
        load_model(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A diverged training must not become a model file that loads."""
    path = tmp_path / "nan.safetensors"
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, float("nan"))
    save_artifact(path, layer, ModelCard())
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        read_artifact(path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (replace(ModelCard(), format=99), "model format 99"),
        (replace(ModelCard(), threshold=7.0), "card is damaged"),
        (replace(ModelCard(), threshold="high"), "card is damaged"),  # type: ignore[arg-type] # the damage
        (replace(ModelCard(), size=0), "card is damaged"),
        (replace(ModelCard(), size="large"), "card is damaged"),  # type: ignore[arg-type] # the damage
        (replace(ModelCard(), defects=(1, 2)), "card is damaged"),  # type: ignore[arg-type] # the damage
    ],
)
def test_an_unusable_card_is_refused(tmp_path: Path, card: ModelCard, message: str) -> None:
    """A card of another format or with an impossible threshold is refused."""
    path = tmp_path / "m.safetensors"
    save_artifact(path, torch.nn.Linear(2, 2), card)
    with pytest.raises(ModelFileError, match=message):
        read_artifact(path)


NAN, HUGE = float("nan"), 10**400
DRIFT = {"mean": {"brightness": 9.0}, "deviation": {"brightness": 1.0}, "limit": 9.0, "pictures": 3}
DAMAGE: dict[str, tuple[object, ...]] = {
    "classes": (("bad", "good"), ("good",), 2),
    "defects": ("crack", 5),
    "threshold": (NAN, float("inf"), -0.1, True, HUGE, None),
    "undecided": ((0.5,), "x", (0.1, NAN), (0.1, 1.5), (0.6, 0.3), 0.5),
    "thresholds": ({"x": 1.0}, {"0.01": NAN}, {"0.01": 2}, {"nan": 0.5}, [1]),
    "box_threshold": ("x", NAN),
    "temperature": ("1", 0.0, -1.0, NAN),
    "size": (True, 8, 4096, 10**30),
    "mean": (("a",), 0.5),
    "std": ((NAN, 1.0, 1.0),),
    "known": ({"brightness": ("a", "b")}, {"brightness": (1.0,)}, {"brightness": 1.0}, [1]),
    "drift": (
        {"mean": {}},
        DRIFT | {"mean": [9.0]},
        DRIFT | {"mean": {"brightness": "9"}},
        DRIFT | {"deviation": {"brightness": 0.0}},
        DRIFT | {"limit": NAN},
        DRIFT | {"pictures": None},
    ),
    "training": ("none",),
    "compares": (3,),
    "seen": (5,),
}
"""Field of the card -> values that no model has."""


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in DAMAGE.items() for value in values],
    ids=reprlib.repr,
)
def test_a_value_that_no_model_has_is_refused_by_name(
    tmp_path: Path, name: str, value: object
) -> None:
    """Before it decides: no comparison with NaN holds, so that every pill would be good."""
    path = tmp_path / "m.safetensors"
    card = asdict(ModelCard()) | {name: value}
    save_file({"weight": torch.ones(2)}, path, metadata={"pillqc_card": json.dumps(card)})
    with pytest.raises(ModelFileError, match=f"card is damaged .*{name[:5]}"):
        read_artifact(path)


def test_a_card_that_is_no_object_and_a_folder_are_named_as_such(tmp_path: Path) -> None:
    """In our words, not Python's."""
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata={"pillqc_card": "[1]"})
    with pytest.raises(ModelFileError, match=r"its card is damaged .it is no JSON object"):
        read_artifact(path)
    save_file({"weight": torch.ones(2)}, path, metadata={"pillqc_card": "[" * 200_000})
    with pytest.raises(ModelFileError, match="its card is damaged"):
        read_artifact(path)
    with pytest.raises(ModelFileError, match="a folder, not a model file"):
        read_artifact(tmp_path)


def test_a_failed_save_leaves_the_old_file(saved: Path, tmp_path: Path) -> None:
    """A crash while writing costs nothing."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(TypeError):
        save_artifact(path, CustomVGG(), ModelCard(data={"x": object()}))
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_new_metrics_change_nothing_else_in_a_model_file(saved: Path, tmp_path: Path) -> None:
    """Weights bit by bit and in their precision, the rest of the card, permissions, and a link."""
    path, link = tmp_path / "m.safetensors", tmp_path / "link.safetensors"
    path.write_bytes(saved.read_bytes())
    path.chmod(0o640)
    link.symlink_to(path.name)
    write_metrics(link, {"image_auroc": 0.75})
    (card, tensors), (before, expected) = read_artifact(path), read_artifact(saved)
    assert card == replace(before, metrics={"image_auroc": 0.75})
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.bool}
    assert all(torch.equal(value, expected[name]) for name, value in tensors.items())
    assert tensors.keys() == expected.keys()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_read_only_file_is_not_replaced(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who protects a model file means it, though its folder would let another take its place."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(saved.read_bytes())
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(ModelFileError, match="read-only"):
        write_metrics(path, {})
    assert path.read_bytes() == saved.read_bytes()
