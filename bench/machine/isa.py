"""Cap instruction sets: a worker may use a generation's instructions and no later ones.

oneDNN (PyTorch's and IPEX's copy), ATen's own kernels and MKL each have a cap. A cap counts only if
oneDNN's log shows nothing wider: IPEX misreports what oneDNN does once ATen's cap is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDER = (
    "sse41",
    "avx",
    "avx2",
    "avx2_vnni",
    "avx2_vnni_2",
    "avx512_core",
    "avx512_core_vnni",
    "avx512_core_bf16",
    "avx512_core_fp16",
    "avx10_1_512",
    "avx512_core_amx",
    "avx10_1_512_amx",
    "avx512_core_amx_fp16",
    "avx10_1_512_amx_fp16",
)
"""oneDNN's names for instruction sets, narrowest first."""


@dataclass(frozen=True, kw_only=True)
class Cap:
    """The cap at one generation."""

    widest: str
    """Its name in oneDNN's log."""
    flag: str
    """The flag that a CPU of that generation has."""
    vectors: str
    """Its name in ATen and MKL."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that cap the three libraries."""
        return {
            "ONEDNN_MAX_CPU_ISA": self.widest.upper(),
            "ATEN_CPU_CAPABILITY": self.vectors,
            "MKL_ENABLE_INSTRUCTIONS": self.vectors.upper(),
        }


CAPS = {
    "avx2": Cap(widest="avx2", flag="avx2", vectors="avx2"),
    "avx512": Cap(widest="avx512_core", flag="avx512f", vectors="avx512"),
    "vnni": Cap(widest="avx512_core_vnni", flag="avx512_vnni", vectors="avx512"),
    "bf16": Cap(widest="avx512_core_bf16", flag="avx512_bf16", vectors="avx512"),
    "amx": Cap(widest="avx512_core_amx", flag="amx_tile", vectors="avx512"),
}
"""By the value of the variable `isa`, narrowest first."""


def rank(name: str) -> int:
    """Return the place in `ORDER`; unknown names rank above all, so that they show."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def passed(cap: str, seen: str | None) -> str | None:
    """Return a sentence if the widest instruction set that was seen is beyond the cap."""
    if seen is None:
        return f"isa={cap} was requested, but no oneDNN line says which instructions ran"
    if rank(seen) > rank(CAPS[cap].widest):
        return f"isa={cap} was requested, but {seen} ran"
    return None
