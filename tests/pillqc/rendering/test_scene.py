"""Rendered pills look like the measured ones, and good and bad differ by the defect only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pillqc.rendering.defects import EDITS
from pillqc.rendering.design import PillDesign
from pillqc.rendering.scene import DEFECTS, render

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pillqc.rendering.scene import Scene

_PILLS = 160
"""Good and bad pills that a trivial classifier sees, each."""

_REAL_AREAS = {
    "crack": (0.0030, 0.0140),
    "faulty_imprint": (0.0060, 0.0560),
    "contamination": (0.0065, 0.0105),
}
"""Measured on real defects, with a margin for rounding at 96 px."""


def _good(count: int, size: int = 224) -> NDArray[np.float64]:
    pills = [render(seed=seed, size=size).image for seed in range(count)]
    return np.stack(pills).astype(np.float64)


def test_the_same_seed_gives_the_same_pill() -> None:
    """Bits depend on seed, size and defect alone."""
    first, again = (render(seed=5, size=96, defect="crack") for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, render(seed=6, size=96, defect="crack").image)


def test_background_and_body_have_the_measured_levels() -> None:
    """Dark blue-grey background; a body about 174 grey, brighter at the top and in the middle."""
    mean = _good(8).mean(axis=0)
    corner = mean[:20, :20].mean((0, 1))
    assert np.all(corner > (13, 13, 20))
    assert np.all(corner < (21, 21, 32))
    body = mean[60:164, 40:184]
    assert body.mean() == pytest.approx(174, abs=6)
    assert mean[55:70, 90:134].mean() - mean[154:169, 90:134].mean() == pytest.approx(11, abs=6)
    x = (np.arange(224) + 0.5) / 224
    radius = np.hypot((x[None] - 0.5) / 0.432, (x[:, None] - 0.499) / 0.296)
    rim = mean[(radius > 0.90) & (radius < 0.95)].mean()
    middle = mean[(radius > 0.55) & (radius < 0.65)].mean()
    assert middle - rim == pytest.approx(13, abs=6)


def test_the_letters_are_debossed_and_lit_from_above() -> None:
    """The top wall of the upper arms is darker and the lower wall brighter than the coating."""
    grey = _good(12, 448).mean(axis=(0, 3))
    arm = grey[:, 155:195].mean(axis=1)  # columns of the left F's arms
    top = round(0.385 * 448)
    around = arm[top - 16 : top - 11].mean()
    assert around - arm[top - 9 : top - 3].min() > 8
    assert arm[top + 4 : top + 10].max() - around > 1


def test_good_pills_carry_specks() -> None:
    """Without them, a model would learn that a dark dot means bad."""
    for seed in range(5):
        grey = render(seed=seed, size=224).image[70:155, 40:184].mean(axis=2)
        assert (grey < np.median(grey) - 25).mean() > 0.002


def test_the_sensors_noise_is_the_measured_one() -> None:
    """Differences of neighbours in the background show .3 to .6 grey levels, rounding included."""
    dark = render(seed=1, size=224).image[:25, :, 0].astype(float)
    assert 0.3 < np.diff(dark, axis=1).std() / np.sqrt(2) < 1.0


def test_the_rim_is_as_soft_as_in_photographs() -> None:
    """From 10 to 90 % in 8 to 16 px of 551."""
    for seed in range(4):
        profile = render(seed=seed, size=551).image[275, :120].mean(axis=1)
        dark, bright = profile[:15].mean(), profile[70:100].mean()
        low, high = (dark + share * (bright - dark) for share in (0.1, 0.9))
        width = int(np.argmax(profile > high)) - int(np.argmax(profile > low))
        assert 7 <= width <= 22


@pytest.mark.parametrize("defect", sorted(_REAL_AREAS))
def test_defects_are_as_large_as_real_ones(defect: str) -> None:
    """Shares of the image lie in the measured ranges."""
    low, high = _REAL_AREAS[defect]
    areas = [render(seed=seed, size=96, defect=defect).mask.mean() for seed in range(25)]
    assert low <= min(areas)
    assert max(areas) <= high


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_bad_pill_has_a_mask_on_the_pill(defect: str) -> None:
    """No mask is empty, and none covers background."""
    x = (np.arange(96) + 0.5) / 96
    pill = np.hypot((x[None] - 0.5) / 0.45, (x[:, None] - 0.499) / 0.31) <= 1.0
    for seed in range(20):
        mask = render(seed=seed, size=96, defect=defect).mask
        assert mask.any()
        assert not (mask & ~pill).any()


@pytest.mark.parametrize("defect", ["color", "contamination", "crack", "faulty_imprint", "scratch"])
def test_masks_cover_what_was_changed(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Visible changes against the same pill without the defect are in the mask or at its edge."""
    original = EDITS[defect]

    def edit_apart(_: np.random.Generator, scene: Scene, severity: float) -> None:
        original(
            np.random.default_rng(100 + seed), scene, severity
        )  # so that the camera's noise is equal

    for seed in range(6):
        monkeypatch.setitem(EDITS, defect, lambda *_: None)
        plain = render(seed=seed, size=160, defect=defect)
        monkeypatch.setitem(EDITS, defect, edit_apart)
        pill = render(seed=seed, size=160, defect=defect)
        difference = np.abs(pill.image.astype(float) - plain.image).max(axis=2)
        changed = difference > 6
        near = ndimage.binary_dilation(pill.mask, iterations=5)
        assert (changed & ~near).sum() <= 0.05 * changed.sum() + 3
        assert (changed & pill.mask).sum() >= 0.1 * pill.mask.sum()


def test_another_product_looks_different() -> None:
    """Colour, shape and imprint are options."""
    design = PillDesign(colour=(205.0, 150.0, 140.0), shape="capsule", imprint="K7")
    plain, other = (
        render(seed=0, size=96, design=d).image.astype(int) for d in (PillDesign(), design)
    )
    red_over_blue = (other[48, 30:66, 0] - other[48, 30:66, 2]).mean()
    assert red_over_blue > 40
    assert np.abs(plain - other).mean() > 5


def _global_features(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    channels = image.reshape(-1, 3).astype(np.float64)
    histogram = np.histogram(channels.mean(axis=1), bins=32, range=(0, 256))[0] / len(channels)
    return np.concatenate([channels.mean(axis=0), channels.std(axis=0), histogram])


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    small = Image.fromarray(image).convert("L").resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def _many(defect: str, first_seed: int) -> list[NDArray[np.uint8]]:
    seeds = range(first_seed, first_seed + _PILLS)
    return [render(seed=seed, size=64, defect=defect).image for seed in seeds]


@pytest.fixture(scope="module")
def good_pills() -> list[NDArray[np.uint8]]:
    """Good pills that the trivial classifiers learn from."""
    return _many("good", 10_000)


@pytest.mark.parametrize("defect", [d for d in DEFECTS if d != "pill_type"])
def test_a_trivial_classifier_cannot_tell(defect: str, good_pills: list[NDArray[np.uint8]]) -> None:
    """Brightness, histogram or a thumbnail separate no defect by more than AUROC .75."""
    pills = [*good_pills, *_many(defect, 20_000)]
    labels = np.repeat([0, 1], _PILLS)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for features in (_global_features, _thumbnail):
        x = np.stack([features(image) for image in pills])
        scores = cross_val_predict(classifier, x, labels, cv=folds, method="decision_function")
        assert roc_auc_score(labels, scores) <= 0.75, features.__name__
