"""Choose a model's threshold anew, on pictures of the line that it shall decide about.

    done = recalibrate(load_model("model.safetensors"), samples, Path("data/line"))
    save_artifact(out, done.model, done.card)

Nothing is trained. The pictures become what the model knows: warnings of unlike and of changed
pictures compare with them from now on, and they no longer judge it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pillqc.data.seen_images import encode_seen, without_seen
from pillqc.data.splits import content_hash
from pillqc.errors import UsageError
from pillqc.evaluation.calibration import Chosen, choose, divide_head
from pillqc.model.narrowing import narrow_form
from pillqc.rendering.dataset import source_of
from pillqc.training.known_pictures import known_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.artifact import ModelCard
    from pillqc.model.network import CustomVGG, LoadedModel


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """A model with other thresholds, and its card, without the figures of the old ones."""

    model: CustomVGG
    card: ModelCard
    chosen: Chosen
    seen_before: int
    """Pictures that chose although the model had seen them before; the card has it, too."""


def recalibrate(loaded: LoadedModel, samples: Sequence[Sample], root: Path) -> Recalibrated:
    """Choose temperature, thresholds, undecided band and scale of the maps on all samples.

    Names of defects stay as they are. The order of pills by their score stays, too: only a training
    changes it.

    Args:
        loaded: a trained model.
        samples: good and bad pictures; masks, where there are any, scale the maps.
        root: the folder of the data set; the card gets its name, not its path.

    Raises:
        UsageError: the model is not from a model file, or untrained.
        PillqcError: good or bad pictures are missing.
    """
    card = loaded.card
    if card is None or not loaded.trained:
        raise UsageError(f"{loaded.name}: only a trained model has a threshold to choose anew")
    model = copy.deepcopy(loaded.model)
    divide_head(model, 1.0 / card.temperature)
    chosen = choose(model, samples, size=card.size, twin=narrow_form(model))
    known = without_seen(samples, card.seen)[1]
    pictures = {
        "folder": root.resolve().name,
        **source_of(root),
        "images": chosen.images,
        "seen_before": known,
    }
    card = replace(
        card,
        data=card.data | {"thresholds": pictures},
        seen=encode_seen((content_hash(sample.path) for sample in samples), card.seen),
        metrics={},
        **known_pictures(samples),
    )
    return Recalibrated(model=model, card=chosen.apply_to(card), chosen=chosen, seen_before=known)
