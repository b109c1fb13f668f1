"""Read and write model files: safetensors, with a card as JSON in the header.

    save_artifact(path, model, ModelCard(threshold=0.4, ...))
    card, tensors = read_artifact(path)

Weights and their threshold are one file, so they cannot be separated. Reading executes nothing: the
format has numbers and text only.
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

from pillqc.data.marker import partial_name, try_to_write
from pillqc.data.seen_images import decode_seen
from pillqc.errors import ModelFileError
from pillqc.model.card_check import check_card

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

FORMAT: Final = 1
_KEY: Final = "pillqc_card"


@dataclass(frozen=True, kw_only=True)
class ModelCard:  # more than 15 fields: the keys of the card
    """The description in a model file."""

    format: int = FORMAT
    classes: tuple[str, ...] = ("good", "bad")
    trained: bool = True
    threshold: float = 0.5
    """Probability of `bad` from which a pill is bad; chosen on validation data only."""
    undecided: tuple[float, float] | None = None
    """Probabilities between which a person should look."""
    temperature: float = 1.0
    """The head's weights are already divided by it."""
    box_threshold: float = 0.5
    """Heat from which a pixel belongs to a box."""
    size: int = 224
    """Side to which images are resized, in pixels."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """Training data: source, licence, SHA-256 of the manifest, counts."""
    training: dict[str, Any] = field(default_factory=dict)
    """The command, seeds, epochs, seconds, versions."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Results on data never used for training or threshold, with intervals, and the command."""
    intended_use: str = ""
    known_failures: tuple[str, ...] = ()
    known: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Range of every statistic over the training images: `pillqc.inspection.novelty`."""
    drift: dict[str, Any] = field(default_factory=dict)
    """What the pictures of a line are compared with: `pillqc.inspection.drift`."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Share of good validation pills called bad -> the lowest threshold with that share."""
    seen: str = ""
    """Images that must not judge it: see `pillqc.data.seen_images`."""
    compares: dict[str, Any] = field(default_factory=dict)
    """Of a model that compares (`pillqc.model.comparison`): with what, and how; else empty."""
    defects: tuple[str, ...] = ()
    """Defects that it names, in the order of its outputs after `classes`; none in older files."""


def save_artifact(
    path: Path, model: nn.Module, card: ModelCard, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write weights and card; after a crash the file is the old one or the new one."""
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    _write(path, tensors, card)


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Replace the metrics in the card of a model file; its weights stay bit by bit.

    Raises:
        ModelFileError: the file cannot be read or written; the old one is still there.
    """
    card, tensors = read_artifact(path)
    # a link stays a link
    _write(path.resolve(), tensors, replace(card, metrics=metrics))


def _write(path: Path, tensors: dict[str, Tensor], card: ModelCard) -> None:
    partial = partial_name(path)
    check_writable(path)
    try:
        partial.touch()
        # as that of the file before, or as the umask says; safetensors makes files private
        mode = (path if path.is_file() else partial).stat().st_mode
        save_file(tensors, partial, metadata={_KEY: json.dumps(asdict(card), sort_keys=True)})
        partial.chmod(mode)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: the model cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise a `ModelFileError` if no model file can be written, before hours of training."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        try_to_write(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror})") from error


def read_artifact(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights, or raise a `ModelFileError` with the reason."""
    if not path.is_file():
        what = "a folder, not a model file" if path.is_dir() else "no such model file"
        raise ModelFileError(f"{path}: {what}; name one, or `imagenet`, `hed` or `random`")
    try:
        with safe_open(path, framework="pt") as file:
            card = _read_card(path, (file.metadata() or {}).get(_KEY))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a readable model file (safetensors says: {error})"
        ) from error
    for name, tensor in tensors.items():
        # in one pass: the sum in double is finite unless a value is NaN or infinite
        if tensor.is_floating_point() and not math.isfinite(tensor.sum(dtype=torch.float64)):
            raise ModelFileError(f"{path}: damaged, {name} holds NaN or infinity")
    return card, tensors


def _read_card(path: Path, text: str | None) -> ModelCard:
    if text is None:
        raise ModelFileError(
            f"{path}: a safetensors file, but not one that pillqc wrote; give one of `pillqc train`"
        )
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError("it is no JSON object")  # noqa: TRY301
        if raw["format"] != FORMAT:
            raise ModelFileError(
                f"{path}: model format {raw['format']}, this version reads {FORMAT}; train it"
                " again, or use the version of pillqc that wrote it"
            )
        known = {f.name for f in fields(ModelCard)}
        values: dict[str, Any] = {k: _tuples(v) for k, v in raw.items() if k in known}
        card = ModelCard(**values)
        check_card(card)
        card = replace(card, known={name: (low, high) for name, (low, high) in card.known.items()})
        decode_seen(card.seen)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path}: its card is damaged ({error})") from error
    return card


def _tuples(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Convert JSON's lists to a card's tuples."""
    return tuple(value) if isinstance(value, list) else value
