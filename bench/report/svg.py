"""From a matplotlib figure to SVG that lives inside a page.

Colours are drawn as placeholders and become CSS variables, so that dark mode and print need no
second drawing; text stays text in the page's own font; ids are prefixed, because several drawings
share one document; the result is the same for the same numbers.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

INK = "#010101"
MUTED = "#010102"
GRID = "#010103"
PAPER = "#010104"
STOCK = "#010105"
IPEX = "#010106"
PLACEBO = "#010107"
FASTER = "#010108"
SLOWER = "#010109"
LEVEL = "#01010a"
BAND = "#01010b"

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    STOCK: "stock",
    IPEX: "ipex",
    PLACEBO: "placebo",
    FASTER: "faster",
    SLOWER: "slower",
    LEVEL: "level",
    BAND: "band",
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pillqc-bench",
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": GRID,
    "lines.linewidth": 2,
    "hatch.linewidth": 1,
}


def draw(
    name: str,
    *,
    width: int,
    height: int,
    title: str,
    description: str,
    paint: Callable[[Figure], None],
) -> Markup:
    """One drawing as safe markup. `name` is ours (letters, digits, dashes), never from a file.

    `width` and `height` are CSS pixels: a font of 12 is 12 pixels where the drawing is not scaled.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embed(buffer.getvalue(), name, width, height, title, description)


def _embed(
    drawing: str, name: str, width: int, height: int, title: str, description: str
) -> Markup:
    body = drawing[drawing.index("<svg") :]
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"(<[^>]*?)font-family:[^;\"]*;? ?", r"\1", body)
    body = _local_ids(body, name)
    for placeholder, variable in _VARIABLES.items():
        body = body.replace(placeholder, f"var(--{variable})")
    body = re.sub(r"\s*\n\s*", " ", body)
    body = _lean(_short_numbers(body))
    opening = (
        f'<svg class="drawing" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px;font-size:12px" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
    )
    return Markup(f"{opening}{body}</svg>")  # noqa: S704 -- texts are escaped here or by matplotlib


def _short_numbers(body: str) -> str:
    """A tenth of a pixel is enough; text between tags is left alone."""

    def shorten(tag: re.Match[str]) -> str:
        return re.sub(r"(?<=\d)\.(\d)\d+", r".\1", tag[0])

    return re.sub(r"<[^>]+>", shorten, body)


def _lean(body: str) -> str:
    """Without what changes nothing: a page of 200 scenarios has thousands of texts in drawings."""
    body = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", body)
    body = body.replace("font-size: 12px; ", "")
    kept: list[bool] = []

    def group(tag: re.Match[str]) -> str:
        if tag[0] == "</g>":
            return tag[0] if kept.pop() else ""
        kept.append(tag[0] != "<g>")
        return tag[0] if kept[-1] else ""

    body = re.sub(r"<g\b[^>]*(?<!/)>|</g>", group, body)
    return re.sub(r"> +<", "><", body)


def _local_ids(body: str, name: str) -> str:
    """Keep only the ids that something refers to, prefixed by the drawing's name."""
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', body))

    def rename(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r'(?<=[\w"]) id="([^"]+)"', rename, body)
    body = re.sub(r'xlink:href="#([\w.-]+)"', rf'href="#{name}-\1"', body)
    return re.sub(r"url\(#([\w.-]+)\)", rf"url(#{name}-\1)", body)
