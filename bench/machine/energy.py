"""Energy that the CPU packages used between two moments, from the kernel's RAPL counters.

    before = read_energy()
    ...  # one block
    joules = used(before, read_energy())

Few virtual machines have the counters, and many hosts let only root read them: then there is no
reading, and nothing is said. What is counted is the whole package, so it means something only while
one worker runs and the others are stopped, as in a block.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = re.compile(r"intel-rapl:\d+", re.ASCII)
"""A CPU package; its parts (`intel-rapl:0:1`) are counted in it. AMD's are named so too."""

Reading = dict[str, tuple[int, int]]
"""Microjoules so far and where the counter starts over, by package."""


def read_energy(root: Path = Path("/")) -> Reading:
    """The counters of all packages now; empty where the host has none or does not let us read."""
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
    """Joules of all packages between two readings; None where there are none to compare."""
    if not before or before.keys() != after.keys():
        return None
    return sum((after[name][0] - start) % (end + 1) for name, (start, end) in before.items()) / 1e6


def _number(path: Path) -> int:
    return int(path.read_text())
