"""Write an evaluation's figures into the card of the model file that it judged.

    check_card(loaded)          # refuses what has no card that can be written, before the work
    report = evaluate(loaded, samples)
    write_figures(loaded, report, root, samples, split="test")

Anyone who has the file can then repeat its figures.
"""

from __future__ import annotations

import csv
import shlex
from typing import TYPE_CHECKING, Any

from pillqc.data.seen_images import without_seen
from pillqc.data.split_manifest import build_manifest
from pillqc.data.splits import content_hash
from pillqc.errors import ModelFileError, UsageError
from pillqc.model.artifact import check_writable, write_metrics
from pillqc.model.network import SHIPPED_MODEL
from pillqc.rendering.dataset import MANIFEST, rendered_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.data.split_manifest import SplitManifest
    from pillqc.evaluation.evaluate import Evaluation
    from pillqc.model.network import LoadedModel


def check_card(loaded: LoadedModel) -> Path:
    """Return the file whose card can take figures, and remember its hash.

    Raises:
        UsageError: the model is not from a model file.
        ModelFileError: the file cannot be written.
    """
    if loaded.path is None or loaded.sha256 is None:
        raise UsageError(f"{loaded.name}: not a model file, so there is no card to write into")
    check_writable(loaded.path.resolve())
    return loaded.path


def write_figures(
    loaded: LoadedModel,
    report: Evaluation,
    root: Path,
    samples: Sequence[Sample],
    **options: object,
) -> None:
    """Write figures, command and the hash of what was judged; weights stay bit by bit.

    Where the folder is as `pillqc render` made it, the command renders it first, and
    `manifest_sha256` is that of its `manifest.csv`. Elsewhere it is that of a list of the judged
    images, which has the form of a `.split.csv`.

    Args:
        loaded: the model; its file must be the one that was judged.
        report: the evaluation.
        root: the folder of the data set; the card gets its name, not its path.
        samples: the images of the evaluation; those that the model has seen were left out.
        options: those of `pillqc evaluate` that chose images or their size; None: not given.

    Raises:
        ModelFileError: another file is there now, or it cannot be written.
    """
    path = check_card(loaded)
    if content_hash(path) != loaded.sha256:
        raise ModelFileError(
            f"{path}: was changed during the evaluation, so the figures are not its; evaluate again"
        )
    is_default = path.resolve() == SHIPPED_MODEL.resolve()
    options = {"model": None if is_default else path.name, **options}
    unseen, _ = without_seen(samples, loaded.card.seen if loaded.card else "")
    judged = _manifest(root, unseen)
    write_metrics(path, report.as_dict() | _repeated_by(root, judged, options))


def _repeated_by(root: Path, judged: SplitManifest, options: dict[str, Any]) -> dict[str, str]:
    """Return the command that repeats the figures, and the hash that shows the same images."""
    name = root.resolve().name
    words = ["pillqc", "evaluate", "--data", name]
    for option, value in options.items():
        words += [] if value is None else [f"--{option}", str(value)]
    plan = rendered_plan(root)
    if plan is None or not _is_as_rendered(root, judged):
        return {"command": shlex.join(words), "manifest_sha256": judged.sha256}
    return {
        "command": f"{plan.command(name)} && {shlex.join(words)}",
        "manifest_sha256": content_hash(root / MANIFEST),
    }


def _manifest(root: Path, samples: Sequence[Sample]) -> SplitManifest:
    splits = sorted({sample.split for sample in samples})
    return build_manifest({name: [s for s in samples if s.split == name] for name in splits}, root)


def _is_as_rendered(root: Path, judged: SplitManifest) -> bool:
    """Return whether all rendered pills are there, and the judged ones are unchanged."""
    try:
        with (root / MANIFEST).open(encoding="utf-8", newline="") as file:
            rendered = {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, csv.Error):
        return False
    return all((root / path).is_file() for path in rendered) and all(
        rendered.get(row.path) == row.sha256 for row in judged.rows
    )
