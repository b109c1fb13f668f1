"""A script for a separate interpreter: what Intel Extension for PyTorch reports about this CPU.

`python -c <this text> RESULT` writes JSON to the file RESULT. With a torch that IPEX
was not built for, it prints an error to standard output and fails on a call that does not exist.
It must run in other environments too, so it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def quiet(question: Callable[[], Any]) -> Any:  # noqa: ANN401 - any answer
    """Return the answer, or None if this version cannot tell."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - one missing answer must not cost the others
        return None


def answers() -> dict[str, Any]:
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


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(answers()))
