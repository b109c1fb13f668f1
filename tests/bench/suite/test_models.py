"""Which models a suite has, and how your own are read."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import UsageError
from bench.suite.models import MODELS, REFERENCE, chosen, read_models

if TYPE_CHECKING:
    from pathlib import Path


def test_the_suite_has_many_kinds_and_the_reference() -> None:
    """At least twenty models of six kinds, each once."""
    names = [model.name for model in MODELS]
    assert len(names) == len(set(names)) >= 20
    assert REFERENCE in names
    kinds = {"residual", "mobile", "dense", "attention", "detection", "segmentation"}
    assert kinds <= {model.kind for model in MODELS}


@pytest.mark.torch
def test_every_factory_exists() -> None:
    """A renamed architecture is found here and not an hour into a suite."""
    for model in MODELS:
        model.choice.check()
        for path in (model.choice.model, model.choice.inputs):
            if path:
                module, _, name = path.partition(":")
                assert callable(getattr(importlib.import_module(module), name))


def test_models_are_chosen_by_name_and_an_unknown_one_is_refused() -> None:
    """The line lists those that there are."""
    assert [model.name for model in chosen(("resnet18", "vit_b_16"))] == ["resnet18", "vit_b_16"]
    assert chosen(()) == MODELS
    with pytest.raises(UsageError, match=r"no model 'resnet': choose from vgg16"):
        chosen(("resnet",))


def test_a_model_that_is_named_twice_is_one_model() -> None:
    """Or it would count twice in every mean."""
    assert [model.name for model in chosen(("vgg16", "alexnet", "vgg16"))] == ["vgg16", "alexnet"]


def test_your_own_models_come_from_a_file(tmp_path: Path) -> None:
    """Beside the others, with the options of `bench run --model`."""
    path = tmp_path / "mine.json"
    entry = {"name": "mine", "model": "a:B", "input_shape": "3,8,8", "factory_args": ["n=2"]}
    path.write_text(json.dumps([entry]))
    (mine,) = read_models(path)
    assert (mine.name, mine.kind, mine.choice.settings) == ("mine", "own", ("n=2",))
    assert chosen(("mine",), (mine,)) == (mine,)


def test_a_shape_is_a_list_of_numbers_or_their_text(tmp_path: Path) -> None:
    """As it is natural in JSON, or as the option has it."""
    path = tmp_path / "mine.json"
    shapes: list[Any] = [[3, 8, 8], "3,8,8", [16]]
    entries = [
        {"name": f"m{number}", "model": "a:B", "input_shape": shape}
        for number, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps(entries))
    assert [model.choice.shape for model in read_models(path)] == ["3,8,8", "3,8,8", "16"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_shape", 3),
        ("input_shape", [3, 8.5]),
        ("input_shape", ["3", "8"]),
        ("input_shape", [True, 8]),
        ("inputs", ["a:batch"]),
        ("inputs", None),
        ("factory_args", None),
        ("factory_args", "n=3"),
        ("factory_args", [3]),
        ("factory_args", {"n": 3}),
        ("model", 5),
    ],
)
def test_a_value_of_another_type_is_one_line_that_names_model_and_key(
    tmp_path: Path, key: str, value: Any
) -> None:
    """Before anything is measured."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"name": "mine", "model": "a:B", key: value}]))
    with pytest.raises(UsageError, match=f"model 1: {key} of 'mine' "):
        read_models(path)


@pytest.mark.parametrize("shape", [[], [3, 0], [3, -8]])
def test_a_shape_has_numbers_above_zero(tmp_path: Path, shape: list[int]) -> None:
    """As that of the option."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"name": "mine", "model": "a:B", "input_shape": shape}]))
    with pytest.raises(UsageError, match="model 1: --input-shape"):
        read_models(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("no json", "cannot read the models"),
        ([], "not a list of models"),
        ({"name": "x"}, "not a list of models"),
        (["x"], "model 1: a model has"),
        ([{"name": "x"}], "model 1: a model has"),
        ([{"name": "x", "model": "a:B", "shape": "3"}], "model 1: a model has"),
        ([{"name": "A b", "model": "a:B", "input_shape": "3"}], "the name 'A b'"),
        ([{"name": "..", "model": "a:B", "input_shape": "3"}], "the name '..'"),
        ([{"name": "vgg16", "model": "a:B", "input_shape": "3"}], "another model 'vgg16'"),
        ([{"name": "x", "model": "a:B", "input_shape": "3"}] * 2, "model 2: there is another"),
        ([{"name": "x", "model": "a:B"}], "model 1: say what --model takes"),
        ([{"name": "x", "model": "nothing", "input_shape": "3"}], "model 1: --model 'nothing'"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_where(tmp_path: Path, content: Any, match: str) -> None:
    """Before anything is measured."""
    path = tmp_path / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UsageError, match=match):
        read_models(path)
