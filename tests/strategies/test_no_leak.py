"""No hidden label reaches a strategy: poisoned truth must not move a bit."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from types import FunctionType, MethodType, ModuleType

import numpy as np
import pytest
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    class_incremental_benchmark,
    nc_benchmark,
    with_classes_timeline,
)
from avalanche.benchmarks.scenarios.generic_scenario import MaskedAttributeError
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import (
    _make_taskaware_classification_dataset as with_task_labels,
)
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from torch import nn
from torch.utils.data import TensorDataset

from cgcd.engine import Baselines, discovery_evaluator, run_stages
from cgcd.engine.stock import StockLabels
from cgcd.models import GCDModel, InputSpec
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import BlurryProtocol, Protocol, ShareProtocol, compose, discovery_scenario
from scenarios.digits import read_digits
from strategies import SMILE, SimGCD, smile

PROTOCOL = Protocol(
    num_base=4, num_stages=2, novel_per_stage=1, samples_per_novel=40, samples_per_known=6
)


def weights(strategy) -> dict[str, torch.Tensor]:
    parts = {"model": strategy.model, **strategy.state_modules()}
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def same(first, second) -> bool:
    """Equal bits; nan equals nan."""
    return first.keys() == second.keys() and all(
        first[k].numpy().tobytes() == second[k].numpy().tobytes() for k in first
    )


# ------------------------------------------------------------------ our own scenarios


@pytest.fixture(scope="module")
def digits():
    data = read_digits()
    return data, compose(data.train_targets, data.test_targets, PROTOCOL, seed=0)


def pixel_model() -> GCDModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 16))
        return GCDModel(
            net,
            example=torch.rand(2, 3, 8, 8),
            input_size=8,
            projection_hidden=16,
            projection_dim=8,
        )


def digits_run(quick_happy, data, composition):
    """Weights, and the predictions of every stage."""
    spec = InputSpec(size=8, crop_pct=0.8)
    scenario = discovery_scenario(data, composition, name="digits", inputs=spec)
    baselines = Baselines()
    strategy = quick_happy(
        pixel_model(), (1, 1), batch_size=32, evaluator=discovery_evaluator(baselines)
    )
    predictions = []
    for index, stage in enumerate(scenario.train_stream):
        strategy.train(stage)
        strategy.eval(scenario.test_stream[: index + 1])
        predictions.append(strategy.evaluator.metrics[0].predictions)
    return {**weights(strategy), "baselines": baselines.means}, np.concatenate(predictions)


def test_poisoned_truth_of_unlabeled_images_moves_no_bit(quick_happy, digits):
    data, composition = digits
    hidden = np.unique(np.concatenate([plan.indices for plan in composition.stages[1:]]))
    shown = composition.stages[0].indices
    assert not np.intersect1d(hidden, shown).size
    poisoned = data.train_targets.copy()
    poisoned[hidden] = np.random.default_rng(0).permutation(poisoned[hidden])
    assert (poisoned != data.train_targets).sum() > 50
    clean, guess = digits_run(quick_happy, data, composition)
    dirty, dirty_guess = digits_run(quick_happy, replace(data, train_targets=poisoned), composition)
    assert same(clean, dirty) and (guess == dirty_guess).all()


def test_one_base_label_moves_the_weights(quick_happy, digits):
    data, composition = digits
    base = composition.stages[0]
    labels = base.labels.copy()
    labels[0] = (labels[0] + 1) % 4
    changed = replace(composition, stages=(replace(base, labels=labels), *composition.stages[1:]))
    clean, _ = digits_run(quick_happy, data, composition)
    other, _ = digits_run(quick_happy, data, changed)
    assert not same(clean, other)


def reachable(root):
    """Every object that can be reached from `root` without calling a property."""
    seen, todo = {}, deque([root])
    while todo:
        item = todo.popleft()
        if id(item) in seen or isinstance(item, type | ModuleType | str | bytes | int | float):
            continue
        seen[id(item)] = item
        if isinstance(item, np.ndarray | torch.Tensor):
            continue
        if isinstance(item, dict):
            todo.extend([*item.keys(), *item.values()])
        elif isinstance(item, list | tuple | set | frozenset | deque):
            todo.extend(item)
        if isinstance(item, MethodType):
            todo.extend([item.__self__, item.__func__])
        if isinstance(item, FunctionType):
            todo.extend(cell.cell_contents for cell in item.__closure__ or ())
            todo.extend(item.__defaults__ or ())
        todo.extend(getattr(item, "__dict__", {}).values())
        slots = (name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
        todo.extend(object.__getattribute__(item, n) for n in slots if hasattr(item, n))
        if hasattr(item, "func") and hasattr(item, "keywords"):
            todo.extend([item.func, item.args, item.keywords])
    return list(seen.values())


def as_numbers(item) -> np.ndarray | None:
    if isinstance(item, torch.Tensor):
        item = item.detach().numpy()
    if isinstance(item, list | tuple) and not all(isinstance(x, int | np.integer) for x in item):
        return None
    if isinstance(item, list | tuple | np.ndarray):
        array = np.asarray(item)
        return array if array.ndim == 1 and array.dtype.kind in "iuf" else None
    return None


def test_no_truth_is_reachable_from_the_stage_a_strategy_sees(quick_happy, digits, monkeypatch):
    data, composition = digits
    scenario = discovery_scenario(
        data, composition, name="digits", inputs=InputSpec(size=8, crop_pct=0.8)
    )
    strategy = quick_happy(pixel_model(), (1, 1), batch_size=32)
    given = []
    begin = strategy.begin_stage
    monkeypatch.setattr(strategy, "begin_stage", lambda stage: (given.append(stage), begin(stage)))
    for stage in scenario.train_stream:
        strategy.train(stage)
    for stage, plan in zip(given[1:], composition.stages[1:], strict=True):
        with pytest.raises(MaskedAttributeError):
            _ = stage.origin_stream
        with pytest.raises(MaskedAttributeError):
            _ = stage.benchmark
        assert set(stage.labels) == {UNLABELED} and not stage.labeled
        assert stage.classes_in_this_experience == []
        classes = data.train_targets[plan.indices]
        truths = [classes, composition.rows(classes), data.train_targets]
        arrays = [a for a in map(as_numbers, reachable(stage)) if a is not None]
        assert any(np.array_equal(a, plan.indices) for a in arrays)  # the walk does get there
        for truth in truths:
            for array in arrays:
                assert array.shape != truth.shape or (array != truth).any()
        for sample in (stage.dataset.train()[0], stage.dataset.eval()[0]):
            assert sample[1] == UNLABELED and sample[-1] == 0


FAMILIES = {
    "novel only": Protocol(
        num_base=4, num_stages=2, novel_per_stage=1, samples_per_novel=40, samples_per_known=0
    ),
    "mixed": replace(PROTOCOL, samples_per_known=20, shown_fraction=0.5),
    "long tail": replace(
        PROTOCOL, samples_per_known=20, imbalance_labeled=3.0, imbalance_unlabeled=2.0
    ),
    "shares": ShareProtocol(
        num_base=4, num_stages=2, shares=[[0.8, 0.1, 0.1], [0, 0.7, 0.3], [0, 0, 1]]
    ),
    "mixed Si-Blurry": BlurryProtocol(num_base=4, num_stages=2, shown_fraction=0.5),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_truth_is_out_of_reach_in_every_family(quick_happy, trained_on, family):
    """Walks from the stages that a strategy is given to train on."""
    data = read_digits()
    composition = compose(data.train_targets, data.test_targets, FAMILIES[family], seed=0)
    scenario = discovery_scenario(
        data, composition, name="digits", inputs=InputSpec(size=8, crop_pct=0.8)
    )
    given = trained_on(quick_happy(pixel_model(), (1, 1), batch_size=32), scenario)
    assert len(given) == 2 * len(composition.stages)
    for stage in given[1::2]:  # what the method and every plugin see
        plan = composition.stages[stage.index]
        hidden = stage.labels == UNLABELED
        assert (stage.labels == plan.labels).all() and hidden.any() == (stage.index > 0)
        assert (
            stage.mixed
            == (0 < hidden.sum() < len(hidden))
            == ("mixed" in family and plan.index > 0)
        )
        if stage.index:
            classes = data.train_targets[plan.indices]
            rows = composition.rows(classes)
            assert_out_of_reach(stage, classes, rows, rows[hidden], data.train_targets)


def test_poisoned_truth_beside_shown_labels_moves_no_bit(quick_happy):
    data = read_digits()
    composition = compose(
        data.train_targets, data.test_targets, FAMILIES["mixed Si-Blurry"], seed=0
    )
    hidden = [plan.indices[plan.labels == UNLABELED] for plan in composition.stages]
    where, poisoned = np.concatenate(hidden), data.train_targets.copy()
    poisoned[where] = np.random.default_rng(0).permutation(poisoned[where])
    clean, guess = digits_run(quick_happy, data, composition)
    dirty, dirty_guess = digits_run(quick_happy, replace(data, train_targets=poisoned), composition)
    assert same(clean, dirty) and (guess == dirty_guess).all()


def assert_out_of_reach(stage, *truths: np.ndarray) -> None:
    """No array that can be reached from the stage, in any of its modes, is one of the truths."""
    for mode in ("train", "eval", "logging"):
        arrays = [a for a in map(as_numbers, reachable(getattr(stage, mode)())) if a is not None]
        ids = np.asarray(list(stage.dataset.sample_id))
        assert any(np.array_equal(array, ids) for array in arrays)  # the walk does get there
        for truth in truths:
            assert not any(np.array_equal(array, truth) for array in arrays)
    assert stage.logging().origin_stream.benchmark is None  # before: the scenario, with the truth


@pytest.fixture
def trained_on(monkeypatch):
    """Runs a scenario; gives every stage that the strategy was handed."""

    def run(strategy, scenario):
        given, train, begin = [], strategy.train, strategy.begin_stage
        monkeypatch.setattr(
            strategy, "train", lambda stage, *more: (given.append(stage), train(stage, *more))
        )
        monkeypatch.setattr(
            strategy, "begin_stage", lambda stage: (given.append(stage), begin(stage))
        )
        run_stages(strategy, scenario)
        return given

    return run


def test_the_truth_of_a_stream_is_out_of_reach(trained_on, blob_model, blob_stream):
    scenario = blob_stream()
    base = replace(smile.BASE, epochs=1, batch_size=16)
    strategy = SMILE(model=blob_model(), base=base, hash_hidden=8, hash_bottleneck=8)
    given = trained_on(strategy, scenario)
    for stage in (*given, scenario.stream.train()):
        assert_out_of_reach(stage, scenario.truth)
    arrays = map(as_numbers, reachable(scenario.stream))  # the scenario's own stage has a way
    assert any(array is not None and np.array_equal(array, scenario.truth) for array in arrays)


def test_the_truth_of_a_mixed_stage_is_out_of_reach(trained_on, quick, blob_single_stage):
    scenario = blob_single_stage()
    given = trained_on(quick(SimGCD)(epochs=(1, 1)), scenario)
    truth = scenario.unlabeled_stream[0].labels
    assert len(given) == 2
    for stage in given:
        assert_out_of_reach(stage, truth)
        assert (stage.labels[stage.labels != UNLABELED] < scenario.num_base).all()


# ------------------------------------------------------------------ stock labeled benchmarks


def two_views(vector):
    """(V, D): the vector, and itself a little smaller."""
    return torch.stack([vector, 0.9 * vector])


def stock_arrays():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    centers = generator.standard_normal((6, 16)) * 2
    images = centers[labels] + 0.3 * generator.standard_normal((len(labels), 16))
    return torch.tensor(images, dtype=torch.float32), labels


def from_data_sets(images, labels, parts, build=as_classification_dataset, **more):
    def data(part, transform):
        wrapped = TensorDataset(images[part], torch.tensor(labels[part]))
        wrapped.targets = labels[part].tolist()
        groups = {"train": (transform, None), "eval": (None, None)}
        return build(wrapped, transform_groups=groups, **more)

    return benchmark_from_datasets(
        train=[data(p, two_views) for p in parts], test=[data(p, None) for p in parts]
    )


def with_tasks(images, labels, parts):
    return from_data_sets(images, labels, parts, with_task_labels, task_labels=0)


def with_timeline(images, labels, parts):
    return with_classes_timeline(from_data_sets(images, labels, parts))


def nc(images, labels, parts):
    """Avalanche's oldest kind; classes of a stage are fixed, so labels are poisoned below it."""
    wrapped = TensorDataset(images, torch.tensor(labels))
    wrapped.targets = labels.tolist()
    return nc_benchmark(
        wrapped,
        wrapped,
        n_experiences=2,
        task_labels=False,
        per_exp_classes={0: 4, 1: 2},
        fixed_class_order=list(range(6)),
        train_transform=two_views,
        eval_transform=None,
    )


