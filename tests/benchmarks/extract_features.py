"""How much of `cgcd features` is the backbone: 2,000 photos as JPEG files, profile and bare loop.

    python tests/benchmarks/extract_features.py <fixtures> [pixels] [photos]

`fixtures` holds data/grocery81_96jpg.npz and weights/. Prints the profile of an extraction into an
empty cache, the same again with all known, and beside it a bare loop of the backbone over inputs
that lie in memory, run before and after. On a machine that is busy with other work compare the
seconds of the processor: what the bare loop takes of what the whole extraction takes, threads that
read included.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _timing import Row, hand_over

from cgcd.engine.extraction import extract
from cgcd.engine.feature_store import FeatureStore
from cgcd.models import create_backbone
from cgcd.stages import Sample
from scenarios.image_source import read_image_source
from scenarios.views import CenterView

WEIGHTS = "weights/mobilenetv2_100_imagenet_fp16.safetensors"
BATCH = 16


def write_photos(source: Path, root: Path, count: int) -> None:
    data = dict(np.load(source))
    for row in np.random.default_rng(0).permutation(len(data["y"]))[:count]:
        path = root / f"{data['classes'][data['y'][row]]}" / f"{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data["jpg"][data["off"][row] : data["off"][row + 1]].tobytes())


def main(fixtures: str, pixels: str = "224", photos: str = "2000") -> None:
    torch.set_num_threads(1)
    backbone = create_backbone(
        "mobilenetv2_100",
        weights=Path(fixtures) / WEIGHTS,
        backbone_kwargs={"pad_type": "same"},
        input_size=int(pixels),
        mean=[0.5] * 3,
        std=[0.5] * 3,
        crop_pct=0.875,
        interpolation="bicubic",
    ).eval()
    backbone.to(memory_format=torch.channels_last)
    view = CenterView(backbone.spec)
    place = Path(tempfile.mkdtemp())
    try:
        write_photos(Path(fixtures) / "data/grocery81_96jpg.npz", place / "photos", int(photos))
        source = read_image_source("files", place / "photos", shorter_side=backbone.spec.resize)

        @torch.inference_mode()
        def bare(count: int) -> tuple[float, float]:
            """Seconds of clock and processor an image."""
            inputs = [view(Sample(source.images[i], i)) for i in range(count)]
            clock, processor = time.perf_counter(), time.process_time()
            for start in range(0, count, BATCH):
                batch = torch.stack(inputs[start : start + BATCH])
                backbone(batch.contiguous(memory_format=torch.channels_last)).half().numpy()
            spent = time.perf_counter() - clock, time.process_time() - processor
            return spent[0] / count, spent[1] / count

        some = min(len(source), 20 * BATCH)
        loops = [bare(some)]
        for title in ("first", "known"):
            store = FeatureStore(place / "store", backbone.dim, "float16")
            processor = time.process_time()
            found = extract(
                source.images,
                source.content,
                view,
                backbone,
                store,
                device=torch.device("cpu"),
                batch_size=BATCH,
                threads=min(os.cpu_count() or 1, 8),
            )
            used, p = time.process_time() - processor, found.profile
            print(
                f"{title}: {len(found.rows)} images, {found.num_computed} computed at {pixels} px: "
                f"{p.total:.2f} s, backbone {p.backbone:.2f} ({p.backbone / p.total:.1%}), waiting "
                f"{p.waiting:.2f} ({p.waiting / p.total:.1%}), writing {p.writing:.2f}; "
                f"processor {used:.2f} s",
                flush=True,
            )
            if title == "first":
                loops.append(bare(some))
                clock, cpu = (len(found.rows) * sum(part) / 2 for part in zip(*loops, strict=True))
                print(
                    f"bare loop: {clock:.2f} s ({clock / p.total:.1%} of the extraction), "
                    f"processor {cpu:.2f} s ({cpu / used:.1%})",
                    flush=True,
                )
                name = f"extraction of {len(found.rows):,} photos, {pixels} px"
                share = [100 * p.backbone / p.total]
                hand_over(Row(f"{name}, backbone", share, "%", bar=90, at_least=True))
                sides = f"{used:.4g} s", f"{cpu:.4g} s", "bare loop of the backbone"
                hand_over(Row(f"{name}, processor", [100 * cpu / used], "%", *sides))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
