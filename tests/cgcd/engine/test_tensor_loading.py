"""The tensor loader against reading the same stage sample by sample: equal bits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from cgcd.engine import Batch, DiscoveryStrategy, Recipe, half_labeled
from cgcd.engine import tensor_loading as module
from cgcd.engine.loading import DrawnViews, EpochBatches, shuffled
from cgcd.engine.seeding import Draw, batch_uniforms, uniforms
from cgcd.engine.tensor_loading import TrainingTensors, VectorRows, pass_tensors, training_tensors
from cgcd.models import Adapter, GCDModel
from cgcd.stages import Stage, stage_dataset
from scenarios.features import NoisyViews, VectorView

VECTORS = (20 * np.random.default_rng(0).standard_normal((60, 37))).astype(np.float16)
ROWS = np.random.default_rng(1).permutation(60)[:45]
LABELS = np.where(np.arange(45) % 3, -1, np.arange(45) % 4)


def dataset(noise: float = 0.0, vectors: Any = VECTORS, **view: Any) -> Any:
    plain = VectorView(VECTORS.mean(0).astype(np.float32), **view)
    return stage_dataset(
        vectors, ROWS, LABELS, train_transform=NoisyViews(plain, noise), eval_transform=plain
    )


def order() -> BatchSampler:
    return BatchSampler(range(45), 16, drop_last=False)


def assert_equal_batches(fast: Any, slow: Any) -> None:
    count = 0
    for ours, theirs in zip(fast, slow, strict=True):
        assert [part.dtype for part in ours] == [part.dtype for part in theirs]
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
        count += 1
    assert count > 1


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("order", [shuffled, half_labeled])
@pytest.mark.parametrize("memory", [2**31, 0])
def test_training_batches_are_those_of_the_samples(
    noise: float, order: Any, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_PREPARED", memory)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    data = dataset(noise).train()
    draw = Draw(seed=3, stage=2, num_views=3)
    batches = EpochBatches(LABELS, 8, draw, order, drop_last=False)
    fast = training_tensors(data, batches)
    slow = DataLoader(DrawnViews(data, draw), batch_sampler=batches)
    assert isinstance(fast, TrainingTensors) and len(fast) == len(slow) == 6
    seen = []
    for batches.epoch in (0, 5):
        assert_equal_batches(fast, slow)
        seen.append(next(iter(fast))[0])
    assert seen[0].shape == (8, 3, 37) and not torch.equal(*seen)
    assert torch.equal(seen[0][:, 0], seen[0][:, 1]) == (noise == 0)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_pass_is_that_of_the_samples(normalize: bool) -> None:
    data = dataset(normalize=normalize).eval()
    assert_equal_batches(pass_tensors(data, order()), DataLoader(data, batch_size=16))


def test_a_memory_mapped_file_is_read_the_same(tmp_path: Any) -> None:
    np.save(tmp_path / "f.npy", VECTORS)
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert_equal_batches(
        pass_tensors(dataset(vectors=mapped).eval(), order()),
        pass_tensors(dataset().eval(), order()),
    )


def test_uniforms_of_a_batch_with_repeats_are_those_of_the_samples() -> None:
    draw = Draw(seed=5, stage=1, epoch=2, num_views=2, phase=1)
    together = batch_uniforms(draw, [4, 4, 9], 5, [0, 1, 7])
    for row, (sample, again) in enumerate(((4, 0), (4, 1), (9, 7))):
        alone = Draw(seed=5, stage=1, epoch=2, num_views=2, phase=1, repeat=again)
        for view in range(2):
            assert (together[row, view] == uniforms(alone, sample, view, 5)).all()


def test_what_a_plugin_changed_is_left_to_the_samples() -> None:
    data = dataset().train()
    changed = (
        data.subset([3, 1]),
        data.concat(data),
        data.replace_current_transform_group(None),
        data.freeze_transforms(),
        dataset(vectors=torch.from_numpy(VECTORS)).train(),
        dataset(vectors=list(VECTORS)).train(),
    )
    assert VectorRows.of(data) is not None
    for other in changed:
        assert VectorRows.of(other) is None
    batches = EpochBatches(LABELS, 8, Draw())
    assert training_tensors(data.eval(), batches) is None and pass_tensors(data, order()) is None


class Probe(DiscoveryStrategy):
    """Keeps what it is handed."""

    def begin_stage(self, stage: Stage) -> None:
        self.model.head.grow(4, generator=self.generator("head"))
        self.handed: list[Batch] = []

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.handed.append(batch)
        return {"term": batch.out.logits.square().mean()}


def trained(images: Any) -> Probe:
    recipe = Recipe(
        epochs=2,
        batch_size=8,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        weights={"term": 1.0},
    )
    torch.manual_seed(0)
    strategy = Probe(
        model=GCDModel(Adapter(37, 8), projection_hidden=8, projection_dim=4),
        base=recipe,
        continual=recipe,
    )
    labels = np.arange(45) % 4
    plain = VectorView()
    data = stage_dataset(
        images, ROWS, labels, train_transform=NoisyViews(plain, 0.1), eval_transform=plain
    )
    stage = Stage(data, 0, None)
    strategy.train(stage)
    strategy.outputs_seen = strategy.stage_outputs(stage.train())
    return strategy


def test_a_stage_trains_to_the_same_bits_either_way() -> None:
    fast, slow = trained(VECTORS), trained(list(VECTORS))  # a list is read by sample
    for ours, theirs in zip(fast.handed, slow.handed, strict=True):
        assert torch.equal(ours.trunk, theirs.trunk) and torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.sample_ids, theirs.sample_ids)
    for name, tensor in fast.model.state_dict().items():
        assert torch.equal(tensor, slow.model.state_dict()[name]), name
    assert torch.equal(fast.outputs_seen.features, slow.outputs_seen.features)
    assert torch.equal(fast.outputs_seen.labels, slow.outputs_seen.labels)
