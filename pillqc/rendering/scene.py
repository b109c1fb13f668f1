"""Render one pill, from seed to photograph.

    pill = render(seed=7, size=224, defect="crack")
    pill.image     # uint8 (224, 224, 3)
    pill.mask      # bool (224, 224), exactly the footprint of the defect

Good and bad pills go through the same camera, so they differ by the defect only.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, JpegImagePlugin
from scipy import ndimage

from pillqc.data.images import GOOD
from pillqc.rendering.defects import EDITS, other_design
from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign
from pillqc.rendering.grid import EVERYWHERE, Field, Grid, Window, smooth_noise, soft_step
from pillqc.rendering.imprint import SCORE_LINE, Stroke, imprint_strokes, pressed
from pillqc.rendering.setting import MEASURED, PILL_TYPE, Camera, Setting
from pillqc.rendering.surface import WHITE, Body, lay_body, shaded, speckle

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFECTS: Final = (
    "color",
    "combined",
    "contamination",
    "crack",
    "faulty_imprint",
    PILL_TYPE,
    "scratch",
)
_BACKGROUND: Final = ((15.0, 19.0), (15.0, 19.0), (23.0, 30.0))
"""Measured ranges of red, green and blue."""
_RIM_WIDTH: Final = (0.022, 0.040)
"""Full width of the rim's edge, of which 10 to 90 % take 8 to 16 px of 551."""
_IMPRINT_DEPTH: Final = 0.9
_GROOVE_SHADE: Final = 2.5
"""Grey levels by which the floor of a letter is darker."""


