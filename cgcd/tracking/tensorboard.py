"""TensorBoard as an Avalanche logger: one event file a stage, so resuming doubles no point.

Tags: `train/loss/<term>` over the global step; everything measured after a stage over the stage:
`test/accuracy/<group>`, `test/held/...`, `test/greedy/...`, `test/agreement/...`,
`test/forgetting/...`, `test/floor/...`, `test/bound/...`, `stage/...`. A single stage has the same
for its unlabeled samples, `unlabeled/accuracy/<group>` and so on, beside the test part. On a stream
everything is `stream/...` over the number of samples answered, `stream/hamming_distance` or
`stream/cosine_distance` a histogram a window.

Of an analysis, over the stage: images `analysis/<picture>` and `gallery/<page>`, histograms
`confidence/...` and `novelty_score/...`, curves `share/...` and `drift/...`, points for the
projector; of the run: the text `run/description`, its settings, the curve `run/headline`, and
`seconds/...`, `memory/...`, `throughput/...`. `cgcd help tensorboard` has the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avalanche.logging import BaseLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cgcd.engine.loss_terms import StepCurves
from cgcd.tracking.analysis import Analysis
from cgcd.tracking.analysis_numbers import analysis_histograms, analysis_numbers
from cgcd.tracking.counts import counts_figure
from cgcd.tracking.gallery import gallery_pages
from cgcd.tracking.pictures import pictures, png
from cgcd.tracking.projector import discard_projector, write_projector
from cgcd.tracking.run_page import last_summary, run_summaries

_STAGE_METRIC = re.compile(
    r"^(?P<periodic>periodic_)?(?P<family>[a-z]+)_(?P<name>\w+)/eval_phase/(?P<stream>\w+)_stream$"
)


class StageTensorBoard(BaseLogger):
    """Writes scalars, pictures and points to `folder`, one event file a stage.

    A stage that is trained again (after a crash) first removes the files of that and later stages;
    one that goes on from a checkpoint cuts them where they were then.

    Args:
        folder: where the event files go.
        pictures: what is drawn of an analysis: confusion, drift, prediction bias, ...
        galleries: images of each category.
        projector: points for the embedding projector.
    """

    def __init__(
        self,
        folder: str | Path,
        pictures: bool = True,
        galleries: bool = True,
        projector: bool = True,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.pictures, self.galleries, self.projector = pictures, galleries, projector
        self._facts: Mapping[str, Any] | None = None
        self._writer: SummaryWriter | None = None
        self._stage = 0

    def describe_run(self, facts: Mapping[str, Any]) -> None:
        """Keep what is to be said of the run as a whole until there is a file for it."""
        self._facts = facts

    def before_train_dataset_adaptation(self, strategy: Any, values: Any) -> None:
        """Open the file of the stage that begins."""
        self.begin_stage(strategy.stage_index)

    def begin_stage(self, index: int) -> None:
        """Open the file of a stage; what an earlier try left of it and of later ones goes."""
        self.close()
        for path in self._files(index):
            path.unlink()
        left = self._files(0)
        discard_projector(self.folder, index)
        self._open(index)
        if self._facts is not None and not left:
            for summary in run_summaries(self._facts):
                self._writer.file_writer.add_summary(summary)

    def state_dict(self) -> dict[str, Any]:
        """How long the event files of the stage are, all that was logged written out."""
        sizes = {}
        if self._writer is not None:
            self._writer.flush()
            for path in self._files(self._stage):
                sizes[path.name] = path.stat().st_size
        return {"stage": self._stage, "sizes": sizes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the files were so long: what was logged later goes, it will come again."""
        self.close()
        for path in self._files(state["stage"]):
            size = state["sizes"].get(path.name)
            if size is None:
                path.unlink()
            else:
                os.truncate(path, min(size, path.stat().st_size))
        discard_projector(self.folder, state["stage"])
        self._open(state["stage"])

    def _open(self, index: int) -> None:
        self._stage = index
        self._writer = SummaryWriter(str(self.folder), filename_suffix=f".stage_{index:03d}")

    def _files(self, index: int) -> list[Path]:
        """Event files of a stage and of later ones."""
        found = self.folder.glob("events.*.stage_*")
        return [path for path in found if int(path.name.rsplit("_", 1)[1]) >= index]

    def end_stage(self, index: int) -> None:
        """Write out what there is; after the last stage also that the run ended well."""
        if self._writer is None:
            return
        if self._facts is not None and index + 1 == self._facts.get("num_stages"):
            self._writer.file_writer.add_summary(last_summary())
        self._writer.flush()

    def log_analysis(
        self, analysis: Analysis, row: Mapping[str, float], report: Mapping[str, Any]
    ) -> None:
        """Pictures, histograms, shares, drift, galleries and points of a stage, over the stage.

        Args:
            analysis: of the stage.
            row: its numbers.
            report: of the strategy; `counts` is the evidence for the number of classes.
        """
        if self._writer is None:
            return
        stage = analysis.stage
        front = f"{analysis.name}/" if analysis.facts["setting"] == "single_stage" else ""
        numbers = analysis_numbers(analysis)
        points = [Summary.Value(tag=f"{front}{n}", simple_value=v) for n, v in numbers.items()]
        self._writer.file_writer.add_summary(Summary(value=points), stage)
        for name, values in analysis_histograms(analysis).items():
            self._writer.add_histogram(f"{front}{name}", values, stage)
        if self.pictures:
            for name, draw in pictures(analysis).items():
                self._image(f"{front}analysis/{name}", png(draw()), stage)
            counts = [c for c in report.get("counts", ()) if c["stage"] == stage]
            if counts and not (front and analysis.name != "unlabeled"):
                told = {
                    **(self._facts or {}),
                    "counts": counts,
                    "stages": [{**row, "stage": stage}],
                }
                self._image("analysis/count_evidence", png(counts_figure(told)), stage)
        if self.galleries:
            for name, page in gallery_pages(analysis).items():
                self._image(f"{front}gallery/{name}", page, stage)
        if self.projector:
            write_projector(analysis, self.folder)

    def _image(self, tag: str, encoded: bytes, stage: int) -> None:
        assert self._writer is not None
        width, height = (int.from_bytes(encoded[i : i + 4], "big") for i in (16, 20))  # PNG header
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=encoded
        )
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self._writer.file_writer.add_summary(summary, stage)

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

    def log_curves(self, curves: StepCurves) -> None:
        """Curves of training, a record a step."""
        if self._writer is None:
            return
        tags = [tag_of(name) for name in curves.names]
        for step, row in zip(curves.steps, curves.rows, strict=True):
            points = [
                Summary.Value(tag=tag, simple_value=number)
                for tag, number in zip(tags, row, strict=True)
            ]
            self._writer.file_writer.add_summary(Summary(value=points), step)

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
