"""Draw the seven defects: each edits the scene and adds its footprint to the mask.

The sizes were measured on real defects, as shares of the image: crack .30 to 1.32 %, faulty imprint
1.14 to 5.5 %, contamination .73 to .89 %. `severity` runs from 0 (just visible) to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from pillqc.rendering.design import colours
from pillqc.rendering.grid import (
    EVERYWHERE,
    blob,
    distance_to,
    extent,
    smooth_noise,
    soft_step,
)
from pillqc.rendering.imprint import GLYPHS, Stroke, moved, pressed, turned
from pillqc.rendering.setting import MEASURED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pillqc.rendering.design import PillDesign
    from pillqc.rendering.grid import Segment
    from pillqc.rendering.scene import Scene

_STAINS: Final = colours("d0b260 ce8e58 c46068 80a474 768ab8 9870a6 96704c")
_DIRT: Final = colours("70543e 646260 867e54 946242 baac78 6a8098 7c926e")
_CRACK: Final = np.array([96.0, 88.0, 82.0])
_DARKER: Final = 0.6
"""A crack is at most this share as light as the body, where the fixture is not the measured one."""
_OTHER_BODIES: Final = colours("b8aa8c b49e9c a0a8b2 bab8aa 9c9c98")


def stain(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Add a `color` defect: one to three translucent stains."""
    scale = scene.defect_scale
    area = _between(0.004, 0.030, severity) * rng.uniform(0.8, 1.2)
    spots = int(rng.integers(1, 4))
    colour = np.asarray(_STAINS[rng.integers(len(_STAINS))]) + rng.normal(0.0, 6.0, 3)
    shares = rng.dirichlet(np.full(spots, 3.0))
    texture = smooth_noise(rng, scene.grid, 0.03)
    for share in shares:
        x, y = _inside(rng, scene, 0.85)
        radius = scale * max(math.sqrt(area * share / math.pi), 0.018)
        window, distance = blob(
            rng, scene.grid, x=x, y=y, radius=radius, stretch=rng.uniform(1.0, 1.8)
        )
        cover = soft_step(distance, scale * rng.uniform(0.012, 0.03))
        strength = _between(0.40, 0.70, severity)
        alpha = cover * np.clip(strength + 0.12 * texture[window], 0.2, 0.9).astype(np.float32)
        scene.paint(window, alpha, colour)
        scene.mark(window, cover > 0.4)


