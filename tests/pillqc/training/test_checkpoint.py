"""A checkpoint gives back its state, or says in a line why it cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from pillqc.errors import ModelFileError, PillqcError
from pillqc.training.checkpoint import CheckpointFile
from pillqc.training.distributed import Team

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


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_a_team_reads_the_file_of_its_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """Another process goes on from that state, or refuses as the leader does."""
    files = [CheckpointFile(path=tmp_path / f"{rank}/m", settings="") for rank in range(2)]
    files[0].save({"weights": torch.arange(3)})
    if content is not None:
        files[0].path.write_bytes(content)
    sent: list[Any] = []

    def broadcast(values: list[Any], src: int) -> None:
        sent.extend(values)  # the leader is the first to call
        values[0] = sent[src]

    def gather(parts: list[list[str]], items: list[str]) -> None:
        parts[:] = [items, items]

    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    for rank, file in enumerate(files):
        team = Team(rank=rank, size=2)
        if content is None:
            state = file.read_for(team)
            assert state is not None
            assert torch.equal(state["weights"], torch.arange(3))
        else:
            with pytest.raises(ModelFileError, match="remove it to start again"):
                file.read_for(team)


def test_processes_of_different_trainings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would train different models, with a checkpoint and without one."""

    def gather(parts: list[list[str]], _: list[str]) -> None:
        parts[:] = [["seed=1"], ["seed=2"]]

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    for rank in range(2):
        file = CheckpointFile(path=tmp_path / "m", settings=f"seed={rank + 1}")
        with pytest.raises(PillqcError, match="the same"):
            file.read_for(Team(rank=rank, size=2))


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """The path is named."""
    (tmp_path / "file").touch()
    with pytest.raises(PillqcError, match="cannot be written"):
        CheckpointFile(path=tmp_path / "file/m", settings="").save({})
