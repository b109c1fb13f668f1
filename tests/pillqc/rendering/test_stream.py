"""A stream of pills is repeatable, and shows good pills and every defect."""

from __future__ import annotations

import pytest
import torch

from pillqc.rendering.stream import KINDS, StreamPlan, kind_of, stream

pytestmark = pytest.mark.torch


def test_a_stream_continues_with_the_images_it_would_have_shown() -> None:
    """From image 4 on, a stream is the tail of the one from image 0."""
    plan = StreamPlan(size=32, batch_size=4, jobs=0)
    whole = list(stream(plan, start=0, count=8))
    tail = list(stream(plan, start=4, count=4))
    assert all(torch.equal(a, b) for a, b in zip(whole[1], tail[0], strict=True))
    assert not torch.equal(whole[0][0], whole[1][0])


def test_a_stream_shows_good_pills_and_every_defect() -> None:
    """Half of the pills are good; only their masks are empty."""
    kinds = [kind_of(0, number) for number in range(400)]
    assert 0.4 < kinds.count("good") / 400 < 0.6
    assert len(set(kinds)) == 8
    (_, masks, shown) = next(stream(StreamPlan(size=64, batch_size=16, jobs=0), start=0, count=16))
    assert [KINDS[kind] for kind in shown] == kinds[:16]
    assert torch.equal(masks.flatten(1).any(dim=1), shown > 0)
