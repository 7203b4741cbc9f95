"""Embeddings of Omniglot's characters by a small net that saw its background alphabets alone.

    python tests/benchmarks/omniglot_embeddings.py <omniglot_35.npz> <out.npz>

Trains four convolution blocks to tell the 964 background characters apart (12 epochs with random
affine views; minutes on one core) and writes `f` (32460, 256) float16, `y` (32460,), and `split`:
0 for the 659 evaluation characters, which the net never saw, 1 for the background. Readers of
embeddings take split 0.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPOCHS, BATCH, SIZE, DIM = 12, 128, 28, 256


def block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def random_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned by up to 14 degrees, scaled by up to 15 %, moved by up to an eighth of the side."""
    draw = torch.rand(4, len(images), generator=generator) - 0.5
    angle, scale = 0.5 * draw[0], 1 + 0.3 * draw[1]
    matrix = torch.stack(
        [
            torch.stack([scale * angle.cos(), -scale * angle.sin(), 0.25 * draw[2]], -1),
            torch.stack([scale * angle.sin(), scale * angle.cos(), 0.25 * draw[3]], -1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def trained(images: Tensor, classes: Tensor) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            block(1, 64), block(64, 64), block(64, 128), block(128, DIM), nn.Flatten()
        )
        directions = nn.Parameter(torch.randn(int(classes.max()) + 1, DIM) * 0.06)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW([*net.parameters(), directions], lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            if len(rows) < BATCH:
                continue
            features = net(random_affine(images[rows], generator))
            logits = 16 * F.normalize(features, dim=1) @ F.normalize(directions, dim=1).T
            loss = F.cross_entropy(logits, classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}, {time.perf_counter() - started:.0f} s")
    return net.eval()


@torch.no_grad()
def main(source: str, out: str) -> None:
    torch.set_num_threads(1)
    data = dict(np.load(source))
    background = data["evaluation_of_class"][data["y"]] == 0
    drawings = torch.from_numpy(data["x"]).float().unsqueeze(1) / 255
    images = F.interpolate(drawings, size=SIZE, mode="area")
    _, classes = np.unique(data["y"][background], return_inverse=True)
    with torch.enable_grad():
        net = trained(images[background], torch.from_numpy(classes))
    features = torch.cat([net(part) for part in images.split(1000)])
    np.savez(
        out, f=features.half().numpy(), y=data["y"].astype(np.int64), split=background.astype(int)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
