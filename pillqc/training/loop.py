"""Train as in the tutorial: class weights, Adam, a target accuracy, an optional `optimize`.

    result = train(model, TensorSource(all_images=images, labels=labels))
    result = train(model, source, validation=held_out, optimize=ipex_optimize(torch.bfloat16))

With validation images, the weights of the best epoch are kept: that of the highest AUROC, to which
the mean AUROC of the named defects is added. The same seed and backend give the same bits; across a
kill and a resume, too, where the outputs of frozen blocks do not round by the batch that they were
computed in. A team of processes shares every batch.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from pillqc.errors import PillqcError
from pillqc.model.batch_norm import image_scores
from pillqc.model.optimizing import plain_state, replaced_layers, trained_state
from pillqc.prefetch import prefetch
from pillqc.training.batches import BatchPipeline
from pillqc.training.distributed import Team
from pillqc.training.objective import Objective
from pillqc.training.step import LEARNING_RATE, cycle, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillqc.model.optimizing import Optimize
    from pillqc.training.batches import Loaded, Source
    from pillqc.training.checkpoint import CheckpointFile
    from pillqc.training.objective import Validation

CHECKPOINT_SECONDS: Final = 60.0
"""Seconds between checkpoints inside an epoch; every epoch ends with one."""
_BATCHES_READ_AHEAD: Final = 2
_LONGEST_GRADIENT: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train."""

    epochs: int = 20
    batch_size: int = 8
    """Images of a step, of all processes together."""
    learning_rate: float = LEARNING_RATE
    head_rate: float = 1.0
    """The head learns at this many times the learning rate."""
    target_accuracy: float | None = 0.98
    """Stop after the epoch whose training accuracy reaches this."""
    patience: int | None = None
    """Stop after this many epochs without a better validation result."""
    max_seconds: float | None = None
    """Stop after the epoch that passes this time."""
    autocast_dtype: torch.dtype | None = None
    """`torch.bfloat16` for mixed precision; None for fp32."""
    seed: int = 0
    masks: bool = False
    """Learn from masks too: the map's windows are supervised beside the image's label."""
    cycle: bool = False
    """Let the learning rate rise over the first fifth of all steps and fall to 0 over the rest, and
    limit gradients; the last epoch is kept then. Else the rate is constant."""
    plain: bool = False
    """Neither read ahead, nor keep outputs of frozen blocks, nor use the fused optimizer: the
    baseline of `pillqc benchmark`."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Figures of one epoch."""

    epoch: int
    """From 1."""
    loss: float
    accuracy: float
    """Share of images that were right: good or bad, and the defect where the model names them."""
    seconds: float
    validation_loss: float | None = None
    validation_auroc: float | None = None
    validation_defect_auroc: float | None = None
    """Mean over the named defects, each against all other pills; None for a model that names
    none."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Figures of a training; the trained weights are in the model that was passed in."""

    history: tuple[Epoch, ...]
    seconds: float
    """Training time with `optimize`, validation and earlier sessions."""
    images_per_s: float
    stopped: str
    """Why it ended: `target accuracy`, `patience`, `epochs` or `time`."""
    optimized_layers: int
    """How many layers `optimize` replaced; 0 means that it had no effect."""
    best_epoch: int | None = None
    """The epoch whose weights were kept: the best, or a whole cycle's last; None: not validated."""
    resumed_at: int | None = None
    """The epoch in which this session resumed from a checkpoint."""


@dataclass(kw_only=True)
class _Position:
    """How far a training has come; its fields are in the checkpoint."""

    epoch: int = 0
    """The running epoch, from 0."""
    batches: int = 0
    """Batches of this epoch that are done."""
    loss_sum: float = 0.0
    right: int = 0
    seconds: float = 0.0
    """Time of all sessions together."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """An `Epoch` for each completed epoch."""
    order: Tensor | None = None
    """State of the generator that shuffles, before it drew this epoch's order."""
    best: dict[str, Tensor] | None = None
    """The weights of the best epoch so far, by validation images."""
    best_epoch: int | None = None
    best_score: tuple[float, ...] = ()


def train(
    model: nn.Module,
    source: Source,
    options: TrainingOptions | None = None,
    *,
    validation: Source | None = None,
    optimize: Optimize | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    team: Team | None = None,
    checkpoint: CheckpointFile | None = None,
) -> TrainingResult:
    """Train `model` in place until the target accuracy, the last epoch or the time limit."""
    loop = _Loop(
        model,
        source,
        options or TrainingOptions(),
        validation,
        optimize,
        team or Team(),
        checkpoint,
    )
    return loop.run(on_epoch)


