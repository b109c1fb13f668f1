"""From a folder to a model file: split, train, choose thresholds on validation data, save.

    done = run_training(TrainingRun(data=Path("data/pills"), out=Path("model.safetensors")))

It writes the model file and, beside it, the manifest of the split. The model's card lists every
image that the model has seen, so that `pillqc evaluate` can leave these out. Test images are read
only for their hash and for the search for near copies.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch

from pillqc import __version__
from pillqc.data.decoding_process import read_image
from pillqc.data.folders import read_samples
from pillqc.data.images import MEAN, STD
from pillqc.data.masks import MaskSurvey, survey_masks
from pillqc.data.seen_images import encode_seen
from pillqc.data.split_manifest import build_manifest, manifest_path, write_split
from pillqc.data.splits import find_crossings, split_by_folders, split_samples, with_split_names
from pillqc.errors import shown
from pillqc.evaluation.calibration import Chosen, choose, divide_head
from pillqc.inspection.drift import drift_reference
from pillqc.inspection.novelty import image_statistics, known_limits
from pillqc.model.artifact import ModelCard, check_writable, save_artifact
from pillqc.model.narrowing import narrow_form, wide_form
from pillqc.model.network import CLASSES, load_model
from pillqc.model.optimizing import ipex_optimize
from pillqc.training.batches import FileSource
from pillqc.training.checkpoint import CheckpointFile
from pillqc.training.distributed import Team, team
from pillqc.training.loop import Epoch, TrainingOptions, TrainingResult, train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.data.split_manifest import SplitManifest
    from pillqc.model.network import CustomVGG, LoadedModel


ADAPTING_IMAGES: Final = 14_000
"""Images that `--adapt` shows in all, each of them several times."""
_NOT_IN_CARD: Final = ("data", "good", "out", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class TrainingRun:  # more than 15 fields: one for each option of `pillqc train`
    """The options of `pillqc train`; those that decide the result go into the model's card."""

    data: Path
    out: Path
    good: str | None = None
    """Name of the folder of good pills, if it is not `good`."""
    checkpoint: Path | None = None
    """None: beside `out`."""
    weights: str | None = None
    backend: str = "stock"
    dtype: str = "fp32"
    epochs: int = 20
    """0: as many as show `ADAPTING_IMAGES` images."""
    batch_size: int = 8
    learning_rate: float = 1e-4
    target_accuracy: float | None = 0.98
    patience: int | None = None
    max_minutes: float | None = None
    full: bool = False
    masks: bool = False
    augment: bool = False
    narrow: bool = False
    """Train a widened model in its narrow form."""
    cycle: bool = False
    split_by: str = "content"
    size: int = 0
    """Side in pixels; 0: that of the model it starts from."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    result: TrainingResult
    manifest: SplitManifest
    chosen: Chosen | None
    """None where validation lacks good or bad images."""


def run_training(
    run: TrainingRun,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Trained | None:
    """Train on one part of the data, choose on another, and write the model file.

    Returns None in the processes of a team that do not lead it.
    """
    check_writable(run.out)
    notes: list[str] = []
    samples = read_samples(run.data, good=run.good, on_note=notes.append)
    masks = survey_masks(samples)
    if run.split_by == "folders":
        splits = split_by_folders(samples, run.data, seed=run.seed)
    else:
        splits = split_samples(samples, seed=run.seed)
    manifest = build_manifest(splits, run.data)
    loaded = load_model(run.weights, freeze=not run.full, seed=run.seed)
    epochs = run.epochs or -(-ADAPTING_IMAGES // max(len(splits["train"]), 1))
    run = replace(run, size=run.size or loaded.size, epochs=epochs)
    model = _prepared(loaded, run)
    checkpoint = CheckpointFile(
        path=run.checkpoint or run.out.with_suffix(".checkpoint"),
        settings=_settings(run, manifest, model),
    )
    can_choose = len({sample.bad for sample in splits["validation"]}) == len(CLASSES)
    with team() as together:
        if together.leads:
            for note in (*notes, masks.line, *_doubts(splits, can_choose=can_choose)):
                on_note(note)
        result = _train(run, model, splits, together, checkpoint, on_epoch)
    if not together.leads:
        return None
    model = wide_form(model)
    chosen = choose(model, splits["validation"], size=run.size) if can_choose else None
    seen = [*splits["train"], *splits["validation"]]
    card = _card(run, loaded, manifest, masks, result, seen)
    if chosen is None:
        failures = ("no validation data: the threshold is a guess",)
        card = replace(card, known_failures=failures)
    else:
        card = replace(card, data=card.data | {"validation_images": chosen.images})
        card = chosen.apply_to(card)
    save_artifact(run.out, model, card)
    write_split(manifest_path(run.out), manifest)
    checkpoint.path.unlink(missing_ok=True)
    return Trained(result=result, manifest=manifest, chosen=chosen)


def _train(
    run: TrainingRun,
    model: CustomVGG,
    splits: Mapping[str, Sequence[Sample]],
    together: Team,
    checkpoint: CheckpointFile,
    on_epoch: Callable[[Epoch], None] | None,
) -> TrainingResult:
    dtype = torch.bfloat16 if run.dtype == "bf16" else None
    return train(
        model,
        FileSource(splits["train"], size=run.size, augment_seed=run.seed if run.augment else None),
        TrainingOptions(
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=run.learning_rate,
            target_accuracy=run.target_accuracy,
            patience=run.patience,
            max_seconds=run.max_minutes * 60.0 if run.max_minutes else None,
            autocast_dtype=dtype,
            seed=run.seed,
            masks=run.masks,
            cycle=run.cycle,
        ),
        validation=FileSource(splits["validation"], size=run.size),
        optimize=ipex_optimize(dtype or torch.float32) if run.backend == "ipex" else None,
        on_epoch=on_epoch if together.leads else None,
        team=together,
        checkpoint=checkpoint,
    )


def _prepared(loaded: LoadedModel, run: TrainingRun) -> CustomVGG:
    """Return the model without its calibration, in the form and layout that trains fastest."""
    model = loaded.model
    if loaded.card is not None and loaded.trained:
        divide_head(model, 1.0 / loaded.card.temperature)
    if run.narrow:
        model = narrow_form(model, freeze=not run.full)
    if run.dtype == "bf16" and run.backend == "stock":  # else oneDNN reorders it in each call
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    return model


def _doubts(splits: dict[str, list[Sample]], *, can_choose: bool) -> list[str]:
    """Return what makes the result doubtful; every image is read once, before training."""
    doubts: list[str] = []
    crossings = find_crossings(with_split_names(splits), on_note=doubts.append)
    if crossings:
        first = crossings[0]
        doubts.append(
            f"{len(crossings)} pairs of nearly identical images cross the split, for example"
            f" {shown(first.first.path)} and {shown(first.second.path)}: this model's figures on"
            " its test images will be too good (pillqc check-split lists all pairs)"
        )
    if not can_choose:
        doubts.append(
            "validation lacks good or bad images: no best epoch, and the threshold is a guess"
        )
    return doubts


def _card(
    run: TrainingRun,
    loaded: LoadedModel,
    manifest: SplitManifest,
    masks: MaskSurvey,
    result: TrainingResult,
    seen: Sequence[Sample],
) -> ModelCard:
    pictures = [image_statistics(read_image(sample.path)) for sample in seen]
    reference = drift_reference(pictures, [sample.bad for sample in seen], seed=run.seed)
    figures = {
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
        "best_epoch": result.best_epoch,
        "optimized_layers": result.optimized_layers,
        "history": [asdict(epoch) for epoch in result.history],
        "started_from": loaded.name,
        "pillqc": __version__,
        "torch": torch.__version__,
    }
    seen_before = loaded.card.seen if loaded.card else ""
    return ModelCard(
        size=run.size,
        mean=MEAN,
        std=STD,
        data={
            "folder": run.data.name,
            "split_by": run.split_by,
            "split_seed": run.seed,
            "split_sha256": manifest.sha256,
            "images": manifest.counts(),
            "masks": asdict(masks),
        },
        training=_options(run) | figures,
        known=known_limits(pictures),
        drift=reference.as_dict() if reference else {},
        seen=encode_seen(manifest.digests("train", "validation"), seen_before),
    )


def _options(run: TrainingRun) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name not in _NOT_IN_CARD}


def _settings(run: TrainingRun, manifest: SplitManifest, model: CustomVGG) -> str:
    """Return all that decides the bits of a training, so that a resume can compare it."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return repr((_options(run), manifest.sha256, digest.hexdigest(), torch.__version__))
