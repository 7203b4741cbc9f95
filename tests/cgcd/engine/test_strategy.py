"""Small promises of the template that no method can break; the contract has the rest."""

from __future__ import annotations

import torch

from cgcd.engine.batch import UnlabeledAware


def test_the_criterion_of_stock_plugins_ignores_hidden_labels():
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([0, -1, 2, -1])
    loss = UnlabeledAware()(logits, labels)
    wanted = torch.nn.functional.cross_entropy(logits[::2], labels[::2])
    torch.testing.assert_close(loss, wanted)
    nothing = UnlabeledAware()(logits, torch.full((4,), -1))
    nothing.backward()
    assert nothing == 0 and (logits.grad == 0).all()


def test_a_stage_is_looked_at_in_eval_mode_in_its_order(quick_happy, blobs):
    scenario = blobs()
    strategy = quick_happy(epochs=(1, 1), eval_batch_size=7)
    strategy.train(scenario.train_stream[0])
    stage = scenario.train_stream[0]
    images = torch.stack([sample[0] for sample in stage.dataset.eval()])
    outputs = strategy.stage_outputs(stage)
    assert strategy.model.training and not outputs.features.requires_grad
    strategy.model.eval()
    torch.testing.assert_close(outputs.logits, strategy.model(images).detach())
    assert outputs.labels.tolist() == stage.labels.tolist()


def test_generators_hang_on_seed_stage_and_purpose(quick_happy):
    strategy = quick_happy()

    def first(*purpose):
        return torch.rand((), generator=strategy.generator(*purpose)).item()

    start = first("head")
    assert first("head") == start != first("projection")
    strategy.stage_index = 2
    assert first("head") != start
    strategy.stage_index, strategy.seed = 0, 1
    assert first("head") != start
