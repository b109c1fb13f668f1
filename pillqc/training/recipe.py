"""How the shipped model is trained: from nothing, on rendered pills only, by one command.

    pillqc train --from-scratch --out model.safetensors --device cuda

A network of a quarter of the width, with batch norm, sees freshly rendered pills, never one twice,
at growing resolution. Every window of its map is supervised with the mask, and the image with its
label. A one-cycle rate with AdamW, an average of the weights over the last steps, then the norms
are folded in and the channels multiplied (`widening`): a plain VGG-16 of full width that computes
the same. That takes about an hour on two cores with bf16. Validation pills choose the best
checkpoint, temperature, thresholds and the maps' scale; test pills are rendered and judged once at
the end. It checkpoints, and resumes where it stopped.
"""

from __future__ import annotations

import math
import pickle
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from sklearn import metrics
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pillqc.errors import ModelFileError, PillqcError
from pillqc.limits import usable_cores
from pillqc.model.batch_norm import NormedVGG, image_scores
from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign
from pillqc.rendering.stream import StreamPlan, stream
from pillqc.training.augmentation import augment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEFECT_WEIGHT: Final = 8.0
"""A defective window weighs this much: there is about one in twenty."""
EVIDENCE_OFFSET: Final = 10.0
EVIDENCE_SCALE: Final = 2.5
"""A window's evidence d (bad minus good score) is supervised as the logit (d - offset) / scale.

An image's score is the mean over some fifty windows, so one defective window must weigh more than
all others together: windows without a defect may lie anywhere below the offset, close together, and
defective ones far above it. Plain cross-entropy per window would instead push the background far
down, where its spread drowns a single window."""
IMAGE_WEIGHT: Final = 1.0
AVERAGE_DECAY: Final = 0.998
CHECKPOINT_SECONDS: Final = 120.0
_FORMAT: Final = 1
_FEWEST_STEPS: Final = 10
"""A cycle of fewer steps has no rise."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one resolution."""

    size: int
    share: float
    """Of all images."""
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result, apart from the machine's rounding."""

    images: int = 100_000
    seed: int = 0
    narrowing: int = 4
    """The network is trained at this part of VGG-16's width."""
    phases: tuple[Phase, ...] = (
        Phase(size=128, share=0.55, batch_size=32),
        Phase(size=192, share=0.15, batch_size=32),
        Phase(size=224, share=0.30, batch_size=32),
    )
    """Sides of which a half, a quarter ... is whole down to the pooled map: nothing falls off."""
    max_rate: float = 2e-3
    weight_decay: float = 0.02
    validation_images: int = 512
    validations: int = 10
    """How often the average is tried on validation pills, evenly over the training."""
    device: str = "cpu"
    jobs: int = field(default_factory=usable_cores)
    design: PillDesign = field(default_factory=lambda: DEFAULT_DESIGN)

    def steps(self) -> list[tuple[Phase, int]]:
        """Steps of every phase."""
        return [(p, max(round(self.images * p.share / p.batch_size), 1)) for p in self.phases]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far the training is."""

    step: int
    steps: int
    size: int
    loss: float
    images_per_s: float
    auroc: float | None = None
    """Of the averaged weights on validation pills, where they were just tried."""


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What came out of the recipe."""

    net: NormedVGG
    """With the averaged weights of the best validation."""
    auroc: float
    steps: int
    seconds: float
    """Of all sessions together."""


def grow(
    recipe: Recipe, checkpoint: Path, *, on_report: Callable[[Report], None] | None = None
) -> Grown:
    """Run the recipe to its end, from `checkpoint` where there is one."""
    run = _Run(recipe, checkpoint)
    run.resume()
    total = sum(steps for _, steps in recipe.steps())
    started, first = time.monotonic(), run.step
    images = 0
    for phase, batch in run.batches():
        loss = run.train(batch)
        images += phase.batch_size
        tried = run.maybe_validate(total)
        run.maybe_save(time.monotonic() - started)
        if on_report and (tried is not None or run.step % 20 == 0 or run.step == first + 1):
            on_report(
                Report(
                    step=run.step,
                    steps=total,
                    size=phase.size,
                    loss=loss,
                    images_per_s=images / (time.monotonic() - started),
                    auroc=tried,
                )
            )
    run.save(time.monotonic() - started)
    return run.result()


