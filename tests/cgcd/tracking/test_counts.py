"""The picture of the counts is written for every shape of evidence."""

from __future__ import annotations

import pytest

from cgcd.tracking.counts import draw_counts


@pytest.mark.parametrize("scores", [[0.1, 0.5, 0.2], [1.0, 1.0, 1.0], [float("nan"), -3.0, 2.0]])
def test_a_picture_of_the_evidence(tmp_path, scores):
    counts = [
        {
            "stage": stage,
            "estimated": 2,
            "estimator": "silhouette",
            "candidates": [1, 2, 3],
            "scores": {"silhouette": scores, "inertia": [9.0, 4.0, 3.0]},
        }
        for stage in (1, 2)
    ]
    stages = [{"stage": 0}, {"stage": 1, "stage/num_novel_true": 1}, {"stage": 2}]
    results = {
        "counts": counts,
        "stages": stages,
        "strategy": "Happy",
        "scenario": "digits",
        "seed": 0,
    }
    path = tmp_path / "class_counts.png"
    draw_counts(results, path)
    assert path.read_bytes().startswith(b"\x89PNG")
