"""Embeddings of images: the numbers, what is found again, what an interrupt costs, bad images."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cgcd.engine import extraction
from cgcd.engine.extraction import Extraction, extract
from cgcd.engine.feature_file import FeatureFile
from cgcd.engine.feature_store import FeatureStore, trim
from cgcd.models import Backbone, create_backbone
from cgcd.stages import Sample
from cgcd.vocabulary import InputError

SIDE, BATCH = 24, 4


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_backbone("resnet10t", input_size=SIDE).eval()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 256, (22, SIDE, SIDE, 3), dtype=np.uint8))


def tensor(sample: Sample) -> Tensor:
    return torch.from_numpy(np.asarray(sample.image)).permute(2, 0, 1).float() / 255


def extracted(pictures: list[Any], backbone: Backbone, store: FeatureStore, **more: Any) -> Any:
    settings = {"device": torch.device("cpu"), "batch_size": BATCH, "max_skipped": 0.5, **more}
    return extract(pictures, lambda i: bytes(pictures[i]), tensor, backbone, store, **settings)


@pytest.fixture
def fresh(tmp_path: Path, backbone: Backbone) -> Callable[..., FeatureStore]:
    """A store as another process would open it."""

    def make(name: str = "store", dtype: str = "float16", **more: Any) -> FeatureStore:
        return FeatureStore(tmp_path / name, backbone.dim, dtype, **more)

    return make


def same(one: Extraction, other: Extraction) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("rows", "features", "digests")
    )


def test_embeddings_are_those_of_each_image_alone(pictures, backbone, fresh) -> None:
    seen: list[int] = []
    found = extracted(pictures, backbone, fresh(dtype="float32"), on_progress=seen.append)
    with torch.no_grad():
        alone = [backbone(tensor(Sample(p, 0))[None])[0].numpy() for p in pictures]
    np.testing.assert_allclose(found.features, alone, rtol=1e-4, atol=1e-5)
    assert found.num_computed == len(pictures) and not found.skipped
    assert found.rows.tolist() == list(range(22)) and seen == list(range(1, 23))
    half = extracted(pictures, backbone, fresh("half"))
    assert half.features.dtype == np.float16
    assert (half.features == found.features.astype(np.float16)).all()


def test_what_was_killed_goes_on_to_the_same_bits(
    pictures, backbone, fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_SHARD_ROWS", 2 * BATCH)
    whole = extracted(pictures, backbone, fresh("whole"))
    add, calls = FeatureStore.add, []

    def killed(self: FeatureStore, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:  # also what would be rescued at the end of a mere exception
            raise SystemExit("killed")
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "add", killed)
        with pytest.raises(SystemExit):
            extracted(pictures, backbone, fresh())
    rest = extracted(pictures, backbone, fresh())
    assert rest.num_computed == len(pictures) - 2 * BATCH
    assert same(rest, whole)
    again = extracted(pictures, backbone, fresh())
    assert again.num_computed == 0 and same(again, whole)


def test_an_interrupt_loses_no_batch(pictures, backbone, fresh) -> None:
    def interrupt(done: int) -> None:
        if done == 3 * BATCH + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extracted(pictures, backbone, fresh(), on_progress=interrupt)
    assert len(fresh()) == 3 * BATCH
    assert torch.get_num_threads() == 1


def test_equal_images_are_computed_once_wherever_they_lie(pictures, backbone, fresh) -> None:
    twice = [*pictures[:6], *pictures[:3], pictures[5], *pictures[6:]]
    found = extracted(twice, backbone, fresh())
    assert found.num_computed == 22
    assert (found.features[6:9] == found.features[:3]).all()
    moved = extracted(pictures[::-1], backbone, fresh())
    assert moved.num_computed == 0
    assert (moved.features[::-1][:6] == found.features[:6]).all()
    assert extracted(pictures, backbone, fresh(fresh=True)).num_computed == 22
    assert extracted(pictures, backbone, fresh(dtype="float32")).num_computed == 22


def test_known_from_elsewhere(pictures, backbone, fresh) -> None:
    found = extracted(pictures[:10], backbone, fresh())
    store = fresh("other")
    store.include(found.digests, found.features)
    store.include(found.digests[:, :3], found.features)  # of another kind
    more = extracted(pictures, backbone, store)
    assert more.num_computed == 12 and (more.features[:10] == found.features).all()


def test_damaged_shards_are_computed_again(pictures, backbone, fresh, tmp_path: Path) -> None:
    whole = extracted(pictures, backbone, fresh())
    (shard,) = (tmp_path / "store").iterdir()
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    again = extracted(pictures, backbone, fresh())
    assert again.num_computed == 22 and same(again, whole)
    (tmp_path / "store" / "other.safetensors").write_bytes(b"x")
    assert extracted(pictures, backbone, fresh()).num_computed == 0


def test_a_shard_removed_in_between_is_computed_again(pictures, backbone, fresh, tmp_path) -> None:
    whole = extracted(pictures, backbone, fresh())
    store = fresh()
    store._shard.cache_clear()
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    again = extracted(pictures, backbone, store)
    assert again.num_computed == 22 and same(again, whole)


class _Broken(list):
    """Pictures some of which cannot be opened."""

    def __init__(self, pictures: list[Any], bad: set[int]) -> None:
        super().__init__(pictures)
        self.bad = bad

    def __getitem__(self, index: Any) -> Any:
        picture = super().__getitem__(index)
        if index in self.bad and isinstance(picture, np.ndarray):
            raise Image.UnidentifiedImageError("cut\noff")
        return picture


def test_unreadable_images_are_left_out(pictures, backbone, fresh) -> None:
    broken = _Broken([*pictures], {0, 7, 21})
    contents = [bytes(p) for p in pictures]
    found = extract(
        broken,
        contents.__getitem__,
        tensor,
        backbone,
        fresh(),
        device=torch.device("cpu"),
        batch_size=BATCH,
        max_skipped=3 / 22,
    )
    reason = "UnidentifiedImageError: cut off"
    assert found.skipped == [(0, reason), (7, reason), (21, reason)]
    assert found.rows.tolist() == [i for i in range(22) if i not in (0, 7, 21)]
    kept = [pictures[i] for i in found.rows]
    assert same(replace(extracted(kept, backbone, fresh("kept")), rows=found.rows), found)


def test_too_many_unreadable_images_end_it_early(pictures, backbone, fresh) -> None:
    seen: list[int] = []
    broken = _Broken([*pictures], {1, 4, 5})
    with pytest.raises(InputError, match=r"2 of the first 5 of 22 .*cut off.* 5.0% .*max_skipped"):
        extract(
            broken,
            lambda i: bytes([i]),
            tensor,
            backbone,
            fresh(),
            device=torch.device("cpu"),
            max_skipped=0.05,
            on_progress=seen.append,
        )
    assert seen == [1, 2, 3, 4]


def test_numbers_that_are_not_finite_are_refused(pictures, backbone, fresh) -> None:
    def huge(sample: Sample) -> Tensor:
        return tensor(sample) * (1e9 if sample.id == 5 else 1)

    with pytest.raises(InputError, match=r"image 5 .*float16.*dtype=float32"):
        extract(
            pictures,
            lambda i: bytes(pictures[i]),
            huge,
            backbone,
            fresh(),
            device=torch.device("cpu"),
            batch_size=BATCH,
        )
    assert len(fresh()) == BATCH


def test_those_not_used_for_longest_go_first(tmp_path: Path) -> None:
    rows = np.zeros((4, 8), np.float16)
    paths = []
    for number in range(3):
        store = FeatureStore(tmp_path / f"settings{number}", 8, "float16")
        store.add(np.full((4, 16), number, np.uint8), rows)
        (path,) = store.used
        os.utime(path, (1000 * number, 1000 * number))
        paths.append(path)
    size = paths[0].stat().st_size
    torn = [tmp_path / "settings0" / f".{name}.safetensors-x" for name in ("old", "new")]
    for path in torn:
        path.write_bytes(b"x")
    os.utime(torn[0], (0, 0))
    assert trim(tmp_path, 3 * size) == 0
    assert [path.exists() for path in torn] == [False, True]
    assert trim(tmp_path, 2 * size, keep=[paths[0]]) == size
    assert [path.exists() for path in paths] == [True, False, True]
    FeatureStore(tmp_path / "settings0", 8, "float16")  # uses it
    assert trim(tmp_path, size) == size
    assert [path.exists() for path in paths] == [True, False, False]
    assert trim(tmp_path, 0) == size


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("labeled", [True, False])
def test_a_file_comes_back(suffix: str, labeled: bool, tmp_path: Path) -> None:
    f = np.random.default_rng(0).random((5, 3)).astype(np.float16)
    file = FeatureFile(
        f,
        np.array(["a/ä.png", "a/b", "c", "d,e", "=f"]),
        np.arange(80, dtype=np.uint8).reshape(5, 16),
        {"backbone": "x", "input": {"size": 3, "mean": [0.5]}},
        y=np.array([0, 1, 0, 1, 1]) if labeled else None,
        split=np.array([0, 0, 0, 0, 1]) if labeled else None,
        classes=np.array(["ä", "b"]) if labeled else None,
    )
    path, twin = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    file.write(path)
    file.write(twin)
    if suffix == ".npz":  # the other library orders its header at random
        assert path.read_bytes() == twin.read_bytes()
    back = FeatureFile.read(path)
    assert back is not None and back.equals(file) and back.settings == file.settings
    assert not file.equals(replace(file, f=f[::-1]))
    assert not file.equals(replace(file, y=None)) or not labeled
    assert not file.equals(replace(file, settings={}))
    path.write_bytes(path.read_bytes()[:-9])
    assert FeatureFile.read(path) is None
    assert FeatureFile.read(tmp_path / f"none{suffix}") is None
