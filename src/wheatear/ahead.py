"""Compute the next results while the last one is being used."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int = 1,
    stopping: threading.Event | None = None,
) -> Generator[Result]:
    """Yield function(item) for each item in order, computed in threads while the caller uses earlier results.

    At most threads + 1 items are being computed or waiting to be used, however many there are. An exception
    from function is raised when its item's turn comes, one from items immediately; after that, and when the
    generator is closed, no further item is started, and items is closed too if it is a generator. Items
    already being computed are waited for; stopping, if given, is set first, for a function that checks it.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if stopping:
                stopping.set()
            for future in waiting:
                future.cancel()
            if isinstance(items, Generator):
                items.close()
