"""A model for other programs: TorchScript or ONNX, compared with the model before it is kept.

    done = export(loaded, Path("model.onnx"), "onnx", paths)

Both take normalised images (N, 3, size, size) and give probabilities (N, classes) and maps. The
file appears only if its outputs on real images are the model's; its card goes beside it, because
neither format has a place for it.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch

from pillqc.data.images import MEAN, STD, load_images
from pillqc.errors import PillqcError, UsageError
from pillqc.model.artifact import ModelCard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from pillqc.model.network import CustomVGG, LoadedModel

Format = Literal["torchscript", "onnx"]
SUFFIXES: Final[dict[Format, str]] = {"torchscript": ".pt", "onnx": ".onnx"}
COMPARED: Final = 16
"""Real images whose outputs are compared."""
TOLERANCE: Final = 1e-3
"""Largest difference of a probability or of heat: rounding in another order of additions makes
some 1e-6, a wrong weight or layer far more."""
_OPSET: Final = 17
"""The newest that PyTorch 2.8's exporter knows; ONNX Runtime reads it since 2022."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how it compares."""

    path: Path
    images: int
    max_difference: float
    """Of probabilities and maps, over all compared images."""


def export(loaded: LoadedModel, out: Path, kind: Format, images: Sequence[Path]) -> Exported:
    """Write `out` and its card, or raise a `PillqcError` that says why not."""
    if out.suffix != SUFFIXES[kind]:
        raise UsageError(f"{out}: for {kind} give a name that ends in {SUFFIXES[kind]}")
    if not images:
        raise PillqcError("an export is compared on real images, and there are none")
    example = load_images(images[:COMPARED], loaded.size)
    with torch.inference_mode():
        wanted = loaded.model(example)
    partial = out.with_name(f".{out.name}.partial{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        got = (_torchscript if kind == "torchscript" else _onnx)(loaded.model, partial, example)
        worst = _difference(wanted, got)
        if not worst <= TOLERANCE:  # so that what is no number is refused, too
            raise PillqcError(
                f"{out}: not written, its outputs differ from the model's by {worst:.2g} on"
                f" {len(example)} images"
            )
        partial.replace(out)
        _card_beside(out).write_text(_card(loaded), encoding="utf-8")
    except OSError as error:
        raise PillqcError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return Exported(path=out, images=len(example), max_difference=worst)


def _torchscript(model: CustomVGG, path: Path, example: Tensor) -> tuple[Tensor, Tensor]:
    """Trace, freeze, save; then what the file says, loaded again."""
    with torch.inference_mode():
        traced = torch.jit.trace(model.eval(), example[:2])  # type: ignore[no-untyped-call] # untyped
        traced = torch.jit.freeze(traced)
    torch.jit.save(traced, str(path))  # type: ignore[no-untyped-call] # untyped
    with torch.inference_mode():
        loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call] # untyped
        probabilities, maps = loaded(example)
    return probabilities, maps


def _onnx(model: CustomVGG, path: Path, example: Tensor) -> tuple[Tensor, Tensor]:
    """Export, load in ONNX Runtime, run.

    By the exporter that builds on tracing: the newer one fails on this model with PyTorch 2.8 (its
    conversion to an operator set that the resizing of maps needs).
    """
    try:
        import onnx  # noqa: F401 - the exporter needs it
        import onnxruntime
    except ImportError as error:
        raise PillqcError(
            f"ONNX needs the package {error.name}: pip install 'pillqc-bench[export]'"
        ) from error
    with warnings.catch_warnings():
        # PyTorch announces that this exporter will go one day
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (example[:2],),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["probabilities", "maps"],
            dynamic_axes={name: {0: "n"} for name in ("images", "probabilities", "maps")},
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    probabilities, maps = session.run(None, {"images": example.numpy()})
    return torch.from_numpy(probabilities), torch.from_numpy(maps)


def _difference(wanted: tuple[Tensor, Tensor], got: tuple[Tensor, Tensor]) -> float:
    """The largest anywhere; infinite where shapes differ or something is no number."""
    worst = 0.0
    for one, other in zip(wanted, got, strict=True):
        if one.shape != other.shape or not bool(torch.isfinite(other).all()):
            return float("inf")
        worst = max(worst, float((one - other).abs().max()))
    return worst


def _card_beside(out: Path) -> Path:
    return out.with_suffix(".json")


def _card(loaded: LoadedModel) -> str:
    card = loaded.card or ModelCard(
        trained=loaded.trained, threshold=loaded.threshold, mean=MEAN, std=STD
    )
    return json.dumps(asdict(card), indent=2, sort_keys=True) + "\n"
