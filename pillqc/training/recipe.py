"""Train good and bad as the shipped model did: from random weights, on rendered pills only.

    pillqc train --from-scratch --out model.safetensors --device cuda

A network of a quarter of VGG-16's width, with batch norm, sees freshly rendered pills, none of them
twice, at growing resolution. Every window of its map is supervised with the mask, and the image
with its label. AdamW follows a one-cycle learning rate, and the weights of the last steps are
averaged. Then the norms are folded in and the channels widened (`pillqc.model.widening`), which
gives a plain VGG-16 of full width that computes the same. It takes about an hour on two cores with
bf16. It writes checkpoints, and resumes from them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from sklearn import metrics
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pillqc.data.defects import COMBINED, presence
from pillqc.errors import PillqcError
from pillqc.evaluation.naming import mean_auroc
from pillqc.limits import usable_cores
from pillqc.model.batch_norm import NormedVGG, image_scores
from pillqc.model.network import CLASSES
from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign
from pillqc.rendering.scene import DEFECTS
from pillqc.rendering.stream import KINDS, StreamPlan, kind_of, stream
from pillqc.training.augmentation import augment, augment_masks
from pillqc.training.checkpoint import CheckpointFile
from pillqc.training.step import (
    defect_loss,
    defect_shares,
    defect_weights,
    defect_window_loss,
    window_loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AVERAGE_DECAY: Final = 0.998
CHECKPOINT_SECONDS: Final = 120.0
VALIDATION_SEED_OFFSET: Final = 1_000_000
TEST_SEED_OFFSET: Final = 2_000_000
"""Validation and test pills have seeds of their own: the recipe's seed plus the offset."""
_FEWEST_STEPS: Final = 10
"""A one-cycle rate needs this many steps to rise."""
_COUNTED: Final = 4096
"""So many images of the stream tell how often a defect occurs."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one resolution."""

    size: int
    share: float
    """Share of all images."""
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result, apart from the machine's rounding."""

    images: int = 100_000
    seed: int = 0
    narrowing: int = 4
    """VGG-16's width divided by the width of the trained network."""
    phases: tuple[Phase, ...] = (
        Phase(size=128, share=0.55, batch_size=32),
        Phase(size=192, share=0.15, batch_size=32),
        Phase(size=224, share=0.30, batch_size=32),
    )
    """The sizes are multiples of 32, so that pooling cuts off no edge."""
    max_rate: float = 2e-3
    weight_decay: float = 0.02
    validation_images: int = 512
    validations: int = 10
    """How often the averaged weights are validated, evenly over the training."""
    device: str = "cpu"
    jobs: int = field(default_factory=usable_cores)
    design: PillDesign = field(default_factory=lambda: DEFAULT_DESIGN)
    classes: str = "good-bad"
    """`defects`: name them too."""

    def steps(self) -> list[tuple[Phase, int]]:
        """Return every phase with its number of steps."""
        return [(p, max(round(self.images * p.share / p.batch_size), 1)) for p in self.phases]

    @property
    def defects(self) -> tuple[str, ...]:
        """The defects that the model learns to name."""
        return tuple(d for d in DEFECTS if d != COMBINED) if self.classes == "defects" else ()


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """How far the training is."""

    step: int
    steps: int
    size: int
    loss: float
    images_per_s: float
    auroc: float | None = None
    """AUROC of the averaged weights, if this step validated them."""


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """The trained network and its figures."""

    net: NormedVGG
    """It has the averaged weights of the best validation, by the AUROC and, where it names defects,
    the mean of theirs."""
    auroc: float
    steps: int
    seconds: float
    """Time of all sessions together."""


