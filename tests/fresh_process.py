"""Programs in a fresh process of this Python."""

from __future__ import annotations

import subprocess
import sys
from typing import Any


def python(
    *arguments: object,
    code: int = 0,
    executable: str = sys.executable,
    timeout: float = 240,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a Python, this one by default, with these arguments; its exit code must be `code`."""
    command = [executable, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, **options
    )
    assert done.returncode == code, done.stderr
    return done
