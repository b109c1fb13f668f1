"""Refuse options that a training cannot obey, before it has cost time.

check_outputs(run.out, run.checkpoint)
check_names_only(run, loaded)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillqc.data.split_manifest import manifest_path
from pillqc.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.model.network import LoadedModel
    from pillqc.training.run import TrainingRun


def check_outputs(out: Path, checkpoint: Path | None) -> None:
    """Refuse a checkpoint that is the model file or the split's: it is removed at the end.

    Raises:
        UsageError: one file would be written as both.
    """
    if checkpoint is None:
        return
    for name, path in (("--out", out), ("the split of --out", manifest_path(out))):
        if checkpoint.resolve() == path.resolve():
            raise UsageError(
                f"--checkpoint and {name} name the same file, {path}; give another --checkpoint"
            )


def check_names_only(run: TrainingRun, loaded: LoadedModel) -> None:
    """Refuse to learn the names alone where there is no decision to keep.

    Raises:
        UsageError: the options exclude each other.
    """
    if not run.names_only:
        return
    if run.classes != "defects":
        raise UsageError("--names-only needs --classes defects")
    if loaded.card is None or not loaded.trained:
        raise UsageError(f"--names-only needs the weights of a trained model, not {loaded.name}")
    if run.size not in (0, loaded.size):
        raise UsageError(f"--names-only keeps thresholds of {loaded.size} px: leave out --size")
