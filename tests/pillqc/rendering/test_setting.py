"""Settings change how pills are seen, never what is a defect; `measured` changes nothing."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pillqc.rendering.design import DEFAULT_DESIGN
from pillqc.rendering.scene import DEFECTS, render
from pillqc.rendering.setting import MEASURED, PILL_TYPE, Camera, Lamp, Setting, Table, seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEEDS = range(300)


def _varied() -> list[tuple[int, bool, Setting]]:
    """Return seed, whether it is another product, and the setting, of those not as measured."""
    found = [(seed, *seen("varied", seed, "crack", DEFAULT_DESIGN)) for seed in _SEEDS]
    return [(n, design != DEFAULT_DESIGN, how) for n, design, how in found if how != MEASURED]


def test_measured_is_the_design_itself() -> None:
    """No seed changes the fixture of the photographs."""
    for seed in range(5):
        assert seen("measured", seed, "good", DEFAULT_DESIGN) == (DEFAULT_DESIGN, MEASURED)


def test_half_of_the_varied_pills_are_as_measured_and_a_quarter_other_products() -> None:
    """The shares hold within four standard errors of 300 pills."""
    varied = _varied()
    assert len(varied) / len(_SEEDS) == pytest.approx(0.5, abs=0.12)
    others = sum(other for _, other, _ in varied)
    assert others / len(_SEEDS) == pytest.approx(0.25, abs=0.1)
    assert all(how.known_imprint != other for _, other, how in varied)


def test_the_same_seed_is_seen_in_the_same_way() -> None:
    """Bits depend on the arguments alone."""
    one, other = (seed for seed, *_ in _varied()[:2])
    for name in ("varied", "unseen"):
        first, again = (seen(name, one, "good", DEFAULT_DESIGN) for _ in range(2))
        assert first == again
        assert first != seen(name, other, "good", DEFAULT_DESIGN)


def test_another_product_is_never_drawn_for_the_defect_of_being_one() -> None:
    """A picture of `pill_type` must show something that is not the product."""
    for seed in _SEEDS:
        assert seen("varied", seed, PILL_TYPE, DEFAULT_DESIGN)[0] == DEFAULT_DESIGN


def test_no_other_product_can_be_taken_for_the_default_one() -> None:
    """A pale oval would be a good pill here and a defect there."""
    for seed in _SEEDS:
        design, setting = seen("varied", seed, "good", DEFAULT_DESIGN)
        if setting.known_imprint:
            continue
        red, green, blue = design.colour
        across, along = sorted(design.semi_axes)
        oval = design.shape == "oval" and across / along < 0.96
        assert not oval or max(red, green, blue) - min(red, green, blue) > 15


def test_no_training_sees_a_lamp_from_the_left() -> None:
    """Only `unseen` has any, so that it says how far what was learnt carries."""

    def from_the_left(setting: Setting) -> bool:
        return math.radians(50) < setting.lamp.turn < math.radians(130)

    assert not any(from_the_left(how) or how.table.brushed for _, _, how in _varied())
    unseen = [seen("unseen", seed, "good", DEFAULT_DESIGN)[1] for seed in range(50)]
    assert all(from_the_left(how) and how.table.brushed for how in unseen)


@pytest.mark.parametrize("name", ["varied", "unseen"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_every_bad_pill_has_a_mask_that_shows_something(name: str, defect: str) -> None:
    """In every setting a defect covers some of the pill, and less than all unless it is one."""
    for seed in range(12):
        design, setting = seen(name, seed, defect, DEFAULT_DESIGN)
        pill = render(seed=seed, size=96, defect=defect, design=design, setting=setting)
        assert pill.image.shape == (96, 96, 3)
        assert pill.image.dtype == np.uint8
        assert 0.0 < pill.mask.mean() < (0.6 if defect == PILL_TYPE else 0.35)


def _light(setting: Setting) -> NDArray[np.float64]:
    """Return the mean grey of a few good pills (64, 64)."""
    pills = [render(seed=seed, size=64, setting=setting).image for seed in range(6)]
    mean: NDArray[np.float64] = np.stack(pills).astype(float).mean(axis=(0, 3))
    return mean


def test_a_turned_lamp_lights_the_side_that_it_is_turned_to() -> None:
    """From above the top is lighter; a quarter turn to the left lights the left side."""
    strong = Lamp(strength=3.0)
    above = _light(Setting(lamp=strong))
    left = _light(Setting(lamp=replace(strong, turn=math.pi / 2)))
    middle = slice(24, 40)
    assert above[16:24, middle].mean() - above[40:48, middle].mean() > 15
    assert abs(left[16:24, middle].mean() - left[40:48, middle].mean()) < 8
    assert left[middle, 10:18].mean() - left[middle, 46:54].mean() > 15


def test_the_pose_moves_the_pill_and_its_letters() -> None:
    """A shift to the right moves the lighter area; a turn by 90 degrees makes it tall."""
    outline = [_light(setting) > 90 for setting in (MEASURED, Setting(shift=(0.06, 0.0)))]
    columns = [np.nonzero(seen_at.any(axis=0))[0].mean() for seen_at in outline]
    assert columns[1] - columns[0] == pytest.approx(0.06 * 64, abs=1.0)
    tall = _light(Setting(turn=math.pi / 2)) > 90
    assert np.ptp(np.nonzero(tall)[0]) > np.ptp(np.nonzero(tall)[1])


def test_defects_stay_on_a_turned_and_shrunken_pill() -> None:
    """The mask of a scratch covers no table, which is blue here."""
    setting = Setting(
        turn=1.1, zoom=0.8, shift=(0.03, -0.02), table=Table(lighter=(0.0, 0.0, 90.0))
    )
    for seed in range(15):
        pill = render(seed=seed, size=96, defect="scratch", setting=setting)
        blue = pill.image[..., 2].astype(int) - pill.image[..., 0]
        assert (blue[pill.mask] > 60).mean() < 0.05
        assert pill.mask.any()


def test_a_score_line_is_no_letter_that_can_be_faulty() -> None:
    """What breaks the pill in two is in every good pill of the product."""
    scored = Setting(scored=True)
    plain = render(seed=1, size=96, setting=MEASURED).image.astype(int)
    assert np.abs(render(seed=1, size=96, setting=scored).image - plain).max() > 10
    for seed in range(10):
        mask = render(seed=seed, size=96, defect="faulty_imprint", setting=scored).mask
        assert mask.any()


def test_the_camera_blurs_adds_noise_and_compresses() -> None:
    """Each is seen in the picture."""
    sharp = render(seed=4, size=96).image.astype(float)

    def roughness(camera: Camera) -> float:
        image = render(seed=4, size=96, setting=Setting(camera=camera)).image.astype(float)
        return float(np.abs(np.diff(image[:12], axis=1)).mean())

    measured = float(np.abs(np.diff(sharp[:12], axis=1)).mean())
    assert roughness(Camera(noise=8.0)) > 3 * measured
    assert roughness(Camera(jpeg=70)) < measured
    bright = render(seed=4, size=96, setting=Setting(camera=Camera(gain=(1.2, 1.0, 0.8)))).image
    body = bright[40:56, 40:56].astype(float).mean(axis=(0, 1))
    assert body[0] > body[1] > body[2]


def test_varied_pills_are_of_every_kind() -> None:
    """Round, oval and capsule, printed and pressed, with and without a score line."""
    found: Counter[str] = Counter()
    for seed in _SEEDS:
        design, setting = seen("varied", seed, "good", DEFAULT_DESIGN)
        if not setting.known_imprint:
            round_one = design.semi_axes[1] / design.semi_axes[0] > 0.96
            found[design.shape + ", round" * round_one] += 1
            found["printed"] += bool(setting.ink)
            found["scored"] += setting.scored
    assert min(found[kind] for kind in ("oval", "oval, round", "capsule", "printed", "scored")) > 5
