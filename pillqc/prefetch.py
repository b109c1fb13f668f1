"""Work that is done ahead by other threads, while this one computes.

    for image in ahead(read_image, paths, depth=16):
        ...

Results come in the order of the items. No more than `depth` of them wait, so memory does not grow
with their number. What a piece of work raises is raised where its result is asked for.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, depth: int) -> Iterator[Result]:
    """Yield `work(item)` for every item, in order; `depth` 0 does it here, when it is asked for."""
    if depth < 1:
        yield from map(work, items)
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting: deque[Future[Result]] = deque(
            pool.submit(work, item) for item in islice(remaining, depth)
        )
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
