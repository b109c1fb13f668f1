"""From a folder to a model file: split, train, choose the threshold on validation data, save.

    done = run_training(TrainingRun(data=Path("data/pills"), out=Path("model.safetensors")))

What comes out are the model file and, beside it, the manifest of the split. The card names every
image that the model has seen, so that `pillqc evaluate` judges it by others. Test images are not
even opened but for their hash and for the search for near copies.
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
from pillqc.errors import UsageError, shown
from pillqc.evaluation.calibration import Chosen, choose, divide_head
from pillqc.inspection.novelty import image_statistics, known_limits
from pillqc.model.artifact import ModelCard, check_writable, save_artifact
from pillqc.model.narrowing import narrow_form, wide_form
from pillqc.model.network import CLASSES, load_model
from pillqc.model.optimizing import Optimize, ipex_optimize
from pillqc.training.batches import FileSource
from pillqc.training.distributed import Team, team
from pillqc.training.train import Epoch, Kept, TrainingOptions, TrainingResult, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.data.split_manifest import SplitManifest
    from pillqc.model.network import CustomVGG, LoadedModel


ADAPTING_IMAGES: Final = 14_000
"""Shown in all while a trained model adapts to another product, each of them several times."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What `pillqc train` was asked for."""

    data: Path
    out: Path
    good: str | None = None
    """The folder of good pills where it is not called `good`."""
    checkpoint: Path | None = None
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
    """Whether a widened model trains in its narrow form."""
    cycle: bool = False
    split_by: str = "content"
    size: int = 0
    """Side in pixels; 0: that of the model it starts from."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a process did; only the leading one has a model file."""

    result: TrainingResult
    manifest: SplitManifest
    chosen: Chosen | None


def run_training(
    run: TrainingRun,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Trained | None:
    """Train on a part of the data, choose on another, write the model file.

    None in a process that only helped another one.
    """
    if run.out.suffix != ".safetensors":
        raise UsageError(f"{run.out}: a model file ends in .safetensors")
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
    model = _ready(loaded, run)
    kept = Kept(path=_checkpoint(run), told=_told(run, manifest, model))
    with team() as together:
        if together.leads:
            for note in (*notes, masks.line):
                on_note(note)
            _note_doubts(splits, on_note)
        result = _train(run, model, splits, together, kept, on_epoch)
    if not together.leads:
        return None
    model = wide_form(model)
    chosen = _chosen(model, splits["validation"], run.size)
    images = [sample.path for name in ("train", "validation") for sample in splits[name]]
    save_artifact(run.out, model, _card(run, loaded, manifest, masks, chosen, result, images))
    write_split(manifest_path(run.out), manifest)
    kept.path.unlink(missing_ok=True)
    return Trained(result=result, manifest=manifest, chosen=chosen)


def _train(
    run: TrainingRun,
    model: CustomVGG,
    splits: dict[str, list[Sample]],
    together: Team,
    kept: Kept,
    on_epoch: Callable[[Epoch], None] | None,
) -> TrainingResult:
    dtype = torch.bfloat16 if run.dtype == "bf16" else None
    optimize: Optimize | None = None
    if run.backend == "ipex":
        optimize = ipex_optimize(dtype or torch.float32)
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
        optimize=optimize,
        on_epoch=on_epoch if together.leads else None,
        team=together,
        kept=kept,
    )


def _ready(loaded: LoadedModel, run: TrainingRun) -> CustomVGG:
    """The model as it was when it was trained: without the temperature that calibrated it."""
    model = loaded.model
    if loaded.card is not None and loaded.trained:
        divide_head(model, 1.0 / loaded.card.temperature)
    if run.narrow:
        model = narrow_form(model, freeze=not run.full)
    if run.dtype == "bf16" and run.backend == "stock":  # oneDNN would turn it around for each call
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    return model


def _note_doubts(splits: dict[str, list[Sample]], on_note: Callable[[str], None]) -> None:
    """Read every image once, before hours are spent, and say what crosses the split."""
    crossings = find_crossings(with_split_names(splits), on_note=on_note)
    if crossings:
        first = crossings[0]
        on_note(
            f"{len(crossings)} pairs of images are nearly the same and on two sides of the split,"
            f" for example {shown(first.first.path)} and {shown(first.second.path)}:"
            " figures of this model on its test images will look too good (pillqc check-split shows"
            " all of them)"
        )
    if len({sample.bad for sample in splits["validation"]}) < len(CLASSES):
        on_note("validation lacks good or bad images: no best epoch, and the threshold is a guess")


def _card(
    run: TrainingRun,
    loaded: LoadedModel,
    manifest: SplitManifest,
    masks: MaskSurvey,
    chosen: Chosen | None,
    result: TrainingResult,
    shown_images: Sequence[Path],
) -> ModelCard:
    told = {
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
        "best_epoch": result.best_epoch,
        "optimized_layers": result.optimized_layers,
        "history": [asdict(epoch) for epoch in result.history],
        "started_from": loaded.name,
        "pillqc": __version__,
        "torch": torch.__version__,
    }
    before = loaded.card.seen if loaded.card else ""
    card = ModelCard(
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
        training=_options(run) | told,
        known=known_limits(image_statistics(read_image(path)) for path in shown_images),
        seen=encode_seen(manifest.digests("train", "validation"), before),
    )
    if chosen is None:
        return replace(card, known_failures=("no validation data: the threshold is a guess",))
    return replace(
        card,
        threshold=chosen.threshold,
        undecided=chosen.undecided,
        temperature=chosen.temperature,
        thresholds=chosen.thresholds,
        data=card.data | {"validation_images": chosen.images},
    )


def _chosen(model: CustomVGG, validation: Sequence[Sample], size: int) -> Chosen | None:
    """Choose on validation data, or nothing where it lacks one of the kinds."""
    if len({sample.bad for sample in validation}) < len(CLASSES):
        return None
    return choose(model, validation, size=size)


def _checkpoint(run: TrainingRun) -> Path:
    return run.checkpoint or run.out.with_suffix(".checkpoint")


def _options(run: TrainingRun) -> dict[str, Any]:
    return {k: v for k, v in asdict(run).items() if k not in ("data", "good", "out", "checkpoint")}


def _told(run: TrainingRun, manifest: SplitManifest, model: CustomVGG) -> str:
    """What must be the same for a training to go on with the same bits."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return repr((_options(run), manifest.sha256, digest.hexdigest(), torch.__version__))
