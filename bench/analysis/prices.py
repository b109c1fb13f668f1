"""Read what an hour of a machine costs, from a dated table that users can replace.

The shipped table has list prices of a few instance types in one region; it is no offer and no bill.
`bench report --prices FILE` reads another: a CSV with the same columns, in which `instance_type`
may also be any name that an environment.json has there, and its `cpu_model` where it has none.
"""

from __future__ import annotations

import csv
import functools
import io
import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ("instance_type", "usd_per_hour", "region", "date", "source")


@dataclass(frozen=True, kw_only=True)
class Price:
    """An hour of one instance type."""

    instance_type: str
    usd_per_hour: float
    region: str
    date: str
    source: str

    @property
    def words(self) -> str:
        """The price and where it comes from."""
        return f"{self.usd_per_hour:g} USD an hour ({self.region}, {self.date}: {self.source})"


@dataclass(frozen=True)
class Prices:
    """Prices by instance type."""

    known: tuple[Price, ...] = ()

    def of(self, name: str) -> Price | None:
        """Return the price of the machine of that name; None if the table does not have it."""
        return next((price for price in self.known if name and price.instance_type == name), None)


NO_PRICES = Prices()


@functools.cache
def shipped() -> Prices:
    """Return the table that comes with the package."""
    text = resources.files("bench.analysis").joinpath("prices.csv").read_text(encoding="utf-8")
    return _parse("prices.csv", text)


def read_prices(path: Path) -> Prices:
    """Read a user's own table.

    Raises:
        UsageError: it cannot be read, or a line of it is wrong; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the prices {path} cannot be read ({reason}): give a CSV with the columns "
            f"{', '.join(_COLUMNS)}"
        ) from error
    return _parse(str(path), text)


def _parse(name: str, text: str) -> Prices:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"{name}: the columns are {', '.join(_COLUMNS)}; {missing[0]} is missing")
    return Prices(tuple(_price(name, reader.line_num, row) for row in reader))


def _price(name: str, line: int, row: dict[str, str | None]) -> Price:
    try:
        usd = float(row["usd_per_hour"] or "")
    except ValueError:
        usd = math.nan
    if not (math.isfinite(usd) and usd > 0):
        raise UsageError(
            f"{name}, line {line}: usd_per_hour is {row['usd_per_hour']!r}, not a price above zero"
        )
    text = {column: (row[column] or "").strip() for column in _COLUMNS if column != "usd_per_hour"}
    return Price(usd_per_hour=usd, **text)


def images_per_hour(images_per_s: float | None) -> float | None:
    """Return the images of one worker in an hour."""
    return None if images_per_s is None else images_per_s * 3600


def images_per_dollar(images_per_s: float | None, price: Price | None) -> float | None:
    """Return the images for a dollar; None if the price is not known."""
    hourly = images_per_hour(images_per_s)
    return None if hourly is None or price is None else hourly / price.usd_per_hour
