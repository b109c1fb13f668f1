"""Find the smallest defects that the shipped model finds, run in several ways on the same pills.

\b
PYTHONPATH=. python tests/microbench/sizes_by_way.py --out data/sizes
PYTHONPATH=. python tests/microbench/sizes_by_way.py --out data/few --per-defect 30 --way stock/bf16

fp32 and bf16 are `pillqc evaluate --sizes --json`. `pillqc` runs no model in int8: there the model
of `bench run`'s int8 scenarios, calibrated on the same images of `--data`, decides about the same
pills. What was measured stays in the folder, so that the same command resumes. Times are not
measured here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click
import numpy as np

from pillqc.evaluation.detectability import fitted_a90
from tests.microbench.start_weights import pillqc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from bench.worker.backends import Prepared
    from pillqc.model.network import CustomVGG

REFERENCE: Final = "stock/fp32"
WAYS: Final = (REFERENCE, "stock/bf16", "ipex/bf16", "stock/int8", "ipex/int8")
RESAMPLES: Final = 400
BATCH: Final = 8


class Padded:
    """Calls a model that was prepared for batches of 8, and leaves out what filled the last."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities and maps, as the model does in evaluation mode."""
        import torch

        count = len(images)
        full = torch.cat([images, images[:1].expand(BATCH - count, -1, -1, -1)])
        probabilities, maps = self._prepared(full.contiguous(memory_format=torch.channels_last))
        return probabilities[:count].float(), maps[:count].float()


def in_int8(backend: str, data: Path, per_defect: int) -> dict[str, Any]:
    """Return the report of the int8 model of that backend's scenario."""
    from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task
    from bench.worker import backends
    from bench.worker.workload import Workload
    from bench.worker.workload.inputs import in_layout
    from pillqc.evaluation.sizes import evaluate_sizes

    stock = backend == "stock"
    scenario = Scenario(
        task=Task.INFERENCE,
        backend=backend,
        mode=Mode.COMPILE if stock else Mode.TORCHSCRIPT,
        fusion=None if stock else True,
        dtype=Dtype.INT8,
        layout=Layout.CHANNELS_LAST,
        batch_size=BATCH,
    )
    runs = backends.get(backend)
    runs.load()
    work = Workload(data, seed=0)
    loaded = work.model(scenario)
    example = work.batch(BATCH).in_layout(scenario.layout).images
    calibration = [in_layout(images, scenario.layout) for images in work.calibration(BATCH)]
    prepared = backends.quantize(runs, loaded.model, scenario, example, calibration)
    decides = replace(loaded, model=cast("CustomVGG", Padded(prepared)))
    report = evaluate_sizes(decides, per_defect=per_defect)
    return replace(report, backend=backend, dtype="int8").as_dict()


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table with a row for each way, from their reports; fp32 is the first."""
    first = reports[REFERENCE]
    lines = [
        f"| way | false rejects | defects decided otherwise | {' | '.join(first['defects'])} |",
        "|---" * (3 + len(first["defects"])) + "|",
    ]
    for way, report in reports.items():
        rejects = report["false_rejects"]
        pairs: list[tuple[bool, bool]] = []
        for name, defect in report["defects"].items():
            pairs += zip(defect["found"], first["defects"][name]["found"], strict=True)
        cells = [way, f"{rejects['count']} of {rejects['n']}"]
        cells.append(f"{sum(mine != its for mine, its in pairs)} of {len(pairs)}")
        for name, defect in report["defects"].items():
            size, bound = (_number(defect["curve"][key]) for key in ("a90", "a90_95"))
            cells.append(f"{size} ({bound}){_against(defect, first['defects'][name])}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(defect: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    if defect is first:
        return ""
    ratio = size_ratio(defect["sizes"], defect["found"], first["found"])
    return ", none" if ratio is None else ", {:.2f} times [{:.2f}, {:.2f}]".format(*ratio)


def size_ratio(
    sizes: list[float], found: list[bool], reference: list[bool]
) -> tuple[float, float, float] | None:
    """Return a90 over the reference's on the same pills, with a 95 % interval of resampled pills.

    None where one of them has no fit.
    """
    if found == reference:
        return 1.0, 1.0, 1.0
    rng, count = np.random.default_rng(0), len(sizes)
    everything = np.arange(count)
    whole = _ratio(everything, sizes, found, reference)
    if whole is None:
        return None
    drawn = (
        _ratio(rng.integers(0, count, count), sizes, found, reference) for _ in range(RESAMPLES)
    )
    fitted = [ratio for ratio in drawn if ratio is not None]
    if len(fitted) < RESAMPLES / 2:  # hits and misses hardly overlap
        return None
    low, high = (float(at) for at in np.quantile(fitted, (0.025, 0.975)))
    return whole, low, high


def _ratio(
    chosen: NDArray[np.int64], sizes: list[float], one: list[bool], other: list[bool]
) -> float | None:
    picked = [sizes[at] for at in chosen]
    mine, its = (fitted_a90(picked, [hits[at] for at in chosen]) for hits in (one, other))
    return None if mine is None or its is None else mine / its


def _number(size: float | None) -> str:
    return "none" if size is None else f"{size:.2f}"


@click.group(help=__doc__, invoke_without_command=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of results.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data/pills"))
@click.option("--per-defect", default=120, show_default=True)
@click.option("--way", "ways", type=click.Choice(WAYS), multiple=True, default=WAYS)
@click.pass_context
def main(
    context: click.Context, out: Path | None, data: Path, per_defect: int, ways: tuple[str, ...]
) -> None:
    """Find the sizes in every way, and print the table."""
    if context.invoked_subcommand:
        return
    if out is None:
        raise click.UsageError("--out is missing")
    out.mkdir(parents=True, exist_ok=True)
    reports: dict[str, Mapping[str, Any]] = {}
    for way in dict.fromkeys((REFERENCE, *ways)):
        kept = out / f"{way.replace('/', '-')}.json"
        if not kept.exists():
            kept.write_text(_report(way, data, per_defect), encoding="utf-8")
        reports[way] = json.loads(kept.read_text("utf-8"))
    click.echo(table(reports))


def _report(way: str, data: Path, per_defect: int) -> str:
    backend, dtype = way.split("/")
    if dtype != "int8":
        how = ("--backend", backend, "--dtype", dtype, "--per-defect", per_defect)
        return pillqc("evaluate", "--sizes", *how, "--json")
    words = [sys.executable, "-m", "tests.microbench.sizes_by_way", "int8", backend]
    done = subprocess.run(
        [*words, str(data), str(per_defect)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.splitlines()[-1]


@main.command(hidden=True)
@click.argument("backend")
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("per_defect", type=int)
def int8(backend: str, data: Path, per_defect: int) -> None:
    """Print the report of an int8 model as JSON."""
    click.echo(json.dumps(in_int8(backend, data, per_defect)))


if __name__ == "__main__":
    main()