@dataclass(frozen=True, kw_only=True)
class RenderedPill:
    """A photograph with its truth."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    severity: float
    """From 0 (just visible) to 1; 0 for good pills."""


@dataclass(kw_only=True)
class Scene:
    """A pill that defects can still change."""

    grid: Grid
    design: PillDesign
    setting: Setting
    body: Body
    strokes: list[Stroke]
    imprint_centre: tuple[float, float]
    pigment: Field
    """Colour of the coating relative to white (size, size, 3)."""
    relief: Field
    """Height of the surface without the imprint; letters are 1 deep."""
    glow: Field
    """Grey levels that a defect adds to the light."""
    rim: Field
    """Signed distance to the outline, with what has broken off taken away."""
    defect_scale: float = 1.0
    """How long or wide a defect is, relative to one of its severity."""
    footprint: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.footprint = np.zeros((self.grid.size, self.grid.size), np.bool_)

    def paint(self, window: Window, alpha: Field, colour: NDArray[np.float64]) -> None:
        """Paint a colour on the coating."""
        part = self.pigment[window]
        part += alpha[..., None] * ((colour / WHITE).astype(np.float32) - part)

    def imprinted(self, text: str) -> list[Stroke]:
        """Return the strokes of letters, and of a line to break the pill by, on this pill."""
        setting, body = self.setting, self.body
        scale = setting.letters * setting.zoom
        strokes = imprint_strokes(text, centre=self.imprint_centre, angle=body.angle, scale=scale)
        if setting.scored:
            ends = body.point(0.85, math.pi / 2), body.point(0.85, -math.pi / 2)
            line = (*ends[0], *ends[1])
            strokes.append(Stroke(letter=SCORE_LINE, segment=line, scale=0.7 * scale))
        return strokes

    def mark(self, window: Window, where: NDArray[np.bool_]) -> None:
        """Add to the mask what a defect covers of the pill."""
        self.footprint[window] |= where & (self.body.distance[window] < 0.0)


def render(
    *,
    seed: int,
    size: int = 224,
    defect: str = GOOD,
    design: PillDesign = DEFAULT_DESIGN,
    defect_scale: float = 1.0,
    setting: Setting = MEASURED,
) -> RenderedPill:
    """Render one pill; the same arguments give the same bits.

    `defect_scale` makes a defect smaller or larger: a stain, a particle and a chip in both
    directions; a crack and a scratch in their length, because their width is that of a line. A
    faulty imprint keeps its size, which is that of letters, and another product has none.
    """
    rng = np.random.default_rng(seed)
    grid = Grid(size)
    severity = 0.0 if defect == GOOD else round(float(rng.uniform()), 4)
    used = other_design(rng, design) if defect == PILL_TYPE else design
    scene = _lay_out(rng, grid, used, setting)
    scene.defect_scale = defect_scale
    if defect in EDITS:
        EDITS[defect](rng, scene, severity)
    if defect == PILL_TYPE:
        scene.mark(EVERYWHERE, scene.body.distance < 0.0)
    return RenderedPill(image=_photograph(rng, scene), mask=scene.footprint, severity=severity)


def _lay_out(rng: np.random.Generator, grid: Grid, design: PillDesign, setting: Setting) -> Scene:
    body = lay_body(rng, grid, design, setting)
    shift = rng.normal(0.0, 0.0012, 2)
    centre = (body.centre[0] + float(shift[0]), body.centre[1] + float(shift[1]))
    base = np.asarray(design.colour, np.float32) / np.float32(WHITE)
    scene = Scene(
        grid=grid,
        design=design,
        setting=setting,
        body=body,
        strokes=[],
        imprint_centre=centre,
        pigment=np.tile(base, (grid.size, grid.size, 1)),
        relief=grid.zeros(),
        glow=grid.zeros(),
        rim=body.distance.copy(),
    )
    scene.strokes = scene.imprinted(design.imprint)
    speckle(rng, scene, design)
    return scene


def _photograph(rng: np.random.Generator, scene: Scene) -> NDArray[np.uint8]:
    grid = scene.grid
    deep = _IMPRINT_DEPTH * scene.setting.depth
    letters = pressed(grid, scene.strokes) * np.float32(deep * rng.uniform(0.88, 1.12))
    scene.glow += letters * np.float32(_GROOVE_SHADE + scene.setting.ink)
    pill = shaded(rng, scene, letters + scene.relief)
    cover = soft_step(scene.rim, rng.uniform(*_RIM_WIDTH))[..., None]
    photo = _table(rng, scene) * (1.0 - cover) + pill * cover
    return _camera(rng, photo, grid, scene.setting.camera)


def _table(rng: np.random.Generator, scene: Scene) -> Field:
    """Return the background: dark with faint dust, as measured, or the setting's."""
    grid, look, lamp = scene.grid, scene.setting.table, scene.setting.lamp
    colour = np.array([rng.uniform(low, high) for low, high in _BACKGROUND], np.float32)
    dust = np.maximum(smooth_noise(rng, grid, 0.012) - 2.2, 0.0) * np.float32(5.0)
    cloud = smooth_noise(rng, grid, 0.2) * np.float32(0.6)
    table: Field = colour + (dust + cloud)[..., None]
    table += np.asarray(look.lighter, np.float32)
    if look.brushed:
        rows = rng.standard_normal((grid.size, 1, 1), dtype=np.float32)
        table += rows * np.float32(look.brushed)
    if look.grain:
        table += (smooth_noise(rng, grid, 0.01) * np.float32(look.grain))[..., None]
    if lamp.shadow:
        away = (0.03 * math.sin(lamp.turn), 0.03 * math.cos(lamp.turn))
        steps = (round(away[1] * grid.size), round(away[0] * grid.size))
        dark = soft_step(np.roll(scene.rim, steps, (0, 1)), 0.06)
        table *= 1.0 - np.float32(lamp.shadow) * dark[..., None]
    return table


def _camera(
    rng: np.random.Generator, photo: Field, grid: Grid, camera: Camera
) -> NDArray[np.uint8]:
    """Apply lens, exposure, white balance, sensor noise, rounding and compression."""
    blur = rng.uniform(0.0012, 0.0024) * grid.size * camera.blur
    photo = ndimage.gaussian_filter(photo, (blur, blur, 0.0), truncate=3.0)
    gain = rng.normal(1.0, 0.015) * rng.normal(1.0, 0.008, 3) * np.asarray(camera.gain)
    noise = rng.standard_normal(photo.shape, dtype=np.float32)
    photo = photo * gain.astype(np.float32)
    photo += noise * np.float32(rng.uniform(0.3, 0.6) * camera.noise)
    image = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
    return _compressed(image, camera.jpeg) if camera.jpeg else image


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.asarray(JpegImagePlugin.JpegImageFile(file))