PARTS = (np.arange(80), np.arange(80, 100), np.arange(100, 120))
BUILDERS = {"data sets": from_data_sets, "timeline": with_timeline, "tasks": with_tasks}


def stock_run(quick_happy, benchmark, num_novel=1, **settings):
    strategy = quick_happy(epochs=(2, 2), batch_size=10, num_novel=num_novel, **settings)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    strategy.eval(benchmark.test_stream)
    assert strategy.model.num_classes == 6
    return {**weights(strategy), "guess": torch.tensor(strategy.evaluator.metrics[0].predictions)}


PLUGINS = {
    "alone": lambda: [],
    "replay": lambda: [ReplayPlugin(mem_size=20)],
    "class-balanced replay": lambda: [
        ReplayPlugin(mem_size=20, storage_policy=ClassBalancedBuffer(20, adaptive_size=True))
    ],
}


@pytest.mark.parametrize(
    ("kind", "plugin"),
    [
        ("data sets", "alone"),
        ("data sets", "replay"),
        ("timeline", "replay"),
        ("tasks", "replay"),
        ("tasks", "class-balanced replay"),  # Avalanche's own buffer needs task labels
    ],
)
def test_stock_benchmark_hides_later_labels(quick_happy, kind, plugin):
    images, labels = stock_arrays()

    def run(shown, **settings):
        benchmark = BUILDERS[kind](images, shown, PARTS)
        return stock_run(quick_happy, benchmark, plugins=PLUGINS[plugin](), **settings)

    poisoned, changed = labels.copy(), labels.copy()
    poisoned[80:] = np.random.default_rng(1).integers(0, 6, 40)
    changed[0] = 1
    clean = run(labels)
    assert same(clean, run(labels))  # nothing else moves
    assert same(clean, run(poisoned))
    assert not same(clean, run(changed))
    if plugin == "class-balanced replay":  # chooses by label: without the mask it would leak
        shown = run(labels, stock_labels="use")
        assert not same(shown, run(poisoned, stock_labels="use"))


