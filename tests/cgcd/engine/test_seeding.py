"""Draws are functions of their key; global generators are put back."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from cgcd.engine.seeding import (
    Draw,
    batch_uniforms,
    current_draw,
    drawing,
    isolated_randomness,
    numpy_generator,
    preserved_randomness,
    sample_randomness,
    torch_generator,
    uniforms,
)


def draws() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), random.random()


def states() -> tuple:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_a_batch_is_its_samples():
    draw = Draw(seed=3, stage=2, epoch=5, num_views=3)
    together = batch_uniforms(draw, [7, 0, 1234567], 4)
    assert together.shape == (3, 3, 4)
    for row, sample in enumerate((7, 0, 1234567)):
        for view in range(3):
            assert (together[row, view] == uniforms(draw, sample, view, 4)).all()
    assert (batch_uniforms(draw, [1234567], 4)[0] == together[2]).all()
    assert (uniforms(draw, 7, 0, 2) == together[0, 0, :2]).all()  # asking for less changes nothing


def test_every_part_of_the_key_matters_and_nothing_else():
    base = Draw()
    keys = [(replace(base, **{name: 1}), 0, 0) for name in ("seed", "stage", "epoch", "phase")]
    keys += [(base, 0, 0), (base, 1, 0), (base, 0, 1)]
    firsts = {float(uniforms(*key, 1)[0]) for key in keys}
    assert len(firsts) == len(keys)
    assert (uniforms(base, 1, 0, 3) == uniforms(replace(base, num_views=5), 1, 0, 3)).all()
    grid = [Draw(stage=s, phase=p, epoch=e) for s in range(3) for p in range(2) for e in range(3)]
    values = {float(uniforms(d, i, v, 1)[0]) for d in grid for i in range(3) for v in range(3)}
    assert len(values) == len(grid) * 9


def test_draws_are_even():
    values = batch_uniforms(Draw(num_views=2), range(500), 3)
    assert values.min() >= 0 and values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.03)
    correlation = np.corrcoef(values.reshape(500, -1).T) - np.eye(6)
    assert np.abs(correlation).max() < 0.2


def test_the_current_draw_nests():
    assert current_draw() == Draw()
    with drawing(Draw(seed=1)):
        with drawing(Draw(seed=2)):
            assert current_draw().seed == 2
        assert current_draw().seed == 1
        with pytest.raises(RuntimeError), drawing(Draw(seed=3)):
            raise RuntimeError
        assert current_draw().seed == 1
    assert current_draw() == Draw()


def test_generators_are_functions_of_their_purpose():
    for make, take in (
        (numpy_generator, lambda g: float(g.random())),
        (torch_generator, lambda g: torch.rand((), generator=g).item()),
    ):
        assert take(make(0, 1, "order")) == take(make(0, 1, "order"))
        others = [
            (0, 1, "order"),
            (1, 1, "order"),
            (0, 2, "order"),
            (0, 1, "head"),
            (0, "order", 1),
        ]
        assert len({take(make(*key)) for key in others}) == len(others)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("guard", [preserved_randomness, lambda: isolated_randomness(1, "x")])
def test_all_three_generators_are_put_back(guard, fails):
    before = states()
    try:
        with guard():
            draws()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert states() == before


def test_isolated_randomness_is_a_function_of_its_arguments():
    def inside(*key):
        with isolated_randomness(*key):
            return draws()

    first = inside(0, 1, "stage")
    draws()
    assert inside(0, 1, "stage") == first
    others = [inside(1, 1, "stage"), inside(0, 2, "stage"), inside(0, 1, "warm_up")]
    for kind in range(3):
        assert len({d[kind] for d in [first, *others]}) == 4


def test_preserved_randomness_goes_on_with_the_same_numbers():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    with preserved_randomness():
        first = draws()
    assert draws() == first


def test_transforms_of_others_draw_by_sample_and_view_and_nobody_notices():
    def drawn(draw, sample, view):
        with sample_randomness(draw, sample) as seed_view:
            seed_view(view)
            return torch.rand(1).item(), np.random.rand(), random.random()

    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = drawn(Draw(), 5, 0)
    assert first == drawn(Draw(), 5, 0)
    others = [drawn(Draw(epoch=1), 5, 0), drawn(Draw(), 6, 0), drawn(Draw(), 5, 1)]
    others += [drawn(Draw(seed=1), 5, 0), drawn(Draw(stage=1), 5, 0), drawn(Draw(repeat=1), 5, 0)]
    assert all(len({first[k], *(other[k] for other in others)}) == 7 for k in range(3))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
