"""The picture of the stage curves."""

from __future__ import annotations

from PIL import Image

from cgcd.tracking.curves import draw_stage_curves

FACTS = {"strategy": "Happy", "scenario": "digits", "seed": 0, "num_novel": "given"}


def test_a_picture_is_drawn_with_and_without_truth(tmp_path):
    rows = [{"stage": t, "accuracy/all": 1 - t / 10, "floor/kmeans_all": 0.5} for t in range(3)]
    for name, stages in (("truth.png", rows), ("none.png", [{"stage": 0}, {"stage": 1}])):
        draw_stage_curves({**FACTS, "stages": stages}, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.width > 600 and image.height > 300
