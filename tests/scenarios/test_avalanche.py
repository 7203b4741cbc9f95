"""Stock benchmarks as discovery streams: who is where, under which row, with which views."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    benchmark_with_validation_stream,
    class_incremental_benchmark,
    nc_benchmark,
)
from avalanche.benchmarks.utils import as_classification_dataset
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from cgcd.engine.seeding import Draw, drawing
from cgcd.models import InputSpec
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import as_discovery

SPEC = InputSpec(size=8, crop_pct=1.0)
VECTORS = InputSpec(vector=2)
NUM_CLASSES, PER_CLASS = 6, 10


class Pictures(Dataset):
    """PIL images whose red value is their place, so that a view tells which image it shows."""

    classes = [f"kind {c}" for c in range(NUM_CLASSES)]  # noqa: RUF012

    def __init__(self, per_class: int = PER_CLASS, make=None):
        self.targets = np.random.default_rng(0).permutation(
            np.repeat(np.arange(NUM_CLASSES), per_class)
        )
        self.targets = self.targets.tolist()
        self.make = make or (lambda place: Image.new("RGB", (8, 8), (place, 0, 0)))
        self.read = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, place):
        self.read += 1
        return self.make(place), self.targets[place]


def random_view(picture):
    return torch.rand(3, 8, 8) + (picture.getpixel((0, 0))[0] if picture else 0)


def fixed_view(picture):
    return torch.full((3, 8, 8), float(picture.getpixel((0, 0))[0]))


def nc(data=None, test=None, **more):
    settings = {"n_experiences": 3, "task_labels": False, "seed": 1, **more}
    views = {"train_transform": random_view, "eval_transform": fixed_view}
    return nc_benchmark(data or Pictures(), test or Pictures(4), **views, **settings)


def incremental():
    data = {
        split: as_classification_dataset(
            Pictures(count), transform_groups={"train": (random_view, None), "eval": (None, None)}
        )
        for split, count in (("train", PER_CLASS), ("test", 4))
    }
    order = [3, 0, 5, 1, 2, 4]
    return class_incremental_benchmark(data, class_order=order, num_experiences=3)


def from_data_sets():
    def part(classes, count):
        data = Pictures(count)
        data.targets = [classes[t % len(classes)] for t in data.targets]
        return as_classification_dataset(data)

    groups = ([5, 1], [0, 3], [2, 4])
    return benchmark_from_datasets(
        train=[part(g, PER_CLASS) for g in groups], test=[part(g, 4) for g in groups]
    )


BENCHMARKS = {
    "nc": nc,
    "nc with tasks": lambda: nc(task_labels=True),
    "nc from zero": lambda: nc(class_ids_from_zero_from_first_exp=True),
    "one test experience": lambda: nc(seed=2, one_dataset_per_exp=False),
    "incremental": incremental,
    "data sets": from_data_sets,
    "validated": lambda: benchmark_with_validation_stream(nc(), 0.2, shuffle=False),
}


def ids(stage):
    return np.asarray(list(stage.dataset.sample_id))


def true_labels(benchmark, stream="train"):
    return np.concatenate([list(e.dataset.targets) for e in getattr(benchmark, f"{stream}_stream")])


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_every_kind_of_benchmark_becomes_a_stream(kind):
    benchmark = BENCHMARKS[kind]()
    scenario = as_discovery(benchmark, inputs=SPEC, num_novel="given")
    labels, stages = true_labels(benchmark), scenario.train_stream
    assert scenario.num_base == 2 and len(scenario.class_names) == NUM_CLASSES
    assert [stage.num_novel for stage in stages] == [2, 2, 2]
    everything = np.concatenate([ids(stage) for stage in stages])
    assert sorted(everything) == list(range(len(labels)))  # the union, each once
    row_of = {}
    for place, (stage, test, experience) in enumerate(
        zip(stages, scenario.test_stream, benchmark.train_stream, strict=True)
    ):
        own = sorted({int(label) for label in experience.dataset.targets})
        assert sorted(set(labels[ids(stage)].tolist())) == own
        row_of |= {label: 2 * place + k for k, label in enumerate(own)}
        assert stage.labeled == (place == 0) and (place == 0 or not (stage.labels >= 0).any())
        shown = true_labels(benchmark, "test")[ids(test)]
        assert test.labels.tolist() == [row_of[int(label)] for label in shown]
        assert set(test.labels) == {2 * place, 2 * place + 1}
    assert stages[0].labels.tolist() == [row_of[label] for label in labels[ids(stages[0])]]


def test_the_views_show_the_image_of_the_row_and_are_ours():
    benchmark = nc()
    scenario = as_discovery(benchmark, inputs=SPEC)
    pictures = np.concatenate(
        [
            [s[0].getpixel((0, 0))[0] for s in e.dataset.remove_current_transform_group()]
            for e in benchmark.train_stream
        ]
    )
    for stage in scenario.train_stream:
        seen = [sample[0] for sample in stage.dataset.eval()]
        red = [round(float(image[0, 0, 0]) * 0.229 * 255 + 0.485 * 255) for image in seen]
        assert red == pictures[ids(stage)].tolist()
    views = scenario.train_stream[0].dataset.train()[0][0]
    assert views.shape == (2, 3, 8, 8) and torch.equal(views[0, :, :1, :1], views[1, :, :1, :1])


def test_stock_views_hang_on_the_draw_alone():
    dataset = as_discovery(nc(), inputs=SPEC, views="stock").train_stream[1].dataset.train()
    draw = Draw(seed=3, stage=1, epoch=2, num_views=3)
    with drawing(draw):
        first = dataset[4][0]
        torch.rand(7), np.random.rand(3)
        state = torch.get_rng_state()
        again = dataset[4][0]
        assert torch.equal(torch.get_rng_state(), state)  # nobody notices
    with drawing(Draw(seed=3, stage=1, epoch=3, num_views=3)):
        later = dataset[4][0]
    assert first.shape == (3, 3, 8, 8) and torch.equal(first, again)
    assert len(torch.cat([first, later]).unique(dim=0)) == 6


def test_names_are_those_of_the_data_set_however_the_benchmark_numbers_it():
    plain, renumbered = nc(), nc(class_ids_from_zero_from_first_exp=True)
    for benchmark in (plain, renumbered, benchmark_with_validation_stream(renumbered, 0.2)):
        scenario = as_discovery(benchmark, inputs=SPEC)
        order = renumbered.classes_order_original_ids
        named = [int(name.removeprefix("kind ")) for name in scenario.class_names]
        assert [set(named[k : k + 2]) for k in (0, 2, 4)] == [
            set(order[k : k + 2]) for k in (0, 2, 4)
        ]


def test_base_experiences_are_joined_and_only_at_a_boundary():
    scenario = as_discovery(nc(), inputs=SPEC, num_base=4)
    assert scenario.num_base == 4 and len(scenario.train_stream) == 2
    assert len(scenario.train_stream[0].dataset) == 4 * PER_CLASS
    assert len(scenario.test_stream[0].dataset) == 16
    for wrong, mend in ((3, 2), (5, 4), (6, 4), (0, 2)):
        with pytest.raises(InputError, match=rf"num_base is {wrong}.*2, 4.*num_base={mend}"):
            as_discovery(nc(), inputs=SPEC, num_base=wrong)


def test_known_samples_come_back_once_and_labeled_ones_never():
    benchmark = nc()
    labels = true_labels(benchmark)
    scenario = as_discovery(benchmark, inputs=SPEC, labeled_fraction=0.6, known_share=0.3)
    stages = [ids(stage) for stage in scenario.train_stream]
    assert sorted(np.concatenate(stages)) == list(range(len(labels)))
    rows = scenario.description["stages"]
    assert [list(row["images_per_class"].values()) for row in rows] == [
        [6, 6],
        [2, 2, 7, 7],
        [2, 2, 3, 3, 10, 10],
    ]
    assert scenario.train_stream[0].labeled
    assert not np.intersect1d(stages[0], np.concatenate(stages[1:])).size
    again = as_discovery(benchmark, inputs=SPEC, labeled_fraction=0.6, known_share=0.3)
    other = as_discovery(benchmark, inputs=SPEC, labeled_fraction=0.6, known_share=0.3, seed=1)
    assert again.stream_hash == scenario.stream_hash != other.stream_hash
    assert again.data_hash == scenario.data_hash


def test_the_validation_stream_shows_base_classes_and_nothing_of_others():
    benchmark = benchmark_with_validation_stream(nc(), 0.2, shuffle=False)
    scenario = as_discovery(benchmark, inputs=SPEC)
    assert len(scenario.valid_stream) == 1 and scenario.streams["valid"] is scenario.valid_stream
    stage = scenario.valid_stream[0]
    labels = true_labels(benchmark, "valid")[ids(stage)]
    base = sorted(set(list(benchmark.train_stream[0].dataset.targets)))
    assert stage.labels.tolist() == [base.index(label) for label in labels]
    assert len(labels) == len(benchmark.valid_stream[0].dataset) == 4
    assert "valid" not in as_discovery(nc(), inputs=SPEC).streams


def test_cumulative_test_streams_are_counted_once(caplog):
    data = as_classification_dataset(Pictures(4))
    labels = np.asarray(list(data.targets))
    upto = [data.subset(np.flatnonzero(labels < bound).tolist()) for bound in (2, 4, 6)]
    first = [np.flatnonzero((labels >= bound) & (labels < bound + 2)).tolist() for bound in (0, 2)]
    train = [data.subset(part) for part in first]
    with caplog.at_level(logging.WARNING):
        scenario = as_discovery(benchmark_from_datasets(train=train, test=upto), inputs=SPEC)
    assert [len(stage.dataset) for stage in scenario.test_stream] == [8, 8]
    assert "test samples of 2 classes" in caplog.text


@pytest.mark.parametrize(
    "make",
    [
        lambda place: Image.new("L", (8, 8), place),
        lambda place: np.full((8, 8), place, np.uint8),
        lambda place: np.full((8, 8, 1), place, np.uint8),
        lambda place: np.full((8, 8, 3), place, np.uint8),
        lambda place: torch.full((1, 8, 8), place, dtype=torch.uint8),
        lambda place: torch.full((3, 8, 8), place / 255),
    ],
    ids="grey array channel color bytes floats".split(),
)
def test_samples_of_every_kind_become_the_same_image(make):
    benchmark = nc_benchmark(Pictures(make=make), Pictures(4, make), 3, False, seed=1)
    dataset = as_discovery(benchmark, inputs=SPEC).train_stream[0].dataset.eval()
    place = benchmark.train_exps_patterns_assignment[0][0]
    pixel = dataset[0][0][:, 0, 0] * torch.tensor(SPEC.std) + torch.tensor(SPEC.mean)
    assert pixel * 255 == pytest.approx([place] * 3, abs=1e-3)


def test_images_are_read_when_they_are_needed():
    data = Pictures(40)  # 240 images; the digest looks at 256 at most
    scenario = as_discovery(nc_benchmark(data, Pictures(4), 3, False, seed=1), inputs=SPEC)
    before = data.read
    scenario.train_stream[1].dataset.train()[0]
    assert data.read == before + 1


def test_vectors_need_no_image():
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.rand(60, 2, generator=generator), torch.arange(60) % 6)
    data.targets = (np.arange(60) % 6).tolist()
    scenario = as_discovery(nc_benchmark(data, data, 3, False, seed=1), inputs=VECTORS, noise=0.1)
    stage = scenario.train_stream[1]
    views, shown = stage.dataset.train()[0][:2]
    assert views.shape == (2, 2) and shown == UNLABELED and not torch.equal(views[0], views[1])
    assert stage.dataset.eval()[0][0].shape == (2,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (nc(n_experiences=1), {}), "1 training experiences"),
        (lambda: (nc(), {"labeled_fraction": 0.0}), "labeled_fraction is 0.0"),
        (lambda: (nc(), {"known_share": 1.0}), "known_share is 1.0"),
        (lambda: (nc(), {"views": "mine"}), "views is 'mine'; wanted one of augmentations, stock"),
        (lambda: (nc(), {"seed": -1}), "seed is -1"),
        (lambda: (nc(), {"inputs": VECTORS}), "model takes vectors of 2 values"),
        (lambda: (nc(Pictures(make=lambda p: torch.full((3, 8, 8), -1.0))), {}), r"from -1 to -1"),
        (lambda: (nc(Pictures(make=str)), {}), "is a str; wanted a PIL image"),
        (lambda: (benchmark_from_datasets(train=[]), {}), "no train_stream with samples"),
        (
            lambda: (
                benchmark_from_datasets(
                    train=[as_classification_dataset(Pictures(2))] * 2,
                    test=[as_classification_dataset(Pictures(2))],
                ),
                {},
            ),
            "experience 1 brings no class",
        ),
    ],
)
def test_what_is_no_such_benchmark_is_refused(make, message):
    benchmark, settings = make()
    with pytest.raises(InputError, match=message):
        as_discovery(benchmark, **{"inputs": SPEC, **settings})
