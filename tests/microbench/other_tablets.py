"""Draw round tablets by a renderer that shares no code with `pillqc.rendering`.

    photo, mask = tablet(7, "crack")    # an RGB picture of 400 px, and where it is defective
    lay_out(Path("data/tablets"), good=60, each=10, first_seed=0)    # MVTec AD's layout, JPEG

A domed, bevelled tablet with a score line and an imprint in a font lies on a bright, brushed belt,
lit from the left with a highlight and a shadow; the camera blurs, adds noise and writes JPEG. Only
Pillow, numpy and scipy draw. `other_renderer.py` judges the shipped model on them.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pillqc.limits import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Field = NDArray[np.floating[Any]]
Draw = ImageDraw.ImageDraw

SIDE: Final = 400
GOOD: Final = "good"
TEXT: Final = ("R", "40")
"""Above and below the score line."""
_WRONG: Final = (("B", "40"), ("P", "40"), ("R", "46"), ("R", "10"), ("R", "4"), ("", "40"))
_FINER: Final = 2
"""Lines are drawn so many times as large, for smooth edges."""
_LAMP: Final = (-0.52, -0.33, 0.79)
"""Towards the lamp: left, above, in front."""
_COLOUR: Final = (228.0, 205.0, 128.0)
_BELT: Final = (146.0, 160.0, 166.0)


@dataclass(kw_only=True)
class _Scene:
    """A tablet before it is lit."""

    rng: np.random.Generator
    centre: tuple[float, float]
    radius: float
    """In pixels."""
    turn: float
    """In degrees."""
    away: Field
    """Distance from the centre, in radii."""
    cover: Field
    """How much of a pixel the tablet covers."""
    relief: Field
    """Height above the smooth dome, in pixels."""
    albedo: Field
    """Share of light that the tablet reflects (H, W, 3)."""
    over: list[tuple[Field, tuple[float, float, float]]]
    """What lies on top: its cover and its colour."""
    text: tuple[str, str] = TEXT

    def place(self, angle: float, radii: float) -> tuple[float, float]:
        """Return the point at an angle (radians) and a distance (radii) from the centre."""
        reach = radii * self.radius
        return self.centre[0] + reach * math.cos(angle), self.centre[1] + reach * math.sin(angle)


def tablet(seed: int, kind: str = GOOD) -> tuple[Image.Image, NDArray[np.bool_]]:
    """Return a picture and where it is defective, bool (SIDE, SIDE).

    Args:
        seed: the same seed gives the same tablet.
        kind: `good`, or one of `KINDS`.
    """
    rng = np.random.default_rng([seed, [GOOD, *KINDS].index(kind)])
    scene = _lay_tablet(rng)
    mask = DEFECTS[kind](scene) if kind != GOOD else np.zeros((SIDE, SIDE), np.float32)
    scene.relief -= 2.4 * _blurred(_imprint(scene, scene.text), 1.4)
    return _photograph(scene), mask > 0.3


def lay_out(folder: Path, *, good: int, each: int, first_seed: int) -> Path:
    """Draw a data set with that many good tablets and `each` of every defect, unless it exists."""
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        root = Path(made) / "set"
        counts = [(GOOD, good), *((kind, each) for kind in KINDS)]
        todo = [(kind, number) for kind, count in counts for number in range(count)]
        for kind in (GOOD, *KINDS):
            (root / "test" / kind).mkdir(parents=True)
            (root / "ground_truth" / kind).mkdir(parents=True)
        (root / "ground_truth" / GOOD).rmdir()
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        with ProcessPoolExecutor(usable_cores(), mp_context=context) as pool:
            list(pool.map(partial(_write, root, first_seed), todo, chunksize=8))
        shutil.move(root, folder)
    return folder


def _write(root: Path, first_seed: int, which: tuple[str, int]) -> None:
    kind, number = which
    seed = first_seed + number
    photo, mask = tablet(seed, kind)
    quality = int(np.random.default_rng([seed, 99]).integers(80, 96))
    photo.save(root / "test" / kind / f"{number:03}.jpg", quality=quality)
    if kind != GOOD:
        levels = Image.fromarray(mask.astype(np.uint8) * 255)
        levels.save(root / "ground_truth" / kind / f"{number:03}_mask.png")


def _lay_tablet(rng: np.random.Generator) -> _Scene:
    x, y = (float(at) for at in SIDE * (0.5 + rng.uniform(-0.02, 0.02, 2)))
    radius = float(SIDE * rng.uniform(0.35, 0.365))
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    away = np.hypot(columns - x, rows - y) / np.float32(radius)
    base = np.asarray(_COLOUR, np.float32) / 255.0 * rng.normal(1.0, 0.012, 3).astype(np.float32)
    scene = _Scene(
        rng=rng,
        centre=(x, y),
        radius=radius,
        turn=float(rng.uniform(-5.0, 5.0)),
        away=away,
        cover=np.clip((1.0 - away) * radius / 1.5 + 0.5, 0.0, 1.0),
        relief=np.zeros((SIDE, SIDE), np.float32),
        albedo=np.tile(base, (SIDE, SIDE, 1)),
        over=[],
    )
    _speckle(scene)
    return scene


def _speckle(scene: _Scene) -> None:
    """Give every tablet, good ones too, faint specks and a cloudy coating."""
    rng = scene.rng
    count = int(rng.integers(8, 26))
    places = [scene.place(*at) for at in rng.uniform((0, 0), (2 * math.pi, 0.95), (count, 2))]
    sizes, depths = rng.uniform(0.6, 1.7, count), rng.uniform(0.04, 0.16, count)
    for place, size, depth in zip(places, sizes, depths, strict=True):
        dot = _drawn(partial(_disc, centre=place, radius=float(size)))
        scene.albedo *= 1.0 - np.float32(depth) * dot[..., None]
    cloud = _blurred(rng.standard_normal((SIDE, SIDE)).astype(np.float32), 9.0)
    scene.albedo *= (1.0 + 0.012 * cloud / cloud.std())[..., None]


def _imprint(scene: _Scene, text: Sequence[str], *, line: bool = True) -> Field:
    """Return the pressed text and score line as a field of 0 to 1."""
    x, y, radius = *scene.centre, scene.radius

    def draw(pen: Draw) -> None:
        font = ImageFont.load_default(size=0.5 * radius * _FINER)
        for word, up in zip(text, (-1, 1), strict=True):
            at = (x * _FINER, (y + up * 0.42 * radius) * _FINER)
            pen.text(at, word, fill=255, font=font, anchor="mm")
        if line:
            ends = [(x - 0.8 * radius, y), (x + 0.8 * radius, y)]
            _polyline(pen, ends, width=0.03 * radius)

    return _drawn(draw, turn=scene.turn, centre=scene.centre)


def _chip(scene: _Scene) -> Field:
    """Break a piece off the rim: the belt shows, and a rough, paler core at the break."""
    rng = scene.rng
    x, y = scene.place(float(rng.uniform(0, 2 * math.pi)), 1.03)
    reach = scene.radius * float(rng.uniform(0.12, 0.24)) * rng.uniform(0.75, 1.2, 14)
    turn = np.linspace(0.0, 2 * math.pi, 14, endpoint=False)
    corners = [
        (x + float(a), y + float(b))
        for a, b in zip(reach * np.cos(turn), reach * np.sin(turn), strict=True)
    ]
    bite = _drawn(partial(_polygon, corners=corners))
    whole = scene.cover.copy()
    core = _blurred(bite, 4.0) * (1.0 - bite)
    rough = _blurred(rng.standard_normal((SIDE, SIDE)).astype(np.float32), 1.2)
    scene.relief += core * (4.0 * rough / rough.std() - 3.0)
    scene.albedo += 0.12 * core[..., None]
    scene.cover = scene.cover * (1.0 - bite)
    return bite * (whole > 0.5)


def _crack(scene: _Scene) -> Field:
    """Draw a jagged line from the rim inwards, dark and deep."""
    rng = scene.rng
    start = float(rng.uniform(0, 2 * math.pi))
    x, y = scene.place(start, 0.97)
    steps = int(rng.integers(8, 16))
    heading = start + math.pi + float(rng.uniform(-0.5, 0.5))
    stride = scene.radius * float(rng.uniform(0.5, 1.3)) / steps
    points = [(x, y)]
    for bend in rng.normal(0.0, 0.45, steps):
        x += stride * math.cos(heading + bend)
        y += stride * math.sin(heading + bend)
        points.append((x, y))
    line = _drawn(partial(_polyline, points=points, width=float(rng.uniform(1.1, 2.2))))
    scene.albedo *= 1.0 - np.float32(rng.uniform(0.35, 0.65)) * line[..., None]
    scene.relief -= 1.5 * line
    return line * scene.cover


def _fibre(scene: _Scene) -> Field:
    """Lay a thin, curled fibre on the tablet."""
    rng = scene.rng
    ends = [scene.place(*at) for at in rng.uniform((0, 0.1), (2 * math.pi, 0.95), (3, 2))]
    share = np.linspace(0.0, 1.0, 40)[:, None]
    first, middle, last = (np.asarray(point) for point in ends)
    curve = (1 - share) ** 2 * first + 2 * share * (1 - share) * middle + share**2 * last
    points = [(float(x), float(y)) for x, y in curve]
    line = _drawn(partial(_polyline, points=points, width=float(rng.uniform(1.2, 2.0))))
    colour = ((40.0, 42.0, 55.0), (120.0, 40.0, 45.0), (45.0, 70.0, 130.0))[rng.integers(3)]
    scene.over.append((0.8 * line, colour))
    return line


def _misprint(scene: _Scene) -> Field:
    """Press other characters; both texts of the changed half count as defective."""
    scene.text = _WRONG[scene.rng.integers(len(_WRONG))]
    changed = [old != new for old, new in zip(TEXT, scene.text, strict=True)]

    def half(text: Sequence[str]) -> Field:
        words = [word if differs else "" for word, differs in zip(text, changed, strict=True)]
        return _imprint(scene, words, line=False)

    return np.maximum(half(TEXT), half(scene.text))


def _scratch(scene: _Scene) -> Field:
    """Rub the coating off in a few nearly parallel, straight lines."""
    rng = scene.rng
    x, y = scene.place(float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 0.5)))
    heading, length = float(rng.uniform(0, math.pi)), scene.radius * float(rng.uniform(0.25, 0.6))
    lines: Field = np.zeros((SIDE, SIDE), np.float32)
    for number in range(int(rng.integers(1, 5))):
        bent = heading + float(rng.normal(0.0, 0.04))
        aside = 4.0 * number * float(rng.uniform(0.7, 1.4))
        middle = (x - aside * math.sin(heading), y + aside * math.cos(heading))
        reach = (length * math.cos(bent), length * math.sin(bent))
        ends = [(middle[0] + s * reach[0], middle[1] + s * reach[1]) for s in (-1, 1)]
        width = float(rng.uniform(0.8, 1.6))
        lines = np.maximum(lines, _drawn(partial(_polyline, points=ends, width=width)))
    scene.albedo += np.float32(rng.uniform(0.1, 0.22)) * lines[..., None]
    scene.relief -= 0.8 * lines
    return lines * scene.cover


def _stain(scene: _Scene) -> Field:
    """Colour a blot of several discs."""
    rng = scene.rng
    angle, reach = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.0, 0.7))
    blot: Field = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.integers(3, 7))):
        x, y = scene.place(angle, reach)
        x, y = (at + float(rng.normal(0.0, 0.07)) * scene.radius for at in (x, y))
        disc = partial(_disc, centre=(x, y), radius=scene.radius * float(rng.uniform(0.05, 0.13)))
        blot = np.maximum(blot, _drawn(disc))
    soft = _blurred(blot, 2.0)
    tint = np.array(((0.62, 0.5, 0.42), (0.6, 0.72, 0.55), (0.55, 0.6, 0.8))[rng.integers(3)])
    strength = np.float32(rng.uniform(0.45, 0.9))
    scene.albedo *= 1.0 - strength * soft[..., None] * (1.0 - tint.astype(np.float32))
    return soft * scene.cover


DEFECTS: Final[dict[str, Callable[[_Scene], Field]]] = {
    "chip": _chip,
    "crack": _crack,
    "fibre": _fibre,
    "misprint": _misprint,
    "scratch": _scratch,
    "stain": _stain,
}
"""Each changes the scene and returns where, as a field of 0 to 1."""
KINDS: Final = tuple(DEFECTS)


def _photograph(scene: _Scene) -> Image.Image:
    rng = scene.rng
    photo = _belt(scene)
    cover = scene.cover[..., None]
    photo = photo * (1.0 - cover) + 255.0 * _lit(scene) * cover
    for over, colour in scene.over:
        photo += over[..., None] * (np.asarray(colour, np.float32) - photo)
    photo *= rng.normal(1.0, 0.02) * rng.normal(1.0, 0.008, 3).astype(np.float32)
    photo = np.stack([_blurred(plane, float(rng.uniform(0.5, 0.9))) for plane in photo.T]).T
    photo += rng.standard_normal(photo.shape).astype(np.float32) * rng.uniform(1.5, 3.5)
    return Image.fromarray(photo.clip(0, 255).round().astype(np.uint8))


def _belt(scene: _Scene) -> Field:
    """Return the brushed belt with the tablet's shadow (H, W, 3)."""
    rng = scene.rng
    brushed = np.repeat(rng.normal(0.0, 3.0, (SIDE, 1)), SIDE, axis=1).astype(np.float32)
    brushed += _blurred(rng.standard_normal((SIDE, SIDE)).astype(np.float32), 1.0) * 8.0
    shadow = _blurred(np.roll(scene.cover, (6, 11), (0, 1)), 5.0)
    level = (1.0 - 0.4 * shadow) * np.linspace(1.04, 0.94, SIDE, dtype=np.float32)
    belt: Field = (np.asarray(_BELT, np.float32) + brushed[..., None]) * level[..., None]
    return belt


