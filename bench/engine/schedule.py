"""Order the participants in each round. Pure.

orders = round_orders(participants, seed=seed + launch)      # next(orders) is one round's order
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_Order = tuple[int, ...]


def round_orders(participants: Sequence[str], *, seed: int) -> Iterator[tuple[str, ...]]:
    """Yield an order of the participants for each round, without end; the seed decides them.

    Each cycle is a Williams square whose rows and participants are shuffled. It has one round a
    participant, or two where their number is odd. Over a cycle

    - every participant has every position equally often, so a bias of position cancels;
    - every participant directly follows every other equally often, so what it inherits from the one
      before (caches, heat, frequency) cancels;
    - every second round mirrors the round before, so a participant's two turns have the same middle
      for all, and a linear drift cancels exactly within the pair.

    Give each launch its own seed: a run is too short for all participants to meet often. Leaving a
    participant out of the orders (because it crashed) keeps the mirror images.

    Raises:
        BenchError: there are no participants, or one is given twice.
    """
    if not participants:
        raise BenchError("a round needs at least one participant: choose at least one scenario")
    if len(set(participants)) != len(participants):
        raise BenchError(
            f"a participant is given twice for one round: {', '.join(sorted(participants))}"
        )
    return _cycles(tuple(participants), random.Random(seed))  # noqa: S311 - an order, not a secret


def _cycles(participants: tuple[str, ...], rng: random.Random) -> Iterator[tuple[str, ...]]:
    while True:
        names = rng.sample(participants, len(participants))
        if len(names) == 1:
            yield participants
            continue
        pairs = _williams_pairs(len(names))
        rng.shuffle(pairs)
        for pair in pairs:
            for order in pair:
                yield tuple(names[number] for number in order)


def _williams_pairs(size: int) -> list[tuple[_Order, _Order]]:
    """Return a Williams square as pairs of a row and its mirror image.

    The first row zigzags 0, 1, n-1, 2, n-2, ...; the others add 1, 2, ... to it. Neighbours in the
    first row differ by every number once, which balances the predecessors. With an even size the
    mirror of row r is row r + n/2, so half of the rows have the other half as mirrors; with an odd
    size the mirrors are a second square.
    """
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(size)]
    rows = size // 2 if size % 2 == 0 else size
    orders = [tuple((number + shift) % size for number in first) for shift in range(rows)]
    return [(order, order[::-1]) for order in orders]
