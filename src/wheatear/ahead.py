"""Work on the next items while the last one's result is being used."""

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
    """function(item) of each item, in their order, worked out in threads while the caller uses earlier results.

    At most threads + 1 items are in work or waiting to be used, however many there are. What function raises is
    raised at that item's turn, what items raises at once; then, and when the generator is closed, nothing further is
    begun, and items is closed too if it is a generator. What is in work is waited for; stopping, where given, is set
    first, for a function that looks at it.
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
