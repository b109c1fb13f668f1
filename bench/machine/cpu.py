"""Read from `/proc/cpuinfo` what the CPU is and which instructions it has.

Instruction sets come from the flags alone. Names and model numbers mislead under virtualisation: a
guest may have a fifth-generation model number with bf16 and AMX masked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.machine import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

X86_ISA = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
)
ARM_ISA = ("asimd", "sve", "sve2", "bf16", "i8mm")

_ARM_CORES = {
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0c"): "Arm Neoverse-N1",
    ("0x41", "0xd40"): "Arm Neoverse-V1",
    ("0x41", "0xd49"): "Arm Neoverse-N2",
    ("0x41", "0xd4f"): "Arm Neoverse-V2",
}
"""Arm kernels list numbers instead of a name (Arm's register MIDR_EL1)."""

_ARM_VENDORS = {"0x41": "ARM", "0x61": "Apple", "0xc0": "Ampere"}

_INTEL_NATIVE_BF16 = {
    143: "Sapphire Rapids",
    207: "Emerald Rapids",
    173: "Granite Rapids",
    174: "Granite Rapids",
}
_ICE_LAKE_SERVER = (106, 108)


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The first processor of `/proc/cpuinfo`."""

    model_name: str | None = None
    vendor: str | None = None
    family: int | None = None
    model: int | None = None
    stepping: int | None = None
    flags: frozenset[str] = frozenset()
    arm: bool = False

    @property
    def isa(self) -> dict[str, bool]:
        """Whether the flags name each instruction set."""
        # other systems write avx512vnni for Linux's avx512_vnni
        seen = {flag.replace("_", "") for flag in self.flags}
        names = (*X86_ISA, *ARM_ISA) if self.arm else X86_ISA
        return {name: name.replace("_", "") in seen for name in names}


def read_cpu(root: Path) -> Cpu:
    """Read the CPU from `/proc/cpuinfo`; if that has no name, from py-cpuinfo.

    py-cpuinfo starts programs and takes up to a second, and describes this machine whatever `root`
    is.
    """
    found = parse_cpuinfo(files.text(root / "proc/cpuinfo") or "")
    if found.model_name is None and root == type(root)("/"):
        return completed(found)
    return found


def parse_cpuinfo(text: str) -> Cpu:
    """Read the text of `/proc/cpuinfo`, x86 or Arm."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and value.strip():
            fields.setdefault(key.strip(), value.strip())
    implementer = fields.get("CPU implementer")
    if implementer is not None:
        return Cpu(
            model_name=fields.get("model name")
            or _ARM_CORES.get((implementer, fields.get("CPU part", ""))),
            vendor=_ARM_VENDORS.get(implementer, implementer),
            flags=frozenset(fields.get("Features", "").split()),
            arm=True,
        )
    name = fields.get("model name")
    return Cpu(
        model_name=None if name in (None, "unknown") else " ".join(str(name).split()),
        vendor=fields.get("vendor_id"),
        family=_whole(fields.get("cpu family")),
        model=_whole(fields.get("model")),
        stepping=_whole(fields.get("stepping")),
        flags=frozenset(fields.get("flags", "").split()),
    )


def _whole(value: object) -> int | None:
    match = re.fullmatch(r"\d+", str(value))
    return int(match[0]) if match else None


def completed(found: Cpu) -> Cpu:
    """Add from py-cpuinfo what `/proc/cpuinfo` lacks (other systems, new Arm cores)."""
    try:
        import cpuinfo

        info = cpuinfo.get_cpu_info()
    except Exception:  # noqa: BLE001 - it parses other programs' output; a name is never worth a failure
        return found
    flags = found.flags or frozenset(map(str, info.get("flags", ())))
    return Cpu(
        model_name=info.get("brand_raw") or None,
        vendor=found.vendor or info.get("vendor_id_raw") or None,
        family=found.family if found.family is not None else _whole(info.get("family")),
        model=found.model if found.model is not None else _whole(info.get("model")),
        stepping=found.stepping if found.stepping is not None else _whole(info.get("stepping")),
        flags=flags,
        arm=found.arm or str(info.get("arch", "")).startswith("ARM"),
    )


def native_bf16_by(isa: Mapping[str, bool]) -> list[str]:
    """Return the flags that make bf16 arithmetic native; empty if it is emulated."""
    native = [flag for flag in ("avx512_bf16", "bf16") if isa.get(flag)]
    if isa.get("amx_bf16") and isa.get("amx_tile"):
        native.append("amx_bf16")
    return native


def bf16_native(isa: Mapping[str, bool]) -> bool:
    """Return whether the CPU itself computes in bf16; otherwise libraries emulate it."""
    return bool(native_bf16_by(isa))


def fp16_native(isa: Mapping[str, bool]) -> bool:
    """Return whether the CPU itself computes in fp16; below that oneDNN has no fp16 kernels."""
    return bool(isa.get("avx512_fp16") or (isa.get("amx_fp16") and isa.get("amx_tile")))


def notes(cpu: Cpu, instance_type: str | None) -> list[str]:
    """Return sentences about the CPU that a reader of the results must know."""
    if not cpu.flags:
        return ["The CPU's flags cannot be read here, so no instruction set is taken for granted."]
    found = [] if bf16_native(cpu.isa) else [_emulated(cpu)]
    if _is_ice_lake_server(cpu, instance_type) and not cpu.isa["avx512_bf16"]:
        found.append(
            "'3rd-generation Xeon' is two chips: Cooper Lake has AVX512_BF16, Ice Lake-SP has not. "
            "This one is Ice Lake-SP, as in every m6i, c6i and r6i, so the tutorial's claim of "
            "native bf16 does not hold for the instance that it recommends."
        )
    chip = _masked(cpu)
    if chip:
        found.append(
            f"The model number is that of {chip}, which has AMX and native bf16, but this virtual "
            "machine masks "
            f"{'both' if not cpu.isa['amx_tile'] and not cpu.isa['avx512_bf16'] else 'one of them'}"
            ": what counts is the flags."
        )
    if cpu.arm:
        found.append("IPEX exists for x86-64 only: its scenarios are unavailable on this CPU.")
    elif not cpu.isa["avx2"]:
        found.append("This CPU lacks AVX2, which IPEX requires.")
    elif not cpu.isa["avx512f"]:
        found.append("This CPU has no AVX-512: oneDNN and IPEX run their AVX2 kernels here.")
    return found


def _emulated(cpu: Cpu) -> str:
    flags = "the bf16 feature" if cpu.arm else "AVX512_BF16 and AMX_BF16"
    start = f"bf16 is EMULATED on this CPU: it lacks {flags}"
    if cpu.arm or _onednn_emulates_bf16(cpu):
        return (
            f"{start}. Libraries still accept bf16 and convert to fp32 and back, several times "
            "slower than fp32 itself."
        )
    return (
        f"{start}, and oneDNN has no bf16 kernel for it at all. PyTorch falls back to kernels of "
        "its own, many times slower than fp32, and ipex.optimize refuses bf16."
    )


def _onednn_emulates_bf16(cpu: Cpu) -> bool:
    """Return whether oneDNN emulates bf16: with AVX-512 (BW, VL and DQ) or AVX-NE-CONVERT."""
    return {"avx512bw", "avx512vl", "avx512dq"} <= cpu.flags or "avx_ne_convert" in cpu.flags


def _is_ice_lake_server(cpu: Cpu, instance_type: str | None) -> bool:
    family = (instance_type or "").partition(".")[0]
    if re.fullmatch(r"[cmr]6id?n?", family):
        return True
    return cpu.vendor == "GenuineIntel" and cpu.family == 6 and cpu.model in _ICE_LAKE_SERVER


def _masked(cpu: Cpu) -> str | None:
    """Return the chip that the model number names if the flags lack what that chip has."""
    if cpu.vendor != "GenuineIntel" or cpu.family != 6 or cpu.model is None:
        return None
    lacks = not cpu.isa["avx512_bf16"] or not cpu.isa["amx_bf16"]
    return _INTEL_NATIVE_BF16.get(cpu.model) if lacks else None
