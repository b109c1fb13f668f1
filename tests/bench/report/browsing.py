"""What the browser tests share: reading tables, unfolding, and colours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def cells(page: Page, table: str, read: str) -> list[list[Any]]:
    """`read` of every body cell of a table, row by row; `cell` is the cell."""
    found: list[list[Any]] = page.locator(f"#table-{table} tbody tr").evaluate_all(
        f"rows => rows.map(row => [...row.cells].map(cell => {read}))"
    )
    return found


def column(page: Page, table: str, number: int) -> list[float]:
    """The numbers that a column sorts by, from top to bottom; empty cells left out."""
    rows = cells(page, table, "cell.dataset.sort ?? ''")
    return [float(row[number]) for row in rows if row[number]]


def unfold(page: Page) -> None:
    """Open everything that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def fits(page: Page, width: int) -> bool:
    """Whether the page at that width does not scroll sideways."""
    page.set_viewport_size({"width": width, "height": 900})
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


_BEYOND = """() => [...document.querySelectorAll('svg.drawing')]
  .filter(drawing => drawing.getClientRects().length)
  .flatMap(drawing => [...drawing.querySelectorAll('text')].filter(text => {
    const box = text.getBBox(), all = drawing.viewBox.baseVal;
    return box.x < 0 || box.y < 0
      || box.x + box.width > all.width || box.y + box.height > all.height;
  }).map(text => text.textContent))"""


def cut_texts(page: Page) -> list[str]:
    """The texts that the edge of their drawing cuts, in the drawings that are visible."""
    found: list[str] = page.evaluate(_BEYOND)
    return found


def luminance(colour: str) -> float:
    """Relative luminance of an `rgb(...)`, 0 to 1, as WCAG defines it."""
    channels = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def brightness(page: Page) -> float:
    """Luminance of the page's background."""
    return luminance(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


_COLOURS = """() => {
  const solid = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour) && colour !== 'transparent') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = {};
  for (const element of document.querySelectorAll('body *:not(script):not(svg *)')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const pair = getComputedStyle(element).color + '|' + solid(element);
    found[pair] = element.className || element.tagName;
  }
  for (const text of document.querySelectorAll('svg text')) {
    found[getComputedStyle(text).fill + '|' + solid(text.closest('div, figure, td'))] = 'svg text';
  }
  return found;
}"""


def contrasts(page: Page) -> dict[str, float]:
    """The contrast of each pair of colours of text and background, drawings included."""
    found = {}
    for pair, where in page.evaluate(_COLOURS).items():
        dark, light = sorted(luminance(part) for part in pair.split("|"))
        found[f"{pair} {where}"] = (light + 0.05) / (dark + 0.05)
    return found
