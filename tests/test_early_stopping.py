"""What may choose weights while training: labeled validation samples, no hidden or test label."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EarlyStoppingPlugin, EvaluationPlugin, ReplayPlugin

from cgcd.engine import run_stages
from cgcd.vocabulary import InputError

stock = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("stock_benchmarks.py"))))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def build(quick_happy):
    """Builds a Happy that is evaluated after every epoch, for a plugin to see."""

    def made(**settings):
        evaluator = EvaluationPlugin(accuracy_metrics(stream=True))
        return quick_happy(evaluator=evaluator, eval_every=1, **settings)

    return made


def watching(stream="valid_stream"):
    return EarlyStoppingPlugin(2, stream, metric_name="Top1_Acc_Stream")


@pytest.mark.parametrize("mode", ["mask", "use"])
def test_early_stopping_watches_labeled_validation_samples(build, mode):
    benchmark, epochs = stock.data_sets(), []

    class Count(ReplayPlugin):
        def after_training_exp(self, strategy, **kwargs):
            epochs.append(strategy.epoch)

    plugins = watching(), Count(20)
    watched = [benchmark.valid_stream[:1]]
    settings = {"watched": watched, "epochs": (12, 6), "stock_labels": mode}
    strategy = stock.trained(build, benchmark, *plugins, **settings)
    assert epochs[0] < 12 and strategy.report["selection"] == [
        "early stopping by Top1_Acc_Stream/eval_phase/valid_stream"
    ]


def test_early_stopping_watches_the_valid_stream_of_our_scenario(build):
    strategy = build(plugins=[watching()], epochs=(12, 2), num_novel=2)
    result = run_stages(strategy, stock.ours())
    assert strategy.clock.train_iterations < (12 * 2 + 2 * 1 + 2 * 1)
    assert result.facts["selection"] == strategy.report["selection"]


@pytest.mark.parametrize("stream", ["test_stream", "train_stream", "unlabeled_stream"])
def test_early_stopping_may_not_watch_another_stream(build, stream):
    wanted = rf"watches {stream}, and hidden or test labels .*val_stream_name='valid_stream'"
    with pytest.raises(InputError, match=wanted):
        build(plugins=[watching(stream)])


def test_early_stopping_may_not_watch_labels_that_are_hidden(build):
    benchmark = stock.data_sets()
    wanted = r"samples with the labels \[4, 5\], which are hidden .*valid_stream\[:1\]"
    with pytest.raises(InputError, match=wanted):
        stock.trained(build, benchmark, watching(), watched=[benchmark.valid_stream])
    strategy = build(num_novel=2, batch_size=10, plugins=[watching()])
    strategy.train(benchmark.train_stream[0], [benchmark.valid_stream[:1]])
    with pytest.raises(InputError, match=r"\[4, 5\], which are hidden"):  # nor at a later stage
        strategy.train(benchmark.train_stream[1], [benchmark.valid_stream[1:2]])


def test_what_is_watched_by_nobody_is_free(build):
    benchmark = stock.data_sets()
    streams = [benchmark.valid_stream, benchmark.test_stream]
    strategy = stock.trained(build, benchmark, watched=streams, evaluate=False)
    assert strategy.model.num_classes == stock.CLASSES


@pytest.mark.parametrize("kind", stock.KINDS)
def test_no_hidden_or_test_label_stops_early(build, kind):
    def after(labels):
        benchmark = stock.KINDS[kind](labels)
        watched = [benchmark.valid_stream[:1], benchmark.test_stream]
        settings = {"watched": watched, "evaluate": False, "epochs": (6, 3)}
        return stock.trained(build, benchmark, watching(), **settings)

    stock.assert_hides(after)
