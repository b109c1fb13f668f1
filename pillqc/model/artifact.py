"""Model files: safetensors, with a card as JSON in the header.

    save_artifact(path, model, ModelCard(threshold=0.4, ...))
    card, tensors = read_artifact(path)

One file, so that weights and the threshold that belongs to them cannot part. Nothing executes when
it is read: the format holds numbers and text only.
"""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pillqc.data.seen_images import decode_seen
from pillqc.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

FORMAT: Final = 1
_KEY: Final = "pillqc_card"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model file says about itself."""

    format: int = FORMAT
    classes: tuple[str, ...] = ("good", "bad")
    trained: bool = True
    threshold: float = 0.5
    """Probability of `bad` from which a pill is called bad; chosen on validation data only."""
    undecided: tuple[float, float] | None = None
    """Between these probabilities a person should look."""
    temperature: float = 1.0
    """Already divided into the head's weights; kept to tell the story."""
    box_threshold: float = 0.5
    """Heat from which a cell belongs to a box."""
    size: int = 224
    """Images are resized to this side before they are shown to the model."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """What it was trained on: source, licence, sha256 of the manifest, counts."""
    training: dict[str, Any] = field(default_factory=dict)
    """The command, seeds, epochs, seconds, versions."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """On data never used for training or threshold, with intervals, and the command."""
    intended_use: str = ""
    known_failures: tuple[str, ...] = ()
    known: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Limits outside which a picture is unlike all training ones: `pillqc.inspection.novelty`."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Share of good validation pills that are called bad -> the lowest threshold that does so."""
    seen: str = ""
    """The images that must not judge it: see `pillqc.data.seen_images`."""


def save_artifact(
    path: Path, model: nn.Module, card: ModelCard, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write the model's weights and card; a crash leaves the old file or the new, never half."""
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    check_writable(path)
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the umask says; safetensors makes files private
        save_file(tensors, partial, metadata={_KEY: json.dumps(asdict(card), sort_keys=True)})
        partial.chmod(mode)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: the model cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise a `ModelFileError` where no model file can be written, before hours are spent on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        trial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror})") from error


def read_artifact(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights, or raise a `ModelFileError` that says what is wrong."""
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            card = _read_card(path, (file.metadata() or {}).get(_KEY))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a readable model file (safetensors says: {error})"
        ) from error
    for name, tensor in tensors.items():
        # One pass: a sum in double holds every finite float, and NaN or infinity show in it.
        if tensor.is_floating_point() and not math.isfinite(tensor.sum(dtype=torch.float64)):
            raise ModelFileError(f"{path}: damaged, {name} holds values that are no numbers")
    return card, tensors


def _read_card(path: Path, text: str | None) -> ModelCard:
    if text is None:
        raise ModelFileError(f"{path}: a safetensors file, but not one that pillqc wrote")
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise ModelFileError(
                f"{path}: model format {raw['format']}, this version reads {FORMAT}"
            )
        known = {f.name for f in fields(ModelCard)}
        values: dict[str, Any] = {k: _tuples(v) for k, v in raw.items() if k in known}
        card = ModelCard(**values)
        if not (math.isfinite(card.threshold) and 0.0 <= card.threshold <= 1.0):
            raise ValueError(f"threshold {card.threshold} is not a probability")  # noqa: TRY301
        card = replace(card, known={name: (low, high) for name, (low, high) in card.known.items()})
        decode_seen(card.seen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path}: its card is damaged ({error})") from error
    return card


def _tuples(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """JSON knows lists only; a card holds tuples."""
    return tuple(value) if isinstance(value, list) else value