def masked_copy(benchmark):
    """What a strategy trains on in place of the second experience."""
    stock = StockLabels("mask")
    first, second = (
        stock.adopt(benchmark.train_stream[k], k, InputSpec(vector=16), 2) for k in (0, 1)
    )
    assert set(first.dataset.targets) == {0, 1, 2, 3}
    return second


@pytest.mark.parametrize("build", [nc, None], ids=["nc", "class_incremental"])
def test_stock_class_streams_train_and_hide(quick_happy, build):
    images, labels = stock_arrays()
    if build is None:
        wrapped = TensorDataset(images, torch.tensor(labels))
        wrapped.targets = labels.tolist()
        data = as_classification_dataset(
            wrapped, transform_groups={"train": (two_views, None), "eval": (None, None)}
        )
        order = [[0, 1, 2, 3], [4, 5]]
        benchmark = class_incremental_benchmark(
            {"train": data, "test": data},
            class_order=list(range(6)),
            num_classes_per_exp=[len(o) for o in order],
        )
    else:
        benchmark = build(images, labels, PARTS)
    stock_run(quick_happy, benchmark, num_novel=2)
    before = list(benchmark.train_stream[1].dataset.targets)
    masked = masked_copy(benchmark)
    for way in ("origin_stream", "benchmark") if build else ("origin_stream",):
        with pytest.raises(MaskedAttributeError):
            getattr(masked.train(), way)
    assert set(masked.dataset.targets) == {UNLABELED}
    assert {int(sample[1]) for sample in masked.dataset.train()} == {UNLABELED}
    assert {int(sample[1]) for sample in masked.dataset.eval()} == {UNLABELED}
    assert len(masked.dataset) == 40
    assert list(benchmark.train_stream[1].dataset.targets) == before  # the original keeps its own


