"""Train by the recipe, choose thresholds, evaluate, and write the model file with its card.

    report = train_from_scratch(Recipe(device="cuda"), out, checkpoint)

Validation and test pills are rendered from seeds of their own. Anyone can render the same ones and
check the figures with `pillqc evaluate`.
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pillqc import __version__
from pillqc.data.folders import read_samples
from pillqc.data.images import MEAN, STD
from pillqc.data.seen_images import encode_seen
from pillqc.data.splits import content_hash
from pillqc.evaluation.calibration import Chosen, choose
from pillqc.evaluation.card_figures import write_figures
from pillqc.evaluation.evaluate import Evaluation, evaluate
from pillqc.model.artifact import ModelCard, check_writable, save_artifact
from pillqc.model.batch_norm import fold_batch_norm
from pillqc.model.narrowing import narrow_form
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RENDERER_VERSION, SOURCE, RenderPlan, render_dataset
from pillqc.training.known_pictures import known_pictures
from pillqc.training.recipe import (
    TEST_SEED_OFFSET,
    VALIDATION_SEED_OFFSET,
    Recipe,
    RecipeResult,
    StepReport,
    has_native_bf16,
    run_recipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillqc.data.images import Sample


@dataclass(frozen=True, kw_only=True)
class PillCounts:
    """How many pills choose the thresholds, and how many judge the result."""

    validation_good: int = 1000
    validation_per_defect: int = 72
    test_good: int = 500
    test_per_defect: int = 72
    """Together 1,004 test pills."""


def train_from_scratch(
    recipe: Recipe,
    out: Path,
    checkpoint: Path,
    *,
    counts: PillCounts | None = None,
    on_report: Callable[[StepReport], None] | None = None,
) -> Evaluation:
    """Write the model file, remove the checkpoint, and return the evaluation on test pills."""
    check_writable(out)
    counts = counts or PillCounts()
    size = recipe.phases[-1].size

    def rendered(root: Path, seed_offset: int, good: int, per_defect: int) -> list[Sample]:
        plan = RenderPlan(
            seed=recipe.seed + seed_offset,
            size=size,
            train_good=0,
            test_good=good,
            per_defect=per_defect,
            design=recipe.design,
        )
        return read_samples(render_dataset(root, plan, jobs=max(recipe.jobs, 1)).root)

    result = run_recipe(recipe, checkpoint, on_report=on_report)
    model = fold_batch_norm(result.net)
    with tempfile.TemporaryDirectory(prefix="pillqc-") as folder:
        numbers = counts.validation_good, counts.validation_per_defect
        validation = rendered(Path(folder) / "validation", VALIDATION_SEED_OFFSET, *numbers)
        twin = narrow_form(model)
        chosen = choose(model, validation, size=size, defects=recipe.defects, twin=twin)
        card = _card(recipe, result, chosen, validation)
        # evaluate what users will load: the weights in half precision
        save_artifact(out, model, card, dtype=torch.float16)
        root, numbers = Path(folder) / "test", (counts.test_good, counts.test_per_defect)
        loaded, judged = load_model(out), rendered(root, TEST_SEED_OFFSET, *numbers)
        report = evaluate(loaded, judged, size=size)
        write_figures(loaded, report, root, judged)
    checkpoint.unlink(missing_ok=True)
    return report


def _command(recipe: Recipe) -> str:
    """Return the command that repeats a training, on whatever device."""
    usual, names = Recipe(), ("images", "seed", "classes")
    given = {
        name: value for name in names if (value := getattr(recipe, name)) != getattr(usual, name)
    }
    options = "".join(f" --{name} {value}" for name, value in given.items())
    return f"pillqc train --from-scratch --out model.safetensors{options}"


def _card(
    recipe: Recipe, result: RecipeResult, chosen: Chosen, validation: Sequence[Sample]
) -> ModelCard:
    card = ModelCard(
        defects=recipe.defects,
        seen=encode_seen(content_hash(sample.path) for sample in validation),
        **known_pictures(validation),
        size=recipe.phases[-1].size,
        mean=MEAN,
        std=STD,
        data={
            "source": SOURCE,
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
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "validation_auroc": result.auroc,
            "command": _command(recipe),
            "arithmetic": "bf16 autocast" if has_native_bf16() else "fp32",
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
    return chosen.apply_to(card)
