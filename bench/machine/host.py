"""Describe the host of the CPU: instance, hypervisor, container, clock speed, kernel, memory."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from bench.machine import files

if TYPE_CHECKING:
    from pathlib import Path

    from bench.machine.cpu import Cpu

_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")

_VENDORS = (
    ("amazon ec2", "KVM (Amazon EC2 Nitro)"),
    ("google", "KVM (Google Compute Engine)"),
    ("microsoft", "Hyper-V"),
    ("vmware", "VMware"),
    ("xen", "Xen"),
    ("qemu", "KVM or QEMU"),
    ("kvm", "KVM"),
    ("innotek", "VirtualBox"),
    ("parallels", "Parallels"),
    ("alibaba", "KVM (Alibaba Cloud)"),
    ("digitalocean", "KVM (DigitalOcean)"),
)
_CLOCKS = (("kvm", "KVM"), ("hyperv", "Hyper-V"), ("xen", "Xen"))
_CONTAINERS = ("kubepods", "docker", "libpod", "containerd", "lxc", "garden")


def _dmi(root: Path, name: str) -> str:
    """Read a field of the firmware's tables, which needs no network and no privileges."""
    return files.text(root / "sys/class/dmi/id" / name) or ""


def instance_type(root: Path) -> str | None:
    """Return the EC2 instance type: the product's name of Nitro instances.

    Xen instances (m4 and older) are named `HVM domU`; only a network call would tell more.
    """
    product = _dmi(root, "product_name")
    if _dmi(root, "sys_vendor") == "Amazon EC2" and _INSTANCE_TYPE.fullmatch(product):
        return product
    return None


def virtualization(root: Path, cpu: Cpu) -> str | None:
    """Return the hypervisor; None on bare metal, or if nothing shows."""
    if "microsoft" in (kernel(root) or "").lower():
        return "Hyper-V (WSL)"
    if _dmi(root, "product_name").endswith(".metal"):
        return None
    name = _hypervisor(root)
    if "hypervisor" in cpu.flags:
        return name or "unknown hypervisor"
    return name if cpu.arm or files.exists(root / "sys/hypervisor/type") else None


def _hypervisor(root: Path) -> str | None:
    if files.text(root / "sys/hypervisor/type") == "xen":
        on_ec2 = "amazon" in _dmi(root, "bios_version").lower()
        return "Xen (Amazon EC2)" if on_ec2 else "Xen"
    made_by = f"{_dmi(root, 'sys_vendor')} {_dmi(root, 'product_name')}".lower()
    clocks = files.text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    by_clock = (name for key, name in _CLOCKS if key in (clocks or ""))
    return next((name for key, name in _VENDORS if key in made_by), next(by_clock, None))


def container(root: Path) -> str | None:
    """Return the kind of container that this process runs in, or None."""
    if files.exists(root / "var/run/secrets/kubernetes.io"):
        return "kubernetes"
    if files.exists(root / ".dockerenv"):
        return "docker"
    if files.exists(root / "run/.containerenv"):
        return "podman"
    groups = files.text(root / "proc/1/cgroup") or ""
    by_group = (name for name in _CONTAINERS if name in groups)
    return files.text(root / "run/systemd/container") or next(by_group, None)


def governor(root: Path) -> str | None:
    """Return how the kernel chooses clock speeds; virtual machines do not show it."""
    policies = files.numbered(root / "sys/devices/system/cpu/cpufreq", "policy")
    found = {files.text(path / "scaling_governor") for _, path in policies}
    return ", ".join(sorted(name for name in found if name)) or None


def turbo(root: Path) -> bool | None:
    """Return whether the CPU may clock above its base frequency."""
    cpus = root / "sys/devices/system/cpu"
    no_turbo = files.number(cpus / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    boost = files.number(cpus / "cpufreq/boost")
    return None if boost is None else boost != 0


def transparent_huge_pages(root: Path) -> str | None:
    """Return `always`, `madvise` or `never`."""
    setting = files.text(root / "sys/kernel/mm/transparent_hugepage/enabled") or ""
    match = re.search(r"\[(\w+)\]", setting)
    return match[1] if match else None


def operating_system(root: Path) -> str:
    """Return the distribution's name and version."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        match = re.search(r'^PRETTY_NAME="?([^"\n]+)', files.text(root / path) or "", re.MULTILINE)
        if match:
            return match[1]
    return platform.system()


def kernel(root: Path) -> str | None:
    """Return the kernel's release."""
    return files.text(root / "proc/sys/kernel/osrelease")


def libc() -> str | None:
    """Return the C library of this interpreter: `glibc 2.36`."""
    return " ".join(part for part in platform.libc_ver() if part) or None