def _lit(scene: _Scene) -> Field:
    """Return the light that the tablet reflects (H, W, 3), 1 for white."""
    away = np.minimum(scene.away, 1.05)
    dome = 0.28 * (1.0 - away**2) - 1.6 * np.maximum(away - 0.88, 0.0) ** 2
    down, right = np.gradient(scene.radius * dome + scene.relief)
    normal = np.stack([-right, -down, np.ones_like(right)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.asarray(_LAMP) / np.linalg.norm(_LAMP)
    half = lamp + np.array((0.0, 0.0, 1.0))
    half /= np.linalg.norm(half)
    diffuse, shine = (np.clip(normal @ towards, 0.0, 1.0) for towards in (lamp, half))
    light: Field = scene.albedo * (0.3 + 0.85 * diffuse)[..., None] + 0.16 * shine[..., None] ** 30
    return light.astype(np.float32)


def _drawn(
    draw: Callable[[Draw], None], *, turn: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)
) -> Field:
    """Return what `draw` draws in white on black as a field of 0 to 1, turned by degrees."""
    fine = Image.new("L", (SIDE * _FINER, SIDE * _FINER))
    draw(ImageDraw.Draw(fine))
    if turn:
        middle = (centre[0] * _FINER, centre[1] * _FINER)
        fine = fine.rotate(turn, Image.Resampling.BILINEAR, center=middle)
    small = fine.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255.0)


def _disc(pen: Draw, *, centre: tuple[float, float], radius: float) -> None:
    x, y, reach = (at * _FINER for at in (*centre, radius))
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)


def _polygon(pen: Draw, *, corners: Sequence[tuple[float, float]]) -> None:
    pen.polygon([(x * _FINER, y * _FINER) for x, y in corners], fill=255)


def _polyline(pen: Draw, points: Sequence[tuple[float, float]], *, width: float) -> None:
    """Draw a line through the points, of a width in pixels."""
    fine: Any = [(x * _FINER, y * _FINER) for x, y in points]
    pen.line(fine, fill=255, width=max(1, round(width * _FINER)), joint="curve")


def _blurred(field: Field, sigma: float) -> Field:
    blurred: Field = ndimage.gaussian_filter(field, sigma)
    return blurred
