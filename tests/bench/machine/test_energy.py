"""Joules from RAPL's counters: whole packages, over their wrap, and nothing where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.machine.energy import read_energy, used

if TYPE_CHECKING:
    from pathlib import Path


def zone(root: Path, folder: str, name: str, energy_uj: int, most_uj: int = 999) -> None:
    """One zone of the kernel's powercap tree."""
    path = root / "sys/class/powercap" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{most_uj}\n")


def test_packages_add_up_and_their_parts_do_not(tmp_path: Path) -> None:
    """The cores are a part of the package, and psys holds the package too."""
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:1", "package-1", 100)
    before = read_energy(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 400)
    zone(tmp_path, "intel-rapl:0:0", "core", 300)
    zone(tmp_path, "intel-rapl:1", "package-1", 150)
    zone(tmp_path, "intel-rapl:2", "psys", 900)
    assert used(before, read_energy(tmp_path)) == pytest.approx(350e-6)


def test_a_counter_that_started_over_is_followed(tmp_path: Path) -> None:
    """The counter wraps every few minutes on a large machine."""
    zone(tmp_path, "intel-rapl:0", "package-0", 990)
    before = read_energy(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 20)
    assert used(before, read_energy(tmp_path)) == pytest.approx(30e-6)


def test_a_host_without_counters_says_nothing(tmp_path: Path) -> None:
    """No folder, no zones, or a counter that is no number: no reading, no failure."""
    assert read_energy(tmp_path) == {}
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("denied")
    assert read_energy(tmp_path) == {}
    assert used({}, {}) is None
    assert used({"intel-rapl:0": (1, 9)}, {}) is None