def test_a_masked_copy_shares_no_attribute_box():
    benchmark = from_data_sets(*stock_arrays(), PARTS)
    experience = benchmark.train_stream[1]
    masked = masked_copy(benchmark)
    masked.current_experience = 77
    assert experience.current_experience == 1


def test_what_plugins_see_is_masked_and_ends_with_the_task_label(quick_happy):
    """Stock code reads the last part of a batch as task labels."""
    seen = []

    class Peek(ReplayPlugin):
        def before_training_exp(self, strategy, **kwargs):
            seen.append(set(strategy.experience.dataset.targets))
            super().before_training_exp(strategy, **kwargs)

        def after_forward(self, strategy, **kwargs):
            seen.append(set(strategy.mb_task_id.tolist()))

    benchmark = from_data_sets(*stock_arrays(), PARTS)
    stock_run(quick_happy, benchmark, plugins=[Peek(mem_size=20)])
    labels = [s for s in seen if s != {0}]
    assert labels == [{0, 1, 2, 3}, {UNLABELED}, {UNLABELED}]


def test_replay_on_our_own_stages_sees_new_views_each_epoch(quick_happy, blobs):
    views = {}

    class Peek(ReplayPlugin):
        def after_forward(self, strategy, **kwargs):
            for view, task in zip(strategy._mb_views, strategy.mb_task_id, strict=True):
                views.setdefault(strategy.epoch, set()).add(view.numpy().tobytes())
                assert task == 0

    strategy = quick_happy(epochs=(2, 3), batch_size=10, plugins=[Peek(mem_size=20)])
    scenario = blobs()
    strategy.train(scenario.train_stream[0])
    views.clear()
    strategy.train(scenario.train_stream[1])
    assert not views[0] & views[1] and not views[1] & views[2]


