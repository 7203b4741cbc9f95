"""SMILE's own rules: its temperature, equal codes, what a diverged model answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgcd.vocabulary import InputError
from strategies import SMILE, smile


@pytest.fixture
def build(blob_model):
    def build(**kwargs) -> SMILE:
        base = replace(smile.BASE, epochs=1, batch_size=16)
        return SMILE(model=blob_model(), base=base, hash_hidden=32, hash_bottleneck=16, **kwargs)

    return build


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan")])
def test_a_temperature_is_above_zero(build, temperature):
    with pytest.raises(InputError, match="wanted a number above 0"):
        build(temperature=temperature)


def test_equal_signs_are_one_category(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    strategy.train(scenario.train_stream[0])
    inputs = torch.stack([sample[0] for sample in scenario.stream.dataset.eval()])
    signs = (strategy.codes(inputs) > 0).numpy()
    ids = strategy.observe(inputs).ids
    order = {}
    assert ids.tolist() == [order.setdefault(row.tobytes(), len(order)) for row in signs]
    assert strategy.book.num_known == 0 and np.unique(ids).size == strategy.book.num_created


def test_a_diverged_model_answers_nothing(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    strategy.train(scenario.train_stream[0])
    with torch.no_grad():
        strategy.hash.sign.weight[0, 0] = torch.nan
    for act in (strategy.observe, strategy.look_up):
        with pytest.raises(InputError, match=r"1 of 1 codes hold nan .* lower learning rate"):
            act(torch.ones(16))
    assert strategy.book is None
