"""Stock metrics and loggers on our streams and on stock ones, and those that do not work."""

from __future__ import annotations

import runpy
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
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
from avalanche.training.plugins import EvaluationPlugin
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

stock = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("stock_benchmarks.py"))))
pytestmark = pytest.mark.filterwarnings("ignore")


def every_metric(*loggers):
    return EvaluationPlugin(
        accuracy_metrics(minibatch=True, epoch=True, experience=True, stream=True),
        loss_metrics(epoch=True, stream=True),
        forgetting_metrics(experience=True, stream=True),
        bwt_metrics(stream=True),
        class_accuracy_metrics(stream=True),
        amca_metrics(),
        confusion_matrix_metrics(num_classes=stock.CLASSES, stream=True, save_image=False),
        timing_metrics(epoch=True),
        cpu_usage_metrics(epoch=True),
        ram_usage_metrics(epoch=True),
        MAC_metrics(epoch=True),
        loggers=list(loggers),
    )


@pytest.mark.parametrize("kind", stock.KINDS)
@pytest.mark.parametrize("mode", ["mask", "use"])
def test_stock_metrics_and_loggers(trained_happy, kind, mode, tmp_path):
    log = (tmp_path / "log.txt").open("w")
    board = TensorboardLogger(tmp_path / "board")
    evaluator = every_metric(TextLogger(log), InteractiveLogger(), board)
    benchmark = stock.KINDS[kind]()
    strategy = trained_happy(benchmark, evaluator=evaluator, evaluate=False, stock_labels=mode)
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
    hits = np.concatenate([[row] * stock.EACH for row in range(stock.CLASSES)])
    key = next(name for name in values if name.startswith("Top1_Acc_Stream"))
    images = stock.VECTORS if kind == "stock" else None
    if images is not None:
        strategy.model.eval()
        guess = strategy.model(images).argmax(1).numpy()
        assert values[key] == pytest.approx((guess == hits).mean())
    if mode == "use" and kind == "stock":
        assert values[key] > 0.3


@pytest.mark.parametrize("kind", stock.KINDS)
def test_no_hidden_or_test_label_comes_back_through_a_metric(trained_happy, kind):
    def after(labels):
        benchmark = stock.KINDS[kind](labels)
        evaluator = every_metric(TextLogger(StringIO()))
        settings = {"evaluator": evaluator, "eval_every": 1, "watched": [benchmark.test_stream]}
        return trained_happy(benchmark, **settings)

    stock.assert_hides(after)


FAILING = {  # the other side of the table, so that it stays true: stream, metric, what is said
    "top-k above the rows": ("ours", lambda: [topk_acc_metrics(top_k=5, epoch=True)], "top_k"),
    "forward transfer": ("ours", lambda: [forward_transfer_metrics(stream=True)], "eval every"),
    "image samples": ("ours", lambda: [images_samples_metrics(on_train=True)], "pic should be"),
    "confusion image": (
        "stock",
        lambda: [confusion_matrix_metrics(num_classes=stock.CLASSES, stream=True, save_image=True)],
        "no attribute 'benchmark'",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_metric_that_does_not_work_fails_aloud(trained_happy, name):
    kind, make, message = FAILING[name]
    with pytest.raises((ValueError, AssertionError, AttributeError, TypeError), match=message):
        trained_happy(stock.KINDS[kind](), evaluator=EvaluationPlugin(*make()))
