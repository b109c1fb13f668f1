"""Instance, hypervisor, container and settings of a host, from its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.machine import cpu, host, topology
from tests.fake_files import write, write_all

if TYPE_CHECKING:
    from pathlib import Path

CPUS = "sys/devices/system/cpu"
DMI = "sys/class/dmi/id"
EC2 = {f"{DMI}/sys_vendor": "Amazon EC2"}
XEN = {f"{DMI}/sys_vendor": "Xen", f"{DMI}/product_name": "HVM domU"}
MICROSOFT = {f"{DMI}/sys_vendor": "Microsoft Corporation"}


@pytest.mark.parametrize(
    ("files", "instance", "virtualization"),
    [
        ({**EC2, f"{DMI}/product_name": "m6i.4xlarge"}, "m6i.4xlarge", "KVM (Amazon EC2 Nitro)"),
        (
            {**EC2, f"{DMI}/product_name": "u-6tb1.112xlarge"},
            "u-6tb1.112xlarge",
            "KVM (Amazon EC2 Nitro)",
        ),
        (
            {**XEN, f"{DMI}/bios_version": "4.11.amazon", "sys/hypervisor/type": "xen"},
            None,
            "Xen (Amazon EC2)",
        ),
        ({f"{DMI}/sys_vendor": "QEMU", f"{DMI}/product_name": "pc.q35"}, None, "KVM or QEMU"),
        ({**MICROSOFT, f"{DMI}/product_name": "Virtual"}, None, "Hyper-V"),
        (
            {f"{DMI}/sys_vendor": "Google", f"{DMI}/product_name": "Google Compute Engine"},
            None,
            "KVM (Google Compute Engine)",
        ),
        ({}, None, "unknown hypervisor"),
        ({"proc/sys/kernel/osrelease": "5.15-microsoft-standard-WSL2"}, None, "Hyper-V (WSL)"),
    ],
)
def test_instance_and_hypervisor_come_from_the_firmware(
    tmp_path: Path, files: dict[str, str], instance: str | None, virtualization: str
) -> None:
    """Nitro, Xen-era EC2, other clouds; without a network call."""
    write_all(tmp_path, files)
    assert host.instance_type(tmp_path) == instance
    guest = cpu.Cpu(flags=frozenset({"hypervisor"}))
    assert host.virtualization(tmp_path, guest) == virtualization


def test_bare_metal_is_no_virtual_machine(tmp_path: Path) -> None:
    """A maker's name alone is no hypervisor: Microsoft also builds laptops."""
    write_all(tmp_path, MICROSOFT)
    assert host.virtualization(tmp_path, cpu.Cpu(flags=frozenset({"avx2"}))) is None


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("var/run/secrets/kubernetes.io/x", "", "kubernetes"),
        ("proc/1/cgroup", "12:cpu:/docker/0123abcd", "docker"),
        ("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice", "kubepods"),
        ("run/systemd/container", "systemd-nspawn", "systemd-nspawn"),
        ("proc/1/cgroup", "0::/init.scope", None),
    ],
)
def test_containers_are_recognised(tmp_path: Path, path: str, text: str, kind: str | None) -> None:
    """By what each kind leaves in the file system."""
    write(tmp_path, path, text)
    assert host.container(tmp_path) == kind


def test_settings_of_the_kernel(tmp_path: Path) -> None:
    """Governors, turbo and huge pages where they can be seen, and the system's name."""
    for number, name in enumerate(("performance", "powersave")):
        write(tmp_path, f"{CPUS}/cpufreq/policy{number}/scaling_governor", name)
    write(tmp_path, f"{CPUS}/cpufreq/boost", "0")
    write(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    write(tmp_path, "etc/os-release", 'NAME="X"\nPRETTY_NAME="Amazon Linux 2023"')
    assert host.governor(tmp_path) == "performance, powersave"
    assert host.turbo(tmp_path) is False
    assert host.transparent_huge_pages(tmp_path) == "madvise"
    assert host.operating_system(tmp_path) == "Amazon Linux 2023"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("always [madvise] never\n", "madvise"), ("nonsense", None), (None, None)],
)
def test_transparent_huge_pages(tmp_path: Path, text: str | None, expected: str | None) -> None:
    """The kernel brackets what is chosen."""
    if text is not None:
        write(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", text)
    assert host.transparent_huge_pages(tmp_path) == expected


@pytest.mark.parametrize(("text", "size"), [("1280K", 1280), ("54M", 55296), ("2x", None)])
def test_cache_sizes(text: str, size: int | None) -> None:
    """The kernel writes kibibytes and mebibytes."""
    assert topology.kib(text) == size
