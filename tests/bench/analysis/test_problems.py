"""Operations and bytes of a primitive, from oneDNN's description of its problem."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analysis.problems import bytes_of, dtype_of, shape_of
from tests.bench.made_up_layers import GFLOP, convolution

CONVOLUTION = convolution(1)
GROUPED = "mb2_g32ic64oc64_ih8oh4kh3sh2dh0ph1_iw8ow4kw3sw2dw0pw1"
VOLUME = "mb1_ic2oc4_id8od8kd3sd1dd0pd1_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1"


@pytest.mark.parametrize(
    ("primitive", "problem", "mflop", "words"),
    [
        ("convolution", GROUPED, 2 * 2 * 64 * 2 * 9 * 16 / 1e6, "64→64, 3x3, 8x8"),
        ("convolution", VOLUME, 2 * 2 * 4 * 27 * 512 / 1e6, "2→4, 3x3x3, 8x8x8"),
        (
            "deconvolution",
            "mb1_ic8oc4_ih5oh10kh2sh2dh0ph0_iw5ow10kw2sw2dw0pw0",
            2 * 8 * 4 * 4 * 25 / 1e6,
            "8→4, 2x2, 5x5",
        ),
        ("inner_product", "mb225ic512oc2", 2 * 225 * 512 * 2 / 1e6, "225x512 by 512x2"),
        ("inner_product", "mb1ic512ih7iw7oc10", 2 * 512 * 49 * 10 / 1e6, "1x25088 by 25088x10"),
        ("matmul", "225x512:512x2", 2 * 225 * 512 * 2 / 1e6, "225x512 by 512x2"),
        ("matmul", "2x3x4x5:2x3x5x6", 2 * 6 * 4 * 5 * 6 / 1e6, "6 of 4x5 by 5x6"),
    ],
)
def test_operations_are_counted_from_the_problem(
    primitive: str, problem: str, mflop: float, words: str
) -> None:
    """A multiply-add is two; groups see their own channels alone."""
    shape = shape_of(replace(CONVOLUTION, primitive=primitive, problem=problem))
    assert shape is not None
    assert shape.flop / 1e6 == pytest.approx(mflop)
    assert shape.words == words


def test_vgg_16_has_thirty_gflop_an_image() -> None:
    """As PyTorch's own counter says of its convolutions (30.7 GFLOP with the head)."""
    shapes = [shape_of(convolution(place)) for place in range(13)]
    assert sum(shape.flop for shape in shapes if shape) / 1e9 == pytest.approx(sum(GFLOP))
    assert sum(GFLOP) == pytest.approx(30.69, abs=0.02)


def test_one_product_is_the_same_whichever_primitive_computes_it() -> None:
    """IPEX's head is an inner product, stock's a matrix product."""
    mine = shape_of(replace(CONVOLUTION, primitive="inner_product", problem="mb225ic512oc2"))
    other = shape_of(replace(CONVOLUTION, primitive="matmul", problem="225x512:512x2"))
    assert mine is not None
    assert other is not None
    assert mine.key == other.key


def test_bytes_follow_the_types_of_each_tensor() -> None:
    """bf16 moves half of fp32."""
    shape = shape_of(CONVOLUTION)
    assert shape is not None
    numbers = 64 * 224 * 224 + 64 * 64 * 9 + 64 * 224 * 224
    assert bytes_of(CONVOLUTION, shape) == 4 * numbers
    half = replace(CONVOLUTION, data_types="src:bf16 wei:bf16 bia:bf16 dst:bf16")
    assert bytes_of(half, shape) == 2 * numbers
    assert (dtype_of(CONVOLUTION), dtype_of(half)) == ("fp32", "bf16")


@pytest.mark.parametrize(
    ("primitive", "problem"),
    [("reorder", "64x64x3x3"), ("pooling", "mb1ic64_ih8oh4"), ("convolution", "mb1"),
     ("matmul", "*x512:512x2"), ("inner_product", "mb1")],
)  # fmt: skip
def test_what_is_no_arithmetic_has_no_shape(primitive: str, problem: str) -> None:
    """It counts as a primitive of its kind."""
    assert shape_of(replace(CONVOLUTION, primitive=primitive, problem=problem)) is None