class _Run:
    """The state of a training, and how it is saved."""

    def __init__(self, recipe: Recipe, checkpoint: Path) -> None:
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.step = 0
        self._device = _device(recipe.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._net = NormedVGG(narrowing=recipe.narrowing).to(
                self._device, memory_format=torch.channels_last
            )  # type: ignore[call-overload] # its overloads know no module
        self._average = AveragedModel(
            self._net,
            multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY),  # type: ignore[no-untyped-call] # torch leaves it untyped
            use_buffers=True,
        )
        self._optimizer = torch.optim.AdamW(
            _decayed(self._net, recipe.weight_decay), lr=recipe.max_rate
        )
        self._total = sum(steps for _, steps in recipe.steps())
        self._rate = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            recipe.max_rate,
            total_steps=max(self._total + 1, _FEWEST_STEPS),
            pct_start=0.2,
        )
        self._best: dict[str, Tensor] | None = None
        self._best_auroc = -1.0
        self._seconds = 0.0
        self._saved = 0.0
        self._validation: list[tuple[Tensor, Tensor]] = []

    def batches(self) -> Iterator[tuple[Phase, tuple[Tensor, Tensor, Tensor]]]:
        """What is left to see, from the step that was reached."""
        first_step = first_image = 0
        for phase, steps in self.recipe.steps():
            done = min(max(self.step - first_step, 0), steps)
            plan = StreamPlan(
                seed=self.recipe.seed,
                size=phase.size,
                batch_size=phase.batch_size,
                jobs=self.recipe.jobs,
                design=self.recipe.design,
            )
            if done < steps:
                start = first_image + done * phase.batch_size
                count = (steps - done) * phase.batch_size
                for batch in stream(plan, start=start, count=count):
                    yield phase, batch
            first_step += steps
            first_image += steps * phase.batch_size

    def train(self, batch: tuple[Tensor, Tensor, Tensor]) -> float:
        """One optimiser step."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        images, masks = augment(batch[0], generator, batch[1])
        assert masks is not None  # noqa: S101 - masks were given
        images = images.to(self._device, memory_format=torch.channels_last)
        self._net.train()
        with self._autocast():
            cells = self._net(images)
        loss = loss_of(cells.float(), masks.to(self._device), batch[2].to(self._device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), 5.0)
        self._optimizer.step()
        self._rate.step()
        self._average.update_parameters(self._net)
        self.step += 1
        value = float(loss.detach()) if self.step % 20 == 0 or self.step == 1 else 0.0
        if not math.isfinite(value):
            raise PillqcError(f"training diverged at step {self.step}; lower the learning rate")
        return value

    def maybe_validate(self, total: int) -> float | None:
        """Try the averaged weights at every so many steps and at the last."""
        every = max(total // self.recipe.validations, 1)
        if self.step % every and self.step != total:
            return None
        self._average.module.eval()
        scores, labels = [], []
        with torch.inference_mode(), self._autocast():
            for images, bad in self._validation_batches():
                on_device = images.to(self._device, memory_format=torch.channels_last)
                image = image_scores(self._average.module(on_device).float())
                scores.append((image[:, 1] - image[:, 0]).cpu())
                labels.append(bad)
        auroc = float(metrics.roc_auc_score(torch.cat(labels), torch.cat(scores)))
        if auroc >= self._best_auroc:
            self._best_auroc = auroc
            state = self._average.module.state_dict()
            self._best = {k: v.detach().cpu().clone() for k, v in state.items()}
        return auroc

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of this recipe."""
        if not self.checkpoint.exists():
            return
        state = _read_checkpoint(self.checkpoint)
        if state["recipe"] != _told(self.recipe):
            raise ModelFileError(
                f"{self.checkpoint}: belongs to a training with other settings; remove it or give"
                " another --checkpoint"
            )
        self._net.load_state_dict(state["net"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["rate"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._best, self._best_auroc = state["best"], state["best_auroc"]

    def maybe_save(self, seconds: float) -> None:
        """Save every couple of minutes."""
        if seconds - self._saved >= CHECKPOINT_SECONDS:
            self.save(seconds)

    def save(self, seconds: float) -> None:
        """Write the checkpoint; a kill leaves the old one or the new one whole."""
        self._seconds += seconds - self._saved
        state = {
            "format": _FORMAT,
            "recipe": _told(self.recipe),
            "step": self.step,
            "seconds": self._seconds,
            "net": self._net.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rate": self._rate.state_dict(),
            "best": self._best,
            "best_auroc": self._best_auroc,
        }
        partial = self.checkpoint.with_name(self.checkpoint.name + ".partial")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        self._saved = seconds

    def result(self) -> Grown:
        """The network with the best averaged weights, on the CPU."""
        net = NormedVGG(narrowing=self.recipe.narrowing)
        if self._best is not None:
            net.load_state_dict(self._best)
        return Grown(net=net.eval(), auroc=self._best_auroc, steps=self.step, seconds=self._seconds)

    def _autocast(self) -> torch.autocast:
        """Convolutions in bf16 where the hardware has it; emulated it would be slower."""
        native = self._device.type == "cuda" or native_bf16()
        return torch.autocast(self._device.type, torch.bfloat16, enabled=native)

    def _validation_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Rendered once: pills of another stream, at the final resolution."""
        if not self._validation:
            plan = StreamPlan(
                seed=self.recipe.seed + VALIDATION_SEED_OFFSET,
                size=self.recipe.phases[-1].size,
                batch_size=min(32, self.recipe.validation_images),
                jobs=min(self.recipe.jobs, 8),
                design=self.recipe.design,
            )
            batches = stream(plan, start=0, count=self.recipe.validation_images)
            self._validation = [(images, bad) for images, _, bad in batches]
        return self._validation


def native_bf16() -> bool:
    """Whether this CPU has instructions for bf16 (AVX512_BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 - torch offers no public question


VALIDATION_SEED_OFFSET: Final = 1_000_000
TEST_SEED_OFFSET: Final = 2_000_000
"""Data sets for choosing and for testing have seeds of their own."""


def loss_of(cells: Tensor, masks: Tensor, bad: Tensor) -> Tensor:
    """Loss of the windows against the mask, plus loss of the image against its label."""
    evidence = cells[:, 1] - cells[:, 0]
    truth = window_truth(masks, evidence.shape[-1] - 1)
    weight = torch.where(truth > 0.5, DEFECT_WEIGHT, 1.0) * (truth - 0.5).abs().mul(2.0)
    per_window = F.binary_cross_entropy_with_logits(
        (evidence - EVIDENCE_OFFSET) / EVIDENCE_SCALE, (truth > 0.5).float(), reduction="none"
    )
    window_loss = (per_window * weight).sum() / weight.sum().clamp_min(1.0)
    image_loss = F.cross_entropy(image_scores(cells), bad)
    return window_loss + IMAGE_WEIGHT * image_loss


def window_truth(masks: Tensor, side: int) -> Tensor:
    """How clearly each pooling window holds a defect: 1 it does, 0 it does not, .5 hardly.

    A cell of the map counts from 4 % of its pixels on; with a pixel or two it is left out, because
    whether the network should see so little is undecided.
    """
    covered = F.adaptive_avg_pool2d(masks[:, None].float(), side)
    cell = torch.where(covered > 0.04, 1.0, torch.where(covered > 0.0, 0.5, 0.0))
    return F.max_pool2d(cell, 2, stride=1, padding=1)[:, 0]


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        known = state["format"] == _FORMAT
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelFileError(
            f"{path}: not a checkpoint that can be read; remove it to start again"
        ) from error
    if not known:
        raise ModelFileError(f"{path}: a checkpoint of another version; remove it to start again")
    return state


def _decayed(net: NormedVGG, weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not pulled to 0."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _told(recipe: Recipe) -> str:
    """What must be the same for a checkpoint to be continued; the machine may change."""
    return repr(replace(recipe, device="", jobs=0))


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise PillqcError("no GPU that torch can use; train with --device cpu")
    return torch.device(name)
