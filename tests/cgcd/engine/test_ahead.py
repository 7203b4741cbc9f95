"""Threads that work ahead: in order, not too far, and gone when nobody asks any more."""

from __future__ import annotations

import threading

import pytest
import torch

from cgcd.engine.ahead import ahead


@pytest.mark.parametrize(("threads", "window"), [(1, 1), (1, 2), (3, 5)])
def test_results_come_in_order_and_not_too_many_are_taken(threads: int, window: int) -> None:
    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    before = torch.get_num_threads()
    for place, result in enumerate(ahead(lambda item: item**2, items(), threads, window)):
        assert result == place**2
        assert len(taken) <= place + window
    assert place == 19 and torch.get_num_threads() == before


def test_an_error_arrives_and_no_thread_stays() -> None:
    def load(item: int) -> int:
        if item == 2:
            raise KeyError(item)
        return item

    before = threading.active_count()
    results = ahead(load, range(9), 2, 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)
    broken_off = ahead(load, range(2), 1, 2)
    next(broken_off)
    broken_off.close()
    assert threading.active_count() == before


def test_each_thread_computes_alone_and_the_caller_as_before() -> None:
    torch.set_num_threads(2)
    try:

        def threads(_: int) -> int:
            (torch.ones(2**16) + 1).sum()  # the first that is shared among threads
            return torch.get_num_threads()

        assert list(ahead(threads, range(4), 2, 2)) == [1] * 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
