"""Curves and histograms of an analysis: shares of groups, mean drift, how sure it is."""

from __future__ import annotations

import numpy as np

from cgcd.tracking.analysis import Analysis

_GROUPS = ("base", "earlier", "novel")


def analysis_numbers(analysis: Analysis) -> dict[str, float]:
    """Numbers of the last column, fractions and cosines; what is not known has none.

    `share/predicted_<group>` and `share/true_<group>` tell the bias of the predictions,
    `drift/direction_<group>` is the mean cosine of head directions to their first ones,
    `drift/mean_feature` that of the mean features of true classes first met before the stage.
    """
    arrays, numbers = analysis.arrays, {}
    for side, key in (("predicted", "prediction_shares"), ("true", "truth_shares")):
        if key in arrays:
            shares = arrays[key][-1]
            numbers |= {
                f"share/{side}_{group}": float(share)
                for group, share in zip(_GROUPS, shares, strict=True)
            }
    stage = analysis.stage
    if "direction_drift" in arrays and analysis.facts["setting"] == "continual":
        cosines, first = arrays["direction_drift"][:, -1], arrays["first_stage"]
        base = np.arange(len(cosines)) < analysis.facts["num_base"]
        for group, members in (("base", base), ("earlier", ~base & (first < stage))):
            if np.isfinite(cosines[members]).any():
                numbers[f"drift/direction_{group}"] = float(np.nanmean(cosines[members]))
        if "mean_drift" in arrays:
            moved = arrays["mean_drift"][:, -1][arrays["class_stage"] <= max(0, stage - 1)]
            if np.isfinite(moved).any():
                numbers["drift/mean_feature"] = float(np.nanmean(moved))
    return numbers


def analysis_histograms(analysis: Analysis) -> dict[str, np.ndarray]:
    """Confidences and novelty scores of samples, of known and novel classes where known."""
    arrays = analysis.arrays
    if "confidences" not in arrays:
        return {}
    parts = {"all": np.ones(len(arrays["predictions"]), bool)}
    if analysis.facts["truth"] == "all":
        newest = 1 if analysis.facts["setting"] == "single_stage" else max(1, analysis.stage)
        novel = arrays["class_stage"][arrays["targets"]] >= newest
        parts = {"known": ~novel, "novel": novel}
    return {
        f"{name}/{part}": values[which]
        for name, values in (
            ("confidence", arrays["confidences"]),
            ("novelty_score", arrays["novelty"]),
        )
        for part, which in parts.items()
        if which.any()
    }
