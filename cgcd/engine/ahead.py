"""Work that threads do ahead of who needs it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    load: Callable[[Item], Result], items: Iterable[Item], threads: int, window: int
) -> Iterator[Result]:
    """What `load` gives for each item, in order; while one is used, the next are worked on.

    Each thread computes alone: with the main thread's number of threads each they would crowd it
    out.

    Args:
        load: called in a thread, several at once where there are several threads.
        items: taken one by one, in the thread that takes the results.
        threads: at least 1.
        window: most items that are taken and not yet given back, at least 1; 1 waits for each.
    """
    main_threads = torch.get_num_threads()
    begun = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, initializer=_compute_alone)
    try:
        for _ in range(threads):
            pool.submit(begun.wait)
        begun.wait()
        torch.set_num_threads(main_threads)  # some libraries took the 1 for all threads
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) == window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _compute_alone() -> None:
    """One thread for what this thread computes.

    A thread takes the number that was set last anywhere when it first asks for one. Would it not
    ask before it sets its own, it had a team of its own, and OpenMP, seeing more threads than
    cores, would put those of the main thread to sleep at each of its steps.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
