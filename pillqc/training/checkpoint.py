"""Where a training stood, so that it goes on after a kill with the bits that it would have had.

    save_checkpoint(path, state)
    state = read_checkpoint(path, told)     # None where there is none

A file holds tensors, numbers and text only, and nothing executes when it is read.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from pillqc.errors import ModelFileError, PillqcError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1


@dataclass(kw_only=True)
class Position:
    """How far a training has come."""

    epoch: int = 0
    """The epoch that is running, from 0."""
    batches: int = 0
    """Of this epoch, done."""
    loss_sum: float = 0.0
    right: int = 0
    seconds: float = 0.0
    """Of all sessions together."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One for each whole epoch."""
    order: Tensor | None = None
    """State of the generator that shuffles, before this epoch's order was drawn."""
    best: dict[str, Tensor] | None = None
    """The weights that were best on validation images so far."""
    best_epoch: int | None = None
    best_score: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training that can go on."""

    position: Position
    weights: dict[str, Tensor]
    """Those that train."""
    optimizer: dict[str, Any]


def save_checkpoint(path: Path, told: str, checkpoint: Checkpoint) -> None:
    """Write it; a kill leaves the old file or the new one whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    state = {
        "format": FORMAT,
        "told": told,
        "position": asdict(checkpoint.position),
        "weights": checkpoint.weights,
        "optimizer": checkpoint.optimizer,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise PillqcError(f"{path}: the checkpoint cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path, told: str) -> Checkpoint | None:
    """The checkpoint of the training that `told` describes; None where there is no file."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ModelFileError(
                f"{path}: a checkpoint of another version; remove it to begin anew"
            )
        if state["told"] != told:
            raise ModelFileError(
                f"{path}: belongs to a training with other settings, images or weights; remove it"
                " or give another --checkpoint"
            )
        position = Position(**state["position"])
        position.best_score = tuple(position.best_score)
        return Checkpoint(position=position, weights=state["weights"], optimizer=state["optimizer"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelFileError(
            f"{path}: not a checkpoint that can be read; remove it to begin anew"
        ) from error
