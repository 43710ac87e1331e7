"""Work that threads do before it is asked for, in order."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
THREADS = min(16, os.cpu_count() or 1)


def ahead(function: Callable[[A], B], items: Iterable[A], window: int) -> Iterator[B]:
    """function(item) for each item, in order, computed by threads up to ``window`` items ahead.

    Decoding and resizing of images leave Python free for other threads.
    """
    pending: collections.deque = collections.deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= window:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
