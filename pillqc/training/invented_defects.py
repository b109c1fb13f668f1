"""Invent defects on pictures of good pills, so that a judge can learn before there are bad ones.

    for one in invent(pictures, 240, seed=0):
        one.picture, one.mask, one.source

A line as of a crack or a scratch, a stain, a lump of something else, part of another picture, a
part turned round or without its detail, another colour or shape of the whole: eight kinds, of
random place, size and strength. Hardly any looks like a defect that occurs, and none has to: a
judge of differences from good pictures learns which differences good pills do not have.

Parts of pictures at other places are from Li, Sohn, Yoon and Pfister, "CutPaste", CVPR 2021;
shapes made of noise from Zavrtanik, Kristan and Skocaj, "DRAEM", ICCV 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor

from pillqc.training.pasting import faded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIDE: Final = 224
"""The side in pixels for which lengths here are meant; they grow with the picture."""
_EDGE: Final = 6
"""Pixels along the edge of a picture that are taken for what lies around the pill."""
_VISIBLE: Final = 0.015
"""Change of a channel, from 0 to 1, that belongs to a defect."""
_COVERED: Final = 0.3
"""How much of the new picture shows, at least, where a defect is: its faint edge is none."""
_FEWEST: Final = 6
"""Pixels of a defect; with fewer another one is invented."""
_MOST_TRIES: Final = 20
"""A kind that pictures cannot have (a part turned round, of a plain grey) is given up after so
many."""
_STEPS: Final = 24
"""Straight parts of a line."""


@dataclass(frozen=True, kw_only=True)
class Invented:
    """A picture with an invented defect."""

    picture: Tensor
    """(3, side, side), from 0 to 1."""
    mask: Tensor
    """Where the defect is, bool (side, side)."""
    source: int
    """The number of the picture that it was made of."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """How a picture changes."""

    cover: Tensor
    """How much of the new picture shows, from 0 to 1 (side, side)."""
    new: Tensor
    """(3, side, side)."""


@dataclass(frozen=True)
class _Good:
    """Pictures of good pills, and where these lie."""

    pictures: Tensor
    """(N, 3, side, side)."""
    pill: Tensor
    """Bool (side, side)."""

    @property
    def side(self) -> int:
        return int(self.pictures.shape[-1])

    @property
    def scale(self) -> float:
        return self.side / _SIDE


class _Draw:
    """Random values."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator))

    def yes(self) -> bool:
        return self.below(2) == 1

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def colour(self, strength: float) -> Tensor:
        """Return a change of colour (3, 1, 1) of that length; most change the light, too."""
        change = 0.35 * self.normal(3) + self.normal(1)
        change *= strength / float(change.norm())
        return change[:, None, None]

    def place(self, good: _Good) -> tuple[int, int]:
        """Return row and column of a place on the pill."""
        places = torch.nonzero(good.pill)
        row, column = places[self.below(len(places))].tolist()
        return row, column

    def noise(self, side: int, cells: int) -> Tensor:
        """Return smooth noise from about 0 to 1 (side, side), with so many hills along a side."""
        hills = self.uniform(1, 1, cells, cells)
        noise: Tensor = F.interpolate(hills, (side, side), mode="bicubic", align_corners=False)
        return noise[0, 0]


