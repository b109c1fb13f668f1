"""Judge pillqc on pills that it does not know: as shipped, by `train --adapt`, by `compare`.

\b
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets --seeds 3
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/k7 --product k7
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/tablets --way compare --way mixed
PYTHONPATH=. python tests/microbench/other_renderer.py --out data/short -- --epochs 20

The pills are the tablets of `other_tablets.py`, which shares no code with pillqc's renderer, or
another product of that renderer, whose good pills have specks, or the shipped model's own. The
ways: `adapt` trains on 60 good and 60 bad ones of a seed of its own; `compare` takes the good ones
of them, and invents defects, which `plain` does not; `taught` takes the bad ones, too, and `both`
has the adapted model beside it; with `mixed` the pills that judge are compared among themselves,
unsorted. All are judged on the same pills, which no training uses.

The shipped model was not tuned on the tablets; variants of `--adapt` and of `compare` were compared
on them, and on K7. Words after `--` are further options of `pillqc train`. What was measured stays
in the folder, so that the same command resumes and adds seeds; other options need another folder.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pillqc.rendering.scene import DEFECTS
from tests.microbench.other_tablets import KINDS, lay_out
from tests.microbench.start_weights import PRODUCT, pillqc

if TYPE_CHECKING:
    from collections.abc import Mapping

WAYS: Final = ("adapt", "plain", "compare", "taught", "both", "mixed")
TABLETS: Final = "tablets"
OURS: Final = {
    "k7": PRODUCT,
    "a4": ("--imprint", "A4", "--colour", "150,185,160"),
    "shipped": (),
}
"""Products of pillqc's own renderer, and what renders them."""
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
    kinds = list(next(iter(results.values()))["recall_by_defect"])
    lines += ["", f"| found at 5 % false rejects | {' | '.join(kinds)} |"]
    lines.append("|---" * (1 + len(kinds)) + "|")
    for name, found in results.items():
        shares = (found["recall_by_defect"][kind]["at_false_reject"]["0.05"] for kind in kinds)
        lines.append(f"| {name} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--seeds", default=1, show_default=True, help="Trainings.")
@click.option("--product", type=click.Choice([TABLETS, *OURS]), default=TABLETS, show_default=True)
@click.option("--good", default=60, show_default=True, help="Good pills of a training.")
@click.option("--bad", default=60, show_default=True, help="Bad pills of it, of all defects.")
@click.option("--unseen", default=300, show_default=True, help="Good pills that judge.")
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
    product: str,
    good: int,
    bad: int,
    unseen: int,
    ways: tuple[str, ...],
    weights: str,
    further: tuple[str, ...],
) -> None:
    """Judge the shipped model, and what is made for the pills in each way with each seed."""
    draw = partial(_drawn, product)
    judges = draw(out / "unseen", good=unseen, bad=unseen, first_seed=UNSEEN_SEED)
    results = {"shipped, as it is": _judged(out / "shipped.json", judges)}
    for seed in range(seeds):
        first = _TRAINING_SEED * (1 + seed)
        data = draw(out / f"seed-{seed}", good=good, bad=bad, first_seed=first)
        features = ("--weights", weights)
        good_ones = data / "test/good"
        adapted = out / f"seed-{seed}.safetensors"
        if {"adapt", "both"} & set(ways):
            if not adapted.exists():
                options = ("--data", data, "--out", adapted, "--seed", seed)
                click.echo(pillqc("train", "--adapt", *options, *further).splitlines()[-2])
            judged = _judged(out / f"seed-{seed}.json", judges, "--model", adapted)
            results[f"adapted, seed {seed}"] = judged
        if "plain" in ways:
            name = f"plain-{weights}-{seed}"
            judged = _compared(out / name, judges, good_ones, "--invented", 0, *features)
            results[f"compared with good ones, seed {seed}"] = judged
        if "compare" in ways:
            name = f"compared-{weights}-{seed}"
            judged = _compared(out / name, judges, good_ones, *features)
            results[f"compared, taught by invented defects, seed {seed}"] = judged
        if "taught" in ways:
            name = f"taught-{weights}-{seed}"
            judged = _compared(out / name, judges, good_ones, "--bad", data, *features)
            results[f"compared, taught by bad ones, seed {seed}"] = judged
        if "both" in ways:
            pictures = (good_ones, "--bad", data, "--with", adapted)
            judged = _compared(out / f"both-{weights}-{seed}", judges, *pictures, *features)
            results[f"the same with the adapted one, seed {seed}"] = judged
    if "mixed" in ways:
        unsorted = (judges / "test", "--mixed", "--weights", weights)
        judged = _compared(out / f"mixed-{weights}", judges, *unsorted)
        results["compared among themselves"] = judged
    click.echo(summary(results))


def _drawn(product: str, folder: Path, *, good: int, bad: int, first_seed: int) -> Path:
    """Draw pills of a product, unless the folder is there; return it."""
    if product == TABLETS:
        return lay_out(folder, good=good, each=bad // len(KINDS), first_seed=first_seed)
    if not folder.exists():
        counts = ("--train-good", 0, "--test-good", good, "--per-defect", bad // len(DEFECTS))
        options = ("--seed", first_seed, "--size", 224)
        pillqc("render", "--out", folder, *OURS[product], *counts, *options)
    return folder


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
