"""Programs in a fresh process of this Python."""

from __future__ import annotations

import subprocess
import sys
from typing import Any


def python(*arguments: object, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run this Python with these arguments; its exit code must be `code`."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, **options
    )
    assert done.returncode == code, done.stderr
    return done
