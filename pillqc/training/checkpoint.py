"""Write and read the file from which a killed training resumes.

file = CheckpointFile(path=path, settings=repr(options))
state = file.read()     # None where there is no file
file.save({"weights": model.state_dict(), ...})
"""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from pillqc.errors import ModelFileError, PillqcError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pillqc.training.distributed import Team

FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint's path, and the settings that a training must share to resume from it."""

    path: Path
    settings: str
    key: str = "told"
    """Field of the file that holds the settings."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state; a kill leaves the old file or the new one, each complete.

        Raises:
            PillqcError: the file cannot be written.
        """
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"format": FORMAT, self.key: self.settings, **state}, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise PillqcError(f"{self.path}: the checkpoint cannot be written ({error})") from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """Return the state, or None where there is no file; reading it executes nothing.

        Raises:
            ModelFileError: the file is damaged, of another version or of another training.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            written, settings = state["format"], state.get(self.key)
        except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as e:
            raise ModelFileError(
                f"{self.path}: cannot be read as a checkpoint; remove it to start again"
            ) from e
        if written != FORMAT:
            raise ModelFileError(
                f"{self.path}: a checkpoint of another version; remove it to start again"
            )
        if settings != self.settings:
            raise ModelFileError(
                f"{self.path}: belongs to a training with other settings, images or weights;"
                " remove it or give another --checkpoint"
            )
        return state

    def read_for(self, team: Team) -> dict[str, Any] | None:
        """Return the state of the leader's file in every process; only the leader writes one.

        Raises:
            PillqcError: the processes have different settings; in every process alike.
            ModelFileError: the leader's file cannot be used; in every process alike.
        """
        if len(set(team.gathered([self.settings]))) > 1:
            raise PillqcError(
                "the processes of this training differ in options, images, weights or version of"
                " PyTorch; give all of them the same"
            )
        found: dict[str, Any] | PillqcError | None = None
        if team.leads:
            try:
                found = self.read()
            except PillqcError as error:  # the others wait for an answer
                found = error
        found = team.of_leader(found)
        if isinstance(found, PillqcError):
            raise found
        return found
