"""The command `export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pillqc.commands.common import DATA, FILE, GOOD, MODEL, loaded_model, samples_in

if TYPE_CHECKING:
    from pathlib import Path


@click.command("export")
@DATA
@GOOD
@MODEL
@click.option("--format", "kind", type=click.Choice(["torchscript", "onnx"]), required=True)
@click.option("--out", type=FILE, required=True, help="Ends in .pt or .onnx.")
def export_command(
    data: Path,
    good: str | None,
    model: str | None,
    kind: Any,  # noqa: ANN401 - one of the choices
    out: Path,
) -> None:
    """Write the model for other programs, if its outputs on real images stay the same.

    \b
    Examples:
      pillqc export --format torchscript --data data/pills --out model.pt
      pillqc export --format onnx --data data/pills --model model.safetensors --out model.onnx
    """
    from pillqc.data.folders import samples_of
    from pillqc.model.export import COMPARED, export

    samples = samples_of(samples_in(data, good), None, data)
    # sorted by defect: every so manyth one gives some of each
    paths = [sample.path for sample in samples[:: max(len(samples) // COMPARED, 1)]]
    done = export(loaded_model(model), out, kind, paths)
    click.echo(
        f"wrote {done.path} and {done.path.with_suffix('.json').name}; on {done.images} images its"
        f" outputs differ by at most {done.max_difference:.2g} from the model's"
    )
