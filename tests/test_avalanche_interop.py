"""Happy inside Avalanche: stock plugins, metrics and loggers, on our streams and on stock ones.

The table of the README is what passes here. Each plugin that keeps data or gradients also passes
the poison test: other hidden labels, equal bits; and its control: one other base label, other bits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, class_incremental_benchmark, nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import (
    MAC_metrics,
    accuracy_metrics,
    amca_metrics,
    bwt_metrics,
    class_accuracy_metrics,
    confusion_matrix_metrics,
    cpu_usage_metrics,
    forgetting_metrics,
    forward_transfer_metrics,
    images_samples_metrics,
    loss_metrics,
    ram_usage_metrics,
    timing_metrics,
    topk_acc_metrics,
)
from avalanche.logging import InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training.plugins import (
    AGEMPlugin,
    EarlyStoppingPlugin,
    EvaluationPlugin,
    EWCPlugin,
    GDumbPlugin,
    LFLPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.storage_policy import (
    ClassBalancedBuffer,
    ExperienceBalancedBuffer,
    ReservoirSamplingBuffer,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    ReduceLROnPlateau,
    StepLR,
)
from torch.utils.data import TensorDataset

from cgcd.engine import run_stages
from cgcd.engine.checkpoint import latest, restore, save_stage
from cgcd.models import InputSpec
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import as_discovery
from strategies import GCD, PHE, SMILE, ProtoGCD, SimGCD, gcd, proto_gcd, simgcd

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES, EACH = 8, 10
PARTS = np.split(np.arange(CLASSES * EACH), [4 * EACH, 6 * EACH])  # 4 + 2 + 2 classes
LABELS = np.repeat(np.arange(CLASSES), EACH)


def arrays() -> torch.Tensor:
    generator = np.random.default_rng(0)
    centers = 2 * generator.standard_normal((CLASSES, 16))
    noise = 0.3 * generator.standard_normal((len(LABELS), 16))
    return torch.tensor(centers[LABELS] + noise, dtype=torch.float32)


VECTORS = arrays()


def noisy(vector):
    return vector + 0.3 * torch.randn_like(vector)


def labeled(part=slice(None), labels=LABELS):
    data = TensorDataset(VECTORS[part], torch.tensor(labels[part]))
    data.targets = labels[part].tolist()
    return data


def grouped(part=slice(None), labels=LABELS):
    groups = {"train": (noisy, None), "eval": (None, None)}
    return as_classification_dataset(labeled(part, labels), transform_groups=groups)


def data_sets(labels=LABELS):
    """Stages are the same samples whatever their labels are, so these may be poisoned."""
    parts = [grouped(part, labels) for part in PARTS]
    valid = [grouped(part[::4], labels) for part in PARTS]
    return benchmark_from_datasets(train=parts, test=parts, valid=valid)


def nc(task_labels=False, order=tuple(range(CLASSES))):
    return nc_benchmark(
        *(labeled(), labeled(), 3, task_labels),
        fixed_class_order=list(order),
        per_exp_classes={0: 4, 1: 2, 2: 2},
        train_transform=noisy,
        eval_transform=None,
    )


def incremental():
    data = grouped()
    order = list(range(CLASSES))
    return class_incremental_benchmark(
        {"train": data, "test": data}, class_order=order, num_classes_per_exp=[4, 2, 2]
    )


def ours(labels=LABELS):
    return as_discovery(data_sets(labels), inputs=InputSpec(vector=16), noise=0.3)


KINDS = {"stock": data_sets, "ours": ours}


@pytest.fixture
def trained(quick_happy):
    """Happy after the three stages of a benchmark."""

    def run(benchmark, *plugins, evaluate=True, watched=None, **settings):
        kept = {"num_novel": 2, "epochs": (2, 1), "batch_size": 10, **settings}
        strategy = quick_happy(plugins=list(plugins), **kept)
        for experience in benchmark.train_stream:
            strategy.train(experience, watched)
        if evaluate:
            strategy.eval(benchmark.test_stream)
        return strategy

    return run


def bits(strategy) -> dict[str, bytes]:
    """Everything that training leaves behind; nan equals nan."""
    modules = {"model": strategy.model, **strategy.state_modules()}
    return {
        f"{part}.{name}": tensor.detach().numpy().tobytes()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


# ------------------------------------------------------------------ plugins

KEEPING = {  # they keep samples, gradients or a model
    "replay": lambda: ReplayPlugin(20),
    "class-balanced replay": lambda: _replay(ClassBalancedBuffer),
    "experience-balanced replay": lambda: _replay(ExperienceBalancedBuffer),
    "reservoir replay": lambda: ReplayPlugin(20, storage_policy=ReservoirSamplingBuffer(20)),
    "EWC": lambda: EWCPlugin(100.0),
    "A-GEM": lambda: AGEMPlugin(10, 10),
    "MAS": lambda: MASPlugin(10.0),
    "SI": lambda: SynapticIntelligencePlugin(100.0),
    "GDumb": lambda: GDumbPlugin(40),
    "LwF": lambda: LwFPlugin(10.0, 0.1),
}


def _replay(kind):
    return ReplayPlugin(20, storage_policy=kind(20, adaptive_size=True))


def poisoned() -> np.ndarray:
    """Other labels for the hidden samples; each stage keeps its own classes."""
    labels, generator = LABELS.copy(), np.random.default_rng(1)
    for part in PARTS[1:]:
        labels[part] = generator.permutation(labels[part])
    assert (labels != LABELS).sum() > 10
    return labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", KEEPING)
def test_a_plugin_works_and_hides_what_is_hidden(trained, name, kind):
    make, build = KEEPING[name], KINDS[kind]
    epochs = (2, 8) if name == "A-GEM" else (2, 1)  # it acts where gradients disagree

    def after(labels=LABELS, plugins=make):
        return trained(build(labels), *filter(None, [plugins()]), epochs=epochs, evaluate=False)

    strategy = after()
    clean = bits(strategy)
    strategy.eval(build().test_stream)
    assert clean == bits(strategy) and strategy.model.num_classes == CLASSES
    assert all(torch.isfinite(p).all() for p in strategy.model.parameters())
    assert clean == bits(after())  # nothing else moves a bit
    assert clean == bits(after(poisoned()))
    changed = LABELS.copy()
    changed[0] = 1
    assert clean != bits(after(changed))
    acts = clean != bits(after(plugins=lambda: None))
    assert acts == (name != "SI")  # whose old weights are views of the live ones on a CPU


def test_synaptic_intelligence_is_said_to_do_nothing_on_a_cpu(quick_happy, caplog):
    quick_happy(plugins=[SynapticIntelligencePlugin(1.0)])
    assert "SynapticIntelligencePlugin does nothing on a CPU" in caplog.text


@pytest.mark.parametrize("name", KEEPING)
def test_a_plugin_works_where_labels_are_used(trained, name):
    make = KEEPING[name]
    strategy = trained(data_sets(), make(), stock_labels="use")
    assert strategy.model.num_classes == CLASSES
    assert all(torch.isfinite(p).all() for p in strategy.model.parameters())
    other = trained(data_sets(poisoned()), make(), stock_labels="use", evaluate=False)
    assert bits(strategy) != bits(other)  # so the mask is what hides them


@pytest.mark.parametrize("build", [nc, lambda: nc(True), incremental], ids="nc tasks ci".split())
@pytest.mark.parametrize("mode", ["mask", "use"])
def test_class_streams_train_with_a_plugin_of_each_kind(trained, build, mode):
    plugins = ReplayPlugin(20), LwFPlugin(), EWCPlugin(1.0)
    strategy = trained(build(), *plugins, stock_labels=mode, epochs=(6, 3))
    row = strategy.evaluator.metrics[0].row
    assert strategy.model.num_classes == CLASSES and row["accuracy/all"] > 0.4
    assert strategy.report["stock_labels"] == mode


def test_learning_without_forgetting_holds_rows_not_hidden_labels(trained):
    plugin = LwFPlugin()
    trained(data_sets(), plugin, evaluate=False)
    assert dict(plugin.lwf.prev_classes_by_task) == {0: set(range(CLASSES))}


class Rates(ReplayPlugin):
    """The learning rate at the start of every epoch."""

    def __init__(self):
        super().__init__(20)
        self.seen = []

    def before_training_epoch(self, strategy, **kwargs):
        self.seen.append(strategy.optimizer.param_groups[0]["lr"])


def with_schedule(strategy, schedule):
    for name in ("base", "continual"):
        setattr(strategy, name, replace(getattr(strategy, name), schedule=schedule))
    return strategy


@pytest.mark.parametrize(
    ("make", "factors"),
    [
        (lambda o: StepLR(o, 1, 0.5), [1, 0.5, 0.25]),
        (lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)), [1, 1 / 2, 1 / 3]),
        (lambda o: CosineAnnealingLR(o, 3), [1, 0.75, 0.25]),
    ],
    ids=["step", "lambda", "cosine"],
)
def test_a_scheduler_of_avalanche_sets_the_rate_of_every_stage(quick_happy, make, factors):
    rates = Rates()
    strategy = quick_happy(plugins=[rates], num_novel=2, epochs=(3, 3), batch_size=10)
    with_schedule(strategy, "constant")
    strategy.plugins.insert(0, LRSchedulerPlugin(make(strategy.optimizer)))
    for experience in data_sets().train_stream:
        strategy.train(experience)
    wanted = [lr * factor for lr in (0.1, 0.03, 0.03) for factor in factors]
    assert rates.seen == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("schedule", "plugin", "message"),
    [
        ("cosine", lambda o: LRSchedulerPlugin(StepLR(o, 1)), "both set the learning rate"),
        (
            "constant",
            lambda o: LRSchedulerPlugin(
                StepLR(torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 1), 1)
            ),
            "steps another optimizer",
        ),
        (
            "constant",
            lambda o: LRSchedulerPlugin(ReduceLROnPlateau(o), metric="val_loss"),
            "loss of an evaluation, which is 0",
        ),
    ],
)
def test_a_scheduler_that_cannot_work_is_refused(quick_happy, schedule, plugin, message):
    strategy = with_schedule(quick_happy(batch_size=10, num_novel=2), schedule)
    strategy.plugins.insert(0, plugin(strategy.optimizer))
    with pytest.raises(InputError, match=message):
        strategy.train(data_sets().train_stream[0])


def test_a_plateau_of_the_training_loss_lowers_the_rate(quick_happy):
    rates = Rates()
    strategy = quick_happy(plugins=[rates], num_novel=2, epochs=(4, 2), batch_size=10)
    with_schedule(strategy, "constant")
    plateau = ReduceLROnPlateau(strategy.optimizer, factor=0.1, patience=0, threshold=1e3)
    strategy.plugins.insert(0, LRSchedulerPlugin(plateau, metric="train_loss"))
    for experience in data_sets().train_stream[:2]:
        strategy.train(experience)
    assert rates.seen[3] < rates.seen[0] == pytest.approx(0.1)
    assert rates.seen[4] == pytest.approx(0.03)


# ------------------------------------------------------------------ what looks at labels


def watching(stream="valid_stream", patience=2):
    return EarlyStoppingPlugin(patience, stream, metric_name="Top1_Acc_Stream")


@pytest.mark.parametrize("mode", ["mask", "use"])
def test_early_stopping_watches_labeled_validation_samples(trained, mode):
    benchmark, epochs = data_sets(), []

    class Count(ReplayPlugin):
        def after_training_exp(self, strategy, **kwargs):
            epochs.append(strategy.epoch)

    strategy = trained(
        *(benchmark, watching(), Count(20)),
        watched=[benchmark.valid_stream[:1]],
        evaluator=EvaluationPlugin(accuracy_metrics(stream=True)),
        eval_every=1,
        epochs=(12, 6),
        stock_labels=mode,
    )
    assert epochs[0] < 12 and strategy.report["selection"] == [
        "early stopping by Top1_Acc_Stream/eval_phase/valid_stream"
    ]


def test_early_stopping_watches_the_valid_stream_of_our_scenario(quick_happy, caplog):
    evaluator = EvaluationPlugin(accuracy_metrics(stream=True))
    strategy = quick_happy(
        plugins=[watching()], evaluator=evaluator, eval_every=1, epochs=(12, 2), num_novel=2
    )
    result = run_stages(strategy, ours())
    assert strategy.clock.train_iterations < (12 * 2 + 2 * 1 + 2 * 1)
    assert result.facts["selection"] == strategy.report["selection"]


def test_early_stopping_may_not_watch_test_labels(quick_happy):
    with pytest.raises(InputError, match=r"watches test_stream.*val_stream_name='valid_stream'"):
        quick_happy(plugins=[watching("test_stream")])


# ------------------------------------------------------------------ metrics and loggers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["mask", "use"])
def test_stock_metrics_and_loggers(trained, kind, mode, tmp_path):
    log = (tmp_path / "log.txt").open("w")
    board = TensorboardLogger(tmp_path / "board")
    evaluator = EvaluationPlugin(
        accuracy_metrics(minibatch=True, epoch=True, experience=True, stream=True),
        loss_metrics(epoch=True, stream=True),
        forgetting_metrics(experience=True, stream=True),
        bwt_metrics(stream=True),
        class_accuracy_metrics(stream=True),
        amca_metrics(),
        confusion_matrix_metrics(num_classes=CLASSES, stream=True, save_image=False),
        timing_metrics(epoch=True),
        cpu_usage_metrics(epoch=True),
        ram_usage_metrics(epoch=True),
        MAC_metrics(epoch=True),
        loggers=[TextLogger(log), InteractiveLogger(), board],
    )
    benchmark = KINDS[kind]()
    strategy = trained(benchmark, evaluator=evaluator, evaluate=False, stock_labels=mode)
    values = strategy.eval(benchmark.test_stream)
    board.writer.close()
    log.close()
    names = {name.split("/")[0] for name in values}
    assert {
        *("Top1_Acc_MB", "Top1_Acc_Epoch", "Top1_Acc_Exp", "Top1_Acc_Stream", "Loss_Epoch"),
        *("Loss_Stream", "StreamForgetting", "StreamBWT", "ConfusionMatrix_Stream"),
        *("Time_Epoch", "CPUUsage_Epoch", "MaxRAMUsage_Epoch", "MAC_Epoch"),
    } <= names
    assert "Top1_Acc_Stream/eval_phase/test_stream" in (tmp_path / "log.txt").read_text()
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert any(tag.startswith("Top1_Acc_Stream") for tag in events.Tags()["scalars"])
    hits = np.concatenate([[row] * EACH for row in range(CLASSES)])
    key = next(name for name in values if name.startswith("Top1_Acc_Stream"))
    images = VECTORS if kind == "stock" else None
    if images is not None:
        strategy.model.eval()
        guess = strategy.model(images).argmax(1).numpy()
        assert values[key] == pytest.approx((guess == hits).mean())
    if mode == "use" and kind == "stock":
        assert values[key] > 0.3


FAILING = {  # the other side of the table, so that it stays true: stream, metric, what is said
    "top-k above the rows": ("ours", lambda: [topk_acc_metrics(top_k=5, epoch=True)], "top_k"),
    "forward transfer": ("ours", lambda: [forward_transfer_metrics(stream=True)], "eval every"),
    "image samples": ("ours", lambda: [images_samples_metrics(on_train=True)], "pic should be"),
    "confusion image": (
        "stock",
        lambda: [confusion_matrix_metrics(num_classes=CLASSES, stream=True, save_image=True)],
        "no attribute 'benchmark'",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_metric_that_does_not_work_fails_aloud(trained, name):
    kind, make, message = FAILING[name]
    with pytest.raises((ValueError, AssertionError, AttributeError, TypeError), match=message):
        trained(KINDS[kind](), evaluator=EvaluationPlugin(*make()))


def test_a_plugin_for_models_of_avalanche_fails_aloud(trained):
    with pytest.raises((AssertionError, NotImplementedError), match="get_features"):
        trained(data_sets(), LFLPlugin(1.0), evaluate=False)


# ------------------------------------------------------------------ labels, rows and checkpoints


def test_labels_get_rows_by_first_appearance_in_either_mode(trained, quick_happy):
    order = (6, 2, 7, 0, 5, 1, 4, 3)
    rows = {"mask": [0, 2, 6, 7], "use": [0, 2, 6, 7, 1, 5, 3, 4]}
    for mode, labels in rows.items():
        strategy = trained(nc(order=order), stock_labels=mode)
        assert strategy.stock.labels == labels
        targets = strategy.evaluator.metrics[0].targets
        counts = np.bincount(targets)
        assert counts.tolist() == [EACH] * CLASSES
        known = np.sort(targets[: 4 * EACH])
        assert known.tolist() == np.repeat(range(4), EACH).tolist()  # experience 0 comes first


def test_plain_class_incremental_learning_finds_every_class(trained):
    strategy = trained(nc(order=(6, 2, 7, 0, 5, 1, 4, 3)), stock_labels="use", epochs=(15, 10))
    row = strategy.evaluator.metrics[0].row
    assert row["held/known"] > 0.8 and row["accuracy/all"] > 0.8
    assert strategy.recipe.weights.keys() == {
        *strategy.base.weights,
        "prototype_replay",
        "feature_distillation",
    }


@pytest.mark.parametrize("module", [simgcd, proto_gcd, gcd], ids=lambda m: m.__name__)
def test_other_strategies_use_labels_too(blob_model, module):
    made = {simgcd: SimGCD, proto_gcd: ProtoGCD, gcd: GCD}[module]
    sgd = partial(torch.optim.SGD, momentum=0.9)
    base, continual = (
        replace(recipe, epochs=15, batch_size=10, optimizer=partial(sgd, lr=0.1))
        for recipe in (module.BASE, module.CONTINUAL)
    )
    strategy = made(model=blob_model(), base=base, continual=continual, stock_labels="use")
    benchmark = nc()
    for experience in benchmark.train_stream:
        strategy.train(experience)
    strategy.eval(benchmark.test_stream)
    metrics = strategy.evaluator.metrics[0]
    last = metrics.targets >= CLASSES - 2  # SimGCD keeps nothing of earlier ones
    assert strategy.model.num_classes == CLASSES
    assert (metrics.predictions == metrics.targets)[last].mean() > 0.7


@pytest.mark.parametrize("made", [PHE, SMILE])
def test_on_line_strategies_have_no_use_for_later_labels(made, blob_model):
    with pytest.raises(InputError, match=f"{made.__name__} has no objective for later stages"):
        made(model=blob_model(), stock_labels="use")


@pytest.mark.parametrize("mode", ["mask", "use"])
def test_a_stored_strategy_goes_on_with_the_same_rows(trained, quick_happy, mode, tmp_path):
    benchmark = nc(order=(6, 2, 7, 0, 5, 1, 4, 3))
    settings = {"num_novel": 2, "epochs": (2, 1), "batch_size": 10, "stock_labels": mode}
    whole, broken, resumed = (quick_happy(**settings) for _ in range(3))
    for experience in benchmark.train_stream:
        whole.train(experience)
    for experience in benchmark.train_stream[:2]:
        broken.train(experience)
        save_stage(broken, tmp_path, {})
    restore(resumed, latest(tmp_path), tmp_path)
    resumed.train(benchmark.train_stream[2])
    assert bits(whole) == bits(resumed) and resumed.stock.labels == whole.stock.labels
    assert resumed.report["stock_labels"] == mode


def test_stages_and_stock_experiences_do_not_mix(quick_happy):
    strategy = quick_happy(num_novel=2, epochs=(1, 1), batch_size=10)
    strategy.train(ours().train_stream[0])
    with pytest.raises(InputError, match="stage 0 was no stock experience"):
        strategy.train(data_sets().train_stream[1])


def test_an_unlabeled_row_is_never_shown_as_a_class(trained):
    seen = []

    class Peek(ReplayPlugin):
        def before_training_exp(self, strategy, **kwargs):
            seen.append(strategy.experience)
            super().before_training_exp(strategy, **kwargs)

    trained(nc(), Peek(20), evaluate=False)
    assert [set(e.dataset.targets) for e in seen] == [{0, 1, 2, 3}, {UNLABELED}, {UNLABELED}]
    assert [set(e.classes_in_this_experience) for e in seen] == [{0, 1, 2, 3}, set(), set()]
    assert not any(len(e.future_classes) for e in seen)