def invent(pictures: Tensor, count: int, *, seed: int) -> Iterator[Invented]:
    """Yield pictures with invented defects; pictures and kinds take turns.

    Args:
        pictures: of good pills that lie alike (N, 3, side, side), from 0 to 1.
        count: how many to yield; fewer if a kind cannot be seen in these pictures.
        seed: the same one gives the same defects.
    """
    draw, good = _Draw(seed), _Good(pictures, pill_area(pictures))
    for number in range(count):
        source = number % len(pictures)
        kind = KINDS[(number + number // len(pictures)) % len(KINDS)]
        for _ in range(_MOST_TRIES):
            picture, mask = _made(pictures[source], kind(draw, good, source))
            if int(mask.sum()) >= _FEWEST:
                yield Invented(picture=picture, mask=mask, source=source)
                break


def pill_area(pictures: Tensor) -> Tensor:
    """Return where the pill is, bool (side, side): what is unlike the picture's edge.

    Pictures that are alike everywhere have it everywhere.
    """
    mean = pictures.mean(0)
    inside = torch.zeros(mean.shape[1:], dtype=torch.bool)
    inside[_EDGE:-_EDGE, _EDGE:-_EDGE] = True
    around = mean[:, ~inside].mean(1)
    unlike = (mean - around[:, None, None]).abs().sum(0)
    return unlike >= 0.5 * unlike.flatten().quantile(0.9)


def _made(picture: Tensor, change: _Change) -> tuple[Tensor, Tensor]:
    """Return the changed picture, and where it is changed."""
    changed = (picture * (1.0 - change.cover) + change.new * change.cover).clamp(0.0, 1.0)
    mask = (change.cover > _COVERED) & ((changed - picture).abs().amax(0) > _VISIBLE)
    return changed, mask


# ---- kinds ---------------------------------------------------------------------------------


def _line(draw: _Draw, good: _Good, source: int) -> _Change:
    """A bent or ragged line, lighter or darker or of another colour."""
    rows, columns = _coordinates(good.side)
    direction, length = draw.between(0.0, 2.0 * math.pi), draw.between(15.0, 90.0) * good.scale
    bend, rag = draw.between(-2.0, 2.0), draw.between(0.0, 0.6) if draw.yes() else 0.0
    width, step = draw.between(0.5, 1.8) * good.scale, length / _STEPS
    row, column = draw.place(good)
    at = torch.tensor([row, column]) - 0.5 * length * torch.tensor(
        [math.sin(direction), math.cos(direction)]
    )
    distance = torch.full((good.side, good.side), math.inf)
    for number, deviation in enumerate(draw.normal(_STEPS).tolist()):
        angle = direction + bend * (number / _STEPS - 0.5) + rag * deviation
        ahead = step * torch.tensor([math.sin(angle), math.cos(angle)])
        along = ((rows - at[0]) * ahead[0] + (columns - at[1]) * ahead[1]) / step**2
        along = along.clamp(0.0, 1.0)
        away = torch.hypot(rows - at[0] - along * ahead[0], columns - at[1] - along * ahead[1])
        distance = torch.minimum(distance, away)
        at = at + ahead
    cover = (1.0 + width - distance).clamp(0.0, 1.0)
    return _Change(cover=cover, new=good.pictures[source] + draw.colour(draw.between(0.08, 0.5)))


def _stain(draw: _Draw, good: _Good, source: int) -> _Change:
    """A part of another colour, through which the pill shows."""
    cover = _softened(_spot(draw, good, 3.0, 22.0), draw.below(4))
    return _Change(cover=cover, new=good.pictures[source] + draw.colour(draw.between(0.1, 0.5)))


def _lump(draw: _Draw, good: _Good, _source: int) -> _Change:
    """A part that something else covers."""
    cover = _softened(_spot(draw, good, 3.0, 22.0), draw.below(4))
    texture = (draw.noise(good.side, 28) - 0.5) * draw.between(0.0, 0.5)
    return _Change(cover=cover, new=draw.uniform(3)[:, None, None] + texture)


def _patch(draw: _Draw, good: _Good, _source: int) -> _Change:
    """A part of any of the pictures, from another place."""
    cover = _softened(_spot(draw, good, 6.0, 26.0), 1 + draw.below(2))
    farthest = 60.0 * good.scale
    shift = [round(draw.between(-farthest, farthest)) for _ in range(2)]
    other = good.pictures[draw.below(len(good.pictures))]
    return _Change(cover=cover, new=other.roll(shift, (1, 2)))


def _turned(draw: _Draw, good: _Good, source: int) -> _Change:
    """A part that is mirrored where it is, as letters may be."""
    row, column = draw.place(good)
    radius = draw.between(12.0, 40.0) * good.scale
    cover = _softened(_spot_at(draw, good, row, column, radius), 2)
    half = min(round(1.6 * radius), row, column, good.side - 1 - row, good.side - 1 - column)
    square = (
        slice(None),
        slice(row - half, row + half + 1),
        slice(column - half, column + half + 1),
    )
    new = good.pictures[source].clone()
    new[square] = new[square].flip([(1,), (2,), (1, 2)][draw.below(3)])
    return _Change(cover=cover, new=new)


def _smoothed(draw: _Draw, good: _Good, source: int) -> _Change:
    """A part without its detail, as of letters that are missing; fine grain stays."""
    cover = _softened(_spot(draw, good, 8.0, 30.0), 2)
    picture, reach = good.pictures[source], round(draw.between(5.0, 14.0) * good.scale)
    coarse = _softened(_softened(picture, reach), reach)
    return _Change(cover=cover, new=coarse + picture - _softened(picture, 1))


def _tinted(draw: _Draw, good: _Good, source: int) -> _Change:
    """A pill of another colour."""
    cover = _softened(good.pill.float(), 3)
    new = good.pictures[source] * (1.0 + draw.colour(draw.between(0.08, 0.4)))
    return _Change(cover=cover, new=new)


def _misshapen(draw: _Draw, good: _Good, source: int) -> _Change:
    """A larger, smaller, narrower or turned pill."""
    size = 1.0 + draw.between(0.06, 0.3) * (1.0 if draw.yes() else -1.0)
    other = 1.0 + (size - 1.0) * draw.between(-1.0, 1.0)
    angle = draw.between(-0.5, 0.5) if draw.yes() else 0.0
    turn = torch.tensor(
        [
            [size * math.cos(angle), -math.sin(angle), 0.0],
            [math.sin(angle), other * math.cos(angle), 0.0],
        ]
    )
    picture = good.pictures[source : source + 1]
    grid = F.affine_grid(turn[None], list(picture.shape), align_corners=False)
    new = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0]
    return _Change(cover=torch.ones(good.side, good.side), new=new)


KINDS: Final[tuple[Callable[[_Draw, _Good, int], _Change], ...]] = (
    _patch,
    _line,
    _stain,
    _lump,
    _turned,
    _smoothed,
    _tinted,
    _misshapen,
)


# ---- shapes --------------------------------------------------------------------------------


def _spot(draw: _Draw, good: _Good, least: float, most: float) -> Tensor:
    """Return a ragged spot on the pill, 0 or 1 (side, side), of a radius between these pixels."""
    row, column = draw.place(good)
    return _spot_at(draw, good, row, column, draw.between(least, most) * good.scale)


def _spot_at(draw: _Draw, good: _Good, row: int, column: int, radius: float) -> Tensor:
    rows, columns = _coordinates(good.side)
    down, right = rows - row, columns - column
    angle = draw.between(0.0, math.pi)
    along = (down * math.cos(angle) + right * math.sin(angle)) / (radius * draw.between(0.6, 1.5))
    across = (right * math.cos(angle) - down * math.sin(angle)) / (radius * draw.between(0.6, 1.5))
    hills = 3 + max(4, round(good.side / (1.5 * max(radius, 4.0))))
    ragged = 1.2 * (draw.noise(good.side, hills) - 0.5)
    return (torch.hypot(along, across) + ragged < 1.0).float()


def _coordinates(side: int) -> tuple[Tensor, Tensor]:
    """Return each pixel's row and column (side, side)."""
    numbers = torch.arange(side, dtype=torch.float32)
    return numbers[:, None].expand(side, side), numbers[None].expand(side, side)


def _softened(planes: Tensor, pixels: int) -> Tensor:
    """Return the means over squares (..., side, side) that reach so many pixels to each side."""
    return faded(planes.reshape(-1, *planes.shape[-2:]), pixels).reshape(planes.shape)
