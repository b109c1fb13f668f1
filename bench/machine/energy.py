"""Read the energy that the CPU packages used, from the kernel's RAPL counters.

    before = read_energy()
    ...  # one block
    joules = used(before, read_energy())

Few virtual machines have the counters, and on many hosts only root may read them: then the reading
is empty. A counter covers the whole package, so it is meaningful only while one worker runs and the
others are stopped, as in a block.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = re.compile(r"intel-rapl:\d+", re.ASCII)
"""A CPU package, which includes its parts (`intel-rapl:0:1`). AMD's have the same names."""

Reading = dict[str, tuple[int, int]]
"""Microjoules so far and the counter's maximum, by package."""


def read_energy(root: Path = Path("/")) -> Reading:
    """Read the counters of all packages; empty if there are none or they are not readable."""
    folder = root / "sys/class/powercap"
    try:
        zones = [zone for zone in sorted(folder.iterdir()) if _PACKAGE.fullmatch(zone.name)]
        return {
            zone.name: (_number(zone / "energy_uj"), _number(zone / "max_energy_range_uj"))
            for zone in zones
            if (zone / "name").read_text().startswith("package")
        }
    except (OSError, ValueError):
        return {}


def used(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> float | None:
    """Return the joules of all packages between two readings, or None."""
    if not before or before.keys() != after.keys():
        return None
    return sum((after[name][0] - start) % (end + 1) for name, (start, end) in before.items()) / 1e6


def _number(path: Path) -> int:
    return int(path.read_text())
