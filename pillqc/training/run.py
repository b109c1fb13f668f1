"""Train from a folder to a model file: split, train, choose thresholds on validation data, save.

    done = run_training(TrainingRun(data=Path("data/pills"), out=Path("model.safetensors")))

It writes the model file and, beside it, the manifest of the split. The model's card lists every
image that the model has seen, so that `pillqc evaluate` can leave these out. Test images are read
only for their hash and for the search for near copies.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from pillqc import __version__
from pillqc.data.defects import defect_names
from pillqc.data.folders import read_samples
from pillqc.data.images import MEAN, STD
from pillqc.data.masks import MaskSurvey, survey_masks
from pillqc.data.seen_images import encode_seen, seen_doubt, without_seen
from pillqc.data.split_manifest import build_manifest, manifest_path, write_split
from pillqc.data.splits import (
    SHARES,
    find_crossings,
    shares_of,
    split_by_folders,
    split_samples,
    with_split_names,
)
from pillqc.errors import UsageError, shown
from pillqc.evaluation.calibration import GUESSED, Chosen, choose, choose_names, divide_head
from pillqc.evaluation.defect_calibration import scale_defects
from pillqc.model.artifact import ModelCard, check_writable, save_artifact
from pillqc.model.narrowing import (
    decision_form,
    narrow_form,
    wide_form,
    with_defects_of,
    with_features_of,
)
from pillqc.model.network import CLASSES, FEATURE_CHANNELS, load_model, with_defects
from pillqc.model.optimizing import ipex_optimize
from pillqc.rendering.dataset import source_of
from pillqc.training.batches import FileSource
from pillqc.training.checkpoint import CheckpointFile
from pillqc.training.distributed import Team, team
from pillqc.training.known_pictures import known_pictures
from pillqc.training.loop import Epoch, TrainingOptions, TrainingResult, train
from pillqc.training.run_checks import check_names_only, check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from pillqc.data.images import Sample
    from pillqc.data.split_manifest import SplitManifest
    from pillqc.model.network import CustomVGG, LoadedModel


ADAPTING_IMAGES: Final = 14_000
"""Images that `--adapt` shows in all, each of them several times."""
_HEAD_RATE: Final = 10.0
"""So many times the rate of the features, where both learn names: all names start as the same
evidence, and before they have parted nothing teaches the features to tell defects apart."""
_NOT_IN_CARD: Final = ("data", "good", "out", "checkpoint")
_OF_THE_DECISION: Final = (
    *("classes", "threshold", "undecided", "temperature", "thresholds", "box_threshold", "known"),
    *("intended_use", "known_failures"),
)
"""Fields of the card that stay with good and bad."""


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
    classes: str = "good-bad"
    """`defects`: name them too."""
    names_only: bool = False
    """Learn the names alone; good and bad stay those of `weights`. With `full`, the names get
    features of their own."""
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
    paste: bool = False
    """Put the defects of bad images onto good ones, too."""
    narrow: bool = False
    """Train a widened model in its narrow form."""
    half: bool = False
    """Keep the weights in half precision: the file is half as large."""
    cycle: bool = False
    split_by: str = "content"
    test_share: float | None = SHARES["test"]
    """Share of the images that `pillqc evaluate` may judge by; None: as `shares_of` says."""
    size: int = 0
    """Side in pixels; 0: that of the model it starts from."""
    seed: int = 0

    @property
    def own_features(self) -> bool:
        """Whether names are learnt on features of their own, beside those of good and bad."""
        return self.names_only and self.full


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    result: TrainingResult
    manifest: SplitManifest
    chosen: Chosen | None
    """None where validation lacks good or bad images, and where the names alone were learnt."""


def run_training(
    run: TrainingRun,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Trained | None:
    """Train on one part of the data, choose on another, and write the model file.

    Returns None in the processes of a team that do not lead it.

    Raises:
        UsageError: the options exclude each other.
        PillqcError: the data cannot be used, or the file cannot be written.
    """
    check_outputs(run.out, run.checkpoint)
    check_writable(run.out)
    notes: list[str] = []
    samples = read_samples(run.data, good=run.good, on_note=notes.append)
    masks = survey_masks(samples)
    if run.paste and not run.masks and not masks.used:  # else --masks tells
        raise UsageError("--paste needs masks of bad images, and there are none; leave it out")
    if run.split_by == "folders":
        splits = split_by_folders(samples, run.data, seed=run.seed)
    else:
        splits = split_samples(
            samples, seed=run.seed, shares=shares_of(len(samples), run.test_share)
        )
        if not splits["test"]:
            notes.append(
                f"none of the {len(samples)} images is kept for a test; judge the model on others,"
                " or keep some with --test-share"
            )
    manifest = build_manifest(splits, run.data)
    defects = defect_names(splits["train"]) if run.classes == "defects" else ()
    loaded = load_model(run.weights, freeze=not run.full, seed=run.seed)
    check_names_only(run, loaded)
    epochs = run.epochs or -(-ADAPTING_IMAGES // max(len(splits["train"]), 1))
    run = replace(run, size=run.size or loaded.size, epochs=epochs)
    model = _prepared(loaded, run, defects)
    checkpoint = CheckpointFile(
        path=run.checkpoint or run.out.with_suffix(".checkpoint"),
        settings=_settings(run, manifest, model),
    )
    validation = splits["validation"]
    known = without_seen(validation, loaded.card.seen if loaded.card else "")[1]
    notes += seen_doubt(known, len(validation), loaded.name)
    can_choose = _can_choose(validation)
    with team() as together:
        if together.leads:
            for note in (*notes, masks.line, *_doubts(run, splits, can_choose=can_choose)):
                on_note(note)
        result = _train(run, model, splits, defects, together, checkpoint, on_epoch)
    if not together.leads:
        return None
    seen = [*splits["train"], *validation]
    card = replace(_card(run, loaded, manifest, masks, result, seen), defects=defects)
    card.training["validation_seen_before"] = known
    model, card, chosen = _calibrated(run, loaded, model, card, validation)
    save_artifact(run.out, model, card, dtype=torch.float16 if run.half else torch.float32)
    write_split(manifest_path(run.out), manifest)
    checkpoint.path.unlink(missing_ok=True)
    return Trained(result=result, manifest=manifest, chosen=chosen)


def _train(
    run: TrainingRun,
    model: CustomVGG,
    splits: Mapping[str, Sequence[Sample]],
    defects: Sequence[str],
    together: Team,
    checkpoint: CheckpointFile,
    on_epoch: Callable[[Epoch], None] | None,
) -> TrainingResult:
    dtype = torch.bfloat16 if run.dtype == "bf16" else None
    again = run.full or run.augment or run.paste  # pictures are needed in every epoch: keep them
    return train(
        model,
        FileSource(
            splits["train"],
            size=run.size,
            augment_seed=run.seed if run.augment else None,
            paste_seed=run.seed if run.paste else None,
            defects=defects,
            keep=again,
        ),
        TrainingOptions(
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=run.learning_rate,
            head_rate=_HEAD_RATE if defects and (run.own_features or not run.names_only) else 1.0,
            target_accuracy=run.target_accuracy,
            patience=run.patience,
            max_seconds=run.max_minutes * 60.0 if run.max_minutes else None,
            autocast_dtype=dtype,
            seed=run.seed,
            masks=run.masks,
            cycle=run.cycle,
        ),
        validation=FileSource(splits["validation"], size=run.size, defects=defects, keep=run.full),
        optimize=ipex_optimize(dtype or torch.float32) if run.backend == "ipex" else None,
        on_epoch=on_epoch if together.leads else None,
        team=together,
        checkpoint=checkpoint,
    )


def _can_choose(validation: Sequence[Sample]) -> bool:
    """Return whether there are images of both classes to choose on."""
    return len({sample.bad for sample in validation}) == len(CLASSES)


def _calibrated(
    run: TrainingRun,
    loaded: LoadedModel,
    model: CustomVGG,
    card: ModelCard,
    validation: Sequence[Sample],
) -> tuple[CustomVGG, ModelCard, Chosen | None]:
    """Return the trained model in full width with what validation images choose, and its card."""
    can_choose = _can_choose(validation)
    if run.names_only and loaded.card is not None:
        join = with_features_of if run.own_features else with_defects_of
        model = _as_saved(wide_form(join(loaded.model, model)), run)
        kept = {name: getattr(loaded.card, name) for name in _OF_THE_DECISION}
        kept["drift"] = loaded.card.drift or card.drift  # older files have none
        training = card.training | {"decision": _decision_of(loaded.card)}
        card = replace(card, **kept, training=training)
        if can_choose:
            narrow = narrow_form(model)  # computes the same in less time
            choose_names(narrow, validation, size=run.size, defects=card.defects)
            model = with_defects_of(model, narrow)
        return model, card, None
    model = _as_saved(wide_form(model), run)
    if not can_choose:
        return model, replace(card, known_failures=(GUESSED,)), None
    twin = narrow_form(model)
    chosen = choose(model, validation, size=run.size, defects=card.defects, twin=twin)
    card = replace(card, data=card.data | {"validation_images": chosen.images})
    return model, chosen.apply_to(card), chosen


def _as_saved(model: CustomVGG, run: TrainingRun) -> CustomVGG:
    """Return the model as precise as its file, so that choices are made on what users load."""
    return model.half().float() if run.half else model


def _decision_of(card: ModelCard) -> dict[str, Any]:
    """Return what taught a model good and bad, however often it has learnt names since."""
    before: dict[str, Any] | None = card.training.get("decision")
    return before or {"data": card.data, "training": card.training}


def _prepared(loaded: LoadedModel, run: TrainingRun, defects: Sequence[str]) -> CustomVGG:
    """Return the model without its calibration, in the form and layout that trains fastest.

    It has an output for each defect, and none for others that it may have named before, nor the
    features of these; only a head that alone learns reads all features that there are.
    """
    temperature = loaded.card.temperature if loaded.card else 1.0
    head_alone = run.names_only and not run.own_features
    model = loaded.model if head_alone else decision_form(loaded.model)
    if loaded.trained and not run.names_only:
        divide_head(model, 1.0 / temperature)
    model = with_defects(model, len(defects))
    if run.names_only:
        scale_defects(model, [(temperature, 0.0)] * len(defects))
    if run.own_features:  # finding helps naming: good and bad are learnt along, and left out later
        divide_head(model, 1.0 / temperature)
    if run.narrow:
        model = narrow_form(model, freeze=not run.full)
    if run.own_features and 2 * model.head.in_features > FEATURE_CHANNELS:
        raise UsageError(
            f"--names-only with --full: {loaded.name} has no room for features of the names beside"
            " those of good and bad; give --narrow and a model that was widened after its training,"
            " as the shipped one was, or leave out --names-only"
        )
    if head_alone:
        model.features.requires_grad_(requires_grad=False)
        for values in (model.head.weight, model.head.bias):
            values.register_hook(partial(_of_defects, first=model.n_classes))  # type: ignore[no-untyped-call] # torch leaves it untyped
    if run.dtype == "bf16" and run.backend == "stock":  # else oneDNN reorders it in each call
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    return model


def _of_defects(gradient: Tensor, *, first: int) -> Tensor:
    """Return a gradient of the head that moves the defects alone."""
    gradient = gradient.clone()
    gradient[:first] = 0.0
    return gradient


def _doubts(run: TrainingRun, splits: dict[str, list[Sample]], *, can_choose: bool) -> list[str]:
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
        guess = "the names are not calibrated" if run.names_only else "the threshold is a guess"
        doubts.append(f"validation lacks good or bad images: no best epoch, and {guess}")
    return doubts


def _card(
    run: TrainingRun,
    loaded: LoadedModel,
    manifest: SplitManifest,
    masks: MaskSurvey,
    result: TrainingResult,
    seen: Sequence[Sample],
) -> ModelCard:
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
            "folder": run.data.resolve().name,
            **source_of(run.data),
            "split_by": run.split_by,
            "split_seed": run.seed,
            "split_sha256": manifest.sha256,
            "images": manifest.counts(),
            "masks": asdict(masks),
        },
        training=_options(run) | figures,
        **known_pictures(seen, seed=run.seed),
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
