"""Find out, in a separate interpreter, what torch or IPEX report about this CPU.

`python -c <this text> RESULT LIBRARY` writes JSON to the file RESULT. The log of oneDNN goes to
standard output, as does the error of an IPEX that was built for another torch. It must run in other
environments too, so it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

QUERIES = (
    "_is_avx2_supported",
    "_is_avx512_supported",
    "_is_vnni_supported",
    "_is_avx512_bf16_supported",
    "_is_amx_tile_supported",
    "_is_amx_fp16_supported",
)


def quiet(question: Callable[[], Any]) -> Any:  # noqa: ANN401 - any answer
    """Return the answer, or None if this version has none."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - one missing answer must not cost the others
        return None


def ipex() -> dict[str, Any]:
    """Return what IPEX reports.

    Raises:
        ImportError: on a Python where it can be imported and crashes in its layers.
    """
    if sys.version_info >= (3, 13):
        raise ImportError("IPEX 2.8 crashes on Python 3.13 and later: it needs 3.10 to 3.12")
    import intel_extension_for_pytorch as ipex

    native: Any = ipex._C  # noqa: SLF001 - no public way to ask
    return {
        "version": ipex.__version__,
        "isa": quiet(native._get_current_isa_level),  # noqa: SLF001 - as above
        "highest_cpu_isa": quiet(native._get_highest_cpu_support_isa_level),  # noqa: SLF001 - as above
        "onednn_isa": quiet(native._get_current_onednn_isa_level),  # noqa: SLF001 - as above
        "onednn_bf16_supported": quiet(native.onednn_has_bf16_support),
    }


def torch() -> dict[str, Any]:
    """Return what stock PyTorch reports."""
    import torch

    cpu: Any = torch.cpu
    mkldnn: Any = torch.ops.mkldnn
    return {
        "version": torch.__version__,
        "git": torch.version.git_version,
        "cpu_capability": quiet(torch.backends.cpu.get_cpu_capability),
        "says": {
            name.removeprefix("_is_").removesuffix("_supported"): quiet(getattr(cpu, name))
            for name in QUERIES
            if hasattr(cpu, name)
        },
        "mkldnn_bf16_supported": quiet(mkldnn._is_mkldnn_bf16_supported),  # noqa: SLF001 - no public way to ask
        "mkl": quiet(torch.backends.mkl.is_available),
        "mkldnn": quiet(torch.backends.mkldnn.is_available),
        "openmp": quiet(torch.backends.openmp.is_available),
        "default_threads": torch.get_num_threads(),
    }


def convolve() -> None:
    """Run one convolution in fp32 and one in bf16, for oneDNN to log what it chooses."""
    import torch

    images = torch.ones(1, 64, 56, 56).to(memory_format=torch.channels_last)
    weights = torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            torch.nn.functional.conv2d(images.to(dtype), weights.to(dtype), padding=1)


if __name__ == "__main__":
    if sys.argv[2] == "ipex":
        Path(sys.argv[1]).write_text(json.dumps(ipex()))
    else:
        Path(sys.argv[1]).write_text(json.dumps(torch()))
        convolve()
