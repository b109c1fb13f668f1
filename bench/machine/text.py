"""Write a machine's description as text for the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LABEL = 16
_WIDTH = 100
_SHOWN_FIRST = ("torch", "torchvision", "intel-extension-for-pytorch", "triton", "numpy")


def render(machine: Mapping[str, Any]) -> str:
    """Return aligned lines without what is unknown; whether bf16 is native comes first."""
    lines = [str(machine.get("name", "this machine")), _bf16(machine), ""]
    for label, value in _pairs(machine):
        if value:
            lines += _wrapped(f"{label:<{_LABEL}}{value}", _LABEL)
    notes = machine.get("notes") or []
    if notes:
        lines += ["", "Notes"]
    for note in notes:
        lines += _wrapped(f"  * {note}", 4)
    return "\n".join(lines)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def _bf16(machine: Mapping[str, Any]) -> str:
    if machine.get("native_bf16"):
        return f"bf16: native ({', '.join(machine.get('native_bf16_by', ()))})"
    return (
        "bf16: EMULATED - this CPU cannot compute in bf16; expect it several times slower than fp32"
    )


def _pairs(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "CPU", _cpu(machine)
    yield "Cores", _cores(machine)
    yield (
        "Workers on",
        f"CPUs {spell_cpus(machine['worker_cpus'])}" if machine.get("worker_cpus") else "",
    )
    yield "Instructions", " ".join(name for name, has in machine.get("isa", {}).items() if has)
    yield "Absent", " ".join(name for name, has in machine.get("isa", {}).items() if not has)
    yield "Caches", _caches(machine.get("caches", {}))
    yield "NUMA", _numa(machine.get("numa_nodes", []))
    yield "Memory", _memory(machine)
    yield "Clock", _clock(machine)
    yield "Instance", str(machine.get("instance_type") or "")
    yield "Runs in", ", ".join(filter(None, map(machine.get, ("container", "virtualization"))))
    system = (machine.get(name) for name in ("os", "kernel", "libc"))
    yield "System", ", ".join(str(part) for part in system if part)
    yield "Huge pages", str(machine.get("transparent_huge_pages") or "")
    variables = (f"{name}={value}" for name, value in machine.get("env", {}).items())
    yield "Variables", " ".join(variables)
    yield from _frameworks(machine.get("frameworks", {}))
    packages = machine.get("packages", {})
    order = dict.fromkeys((*_SHOWN_FIRST, *packages))
    yield "Packages", ", ".join(f"{name} {packages[name]}" for name in order if name in packages)
    yield "Fingerprint", str(machine.get("fingerprint") or "")


def _cpu(machine: Mapping[str, Any]) -> str:
    numbers = [
        f"{name} {machine[name]}"
        for name in ("family", "model", "stepping")
        if machine.get(name) is not None
    ]
    about = ", ".join(filter(None, [machine.get("vendor"), *numbers]))
    model = machine.get("cpu_model") or "unknown model"
    return f"{model} ({about})" if about else str(model)


def _cores(machine: Mapping[str, Any]) -> str:
    physical, logical = (machine.get(f"usable_{kind}_cores") for kind in ("physical", "logical"))
    there = f"{machine.get('physical_cores')} physical, {machine.get('logical_cores')} logical"
    limit = machine.get("cgroup_cpu_limit")
    quota = f"; a control group allows {limit:g}" if limit is not None else ""
    sockets = machine.get("sockets") or 1
    where = f"{there}, {sockets} socket{'s' if sockets > 1 else ''}{quota}"
    return f"{physical} physical, {logical} logical usable (of {where})"


def spell_cpus(cpus: Sequence[int]) -> str:
    """Return the CPUs as the kernel lists them: `0-3,8`."""
    starts = [cpu for cpu in cpus if cpu - 1 not in cpus]
    ends = [cpu for cpu in cpus if cpu + 1 not in cpus]
    pairs = zip(starts, ends, strict=True)
    return ",".join(str(one) if one == last else f"{one}-{last}" for one, last in pairs)


def _caches(caches: Mapping[str, Any]) -> str:
    sizes = {name.removesuffix("_kib").upper(): size for name, size in caches.items() if size}
    return ", ".join(f"{name} {_kib(size)}" for name, size in sizes.items())


def _kib(size: int) -> str:
    return f"{size / 1024:g} MiB" if size >= 1024 else f"{size} KiB"


def _numa(nodes: list[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"node {node['node']}: {len(node['cpus'])} CPUs"
        + (f", {node['memory_gib']:g} GiB" if node.get("memory_gib") is not None else "")
        for node in nodes
    )


def _memory(machine: Mapping[str, Any]) -> str:
    total, limit = machine.get("memory_total_gib"), machine.get("memory_limit_gib")
    shown = f"{total:g} GiB" if total is not None else ""
    return f"{shown}, limited to {limit:g} GiB" if limit is not None else shown


def _clock(machine: Mapping[str, Any]) -> str:
    turbo = {True: "turbo on", False: "turbo off"}.get(machine.get("turbo"), "")  # type: ignore[arg-type] # None has no entry
    return ", ".join(filter(None, (machine.get("governor"), turbo)))


def _frameworks(frameworks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, label in (("torch", "torch says"), ("onednn", "oneDNN says"), ("ipex", "IPEX says")):
        if found := frameworks.get(name):
            yield label, _framework(found)


def _framework(found: Mapping[str, Any]) -> str:
    if "unavailable" in found:
        return f"unavailable: {found['unavailable']}"
    caution = found.get("caution", {})
    parts = []
    for name, value in found.items():
        if name in ("caution", "git") or value is None:
            continue
        shown = str(value)
        if isinstance(value, dict):
            shown = " ".join(f"{key}={'yes' if has else 'no'}" for key, has in value.items())
        label = f" ({caution[name]})" if name in caution else ""
        parts.append(f"{name.replace('_', ' ')} {shown}{label}")
    return "; ".join(parts)
