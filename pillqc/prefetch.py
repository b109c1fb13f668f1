"""Run work in another thread before its results are needed.

    for image in prefetch(read_image, paths, depth=16):
        ...

Results come in the order of the items. At most `depth` of them wait, so memory does not grow with
the number of items. An exception is raised where its result is requested.
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


def prefetch(
    work: Callable[[Item], Result], items: Iterable[Item], *, depth: int
) -> Iterator[Result]:
    """Yield `work(item)` for every item, in order; with `depth` 0 no thread is started."""
    if depth < 1:
        yield from map(work, items)
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
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