def contaminate(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Add a `contamination`: a foreign particle with crumbs around it, on the coating."""
    scale = scene.defect_scale
    area = scale**2 * _between(0.0070, 0.0092, severity)
    colour = np.asarray(_DIRT[rng.integers(len(_DIRT))]) * rng.uniform(0.7, 1.3)
    x, y = _inside(rng, scene, 0.82)
    if scene.setting.fibres and rng.uniform() < scene.setting.fibres:
        _fibre(rng, scene, x, y, colour)
        return
    crumbs = int(rng.integers(0, 5))
    main = area * (1.0 - 0.08 * crumbs)
    _particle(rng, scene, x, y, math.sqrt(main / math.pi), colour)
    for _ in range(crumbs):
        direction, away = rng.uniform(0.0, 2.0 * math.pi), scale * rng.uniform(0.06, 0.12)
        crumb_x, crumb_y = x + away * math.cos(direction), y + away * math.sin(direction)
        _particle(rng, scene, crumb_x, crumb_y, math.sqrt(0.08 * area / math.pi), colour)


def crack(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Add a `crack`: a crack across the surface, or a chip broken out of the rim."""
    if rng.uniform() < 0.35:
        _chip(rng, scene, severity)
    else:
        _hairline(rng, scene, severity)


def scratch(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Add a `scratch`: one to three shallow, nearly straight lines side by side."""
    x, y = _inside(rng, scene, 0.6)
    heading = rng.uniform(0.0, 2.0 * math.pi)
    bend = rng.normal(0.0, 0.05)
    glow = (
        _between(13.0, 22.0, severity) if rng.uniform() < 0.5 else -_between(16.0, 34.0, severity)
    )
    for _ in range(int(rng.integers(1, 4))):
        length = scene.defect_scale * _between(0.16, 0.38, severity) * rng.uniform(0.8, 1.2)
        sx = x + rng.normal(0.0, 0.02) - math.cos(heading) * length / 2
        sy = y + rng.normal(0.0, 0.02) - math.sin(heading) * length / 2
        path = _walk(rng, scene, sx, sy, heading + rng.normal(0.0, 0.06), length, bend, 0.03)
        _engrave(rng, scene, path, width=rng.uniform(0.0045, 0.0075), glow=float(glow))


def spoil_imprint(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Make a `faulty_imprint`: missing, doubled, shifted, faint or wrong letters."""
    intended = pressed(scene.grid, scene.strokes)
    faults = _IMPRINT_FAULTS if scene.setting.known_imprint else _VISIBLE_FAULTS
    for _ in range(8):
        fault = faults[rng.integers(len(faults))]
        strokes = fault(rng, scene, severity)
        changed = np.abs(pressed(scene.grid, strokes) - intended) > 0.25
        if changed.mean() >= 0.006:
            break
    scene.strokes = strokes
    iterations = max(round(0.006 * scene.grid.size), 1)
    scene.mark(EVERYWHERE, ndimage.binary_dilation(changed, iterations=iterations))


def other_design(rng: np.random.Generator, design: PillDesign) -> PillDesign:
    """Return another product (`pill_type`): another imprint, often other colours or specks."""
    letters = sorted(set(GLYPHS) - set(design.imprint))
    changed = replace(design, imprint="".join(rng.choice(letters, size=len(design.imprint))))
    if rng.uniform() < 0.7:
        changed = replace(changed, colour=_OTHER_BODIES[rng.integers(len(_OTHER_BODIES))])
    if rng.uniform() < 0.5:
        low = int(rng.choice([0, 40]))
        changed = replace(changed, specks=(low, low + 8))
    if rng.uniform() < 0.3:
        a, b = design.semi_axes
        changed = replace(changed, semi_axes=(a * 0.95, b * 0.95))
    return changed


def combine(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    """Add a `combined` defect: two or three different ones."""
    count = 3 if rng.uniform() < 0.3 else 2
    for name in sorted(rng.choice(sorted(_SINGLE), size=count, replace=False)):
        _SINGLE[name](rng, scene, 0.75 * severity)


Edit = Callable[[np.random.Generator, "Scene", float], None]

_SINGLE: Final[dict[str, Edit]] = {
    "color": stain,
    "contamination": contaminate,
    "crack": crack,
    "faulty_imprint": spoil_imprint,
    "scratch": scratch,
}
EDITS: Final[dict[str, Edit]] = {**_SINGLE, "combined": combine}
"""Defect -> function that adds it to a scene; `pill_type` is another design instead."""


def _particle(
    rng: np.random.Generator,
    scene: Scene,
    x: float,
    y: float,
    radius: float,
    colour: NDArray[np.float64],
) -> None:
    stretch = rng.uniform(1.0, 2.2)
    window, distance = blob(
        rng, scene.grid, x=x, y=y, radius=radius, roughness=0.35, stretch=stretch
    )
    scale = scene.defect_scale
    cover = soft_step(distance, scale * 0.006)
    shadow = soft_step(distance - scale * 0.006, scale * 0.02)
    scene.glow[window] -= (shadow - cover).clip(0.0) * np.float32(rng.uniform(6.0, 12.0))
    texture = smooth_noise(rng, scene.grid, 0.012)[window]
    scene.paint(window, cover * np.float32(rng.uniform(0.35, 0.70)), colour)
    scene.glow[window] += cover * texture * np.float32(11.0)
    scene.relief[window] += cover * np.float32(0.8)
    scene.mark(window, cover > 0.4)


def _fibre(
    rng: np.random.Generator, scene: Scene, x: float, y: float, colour: NDArray[np.float64]
) -> None:
    length = scene.defect_scale * rng.uniform(0.15, 0.5)
    heading = rng.uniform(0.0, 2.0 * math.pi)
    path = _walk(rng, scene, x, y, heading, length, rng.normal(0.0, 0.12), 0.06)
    window = scene.grid.window(*extent(path, 0.03))
    line = soft_step(distance_to(scene.grid, path, window) - rng.uniform(0.002, 0.004), 0.003)
    scene.paint(window, line * np.float32(rng.uniform(0.5, 0.95)), colour * rng.uniform(0.4, 1.0))
    scene.mark(window, line > 0.3)


def _hairline(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    length = scene.defect_scale * _between(0.20, 0.46, severity)
    direction = rng.uniform(0.0, 2.0 * math.pi)
    x, y = scene.body.point(rng.uniform(0.45, 0.97), direction)
    heading = math.atan2(scene.body.centre[1] - y, scene.body.centre[0] - x) + rng.normal(0.0, 0.6)
    path = _walk(rng, scene, x, y, heading, length, 0.0, 0.28)
    if rng.uniform() < 0.45 and len(path) > 4:
        fork = path[len(path) // 2]
        turn = heading + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)
        path += _walk(rng, scene, fork[0], fork[1], turn, length * 0.3, 0.0, 0.28)
    window = scene.grid.window(*extent(path, 0.04))
    distance = distance_to(scene.grid, path, window)
    wobble = smooth_noise(rng, scene.grid, 0.03)[window]
    width = np.clip(0.0055 + 0.0015 * wobble, 0.003, 0.009).astype(np.float32)
    line = np.exp(-np.square(distance / width)).astype(np.float32)
    colour = _CRACK
    if scene.setting != MEASURED:
        colour = np.minimum(colour, _DARKER * np.asarray(scene.design.colour))
    scene.paint(window, line * np.float32(_between(0.45, 0.7, severity)), colour)
    scene.relief[window] -= line * np.float32(0.45)
    scene.mark(window, distance < 0.009)


def _chip(rng: np.random.Generator, scene: Scene, severity: float) -> None:
    scale = scene.defect_scale
    area = scale**2 * _between(0.004, 0.0105, severity)
    x, y = scene.body.point(0.985, rng.uniform(0.0, 2.0 * math.pi))
    window, distance = blob(
        rng, scene.grid, x=x, y=y, radius=math.sqrt(2.0 * area / math.pi), roughness=0.2
    )
    body = scene.body.distance[window]
    facet = soft_step(distance, 0.005)
    texture = smooth_noise(rng, scene.grid, 0.014)[window]
    scene.glow[window] += facet * (texture * np.float32(7.0) - np.float32(rng.uniform(14.0, 30.0)))
    scene.relief[window] -= facet * np.float32(0.9)
    scene.mark(window, (distance < 0) & (body < 0))
    gone = distance + np.float32(scale * rng.uniform(0.012, 0.022))
    scene.rim[window] = np.maximum(scene.rim[window], -gone)


def _engrave(
    rng: np.random.Generator, scene: Scene, path: list[Segment], *, width: float, glow: float
) -> None:
    window = scene.grid.window(*extent(path, 0.03))
    distance = distance_to(scene.grid, path, window)
    pressure = np.clip(0.8 + 0.45 * smooth_noise(rng, scene.grid, 0.06)[window], 0.25, 1.2)
    line = np.exp(-np.square(distance / np.float32(width * 0.7))) * pressure
    scene.glow[window] += (line * glow).astype(np.float32)
    scene.relief[window] -= (line * 0.22).astype(np.float32)
    scene.mark(window, distance < max(width, 0.6 / scene.grid.size))


def _walk(
    rng: np.random.Generator,
    scene: Scene,
    x: float,
    y: float,
    heading: float,
    length: float,
    bend: float,
    jitter: float,
) -> list[Segment]:
    """Return a path of short segments that stays on the pill."""
    step = 0.02 * scene.defect_scale
    path: list[Segment] = []
    for _ in range(max(int(length / step), 2)):
        heading += bend + rng.normal(0.0, jitter)
        nx, ny = x + step * math.cos(heading), y + step * math.sin(heading)
        if scene.body.radius_at(nx, ny) > 0.97:
            if path:
                break
            x, y = nx, ny
            continue
        path.append((x, y, nx, ny))
        x, y = nx, ny
    return path or [(x, y, *scene.body.centre)]


def _any_letter(rng: np.random.Generator, scene: Scene) -> int:
    return int(rng.integers(1 + max(stroke.letter for stroke in scene.strokes)))


def _missing(rng: np.random.Generator, scene: Scene, severity: float) -> list[Stroke]:
    letter = _any_letter(rng, scene)
    mine = [i for i, s in enumerate(scene.strokes) if s.letter == letter]
    count = 1 + int(severity * (len(mine) - 1) + rng.uniform(0.0, 0.9))
    lost = set(rng.permutation(mine)[:count].tolist())
    return [s for i, s in enumerate(scene.strokes) if i not in lost]


def _faint(rng: np.random.Generator, scene: Scene, severity: float) -> list[Stroke]:
    letter = _any_letter(rng, scene)
    depth = round(_between(0.4, 0.0, severity), 2)
    return [replace(s, depth=depth) if s.letter == letter else s for s in scene.strokes]


def _doubled(rng: np.random.Generator, scene: Scene, severity: float) -> list[Stroke]:
    direction = rng.uniform(0.0, 2.0 * math.pi)
    away = _between(0.03, 0.05, severity)
    dx, dy = away * math.cos(direction), away * math.sin(direction)
    ghost = [replace(s, segment=moved(s.segment, dx, dy), depth=0.7) for s in scene.strokes]
    return ghost + list(scene.strokes)


def _shifted(rng: np.random.Generator, scene: Scene, severity: float) -> list[Stroke]:
    letter = _any_letter(rng, scene)
    mine = [s for s in scene.strokes if s.letter == letter]
    x = float(np.mean([(s.segment[0] + s.segment[2]) / 2 for s in mine]))
    y = float(np.mean([(s.segment[1] + s.segment[3]) / 2 for s in mine]))
    angle = float(rng.choice([-1.0, 1.0])) * _between(0.15, 0.4, severity)
    dx, dy = rng.normal(0.0, 0.018, 2)

    def displaced(stroke: Stroke) -> Stroke:
        local = moved(stroke.segment, -x, -y)
        return replace(stroke, segment=turned(local, angle, (x + float(dx), y + float(dy))))

    return [displaced(s) if s.letter == letter else s for s in scene.strokes]


def _wrong(rng: np.random.Generator, scene: Scene, severity: float) -> list[Stroke]:
    del severity  # a letter is wrong or right
    text = list(scene.design.imprint)
    index = int(rng.integers(len(text)))
    text[index] = str(rng.choice(sorted(set(GLYPHS) - {text[index]})))
    return scene.imprinted("".join(text))


_IMPRINT_FAULTS: Final = (_missing, _faint, _doubled, _shifted, _wrong)
_VISIBLE_FAULTS: Final = (_doubled, _shifted)
"""Those that can be seen by someone who does not know the imprint."""


def _inside(rng: np.random.Generator, scene: Scene, most: float) -> tuple[float, float]:
    return scene.body.point(most * math.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * math.pi))


def _between(mild: float, severe: float, severity: float) -> float:
    return mild + (severe - mild) * severity
