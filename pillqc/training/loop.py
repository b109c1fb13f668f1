"""The loop behind `pillqc.training.train.train`: epochs, steps, validation, checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from sklearn import metrics
from torch import Tensor, nn

from pillqc.errors import PillqcError
from pillqc.model.batch_norm import image_scores
from pillqc.model.optimizing import plain_state, replaced_layers, trained_state
from pillqc.prefetch import prefetch
from pillqc.training.batches import feed_for
from pillqc.training.checkpoint import Checkpoint, Position, read_checkpoint, save_checkpoint
from pillqc.training.loss import Truth, image_loss, window_loss
from pillqc.training.train import Epoch, TrainingResult, class_weights, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pillqc.model.optimizing import Optimize
    from pillqc.training.batches import Feed, Loaded, Source
    from pillqc.training.distributed import Team
    from pillqc.training.train import Kept, TrainingOptions

_READ_AHEAD: Final = 2
"""Batches whose files are read while a step computes."""
_RISE: Final = 0.2
"""Share of a cycle in which the learning rate rises."""
_LOWEST: Final = 0.04
"""Share of the highest learning rate at which a cycle begins."""
_LONGEST_GRADIENT: Final = 5.0


class TrainingLoop:
    """A training from its first or its resumed step to its end."""

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        options: TrainingOptions,
        *,
        validation: Source | None,
        optimize: Optimize | None,
        team: Team,
        kept: Kept | None,
    ) -> None:
        self._labels = _checked_labels(source)
        self._weights = class_weights(self._labels)
        self._model, self._options, self._team, self._kept = model, options, team, kept
        self._masked = _masked(source, options)
        self._position = Position()
        self._generator = torch.Generator().manual_seed(options.seed)
        self._mark = self._saved = time.perf_counter()
        optimizer: torch.optim.Optimizer = make_optimizer(
            model.train(), lr=options.learning_rate, fused=options.fused
        )
        self._resumed_at = self._resume(optimizer)
        self._running, self._optimizer = (
            optimize(model, optimizer) if optimize else (model, optimizer)
        )
        reuse = not options.plain
        self._feed = feed_for(self._running, source, reuse=reuse, masks=options.masks)
        self._validation: tuple[Feed, Tensor] | None = None
        if validation is not None and len(torch.unique(validation.labels)) > 1:
            feed = feed_for(self._running, validation, reuse=reuse)
            self._validation = (feed, validation.labels)

    def run(self, on_epoch: Callable[[Epoch], None] | None) -> TrainingResult:
        """Train to the end, and leave the best weights in the plain model."""
        while (stopped := self._stopped()) is None:
            epoch = self._epoch()
            self._save()
            if on_epoch:
                on_epoch(epoch)
        position = self._position
        history = tuple(Epoch(**told) for told in position.history)
        state = position.best or trained_state(self._model, self._running)
        if self._running is not self._model:
            plain_state(self._model, self._running)  # says so if anything was lost
        self._model.load_state_dict(state, strict=False)
        self._model.eval()
        return TrainingResult(
            history=history,
            seconds=position.seconds,
            images_per_s=len(history) * len(self._labels) / max(position.seconds, 1e-9),
            stopped=stopped,
            optimized_layers=replaced_layers(self._model, self._running),
            best_epoch=position.best_epoch,
            resumed_at=self._resumed_at,
        )

    def _stopped(self) -> str | None:
        """Why training ends here, by what is in the checkpoint too; None to go on."""
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
        batches = list(_batches(order, self._options.batch_size))
        for whole, loaded in self._loaded(batches[position.batches :]):
            loss, right = self._step(whole, loaded)
            position.loss_sum += loss * len(whole)
            position.right += right
            position.batches += 1
            if self._kept and time.perf_counter() - self._saved >= self._kept.seconds:
                self._save()
        if not torch.isfinite(torch.tensor(position.loss_sum)):
            number = position.epoch + 1
            raise PillqcError(f"training diverged in epoch {number}; lower the learning rate")
        return self._close_epoch(len(order), started)

    def _close_epoch(self, images: int, started: float) -> Epoch:
        position = self._position
        tried = self._validate()
        self._tick()
        # one clock for all: whether time is over must not differ between processes
        clock = self._team.total(torch.tensor(position.seconds, dtype=torch.float64))
        position.seconds = float(clock) / self._team.size
        epoch = Epoch(
            epoch=position.epoch + 1,
            loss=position.loss_sum / images,
            accuracy=position.right / images,
            seconds=time.perf_counter() - started,
            validation_loss=tried[1] if tried else None,
            validation_auroc=tried[0] if tried else None,
        )
        if tried and (better := (tried[0], -tried[1])) > (position.best_score or (-1.0, 0.0)):
            position.best_score, position.best_epoch = better, epoch.epoch
            position.best = trained_state(self._model, self._running)
        position.history.append(asdict(epoch))
        position.epoch += 1
        position.batches, position.loss_sum, position.right = 0, 0.0, 0
        position.order = self._generator.get_state()
        return epoch

    def _loaded(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Sequence[int], Loaded]]:
        """This process's part of every batch, its files read ahead."""
        number = self._position.epoch
        parts = [self._team.part(batch) for batch in batches]
        loaded = prefetch(
            lambda indices: self._feed.load(indices, number),
            parts,
            depth=0 if self._options.plain else _READ_AHEAD,
        )
        yield from zip(batches, loaded, strict=True)

    def _step(self, whole: Sequence[int], loaded: Loaded) -> tuple[float, int]:
        """One step of all processes: the batch's mean loss, and how many it had right."""
        self._optimizer.zero_grad(set_to_none=True)
        mine = list(loaded.indices)
        truth = Truth(
            labels=self._labels[mine],
            all_labels=self._labels[list(whole)],
            masks=loaded.masks,
            masked=None if self._masked is None else self._masked[mine],
        )
        told = torch.zeros(2, dtype=torch.float64)
        if mine:
            loss, scores = self._forward(loaded, truth)
            loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
            right = int((scores.argmax(dim=1) == truth.labels).sum())
            told = torch.tensor([float(loss.detach()), right], dtype=torch.float64)
        elif self._options.masks:
            self._team.total(torch.zeros(()))  # the others add up the weights of their windows
        self._team.add_gradients(self._running.parameters())
        if self._options.cycle:
            self._turn()
        self._optimizer.step()
        self._team.total(told)
        return float(told[0]), int(told[1])

    def _turn(self) -> None:
        """Set this step's learning rate, by where it stands in the whole training."""
        options, position = self._options, self._position
        steps = -(-len(self._labels) // options.batch_size)
        share = (position.epoch * steps + position.batches) / (options.epochs * steps)
        for group in self._optimizer.param_groups:
            group["lr"] = options.learning_rate * cycle(share)
        trained = [p for p in self._running.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, _LONGEST_GRADIENT)

    def _forward(self, loaded: Loaded, truth: Truth) -> tuple[Tensor, Tensor]:
        dtype = self._options.autocast_dtype
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            inputs = self._feed.inputs(loaded)
            cells = self._feed.cells(inputs) if self._options.masks else None
            scores = self._feed.scores(inputs) if cells is None else image_scores(cells)
        loss = image_loss(scores, truth, self._weights)
        if cells is not None:
            loss = loss + window_loss(cells, truth, self._team)
        return loss, scores.detach()

    @torch.no_grad()
    def _validate(self) -> tuple[float, float] | None:
        """AUROC and class-weighted loss on the validation images, as far as there are both kinds.

        In training mode, as no layer here computes anything else then.
        """
        if self._validation is None:
            return None
        feed, labels = self._validation
        dtype = self._options.autocast_dtype
        mine = list(self._team.part(range(len(labels))))
        batches = _batches(mine, self._options.batch_size)
        found: list[list[float]] = []
        for loaded in prefetch(lambda indices: feed.load(indices, 0), batches, depth=_READ_AHEAD):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                found.extend(feed.scores(feed.inputs(loaded)).float().tolist())
        scores = torch.tensor(self._team.gathered(found))
        loss = float(F.cross_entropy(scores, labels, weight=class_weights(labels)))
        return float(metrics.roc_auc_score(labels, scores[:, 1] - scores[:, 0])), loss

    def _resume(self, optimizer: torch.optim.Optimizer) -> int | None:
        stored = read_checkpoint(self._kept.path, self._kept.told) if self._kept else None
        if stored is None:
            return None
        self._model.load_state_dict(stored.weights, strict=False)
        optimizer.load_state_dict(stored.optimizer)
        self._position = stored.position
        if stored.position.order is not None:
            self._generator.set_state(stored.position.order)
        return stored.position.epoch + 1

    def _save(self) -> None:
        self._tick()
        if self._kept and self._team.leads:
            checkpoint = Checkpoint(
                position=self._position,
                weights=trained_state(self._model, self._running),
                optimizer=self._optimizer.state_dict(),
            )
            save_checkpoint(self._kept.path, self._kept.told, checkpoint)
        self._saved = time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._position.seconds += now - self._mark
        self._mark = now


def cycle(share: float) -> float:
    """Part of the highest rate after this share of all steps: half a cosine up, half one down."""
    if share < _RISE:
        return _LOWEST + (1.0 - _LOWEST) * 0.5 * (1.0 - math.cos(math.pi * share / _RISE))
    return 0.5 * (1.0 + math.cos(math.pi * (share - _RISE) / (1.0 - _RISE)))


def _batches(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _checked_labels(source: Source) -> Tensor:
    labels = source.labels
    if len(labels) == 0 or int(labels.min()) == int(labels.max()):
        raise PillqcError("training needs good and bad images; the data holds one kind only")
    return labels


def _masked(source: Source, options: TrainingOptions) -> Tensor | None:
    if not options.masks:
        return None
    masked = source.masked
    if masked is None or not bool((masked & (source.labels > 0)).any()):
        raise PillqcError(
            "there are no masks of bad images to learn from; train without --masks or --adapt"
        )
    return masked
