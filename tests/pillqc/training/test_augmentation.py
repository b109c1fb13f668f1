"""Augmentation keeps labels, moves masks with their images, and is repeatable."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pillqc.data.images import MEAN, STD
from pillqc.training.augmentation import LIMITS, Limits, augment, augment_masks

pytestmark = pytest.mark.torch


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_changes_a_label() -> None:
    """There is neither a flip (a mirrored imprint) nor a hue (a colour defect)."""
    changes = {"rotation_degrees", "shift", "brightness", "contrast", "blur_share", "noise"}
    assert set(vars(LIMITS)) == changes
    assert LIMITS.rotation_degrees <= 5
    assert LIMITS.shift <= 0.05


def test_augmented_pills_keep_their_side_and_their_colour() -> None:
    """The left half stays left, masks move with it, and grey stays grey."""
    images = torch.zeros(16, 3, 32, 32)
    images[:, :, :, :16] = 1.0
    masks = torch.zeros(16, 32, 32, dtype=torch.bool)
    masks[:, 8:24, 4:12] = True
    changed, moved = augment(images, _seeded()), augment_masks(masks, _seeded())
    assert (changed[..., 2:14].mean((1, 2, 3)) > changed[..., 18:30].mean((1, 2, 3)) + 0.5).all()
    overlap = (moved & masks).sum((1, 2)) / (moved | masks).sum((1, 2))
    assert (overlap > 0.6).all()
    quiet = replace(LIMITS, noise=0.0, blur_share=0.0, rotation_degrees=0.0, shift=0.0)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    grey = ((torch.full((8, 3, 4, 4), 0.5) - mean) / std).clone()
    light = augment(grey, _seeded(), quiet) * std + mean
    assert (light.amax(1) - light.amin(1)).max() < 1e-5


def test_masks_move_as_their_images_do() -> None:
    """An image of a mask and the mask itself overlap after a large move."""
    limits = Limits(rotation_degrees=45, shift=0.2, brightness=0, contrast=0, noise=0, blur_share=0)
    masks = torch.zeros(8, 64, 64, dtype=torch.bool)
    masks[:, 10:30, 20:50] = True
    pictures = masks[:, None].float().repeat(1, 3, 1, 1)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    pictured = augment((pictures - mean) / std, _seeded(), limits)[:, 0] * STD[0] + MEAN[0] > 0.5
    moved = augment_masks(masks, _seeded(), limits)
    assert not torch.equal(moved, masks)
    assert ((pictured != moved).float().mean((1, 2)) < 0.02).all()


def test_augmentation_is_repeatable_and_can_be_nothing() -> None:
    """One seed gives one result; with all limits at 0 the image stays as it is."""
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(augment(images, _seeded(3)), augment(images, _seeded(3)))
    none = Limits(rotation_degrees=0, shift=0, brightness=0, contrast=0, blur_share=0, noise=0)
    assert torch.allclose(augment(images, _seeded(), none), images, atol=1e-5)
