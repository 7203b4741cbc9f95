"""Who takes what of a batch and of a pass, and what several processes refuse."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.training.plugins import EarlyStoppingPlugin, ReplayPlugin

from cgcd.engine import processes, shared_step
from cgcd.engine.loading import EpochBatches
from cgcd.engine.processes import Deal, own_device, share, take_from_first, wait_for_all
from cgcd.engine.seeding import Draw
from cgcd.vocabulary import InputError

Become = Callable[[int, int], None]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Become:
    """Makes this process number `k` of `n`, as far as it knows."""

    def be(number: int, of: int) -> None:
        monkeypatch.setattr(processes, "own_number", lambda: number)
        monkeypatch.setattr(processes, "num_processes", lambda: of)

    return be


@pytest.mark.parametrize(("count", "of"), [(7, 2), (8, 2), (10, 3), (3, 3), (5, 1)])
def test_shares_are_neighbors_without_gap(become: Become, count: int, of: int) -> None:
    parts = []
    for number in range(of):
        become(number, of)
        parts.append(list(range(count))[share(count)])
    assert [row for part in parts for row in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_processes_than_samples(become: Become) -> None:
    become(0, 4)
    with pytest.raises(InputError, match="a batch of 3 samples has none for some of 4 processes"):
        share(3)


def test_shares_of_batches_make_the_batches(become: Become) -> None:
    def drawn(shared: bool) -> list[list[tuple[int, ...]]]:
        order = lambda labels, generator: generator.integers(len(labels), size=20)  # noqa: E731
        return list(EpochBatches(np.zeros(9), 5, Draw(), order, drop_last=False, shared=shared))

    whole = drawn(shared=False)
    become(0, 2)
    first = drawn(shared=True)
    become(1, 2)
    second = drawn(shared=True)
    assert [a + b for a, b in zip(first, second, strict=True)] == whole  # repeats too
    assert any(len(key) == 3 for batch in whole for key in batch)


@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_a_deal_joins_in_order(become: Become, monkeypatch: pytest.MonkeyPatch, of: int) -> None:
    rows = torch.randn(11, 3)
    deal = Deal([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]])
    hands = []
    for number in range(of):
        become(number, of)
        hands.append(rows[[place for batch in deal.own for place in batch]])

    def everything(own: torch.Tensor, counts: list[int]) -> torch.Tensor:
        assert counts == [len(hand) for hand in hands]
        return torch.cat(hands)

    monkeypatch.setattr(processes, "gathered", everything)
    assert torch.equal(deal.joined(hands[-1]), rows)


def test_alone_nothing_is_exchanged() -> None:
    tensors = {"a": torch.randn(3)}
    before = tensors["a"].clone()
    take_from_first(tensors)
    wait_for_all()
    assert torch.equal(tensors["a"], before) and share(5) == slice(0, 5)
    assert own_device(torch.device("cuda:1")) == torch.device("cuda:1")


def test_one_card_for_all_is_refused(become: Become) -> None:
    become(0, 2)
    with pytest.raises(InputError, match="one card for 2 processes"):
        own_device(torch.device("cuda:1"))
    assert own_device(torch.device("cpu")) == torch.device("cpu")


def test_plugins_that_see_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_step, "num_processes", lambda: 2)
    fits = EarlyStoppingPlugin(patience=1, val_stream_name="valid_stream")
    shared_step.check_shared_plugins(SimpleNamespace(plugins=[fits]))
    with pytest.raises(InputError, match="ReplayPlugin would see the share of one process"):
        shared_step.check_shared_plugins(SimpleNamespace(plugins=[fits, ReplayPlugin(10)]))
