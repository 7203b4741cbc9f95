"""The stored MobileNetV2 loads with the overrides of its README and gives the features it says.

Its README: cosine k-NN of 20 neighbors at temperature 0.07 on CIFAR-100 at 160 pixels, 18,000
training and 4,000 test images, is right on .616 of the test images. The features of all images are
stored; here a few are computed anew. `tests/benchmarks/knn.py` computes them all.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from sklearn.neighbors import KNeighborsClassifier

from cgcd.cli.configs import compose_run


@pytest.fixture(scope="module")
def backbone(shared):
    file = shared / "weights" / "mobilenetv2_100_imagenet_fp16.safetensors"
    given = (f"model.weights={file}", "model.input_size=160", "model.crop_pct=1")
    config, _ = compose_run(["model=mobilenetv2", *given])
    return instantiate(config.model, _convert_="all").backbone.eval()


def test_the_file_is_described(backbone):
    facts = backbone.weights
    assert facts.size == 7_244_416 and facts.license == "Apache-2.0"
    assert facts.dropped == ("classifier.* (2)",) and not facts.adapted
    assert backbone.spec.mean == backbone.spec.std == (0.5, 0.5, 0.5)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_the_nearest_neighbors_are_those_of_its_readme(backbone, shared):
    with np.load(shared / "data" / "cifar100_180x40.npz") as file:
        pixels, labels, is_test = file["x"], file["y"], file["split"] == 1
    with np.load(shared / "data" / "cifar100_180x40_mnv2_feats.npz") as file:
        stored, projection = file["f"].astype(np.float32), file["proj"]
    rows = np.flatnonzero(is_test)[::80]
    images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2) / 255
    images = torch.nn.functional.interpolate(images, (160, 160), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        features = backbone((images - 0.5) / 0.5).numpy() @ projection
    np.testing.assert_allclose(features, stored[rows], rtol=2e-3, atol=2e-2)

    neighbors = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    neighbors.fit(stored[~is_test], labels[~is_test])
    predicted = neighbors.predict(stored[is_test])
    assert np.mean(predicted == labels[is_test]) == pytest.approx(0.616, abs=0.01)
    assert np.mean(neighbors.predict(features) == predicted[::80]) >= 0.98
