"""Show or write a model: `summary`, `card` and `export`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import (
    DATA,
    DTYPE,
    FILE,
    GOOD,
    MODEL,
    SIZE_224,
    loaded_model,
    samples_in,
)
from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pillqc.model.export import Format


@click.command("summary")
@MODEL
@click.option(
    "--optimize",
    type=click.Choice(["none", "ipex"]),
    default="none",
    help="Also show the layers after `ipex.optimize`.",
)
@DTYPE
@SIZE_224
def summary_command(model: str | None, optimize: str, dtype: str, size: int) -> None:
    """Show the model's layers, and what IPEX makes of them.

    \b
    Examples:
      pillqc summary
      pillqc summary --optimize ipex
    """
    import torch

    from pillqc.model.network import count_parameters
    from pillqc.model.optimizing import load_ipex, replaced_layers

    loaded = loaded_model(model)
    trainable, total = count_parameters(loaded.model)
    click.echo(f"{loaded.name}, as loaded\n{_layers(loaded.model, size)}")
    click.echo(f"{trainable:,} of {total:,} parameters train")
    if optimize == "ipex":
        torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
        ipex = load_ipex(torch_dtype, instead="ask for --optimize none")
        optimized = ipex.optimize(loaded.model.eval(), dtype=torch_dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            layers = _layers(optimized, size)
        click.echo(f"{loaded.name}, after ipex.optimize in {dtype}\n{layers}")
        click.echo(f"{replaced_layers(optimized)} layers are IPEX's")


def _layers(model: nn.Module, size: int) -> str:
    import torchinfo

    listing = torchinfo.summary(
        model,
        input_size=(1, 3, size, size),
        verbose=0,
        col_names=("output_size", "num_params", "trainable"),
        device="cpu",
        mode="eval",
    )
    # since Python 3.11 it prints the unit's name in its own code
    return re.sub(r"Units\.([A-Z])\w+", r"\1", str(listing))


@click.command("card")
@MODEL
def card_command(model: str | None) -> None:
    """Print what a model file says of itself: its card.

    \b
    Examples:
      pillqc card
      pillqc card --model model.safetensors
    """
    loaded = loaded_model(model, comparing=True)
    if loaded.card is None:
        raise PillqcError(f"{loaded.name}: not a model file, so it has no card")
    click.echo(json.dumps(asdict(loaded.card), indent=2))


@click.command("export")
@DATA
@GOOD
@MODEL
@click.option(
    "--format",
    "kind",
    type=click.Choice(["torchscript", "onnx"]),
    required=True,
    help="What to write; onnx needs the extra `export`.",
)
@click.option("--out", type=FILE, required=True, help="Ends in .pt or .onnx.")
def export_command(
    data: Path, good: str | None, model: str | None, kind: Format, out: Path
) -> None:
    """Write the model for other programs, if it stays the same.

    \b
    Examples:
      pillqc export --format torchscript --data data/pills --out model.pt
      pillqc export --format onnx --data data/pills --model model.safetensors --out model.onnx
    """
    from pillqc.data.folders import samples_of
    from pillqc.model.export import COMPARED, export

    samples = samples_of(samples_in(data, good), None, data)
    # samples are sorted by defect, so evenly spaced ones include every defect
    chosen = sorted({number * len(samples) // COMPARED for number in range(COMPARED)})
    paths = [samples[number].path for number in chosen]
    done = export(loaded_model(model), out, kind, paths)
    click.echo(
        f"wrote {done.path} and {done.path.with_suffix('.json').name}; on {done.images} images its"
        f" outputs differ by at most {done.max_difference:.2g} from the model's"
    )
