"""A checkpoint gives back its state, or says in a line why it cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pillqc.errors import ModelFileError, PillqcError
from pillqc.training.checkpoint import CheckpointFile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


def test_it_reads_what_it_saved_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """Other settings and other versions would continue something else."""
    file = CheckpointFile(path=tmp_path / "deep/m.checkpoint", settings="seed=1")
    assert file.read() is None
    file.save({"weights": torch.arange(3)})
    state = file.read()
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3))
    assert [path.name for path in file.path.parent.iterdir()] == ["m.checkpoint"]
    with pytest.raises(ModelFileError, match="other settings, images or weights"):
        CheckpointFile(path=file.path, settings="seed=2").read()
    torch.save({"format": 999, "told": "seed=1"}, file.path)
    with pytest.raises(ModelFileError, match="of another version"):
        file.read()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign and cut files."""
    path = tmp_path / "m.checkpoint"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="remove it to start again"):
        CheckpointFile(path=path, settings="anything").read()


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """The path is named."""
    (tmp_path / "file").touch()
    with pytest.raises(PillqcError, match="cannot be written"):
        CheckpointFile(path=tmp_path / "file/m", settings="").save({})
