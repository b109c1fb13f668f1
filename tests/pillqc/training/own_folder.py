"""Be one of several machines: `python -m tests.pillqc.training.own_folder FOLDER STEP WORDS`.

`pillqc` runs in a folder of this process's own, and is killed in the given step; 0: in none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from pillqc.commands.main import main


def kill_at(step: int) -> None:
    """End this process in the given step, after it has added its gradients to the others'."""
    original, steps = torch.optim.Adam.step, []

    def counted(self: torch.optim.Adam, *arguments: Any) -> Any:
        steps.append(self)
        if len(steps) == step:
            os._exit(9)
        return original(self, *arguments)

    torch.optim.Adam.step = counted  # type: ignore[method-assign, assignment] # as monkeypatch does


if __name__ == "__main__":
    folder = Path(sys.argv[1]) / os.environ["RANK"]
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    kill_at(int(sys.argv[2]))
    main(sys.argv[3:])