def test_labels_may_be_used_only_where_asked(quick_happy):
    images, labels = stock_arrays()
    strategy = quick_happy(epochs=(1, 1), batch_size=10, num_novel=2, stock_labels="use")
    seen = []
    strategy.losses = lambda batch, losses=strategy.losses: (
        seen.append(batch.labels.min().item()),
        losses(batch),
    )[1]
    for experience in from_data_sets(images, labels, PARTS).train_stream:
        strategy.train(experience)
    assert min(seen) >= 0
    with pytest.raises(InputError, match="stock_labels is 'show'; wanted 'mask' or 'use'"):
        quick_happy(stock_labels="show")


@pytest.mark.parametrize("noise", [0.1, 0.0])
def test_a_transform_without_views_is_called_once_a_view(quick_happy, noise, caplog):
    images, labels = stock_arrays()

    def noisy(vector):
        return vector + noise * torch.randn_like(vector)

    def views(seed=0):
        wrapped = TensorDataset(images, torch.tensor(labels))
        wrapped.targets = labels.tolist()
        groups = {"train": (noisy, None), "eval": (None, None)}
        data = as_classification_dataset(wrapped, transform_groups=groups)
        benchmark = benchmark_from_datasets(train=[data])
        strategy = quick_happy(epochs=(1, 1), batch_size=10, seed=seed)
        seen = []
        unpack = strategy._unpack_minibatch
        strategy._unpack_minibatch = lambda: (unpack(), seen.append(strategy._mb_views))
        torch.rand(seed + 1)  # what was drawn before is nothing to it
        strategy.train(benchmark.train_stream[0])
        return torch.cat(seen)

    first, again, other = views(), views(), views(seed=1)
    assert first.shape == (120, 2, 16) and torch.equal(first, again)
    assert torch.equal(first[:, 0], first[:, 1]) == (noise == 0)
    assert ("all views of a sample are equal" in caplog.text) == (noise == 0)
    if noise:
        assert len(torch.cat([first, other]).unique(dim=0)) == 240


def test_a_sample_that_does_not_fit_the_model_is_refused_with_a_way_out(quick_happy):
    wrapped = TensorDataset(torch.rand(20, 3, 4, 4), torch.arange(20) % 4)
    wrapped.targets = (np.arange(20) % 4).tolist()
    benchmark = benchmark_from_datasets(train=[as_classification_dataset(wrapped)])
    with pytest.raises(InputError, match=r"of shape \(3, 4, 4\); the model takes .* \(16,\)"):
        quick_happy(batch_size=10).train(benchmark.train_stream[0])
