"""Boxes are drawn around every connected hot region, edges of the image included."""

from __future__ import annotations

import numpy as np
import pytest

from pillqc.inspection.boxes import Box, boxes_of_mask, find_boxes, intersection_over_union


def _box(left: int, top: int, right: int, bottom: int) -> Box:
    return Box(left=left, top=top, right=right, bottom=bottom, score=1.0, area=0.0)


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right, box.bottom


def test_row_and_column_zero_belong_to_boxes() -> None:
    """A defect in the first row and column keeps them (the reference kit lost both)."""
    heat = np.zeros((20, 30))
    heat[0:2, 0:3] = 0.9
    heat[18:20, 25:30] = 0.7
    assert [_sides(box) for box in find_boxes(heat)] == [(0, 0, 3, 2), (25, 18, 30, 20)]


def test_every_region_gets_its_own_box_the_hottest_first() -> None:
    """Two defects are two boxes, each with its own peak as score and its share of the image."""
    heat = np.zeros((20, 20))
    heat[2:4, 2:4] = 0.6
    heat[10:12, 10:14] = 0.7
    heat[11, 11] = 0.95
    assert [(box.score, box.area) for box in find_boxes(heat)] == [(0.95, 8 / 400), (0.6, 4 / 400)]


def test_nothing_a_diagonal_crack_and_a_whole_image_have_no_box_one_and_one() -> None:
    """Regions that touch at a corner are one; a wrong pill is one box over everything."""
    assert find_boxes(np.zeros((20, 20))) == []
    assert len(find_boxes(np.eye(20))) == 1
    (box,) = find_boxes(np.ones((10, 10)))
    assert (*_sides(box), box.area) == (0, 0, 10, 10, 1.0)


def test_single_hot_pixels_are_noise() -> None:
    """Regions below the smallest area get no box."""
    heat = np.zeros((224, 224))
    heat[100, 100] = 1.0
    assert find_boxes(heat) == []
    assert len(find_boxes(heat, min_area=0.0)) == 1


def test_boxes_of_a_mask_are_exact() -> None:
    """The truth is never filtered by size."""
    mask = np.zeros((300, 300), np.bool_)
    mask[5, 7] = True
    (box,) = boxes_of_mask(mask)
    assert _sides(box) == (7, 5, 8, 6)


def test_boxes_scale_to_the_size_of_the_file() -> None:
    """A box of the model's map is given in pixels of the photograph."""
    scaled = _box(1, 2, 3, 4).scaled(10, 100)
    assert _sides(scaled) == (10, 200, 30, 400)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (_box(0, 0, 2, 2), 1.0),
        (_box(1, 0, 3, 2), 1 / 3),
        (_box(2, 0, 4, 2), 0.0),
        (_box(5, 5, 6, 6), 0.0),
    ],
)
def test_overlap_is_shared_area_over_joint_area(other: Box, expected: float) -> None:
    """1 for the same box, 0 for boxes that only touch."""
    assert intersection_over_union(_box(0, 0, 2, 2), other) == pytest.approx(expected)
