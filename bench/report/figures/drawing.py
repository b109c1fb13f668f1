"""What every drawing shares: its two widths, its colours, and ratios in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import svg
from bench.text.wording import bounds, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup
    from matplotlib.figure import Figure

NARROW = 330
WIDE = 980

COLOURS = {"stock": svg.STOCK, "ipex": svg.IPEX, "placebo": svg.PLACEBO}
FILLS = {"stock": svg.STOCK, "ipex": svg.IPEX}


@dataclass(frozen=True, kw_only=True)
class Span:
    """One ratio with its interval, or the reason why there is none."""

    label: str
    kind: str
    """Backend, or `control`."""
    estimate: float | None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    missing: str = ""
    """What stands in place of the interval where there is none."""

    @property
    def is_valid(self) -> bool:
        """Whether a verdict may rest on it; invalid ones are drawn hollow."""
        return self.verdict != "invalid"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in two widths: the page shows the one that fits."""

    name: str
    caption: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a drawing is called, what it shows in words, and what stands below it."""

    title: str
    description: str
    caption: str


def in_two_widths(
    name: str,
    text: Text,
    *,
    heights: tuple[int, int],
    paint: Callable[[Figure, bool], None],
) -> Drawing:
    """The drawing for a wide and for a narrow page; `paint` is told whether it is narrow."""

    def at(width: int, height: int) -> Markup:
        narrow = width == NARROW
        return svg.draw(
            f"{name}-{'n' if narrow else 'w'}",
            width=width,
            height=height,
            title=text.title,
            description=text.description,
            paint=lambda figure: paint(figure, narrow),
        )

    return Drawing(
        name=name,
        caption=text.caption,
        wide=at(WIDE, heights[0]),
        narrow=at(NARROW, heights[1]),
    )


def said(span: Span) -> str:
    """A ratio as the text alternative says it."""
    if span.estimate is None:
        return f"{span.label}: {span.missing}"
    verdict = f", {span.verdict}" if span.verdict else ""
    return f"{span.label}: {times(span.estimate)} {bounds(span.low, span.high)}{verdict}"
