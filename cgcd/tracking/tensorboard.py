"""TensorBoard as an Avalanche logger: one event file a stage, so resuming doubles no point.

Tags: `train/loss/<term>` over the global step; everything measured after a stage over the stage:
`test/accuracy/<group>`, `test/held/...`, `test/greedy/...`, `test/agreement/...`,
`test/forgetting/...`, `test/floor/...`, `test/bound/...`, `stage/...`. A single stage has the same
for its unlabeled samples, `unlabeled/accuracy/<group>` and so on, beside the test part. On a stream
everything is `stream/...` over the number of samples answered, `stream/hamming_distance` a
histogram a window.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from avalanche.logging import BaseLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

_STAGE_METRIC = re.compile(
    r"^(?P<periodic>periodic_)?(?P<family>[a-z]+)_(?P<name>\w+)/eval_phase/(?P<stream>\w+)_stream$"
)


class StageTensorBoard(BaseLogger):
    """Writes scalars to `folder`, one event file a stage.

    A stage that is trained again (after a crash) first removes the files of that and later stages.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None

    def before_train_dataset_adaptation(self, strategy: Any, values: Any) -> None:
        """Open the file of the stage that begins."""
        self.begin_stage(strategy.stage_index)

    def begin_stage(self, index: int) -> None:
        """Open the file of a stage; what an earlier try left of it and of later ones goes."""
        self.close()
        for path in self.folder.glob("events.*.stage_*"):
            if int(path.name.rsplit("_", 1)[1]) >= index:
                path.unlink()
        self._writer = SummaryWriter(str(self.folder), filename_suffix=f".stage_{index:03d}")

    def after_eval(self, strategy: Any, values: Any) -> None:
        if self._writer is not None:
            self._writer.flush()

    def log_metrics(self, metric_values: list[Any]) -> None:
        """All curves of a step in one record, at a fifth of the cost of one each."""
        curves: dict[int, list[Any]] = {}
        for metric in metric_values:
            if isinstance(metric.value, int | float):
                curves.setdefault(metric.x_plot, []).append(metric)
            else:
                super().log_metrics([metric])
        if self._writer is None or not curves:
            return
        for x_plot, metrics in curves.items():
            points = [
                Summary.Value(tag=tag_of(metric.name), simple_value=metric.value)
                for metric in metrics
            ]
            self._writer.file_writer.add_summary(Summary(value=points), x_plot)

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """A number as a curve, a 1-d tensor as a histogram."""
        if self._writer is None:
            return
        if isinstance(value, Tensor):
            self._writer.add_histogram(name, value, global_step=x_plot)
        elif isinstance(value, int | float):
            self._writer.add_scalar(tag_of(name), value, global_step=x_plot)

    def close(self) -> None:
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def tag_of(name: str) -> str:
    """TensorBoard tag of an evaluator's metric name.

    >>> tag_of("accuracy_known/eval_phase/test_stream")
    'test/accuracy/known'
    >>> tag_of("stage_num_classes/eval_phase/test_stream")
    'stage/num_classes'
    >>> tag_of("train/loss/contrastive")
    'train/loss/contrastive'
    """
    found = _STAGE_METRIC.match(name)
    if found is None:
        return name
    stream = "periodic" if found["periodic"] else found["stream"]
    front = "" if found["family"] == "stage" and not found["periodic"] else f"{stream}/"
    return f"{front}{found['family']}/{found['name']}"
