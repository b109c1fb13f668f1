"""Export a model as TorchScript or ONNX, and compare its outputs before the file is kept.

    exported = export(loaded, Path("model.onnx"), "onnx", paths)

Both take normalised images (N, 3, size, size) and return probabilities (N, classes) and maps: of
good, bad, and the defects that the model names. The file is written only if its outputs on real
images are the model's. The card is written beside it, because neither format has a place for it;
its `classes` and `defects` name the outputs.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch

from pillqc.data.images import MEAN, STD, load_images
from pillqc.data.marker import partial_name, write_whole
from pillqc.errors import PillqcError, UsageError, shown
from pillqc.model.artifact import ModelCard
from pillqc.model.runtimes import write_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from pillqc.model.network import CustomVGG, LoadedModel

Format = Literal["torchscript", "onnx"]
SUFFIXES: Final[dict[Format, str]] = {"torchscript": ".pt", "onnx": ".onnx"}
COMPARED: Final = 16
"""Number of real images whose outputs are compared."""
_KEYS: Final = frozenset({"format", "classes", "trained", "threshold"})
TOLERANCE: Final = 1e-3
"""Largest difference of a probability or of heat. Another order of additions causes about 1e-6, a
wrong weight or layer far more."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The written file and its largest difference."""

    path: Path
    images: int
    max_difference: float
    """Over probabilities and maps of all compared images."""


def export(loaded: LoadedModel, out: Path, kind: Format, images: Sequence[Path]) -> Exported:
    """Write `out` and its card, or raise a `PillqcError` with the reason.

    A card of an earlier export is replaced, and no other file of its name.
    """
    if out.suffix != SUFFIXES[kind]:
        raise UsageError(f"{out}: for {kind} give a name that ends in {SUFFIXES[kind]}")
    beside = out.with_suffix(".json")
    if beside.exists() and not _is_card(beside):
        raise UsageError(
            f"{shown(beside)}: the model's card would replace this file, which is none; give"
            " another --out"
        )
    if not images:
        raise PillqcError("an export is compared on real images, and there are none")
    example = load_images(images[:COMPARED], loaded.size)
    with torch.inference_mode():
        wanted = loaded.model(example)
    partial = partial_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        got = (_torchscript if kind == "torchscript" else _onnx)(loaded.model, partial, example)
        worst = _difference(wanted, got)
        if not worst <= TOLERANCE:  # also refuses NaN
            raise PillqcError(
                f"{out}: not written, its outputs differ from the model's by {worst:.2g} on"
                f" {len(example)} images"
            )
        partial.replace(out)
        card = loaded.card or ModelCard(
            trained=loaded.trained, threshold=loaded.threshold, mean=MEAN, std=STD
        )
        write_whole(beside, (json.dumps(asdict(card), indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise PillqcError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return Exported(path=out, images=len(example), max_difference=worst)


def _is_card(path: Path) -> bool:
    """Return whether a file has the keys that a card has had since there are exports."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= _KEYS


def _torchscript(model: CustomVGG, path: Path, example: Tensor) -> tuple[Tensor, Tensor]:
    """Trace, freeze and save; return the outputs of the loaded file."""
    with torch.inference_mode():
        traced = torch.jit.trace(model.eval(), example[:2])  # type: ignore[no-untyped-call] # untyped
        traced = torch.jit.freeze(traced)
    content = io.BytesIO()  # written by PyTorch itself, a full disk would end the process
    torch.jit.save(traced, content)  # type: ignore[no-untyped-call] # untyped
    path.write_bytes(content.getvalue())
    with torch.inference_mode():
        loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call] # untyped
        probabilities, maps = loaded(example)
    return probabilities, maps


def _onnx(model: CustomVGG, path: Path, example: Tensor) -> tuple[Tensor, Tensor]:
    """Export; return the outputs of ONNX Runtime."""
    try:
        import onnx  # noqa: F401 - the exporter needs it
        import onnxruntime
    except ImportError as error:
        raise PillqcError(
            f"ONNX needs the package {error.name}: pip install 'pillqc-bench[export]'"
        ) from error
    names = ("images", "probabilities", "maps")
    write_onnx(model.eval(), path, example[:2], dynamic_axes={name: {0: "n"} for name in names})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    probabilities, maps = session.run(None, {"images": example.numpy()})
    return torch.from_numpy(probabilities), torch.from_numpy(maps)


def _difference(wanted: tuple[Tensor, Tensor], got: tuple[Tensor, Tensor]) -> float:
    """Return the largest difference; infinite if shapes differ or a value is not finite."""
    worst = 0.0
    for one, other in zip(wanted, got, strict=True):
        if one.shape != other.shape or not bool(torch.isfinite(other).all()):
            return float("inf")
        worst = max(worst, float((one - other).abs().max()))
    return worst
