"""Prices of machines: the shipped table, and the user's own in its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bench.analysis.prices import images_per_dollar, read_prices, shipped
from bench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "instance_type,usd_per_hour,region,date,source\n"


def test_shipped_prices_are_dated_and_have_a_source() -> None:
    """A price without a date, a region and a source is no information."""
    for price in shipped().known:
        assert all((price.region, price.date, price.source))
        assert price.usd_per_hour > 0
    assert shipped().of("no.such") is None
    assert shipped().of("") is None


def test_users_own_prices_replace_the_table(tmp_path: Path) -> None:
    """A machine that the user's table does not name has no price."""
    path = tmp_path / "prices.csv"
    path.write_text(f"{HEADER}m6i.4xlarge,2,here,now,me\n")
    prices = read_prices(path)
    assert images_per_dollar(10.0, prices.of("m6i.4xlarge")) == 18_000
    assert prices.of("m7i.4xlarge") is None


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a,b\n", "instance_type is missing"),
        (f"{HEADER}x,free,,,\n", "line 2: usd_per_hour"),
        (f"{HEADER}x,-1,,,\n", "not a price above zero"),
        (f"{HEADER}x\n", "line 2"),
    ],
)
def test_wrong_prices_are_one_line(tmp_path: Path, content: str, part: str) -> None:
    """It names the file and the line."""
    path = tmp_path / "prices.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=re.escape(part)):
        read_prices(path)
