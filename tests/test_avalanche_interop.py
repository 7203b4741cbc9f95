"""Happy with stock Avalanche plugins, on our streams and on stock ones.

The table of the README is what passes here and in the files of `ADVERTISED`. Each plugin passes the
poison test: other hidden labels, equal bits; and its control: one other base label, other bits.
"""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import (
    AGEMPlugin,
    EWCPlugin,
    GDumbPlugin,
    LFLPlugin,
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

HERE = Path(__file__).parent
stock = SimpleNamespace(**runpy.run_path(str(HERE / "stock_benchmarks.py")))
pytestmark = pytest.mark.filterwarnings("ignore")

ADVERTISED = {  # rows of the README's table that say yes, and where each is tested
    "Replay (plain, class-, experience-balanced, reservoir), GDumb": "test_avalanche_interop.py",
    "EWC, A-GEM, MAS, LwF": "test_avalanche_interop.py",
    "LRScheduler": "test_avalanche_schedules.py",
    "EarlyStopping": "test_early_stopping.py",
    "accuracy, class accuracy, AMCA, confusion matrix, forgetting, BWT": (
        "test_avalanche_metrics.py"
    ),
    "loss; timing, CPU, RAM, MAC; Interactive, Text, TensorBoard loggers": (
        "test_avalanche_metrics.py"
    ),
}


def test_what_the_readme_advertises_has_a_poison_test():
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (.+?) \| yes \|", text, re.MULTILINE) == list(ADVERTISED)
    for name in ADVERTISED.values():
        assert "stock.assert_hides(" in (HERE / name).read_text(encoding="utf-8")


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


@pytest.fixture(scope="module")
def without_plugin(quick_happy):
    """What training leaves where no plugin is given."""

    @cache
    def after(kind, epochs):
        build = stock.KINDS[kind]
        return stock.bits(stock.trained(quick_happy, build(), evaluate=False, epochs=epochs))

    return after


@pytest.mark.parametrize("kind", stock.KINDS)
@pytest.mark.parametrize("name", KEEPING)
def test_a_plugin_works_and_hides_what_is_hidden(trained_happy, without_plugin, name, kind):
    make, build = KEEPING[name], stock.KINDS[kind]
    epochs = (2, 8) if name == "A-GEM" else (2, 1)  # it acts where gradients disagree

    def after(labels):
        strategy = trained_happy(build(labels), make(), epochs=epochs, evaluate=False)
        left = stock.bits(strategy)
        strategy.eval(build(labels).test_stream)
        assert left == stock.bits(strategy) and strategy.model.num_classes == stock.CLASSES
        assert all(torch.isfinite(p).all() for p in strategy.model.parameters())
        return strategy

    acts = stock.assert_hides(after) != without_plugin(kind, epochs)
    assert acts == (name != "SI")  # whose old weights are views of the live ones on a CPU


@pytest.mark.parametrize("kind", stock.KINDS)
def test_nothing_is_shown_without_a_plugin(trained_happy, kind):
    stock.assert_hides(lambda labels: trained_happy(stock.KINDS[kind](labels)))


def test_synaptic_intelligence_is_said_to_do_nothing_on_a_cpu(quick_happy, caplog):
    quick_happy(plugins=[SynapticIntelligencePlugin(1.0)])
    assert "SynapticIntelligencePlugin does nothing on a CPU" in caplog.text


@pytest.mark.parametrize("name", KEEPING)
def test_a_plugin_works_where_labels_are_used(trained_happy, name):
    make = KEEPING[name]
    strategy = trained_happy(stock.data_sets(), make(), stock_labels="use")
    assert strategy.model.num_classes == stock.CLASSES
    assert all(torch.isfinite(p).all() for p in strategy.model.parameters())
    other = trained_happy(
        stock.data_sets(stock.poisoned()), make(), stock_labels="use", evaluate=False
    )
    assert stock.bits(strategy) != stock.bits(other)  # so the mask is what hides them


@pytest.mark.parametrize(
    "build", [stock.nc, lambda: stock.nc(True), stock.incremental], ids="nc tasks ci".split()
)
@pytest.mark.parametrize("mode", ["mask", "use"])
def test_class_streams_train_with_a_plugin_of_each_kind(trained_happy, build, mode):
    plugins = ReplayPlugin(20), LwFPlugin(), EWCPlugin(1.0)
    strategy = trained_happy(build(), *plugins, stock_labels=mode, epochs=(6, 3))
    row = strategy.evaluator.metrics[0].row
    assert strategy.model.num_classes == stock.CLASSES and row["accuracy/all"] > 0.4
    assert strategy.report["stock_labels"] == mode


def test_learning_without_forgetting_holds_rows_not_hidden_labels(trained_happy):
    plugin = LwFPlugin()
    trained_happy(stock.data_sets(), plugin, evaluate=False)
    assert dict(plugin.lwf.prev_classes_by_task) == {0: set(range(stock.CLASSES))}


def test_a_plugin_for_models_of_avalanche_fails_aloud(trained_happy):
    with pytest.raises((AssertionError, NotImplementedError), match="get_features"):
        trained_happy(stock.data_sets(), LFLPlugin(1.0), evaluate=False)
