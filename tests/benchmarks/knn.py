"""Accuracy of k-NN on the features of a backbone: do its weights load with the right overrides?

    python tests/benchmarks/knn.py [torch | pillow] [side]

The MobileNetV2 and the CIFAR-100 subset are read from weights/ and data/ in the folder that
CGCD_FIXTURES names (default: ../shared). Images are enlarged from 32 to `side` pixels (160) with
torch's bicubic filter, as the figure of the weights' README was measured, or with Pillow's, as the
scenarios do. 20 neighbors, cosine, temperature 0.07; wanted at 160: .616 (18,000 train, 4,000
test, 100 classes); found: .6162 with torch's filter. Ten minutes of one core.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from cgcd.cli.configs import compose_run

ROOT = Path(__file__).resolve().parents[2]


def enlarged(pixels: np.ndarray, side: int, with_pillow: bool) -> torch.Tensor:
    """Images (B, C, H, W) in [0, 1] of pixels (B, 32, 32, 3)."""
    if with_pillow:
        resized = [
            np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            for image in pixels
        ]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    return torch.nn.functional.interpolate(images, (side, side), mode="bicubic").clamp(0, 1)


def main() -> None:
    resize = sys.argv[1] if len(sys.argv) > 1 else "torch"
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 160
    folder = Path(os.environ.get("CGCD_FIXTURES", ROOT.parent / "shared"))
    file = folder / "weights" / "mobilenetv2_100_imagenet_fp16.safetensors"
    config, _ = compose_run(
        ["model=mobilenetv2", f"model.weights={file}", f"model.input_size={side}"]
    )
    backbone = instantiate(config.model, _convert_="all").backbone.eval()
    print(f"{backbone.weights.sentence()}; {backbone.spec.sentence()}", flush=True)
    with np.load(folder / "data" / "cifar100_180x40.npz") as stored:
        pixels, labels, is_test = stored["x"], stored["y"], stored["split"] == 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.spec.mean, backbone.spec.std))
    start, features = time.perf_counter(), []
    with torch.inference_mode():
        for first in range(0, len(pixels), 100):
            images = enlarged(pixels[first : first + 100], side, resize == "pillow")
            features.append(backbone((images - mean) / std).numpy())
    every = np.concatenate(features)
    neighbors = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    neighbors.fit(every[~is_test], labels[~is_test])
    accuracy = neighbors.score(every[is_test], labels[is_test])
    seconds = time.perf_counter() - start
    print(f"{resize}, {side} px: k-NN accuracy {accuracy:.4f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
