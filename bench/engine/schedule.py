"""Which participant runs when. Pure.

A participant is one worker that takes part in a round: a scenario or the control.

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
    """Orders of the participants, round after round, without end; the same for the same seed.

    Each cycle is a Williams square under a fresh random naming of its rows and participants. It has
    one round a participant, two where the number of participants is odd. Over a cycle

    - every participant stands at every position equally often, so a positional bias cancels;
    - every participant directly follows every other equally often, so what it inherits from the one
      before (caches, heat, frequency) cancels;
    - every odd round is the mirror image of the round before, so each participant's two turns have
    the
      same middle and a linear drift cancels exactly, within every such pair.

    Give every launch its own seed: a run is too short for all participants to meet often. Striking
    a participant from the orders (it crashed, say) leaves the mirror images what they are.

    Raises:
        BenchError: no participants, or one of them twice.
    """
    if not participants:
        raise BenchError("a round needs at least one participant: choose at least one scenario")
    if len(set(participants)) != len(participants):
        raise BenchError(
            f"a participant stands twice in one round: {', '.join(sorted(participants))}"
        )
    return _cycles(tuple(participants), random.Random(seed))  # noqa: S311 - an order, not a secret


def cycle_length(participants: int) -> int:
    """Rounds after which the orders are exactly balanced."""
    return participants if participants % 2 == 0 or participants == 1 else 2 * participants


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
                yield tuple(names[participant] for participant in order)


def _williams_pairs(size: int) -> list[tuple[_Order, _Order]]:
    """A Williams square as pairs of a row and its mirror image.

    The first row zigzags 0, 1, n-1, 2, n-2, ...; the others add 1, 2, ... to it. Neighbours in the
    first row differ by every number once, which balances the predecessors. With an even size the
    mirror of row r is row r + n/2, so half of the rows have the other half as mirrors; with an odd
    size the mirrors are a second square.
    """
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(size)]
    rows = size // 2 if size % 2 == 0 else size
    orders = [tuple((participant + shift) % size for participant in first) for shift in range(rows)]
    return [(order, order[::-1]) for order in orders]
