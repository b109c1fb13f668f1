"""Run in an interpreter of its own: what Intel Extension for PyTorch says about this CPU.

`python -c <this text> RESULT` writes JSON to the file RESULT. With another torch than the one it
was built for, IPEX prints its complaint to standard output and dies on a call that does not exist.
It must run on its own, in other environments too: nothing of this project is imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def quiet(question: Callable[[], Any]) -> Any:  # noqa: ANN401 - any answer
    """The answer, or None where this version does not know the question."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - one missing answer must not cost the others
        return None


def answers() -> dict[str, Any]:
    """What IPEX says.

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