def run_recipe(
    recipe: Recipe, checkpoint: Path, *, on_report: Callable[[StepReport], None] | None = None
) -> RecipeResult:
    """Train from the checkpoint, or from the start, to the last step."""
    run = _Run(recipe, checkpoint)
    first, started = run.step, time.monotonic()
    images = 0
    for phase, batch in run.batches():
        loss = run.train(batch)
        images += phase.batch_size
        auroc = run.validate_when_due()
        if time.monotonic() - run.saved >= CHECKPOINT_SECONDS:
            run.save()
        if on_report and (auroc is not None or run.step % 20 == 0 or run.step == first + 1):
            report = StepReport(
                step=run.step,
                steps=run.total,
                size=phase.size,
                loss=loss,
                images_per_s=images / (time.monotonic() - started),
                auroc=auroc,
            )
            on_report(report)
    run.save()
    return run.result()


class _Run:  # more than 15 fields: what trains, on what, and how far it is
    """The state of a training by a recipe."""

    def __init__(self, recipe: Recipe, checkpoint: Path) -> None:
        if recipe.device == "cuda" and not torch.cuda.is_available():
            raise PillqcError("torch can use no GPU; train with --device cpu")
        self.step, self.total = 0, sum(steps for _, steps in recipe.steps())
        self._recipe, self._device = recipe, torch.device(recipe.device)
        # the machine may change between sessions
        settings = repr(replace(recipe, device="", jobs=0))
        self._checkpoint = CheckpointFile(path=checkpoint, settings=settings, key="recipe")
        defects = recipe.defects
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._net = NormedVGG(n_defects=len(defects), narrowing=recipe.narrowing).to(
                self._device, memory_format=torch.channels_last
            )  # type: ignore[call-overload] # its overloads know no module
        self._average = AveragedModel(
            self._net,
            multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY),  # type: ignore[no-untyped-call] # torch leaves it untyped
            use_buffers=True,
        )
        matrices = [p for p in self._net.parameters() if p.ndim > 1]
        norms_and_biases = [p for p in self._net.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": norms_and_biases, "weight_decay": 0.0},
            ],
            lr=recipe.max_rate,
        )
        self._rate = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            recipe.max_rate,
            total_steps=max(self.total + 1, _FEWEST_STEPS),
            pct_start=0.2,
        )
        self._present = torch.from_numpy(presence(KINDS, defects)).to(self._device)
        """Which defects a pill of each kind has (kinds, defects)."""
        shown = [KINDS.index(kind_of(recipe.seed, n)) for n in range(_COUNTED if defects else 0)]
        shares = defect_shares(self._present[shown])
        self._defect_weights = defect_weights(self._present, shares)
        self._best: dict[str, Tensor] | None = None
        self._best_auroc = self._best_score = -1.0
        self._seconds = 0.0
        self._validation: list[tuple[Tensor, Tensor]] = []
        self._resume()
        self.saved = time.monotonic()
        """When the last checkpoint was written, or the session began."""

    def _resume(self) -> None:
        state = self._checkpoint.read()
        if state is not None:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.step, self._seconds = state["step"], state["seconds"]
            self._best, self._best_auroc = state["best"], state["best_auroc"]
            self._best_score = state.get("best_score", self._best_auroc)

    def save(self) -> None:
        """Write the checkpoint."""
        now = time.monotonic()
        self._seconds += now - self.saved
        self._checkpoint.save(
            {
                "step": self.step,
                "seconds": self._seconds,
                **{name: part.state_dict() for name, part in self._parts().items()},
                "best": self._best,
                "best_auroc": self._best_auroc,
                "best_score": self._best_score,
            }
        )
        self.saved = now

    def _parts(self) -> dict[str, Any]:
        """Return everything that has a `state_dict`, by its name in the checkpoint."""
        return {
            "net": self._net,
            "average": self._average,
            "optimizer": self._optimizer,
            "rate": self._rate,
        }

    def batches(self) -> Iterator[tuple[Phase, tuple[Tensor, Tensor, Tensor]]]:
        """Yield the batches (images, masks, kinds) that are left."""
        first_step = first_image = 0
        for phase, steps in self._recipe.steps():
            done = min(max(self.step - first_step, 0), steps)
            if done < steps:
                plan = self._stream_plan(self._recipe.seed, phase.size, phase.batch_size)
                start = first_image + done * phase.batch_size
                for batch in stream(plan, start=start, count=(steps - done) * phase.batch_size):
                    yield phase, batch
            first_step += steps
            first_image += steps * phase.batch_size

    def train(self, batch: tuple[Tensor, Tensor, Tensor]) -> float:
        """Do one optimizer step and return its loss."""
        images, masks, kinds = batch
        seed = self._recipe.seed * 1_000_003 + self.step
        images = augment(images, torch.Generator().manual_seed(seed))
        masks = augment_masks(masks, torch.Generator().manual_seed(seed))
        self._net.train()
        with self._autocast():
            cells = self._net(images.to(self._device, memory_format=torch.channels_last)).float()
        loss = self._loss(cells, masks.to(self._device), kinds.to(self._device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), 5.0)
        self._optimizer.step()
        self._rate.step()
        self._average.update_parameters(self._net)
        self.step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise PillqcError(f"training diverged at step {self.step}; lower the learning rate")
        return value

    def _loss(self, cells: Tensor, masks: Tensor, kinds: Tensor) -> Tensor:
        first, scores = len(CLASSES), image_scores(cells)
        loss = window_loss(cells, masks)
        loss = loss + F.cross_entropy(scores[:, :first], (kinds > 0).long())
        if not self._recipe.defects:
            return loss
        present, weights = self._present[kinds], self._defect_weights[kinds]
        loss = loss + defect_window_loss(cells[:, first:], masks, present)
        return loss + defect_loss(scores[:, first:], present, weights).mean()

    def validate_when_due(self) -> float | None:
        """Return the averaged weights' AUROC on validation pills; None between validations."""
        every = max(self.total // self._recipe.validations, 1)
        if self.step % every and self.step != self.total:
            return None
        if not self._validation:
            count, size = self._recipe.validation_images, self._recipe.phases[-1].size
            plan = self._stream_plan(
                self._recipe.seed + VALIDATION_SEED_OFFSET, size, min(32, count)
            )
            plan = replace(plan, jobs=min(plan.jobs, 8))
            self._validation = [(i, k) for i, _, k in stream(plan, start=0, count=count)]
        self._average.module.eval()
        found, shown = [], []
        with torch.inference_mode(), self._autocast():
            for images, kinds in self._validation:
                on_device = images.to(self._device, memory_format=torch.channels_last)
                found.append(image_scores(self._average.module(on_device).float()).cpu())
                shown.append(kinds)
        scores, pills = torch.cat(found), torch.cat(shown)
        auroc = float(metrics.roc_auc_score(pills > 0, scores[:, 1] - scores[:, 0]))
        present = self._present.cpu()[pills].numpy()
        named = mean_auroc(present, scores[:, len(CLASSES) :].double().numpy())
        if auroc + (named or 0.0) >= self._best_score:
            self._best_auroc, self._best_score = auroc, auroc + (named or 0.0)
            state = self._average.module.state_dict()
            self._best = {k: v.detach().cpu().clone() for k, v in state.items()}
        return auroc

    def result(self) -> RecipeResult:
        """Return the network with the best averaged weights, on the CPU."""
        recipe = self._recipe
        net = NormedVGG(n_defects=len(recipe.defects), narrowing=recipe.narrowing)
        if self._best is not None:
            net.load_state_dict(self._best)
        return RecipeResult(
            net=net.eval(), auroc=self._best_auroc, steps=self.step, seconds=self._seconds
        )

    def _stream_plan(self, seed: int, size: int, batch_size: int) -> StreamPlan:
        recipe = self._recipe
        return StreamPlan(
            seed=seed, size=size, batch_size=batch_size, jobs=recipe.jobs, design=recipe.design
        )

    def _autocast(self) -> torch.autocast:
        """Return bf16 autocast where the hardware has bf16; emulated bf16 is slower than fp32."""
        native = self._device.type == "cuda" or has_native_bf16()
        return torch.autocast(self._device.type, torch.bfloat16, enabled=native)


def has_native_bf16() -> bool:
    """Return whether this CPU has instructions for bf16 (AVX512_BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 - torch has no public function
