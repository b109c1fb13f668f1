"""What people read: tables and lines from results."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final, TextIO

from pillqc.data.split_manifest import manifest_path
from pillqc.errors import PillqcError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from pillqc.evaluation.evaluate import Evaluation, Share
    from pillqc.inspection.inspector import Inspection
    from pillqc.model.network import LoadedModel
    from pillqc.training.recipe import Report
    from pillqc.training.run import Trained
    from pillqc.training.train import Epoch

_BANNER: Final = "UNTRAINED MODEL: these figures say nothing about pills"


def evaluation_table(report: Evaluation) -> str:
    """The evaluation as a table for a terminal."""
    lines = [] if report.trained else [_BANNER]
    lines += [
        f"model {report.model}, {report.images} images ({report.good} good, {report.bad} bad)",
        *_about_seen(report),
        f"threshold                 {report.threshold:.4f}",
        f"recall of bad             {_share(report.recall_bad)}",
        f"false rejects             {_share(report.false_rejects)}",
        f"image AUROC               {report.image_auroc:.4f}",
        f"average precision         {report.average_precision:.4f}",
    ]
    for rate, escapes in report.escapes_at_false_reject.items():
        lines.append(f"escapes at {float(rate):4.0%} rejects  {escapes:7.2%}")
    lines += [
        f"calibration error (ECE)   {report.ece:.4f}",
        f"Brier score               {report.brier:.4f}",
    ]
    lines.append(shown(report.masks.line))
    for name, value in vars(report.pixels).items():
        lines.append(f"{name:<25} {'no masks' if value is None else format(value, '.4f')}")
    lines.append("recall by defect, at the threshold")
    lines += [
        f"  {shown(defect):<23} {_share(share)}"
        for defect, share in report.recall_by_defect.items()
    ]
    lines += [f"{key.replace('_', ' '):<25} {count}" for key, count in report.confusion.items()]
    return "\n".join(lines)


def _about_seen(report: Evaluation) -> list[str]:
    if report.left_out:
        return [f"left out: {report.left_out} images that the model has seen in training"]
    if report.seen:
        return [f"TOO GOOD: {report.seen} of the images were seen in training"]
    return []


def epoch_line(epoch: Epoch) -> str:
    """One epoch in one line."""
    tried = ""
    if epoch.validation_loss is not None:
        tried = f", validation loss {epoch.validation_loss:.4f} AUROC {epoch.validation_auroc:.4f}"
    return (
        f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}{tried},"
        f" {epoch.seconds:.1f} s"
    )


def trained_text(done: Trained, out: Path) -> str:
    """What a training did, and what to do next."""
    result = done.result
    best = f"; epoch {result.best_epoch} was best" if result.best_epoch else ""
    went_on = f", resumed in epoch {result.resumed_at}" if result.resumed_at else ""
    sides = ", ".join(
        f"{sum(kinds.values())} {split}" for split, kinds in done.manifest.counts().items()
    )
    return (
        f"trained for {result.seconds:.1f} s ({result.images_per_s:.1f} images/s){went_on}, stopped"
        f" at {result.stopped}{best}\n"
        f"wrote {out} and {manifest_path(out).name} (images: {sides})"
    )


def recipe_line(report: Report) -> str:
    """How far a training from scratch is, in one line."""
    tried = "" if report.auroc is None else f", validation AUROC {report.auroc:.4f}"
    return (
        f"step {report.step} of {report.steps}, {report.size} px, loss {report.loss:.3f},"
        f" {report.images_per_s:.0f} images/s{tried}"
    )


class CsvLines:
    """Decisions as CSV, written line by line, names with their very bytes; no file, no lines."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> CsvLines:  # noqa: PYI034 - `Self` needs Python 3.11
        if self._path is not None:
            try:
                self._file = self._path.open(
                    "w", newline="", encoding="utf-8", errors="surrogateescape"
                )
            except OSError as error:
                raise PillqcError(f"{self._path}: cannot be written ({error.strerror})") from error
            csv.writer(self._file, lineterminator="\n").writerow(_COLUMNS)
            self._file.flush()  # a table in the inspected folder is known by its first line
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, told: Mapping[str, Any]) -> None:
        """Write what `Inspection.as_dict` says of a file.

        Boxes are a count and the hottest one; `all_boxes` has every one, as JSON.
        """
        if self._file is None:
            return
        box = told["boxes"][0] if told["boxes"] else {}
        row = [
            *(told["path"], told["decision"], told["probability_bad"], len(told["boxes"])),
            *(box.get(key, "") for key in ("left", "top", "right", "bottom", "score")),
            *(told["ms"], told.get("reason"), json.dumps(told["boxes"])),
            *(
                "; ".join(told.get(key) or ()) if key == "notes" else told.get(key)
                for key in _LATER
            ),
            *(told.get("undecided") or ("", "")),
        ]
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()


_LATER: Final = (
    *("batch", "looked_at", "unlike", "notes", "picture_error"),
    *("time", "model", "model_sha256", "threshold"),
)
_COLUMNS: Final = (
    *("path", "decision", "probability_bad", "boxes"),
    *("left", "top", "right", "bottom", "score", "ms", "reason", "all_boxes"),
    *_LATER,
    *("undecided_from", "undecided_to"),
)


def inspection_line(result: Inspection) -> str:
    """One file in one line."""
    name = shown(result.path)
    if result.decision == "error":
        return f"{name}: error: {result.reason}"
    boxes = ", ".join(
        f"({b.left},{b.top})-({b.right},{b.bottom}) {b.score:.2f}" for b in result.boxes
    )
    where = f", defect at {boxes}" if boxes else ""
    return (
        f"{name}: {result.decision}, probability of bad {result.probability_bad:.3f}"
        f"{where}, {result.ms:.0f} ms{''.join(f'; {remark}' for remark in _remarks(result))}"
    )


def _remarks(result: Inspection) -> Iterator[str]:
    if result.unlike:
        yield f"UNLIKE ALL THAT THE MODEL KNOWS ({result.unlike})"
    yield from result.notes
    if result.picture_error:
        yield f"no picture: {result.picture_error}"


def summaries(loaded: LoadedModel, *, optimize: str, dtype: str, size: int) -> Iterator[str]:
    """The model's layers, and those of the optimised model when one is asked for."""
    import torch

    from pillqc.model.network import count_parameters
    from pillqc.model.optimizing import load_ipex, replaced_layers

    trainable, total = count_parameters(loaded.model)
    yield _layers(loaded.model, size, f"{loaded.name}, as loaded")
    yield f"{trainable:,} of {total:,} parameters train"
    if optimize == "none":
        return
    wanted = torch.bfloat16 if dtype == "bf16" else torch.float32
    ipex = load_ipex(wanted, instead="ask for --optimize none")
    optimized = ipex.optimize(loaded.model.eval(), dtype=wanted)
    yield _layers(optimized, size, f"{loaded.name}, after ipex.optimize in {dtype}")
    yield f"{replaced_layers(loaded.model, optimized)} layers are IPEX's"


def _layers(model: nn.Module, size: int, title: str) -> str:
    import torchinfo

    shown = torchinfo.summary(
        model,
        input_size=(1, 3, size, size),
        verbose=0,
        col_names=("output_size", "num_params", "trainable"),
        device="cpu",
        mode="eval",
    )
    return f"{title}\n{shown}"


def _share(share: Share) -> str:
    if share.share is None:
        return "no images"
    return (
        f"{share.share:7.2%}  ({share.count} of {share.n}; 95 % interval"
        f" {share.low:.1%} to {share.high:.1%})"
    )