class _Loop:  # more than 15 fields: what trains, on what, and how far it is
    """A training from its first or resumed step to its end."""

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        options: TrainingOptions,
        validation: Source | None,
        optimize: Optimize | None,
        team: Team,
        checkpoint: CheckpointFile | None,
    ) -> None:
        self._model, self._options, self._team = model, options, team
        self._checkpoint = checkpoint
        self._labels = source.labels
        if len(self._labels) == 0 or int(self._labels.min()) == int(self._labels.max()):
            raise PillqcError("training needs good and bad images; the data holds one kind only")
        if options.masks and not bool((source.masked & (self._labels > 0)).any()):
            raise PillqcError(
                "there are no masks of bad images to learn from; train without --masks or --adapt"
            )
        self._objective = Objective(source)
        self._position = _Position()
        self._generator = torch.Generator().manual_seed(options.seed)
        self._resumed_at: int | None = None
        self._clock = self._saved = time.perf_counter()
        optimizer: torch.optim.Optimizer = make_optimizer(
            model.train(),
            lr=options.learning_rate,
            head_rate=options.head_rate,
            fused=optimize is None and not options.plain,  # IPEX has a fused one of its own
        )
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._resume(optimizer)
        self._running, self._optimizer = (
            optimize(model, optimizer) if optimize else (model, optimizer)
        )
        reuse = not options.plain
        self._pipeline = BatchPipeline(
            self._running, source, readable=model, reuse=reuse, masks=options.masks
        )
        self._validation: tuple[BatchPipeline, Objective] | None = None
        if validation is not None and len(torch.unique(validation.labels)) > 1:
            pipeline = BatchPipeline(self._running, validation, readable=model, reuse=reuse)
            self._validation = (pipeline, Objective(validation))

    def run(self, on_epoch: Callable[[Epoch], None] | None) -> TrainingResult:
        """Train to the end and leave the best weights in the model."""
        stopped = self._stopped()
        while stopped is None:
            epoch = self._epoch()
            # before saving adds this process's own time to what all have agreed on
            stopped = self._stopped()
            self._save()
            if on_epoch:
                on_epoch(epoch)
        position = self._position
        state = position.best or trained_state(self._model, self._running)
        if self._running is not self._model:
            plain_state(self._model, self._running)  # raises if the optimized model lost a weight
        self._model.load_state_dict(state, strict=False)
        self._model.eval()
        epochs = len(position.history)
        return TrainingResult(
            history=tuple(Epoch(**values) for values in position.history),
            seconds=position.seconds,
            images_per_s=epochs * len(self._labels) / max(position.seconds, 1e-9),
            stopped=stopped,
            optimized_layers=replaced_layers(self._running),
            best_epoch=position.best_epoch,
            resumed_at=self._resumed_at,
        )

    def _stopped(self) -> str | None:
        """Return why training ends now, or None to continue."""
        position, options = self._position, self._options
        if not position.history or position.batches:
            return None
        target = options.target_accuracy
        if target is not None and position.history[-1]["accuracy"] >= target:
            return "target accuracy"
        since_best = len(position.history) - (position.best_epoch or 0)
        if options.patience and position.best_epoch and since_best >= options.patience:
            return "patience"
        if options.max_seconds and position.seconds >= options.max_seconds:
            return "time"
        return "epochs" if len(position.history) >= options.epochs else None

    def _epoch(self) -> Epoch:
        position, started = self._position, time.perf_counter()
        position.order = self._generator.get_state()
        order = torch.randperm(len(self._labels), generator=self._generator).tolist()
        batches = _batches(order, self._options.batch_size)[position.batches :]
        parts = [self._team.part(batch) for batch in batches]
        loaded_parts = prefetch(
            lambda indices: self._pipeline.load(indices, position.epoch),
            parts,
            depth=0 if self._options.plain else _BATCHES_READ_AHEAD,
        )
        for batch, loaded in zip(batches, loaded_parts, strict=True):
            loss, right = self._step(batch, loaded)
            position.loss_sum += loss * len(batch)
            position.right += right
            position.batches += 1
            if self._checkpoint and time.perf_counter() - self._saved >= CHECKPOINT_SECONDS:
                self._save()
        if not math.isfinite(position.loss_sum):
            number = position.epoch + 1
            raise PillqcError(f"training diverged in epoch {number}; lower the learning rate")
        return self._close_epoch(len(order), started)

    def _close_epoch(self, images: int, started: float) -> Epoch:
        position = self._position
        found = self._validate()
        self._tick()
        # the mean of all clocks: processes must agree on whether the time limit has passed
        position.seconds = self._team.mean(position.seconds)
        self._clock = time.perf_counter()
        epoch = Epoch(
            epoch=position.epoch + 1,
            loss=position.loss_sum / images,
            accuracy=position.right / images,
            seconds=time.perf_counter() - started,
            validation_loss=found.loss if found else None,
            validation_auroc=found.auroc if found else None,
            validation_defect_auroc=found.defect_auroc if found else None,
        )
        if found is not None:
            score = (found.auroc + (found.defect_auroc or 0.0), -found.loss)
            whole = self._options.cycle and epoch.epoch == self._options.epochs
            if whole or score > (position.best_score or (-1.0, 0.0)):
                position.best_score, position.best_epoch = score, epoch.epoch
                position.best = trained_state(self._model, self._running)
        position.history.append(asdict(epoch))
        position.epoch += 1
        position.batches, position.loss_sum, position.right = 0, 0.0, 0
        position.order = self._generator.get_state()
        return epoch

    def _step(self, batch: Sequence[int], loaded: Loaded) -> tuple[float, int]:
        """Do one step of all processes; return the batch's mean loss and how many were right."""
        self._optimizer.zero_grad(set_to_none=True)
        figures = torch.zeros(2, dtype=torch.float64)
        if loaded.indices:
            loss, right = self._forward(batch, loaded)
            loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
            figures = torch.tensor([float(loss.detach()), right], dtype=torch.float64)
        elif self._options.masks:
            for _ in range(self._objective.totals):  # of the windows' weights of the others
                self._team.total(torch.zeros(()))
        self._team.add_gradients(self._running.parameters())
        if self._options.cycle:
            self._follow_cycle()
        self._optimizer.step()
        self._team.total(figures)
        return float(figures[0]), int(figures[1])

    def _forward(self, batch: Sequence[int], loaded: Loaded) -> tuple[Tensor, int]:
        """Return this process's share of the batch's loss, and how many images it had right."""
        with self._autocast():
            inputs = self._pipeline.inputs(loaded)
            cells = self._pipeline.cells(inputs) if self._options.masks else None
            scores = self._pipeline.scores(inputs) if cells is None else image_scores(cells)
        mine = list(loaded.indices)
        loss = self._objective.image_loss(scores, mine, batch)
        if cells is not None and loaded.masks is not None:
            loss = loss + self._objective.window_loss(cells, loaded.masks, mine, self._team)
        return loss, self._objective.right(scores.detach(), mine)

    def _follow_cycle(self) -> None:
        """Limit the gradients, and set the learning rate of this step."""
        options, position = self._options, self._position
        steps = math.ceil(len(self._labels) / options.batch_size)
        share = (position.epoch * steps + position.batches) / (options.epochs * steps)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * cycle(share)
        trained = [p for p in self._running.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, _LONGEST_GRADIENT)

    @torch.no_grad()
    def _validate(self) -> Validation | None:
        """Judge the validation images, if there are both kinds.

        The model stays in training mode: none of its layers computes anything else in it.
        """
        if self._validation is None:
            return None
        pipeline, objective = self._validation
        mine = self._team.part(range(len(objective.labels)))
        batches = _batches(mine, self._options.batch_size)
        found: list[list[float]] = []
        read = prefetch(
            lambda indices: pipeline.load(indices, 0), batches, depth=_BATCHES_READ_AHEAD
        )
        for loaded in read:
            with self._autocast():
                found.extend(pipeline.scores(pipeline.inputs(loaded)).float().tolist())
        return objective.validation(torch.tensor(self._team.gathered(found)))

    def _autocast(self) -> torch.autocast:
        dtype = self._options.autocast_dtype
        return torch.autocast("cpu", dtype=dtype, enabled=dtype is not None)

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        state = self._checkpoint.read_for(self._team) if self._checkpoint else None
        if state is None:
            return
        self._model.load_state_dict(state["weights"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        self._position = _Position(**state["position"])
        if self._position.order is not None:
            self._generator.set_state(self._position.order)
        self._resumed_at = self._position.epoch + 1

    def _save(self) -> None:
        self._tick()
        if self._checkpoint and self._team.leads:
            self._checkpoint.save(
                {
                    "position": vars(self._position),
                    "weights": trained_state(self._model, self._running),
                    "optimizer": self._optimizer.state_dict(),
                }
            )
        self._saved = time.perf_counter()

    def _tick(self) -> None:
        """Add the time since the last call to the training time."""
        now = time.perf_counter()
        self._position.seconds += now - self._clock
        self._clock = now


def _batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
