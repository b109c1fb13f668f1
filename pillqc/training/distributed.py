"""Processes that train one model together: torchrun starts them, gloo connects them.

    torchrun --nproc-per-node 2 -m pillqc train --data data/pills --out model.safetensors

Each takes its part of every batch, so the batch size stays that of all together, and the sum of
their gradients is the gradient that one process would have had, up to the order of additions.
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
    """The processes that train together; alone, everything here does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share; small ones may leave some with nothing."""
        start, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients, in one message."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = self.total(torch.cat([gradient.float().flatten() for gradient in gradients]))
        start = 0
        for parameter in trained:
            part = flat[start : start + parameter.numel()]
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
            start += parameter.numel()

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, in the order of their parts."""
        if self.size == 1:
            return items
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, items)
        return [item for part in parts for item in part]


@contextmanager
def team() -> Iterator[Team]:
    """The processes that torchrun started, connected until the end of the block; else this one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    dist.init_process_group("gloo")
    try:
        yield Team(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()
