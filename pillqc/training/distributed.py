"""Train one model in several processes: torchrun starts them, gloo connects them.

    torchrun --nproc-per-node 2 -m pillqc train --data data/pills --out model.safetensors

Each process computes its part of every batch, so `--batch-size` is the total. The gradients are
added up: the sum is what one process would have computed, up to the order of additions.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes that train together; with one process every method returns its argument."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's part; it may be empty."""
        start, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def mean(self, value: float) -> float:
        """Return the mean over all processes, the same in each."""
        return float(self.total(torch.tensor(value, dtype=torch.float64))) / self.size

    def of_leader(self, value: T) -> T:
        """Return the leader's value; tensors in it are on the CPU."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients, in one message."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = self.total(torch.cat([gradient.float().flatten() for gradient in gradients]))
        sums = torch.split(flat, [parameter.numel() for parameter in trained])
        for parameter, gradient in zip(trained, sums, strict=True):
            # in the layout of the parameter, in which a fused optimizer reads it
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))

    def gathered(self, items: list[T]) -> list[T]:
        """Return the items of all processes, in the order of their parts."""
        if self.size == 1:
            return items
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, items)
        return [item for part in parts for item in part]


@contextmanager
def team() -> Iterator[Team]:
    """Connect the processes that torchrun started until the block ends; else yield this one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    dist.init_process_group("gloo")
    try:
        yield Team(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()
