"""A picture outside the known limits is reported, and never called good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pillqc.inspection.novelty import advice, image_statistics, known_limits, outside_limits
from pillqc.model.artifact import ModelCard, save_artifact
from pillqc.model.network import load_model
from pillqc.rendering.scene import render
from tests.known import known
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pills() -> list[Image.Image]:
    """Good ones."""
    return [Image.fromarray(render(seed=seed, size=64).image) for seed in range(24)]


def test_other_light_colour_and_things_are_unlike_the_pills(
    pills: list[Image.Image],
) -> None:
    """The sentence names what is outside, and the limits."""
    limits = known_limits(image_statistics(pill) for pill in pills[:20])
    assert [outside_limits(limits, image_statistics(pill)) for pill in pills[20:]] == [None] * 4
    pill = pills[20]
    others = {
        "brightness 0.0, known": Image.new("RGB", (64, 64)),
        "colour 0.0, known": pill.convert("L").convert("RGB"),
        "left against right": Image.fromarray(np.roll(np.asarray(pill), 20, axis=1)),
        "contrast": pill.point(lambda level: level // 16),
    }
    for reported, other in others.items():
        assert reported in str(outside_limits(limits, image_statistics(other)))


def test_few_pictures_leave_wider_limits() -> None:
    """Two values of 0 and 1 say less of what comes than a hundred between them."""
    few = known_limits({"contrast": value} for value in (0.0, 1.0))
    many = known_limits({"contrast": value} for value in np.linspace(0, 1, 100).tolist())
    assert few["contrast"][0] < many["contrast"][0] < 0 < 1 < many["contrast"][1]
    assert known_limits([]) == {}
    assert outside_limits({}, {"contrast": 5.0}) is None


@pytest.mark.torch
@pytest.mark.parametrize(("threshold", "decision"), [(1.0, "undecided"), (0.0, "bad")])
def test_an_unlike_picture_is_never_called_good(
    tmp_path: Path, pills: list[Image.Image], threshold: float, decision: str
) -> None:
    """A pill is good by the same threshold; bad stays bad, and the difference is reported."""
    from pillqc.inspection.inspector import inspect

    card = ModelCard(known=known_limits(image_statistics(pill) for pill in pills[:20]), size=32)
    loaded = replace(load_model("random"), card=card).at_threshold(threshold)
    pills[20].save(tmp_path / "pill.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    paths = [tmp_path / "pill.png", tmp_path / "black.png"]
    pill, black = inspect(loaded, paths)
    assert (pill.decision, pill.unlike) == ("good" if threshold else "bad", None)
    assert black.decision == decision
    assert "brightness 0.0" in str(black.as_dict()["unlike"])


@pytest.mark.torch
def test_the_shipped_model_knows_pills_of_another_seed_and_nothing_else() -> None:
    """Its limits come from the pills that chose its threshold."""
    card = known(load_model().card)
    strangers = [render(seed=9_000_000 + seed, size=224).image for seed in range(6)]
    reported = [
        outside_limits(card.known, image_statistics(Image.fromarray(image))) for image in strangers
    ]
    assert reported == [None] * 6
    grey = Image.fromarray(strangers[0]).convert("L").convert("RGB")
    assert "colour 0.0" in str(outside_limits(card.known, image_statistics(grey)))


@pytest.mark.torch
def test_where_most_pictures_are_unlike_the_commands_say_what_to_do(
    tmp_path: Path, pills: list[Image.Image]
) -> None:
    """`inspect` and `evaluate` name `pillqc compare`; of known pills neither does."""
    for kind, image in {"good": pills[0], "crack": pills[1]}.items():
        for name, seen in (("known", image), ("grey", image.convert("L"))):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for number in range(2):
                seen.resize((64 + number, 64)).save(folder / f"{number}.png")
    card = ModelCard(known=known_limits(image_statistics(pill) for pill in pills), size=32)
    model = tmp_path / "one.safetensors"
    save_artifact(model, load_model("random").model, card)
    for name, told in (("known", False), ("grey", True)):
        for words in (("inspect", tmp_path / name), ("evaluate", "--data", tmp_path / name)):
            done = run(*words, "--model", model)
            assert done.exit_code == 0, done.output
            assert ("4 of 4 pictures" in done.stderr) == told
            assert ("pillqc compare" in done.stderr) == told


@pytest.mark.parametrize(("unlike", "told"), [(0, False), (2, False), (3, True), (4, True)])
def test_only_more_than_half_of_the_pictures_are_another_product(unlike: int, told: bool) -> None:
    """Some odd ones among them are for a person to look at."""
    assert (advice(unlike, 4) is not None) == told
    assert advice(0, 0) is None
