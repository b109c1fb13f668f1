"""Judge pillqc on another renderer's tablets: as shipped, after `train --adapt`, by `compare`.

\b
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets --seeds 3
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets --way compare --way mixed
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/short -- --epochs 20

The tablets are those of `other_tablets.py`. Each training gets 60 good and 60 bad ones of a seed of
its own, and `compare` the good ones of them; all are judged on the same tablets that no training
uses. With `--way mixed` these are compared among themselves, unsorted. The shipped model was not
tuned on them; variants of `--adapt` and of `compare` were compared on them. Words after `--` are
further options of `pillqc train`. What was measured stays in the folder, so that the same command
resumes and adds seeds; other options need another folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tests.microbench.other_tablets import KINDS, lay_out
from tests.microbench.start_weights import pillqc

if TYPE_CHECKING:
    from collections.abc import Mapping

WAYS: Final = ("adapt", "compare", "mixed")
UNSEEN_SEED: Final = 5_000_000
_TRAINING_SEED: Final = 10_000
"""Of the first training's tablets; so far apart are those of two trainings."""
_COLUMNS: Final = (
    "model",
    "image AUROC",
    "escapes at 5 % false rejects",
    "recall, false rejects",
    "pixel AUROC, pointing game",
)


def summary(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table with a row for each model, from what `pillqc evaluate` found."""
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for name, found in results.items():
        escapes = f"{found['escape_rate_at_false_reject']['0.05']:.1%}"
        decided = f"{found['recall_bad']['share']:.1%}, {found['false_rejects']['share']:.1%}"
        pixels = f"{found['pixel_auroc']:.3f}, {found['pointing_game']:.1%}"
        lines.append(f"| {name} | {found['image_auroc']:.3f} | {escapes} | {decided} | {pixels} |")
    lines += ["", f"| found at 5 % false rejects | {' | '.join(KINDS)} |", "|---" * 7 + "|"]
    for name, found in results.items():
        kinds = (found["recall_by_defect"][kind]["at_false_reject"]["0.05"] for kind in KINDS)
        lines.append(f"| {name} | {' | '.join(f'{share:.0%}' for share in kinds)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--seeds", default=1, show_default=True, help="Trainings.")
@click.option("--good", default=60, show_default=True, help="Good tablets of a training.")
@click.option("--each", default=10, show_default=True, help="Tablets of each of its six defects.")
@click.option("--unseen", default=50, show_default=True, help="Tablets of each defect that judge.")
@click.option(
    "--way",
    "ways",
    type=click.Choice(WAYS),
    multiple=True,
    default=WAYS,
    help="What to judge beside the shipped model; may be given more than once.",
)
@click.option("--weights", default="hed", show_default=True, help="Whose features compare.")
@click.argument("further", nargs=-1)
def main(  # more than 8 parameters: click passes one for each option
    out: Path,
    seeds: int,
    good: int,
    each: int,
    unseen: int,
    ways: tuple[str, ...],
    weights: str,
    further: tuple[str, ...],
) -> None:
    """Judge the shipped model, and what is made for the tablets in each way with each seed."""
    judges = out / "unseen"
    lay_out(judges, good=unseen * len(KINDS), each=unseen, first_seed=UNSEEN_SEED)
    results = {"shipped, as it is": _judged(out / "shipped.json", judges)}
    for seed in range(seeds):
        first = _TRAINING_SEED * (1 + seed)
        data = lay_out(out / f"seed-{seed}", good=good, each=each, first_seed=first)
        if "adapt" in ways:
            model = out / f"seed-{seed}.safetensors"
            if not model.exists():
                options = ("--data", data, "--out", model, "--seed", seed)
                click.echo(pillqc("train", "--adapt", *options, *further).splitlines()[-2])
            judged = _judged(out / f"seed-{seed}.json", judges, "--model", model)
            results[f"adapted, seed {seed}"] = judged
        if "compare" in ways:
            name = f"compared-{weights}-{seed}"
            judged = _compared(out / name, judges, data / "test/good", "--weights", weights)
            results[f"compared with {good} good ones, seed {seed}"] = judged
    if "mixed" in ways:
        words = (judges / "test", "--mixed", "--weights", weights)
        results["compared among themselves"] = _compared(out / f"mixed-{weights}", judges, *words)
    click.echo(summary(results))


def _compared(made: Path, data: Path, *words: object) -> Mapping[str, Any]:
    """Return what `pillqc evaluate --json` prints of a model that `pillqc compare` makes."""
    model = made.with_suffix(".safetensors")
    if not model.exists():
        pillqc("compare", *words, "--out", model)
    return _judged(made.with_suffix(".json"), data, "--model", model)


def _judged(kept: Path, data: Path, *model: object) -> Mapping[str, Any]:
    """Return what `pillqc evaluate --json` prints, kept in a file."""
    if not kept.exists():
        kept.write_text(pillqc("evaluate", "--data", data, *model, "--json"), encoding="utf-8")
    found: Mapping[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
