"""From the recipe's network to a model file that tells the truth about itself.

    shipped = train_from_scratch(Recipe(device="cuda"), out, checkpoint)

Validation and test pills are rendered to folders of their own seeds; anyone can render the same
ones and repeat the figures with `pillqc evaluate`.
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from pillqc import __version__
from pillqc.data.decoding_process import read_image
from pillqc.data.folders import read_samples
from pillqc.data.images import MEAN, STD
from pillqc.data.seen_images import encode_seen
from pillqc.data.splits import content_hash
from pillqc.evaluation.calibration import Chosen, choose
from pillqc.evaluation.evaluate import Evaluation, evaluate
from pillqc.inspection.novelty import image_statistics, known_limits
from pillqc.model.artifact import ModelCard, save_artifact
from pillqc.model.batch_norm import fold_batch_norm
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RENDERER_VERSION, RenderPlan, render_dataset
from pillqc.training.recipe import (
    TEST_SEED_OFFSET,
    VALIDATION_SEED_OFFSET,
    Grown,
    Recipe,
    Report,
    grow,
    native_bf16,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillqc.data.images import Sample

VALIDATION_GOOD: Final = 1000
VALIDATION_PER_DEFECT: Final = 72
TEST_GOOD: Final = 500
TEST_PER_DEFECT: Final = 72
"""Together 1,004 test pills."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How many pills choose the thresholds, and how many judge the result."""

    validation_good: int = VALIDATION_GOOD
    validation_per_defect: int = VALIDATION_PER_DEFECT
    test_good: int = TEST_GOOD
    test_per_defect: int = TEST_PER_DEFECT


def train_from_scratch(
    recipe: Recipe,
    out: Path,
    checkpoint: Path,
    *,
    judging: Judging | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> Evaluation:
    """Run the recipe, choose on validation pills, judge on test pills, write the model file."""
    judging = judging or Judging()
    grown = grow(recipe, checkpoint, on_report=on_report)
    model = fold_batch_norm(grown.net)
    size = recipe.phases[-1].size
    with tempfile.TemporaryDirectory(prefix="pillqc-") as folder:
        validation = _pills(Path(folder) / "validation", recipe, judging, test=False)
        chosen = choose(model, validation, size=size)
        card = _card(recipe, grown, chosen, validation)
        # judged as it will be loaded: in half precision
        save_artifact(out, model, card, dtype=torch.float16)
        test = _pills(Path(folder) / "test", recipe, judging, test=True)
        shipped = load_model(out)
        report = evaluate(replace(shipped, name=out.name), test, size=size)
        card = replace(card, metrics=_metrics(report, Path(folder) / "test", recipe, judging))
    save_artifact(out, shipped.model, card, dtype=torch.float16)
    return report


def _pills(root: Path, recipe: Recipe, judging: Judging, *, test: bool) -> list[Sample]:
    render_dataset(root, _plan(recipe, judging, test=test), jobs=max(recipe.jobs, 1))
    return read_samples(root)


def _plan(recipe: Recipe, judging: Judging, *, test: bool) -> RenderPlan:
    return RenderPlan(
        seed=recipe.seed + (TEST_SEED_OFFSET if test else VALIDATION_SEED_OFFSET),
        size=recipe.phases[-1].size,
        train_good=0,
        test_good=judging.test_good if test else judging.validation_good,
        per_defect=judging.test_per_defect if test else judging.validation_per_defect,
        design=recipe.design,
    )


def _card(recipe: Recipe, grown: Grown, chosen: Chosen, validation: Sequence[Sample]) -> ModelCard:
    return ModelCard(
        seen=encode_seen(content_hash(sample.path) for sample in validation),
        threshold=chosen.threshold,
        undecided=chosen.undecided,
        temperature=chosen.temperature,
        thresholds=chosen.thresholds,
        known=known_limits(image_statistics(read_image(sample.path)) for sample in validation),
        size=recipe.phases[-1].size,
        mean=MEAN,
        std=STD,
        data={
            "source": "synthetic pills rendered by pillqc; no photograph was used",
            "renderer": RENDERER_VERSION,
            "licence": "Apache-2.0",
            "training_seed": recipe.seed,
            "validation_seed": recipe.seed + VALIDATION_SEED_OFFSET,
            "validation_images": chosen.images,
            "test_seed": recipe.seed + TEST_SEED_OFFSET,
        },
        training={
            "recipe": {k: v for k, v in asdict(recipe).items() if k != "design"},
            "design": asdict(recipe.design),
            "steps": grown.steps,
            "seconds": round(grown.seconds, 1),
            "validation_auroc": grown.auroc,
            "command": "pillqc train --from-scratch --out model.safetensors",
            "arithmetic": "bf16 autocast" if native_bf16() else "fp32",
            "pillqc": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        intended_use=(
            "demonstrates and benchmarks a pill inspector; it knows rendered pills only and must"
            " be trained further before it decides about real ones"
        ),
        known_failures=("photographs of real pills", "other products, poses or lighting"),
    )


def _metrics(report: Evaluation, root: Path, recipe: Recipe, judging: Judging) -> dict[str, Any]:
    plan = _plan(recipe, judging, test=True)
    command = (
        f"pillqc render --out test --seed {plan.seed} --size {plan.size} --train-good 0"
        f" --test-good {plan.test_good} --per-defect {plan.per_defect}"
        " && pillqc evaluate --data test"
    )
    return report.as_dict() | {
        "command": command,
        "manifest_sha256": content_hash(root / "manifest.csv"),
    }
