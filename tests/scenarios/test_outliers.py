"""Sets of outliers: who is in them, under which view, and what is said where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios import outliers
from scenarios.digits import read_digits
from scenarios.views import CenterView, PilImages

IMAGES, VECTORS = InputSpec(size=16), InputSpec(vector=4)


def drawn(count=12, side=32, channels=(3,)):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, *channels), dtype=np.uint8)


def seen(stage):
    return torch.stack([sample[0] for sample in stage.dataset.eval()])


def test_inverted_digits_under_the_evaluation_view():
    stage = outliers.inverted_digits(inputs=IMAGES)
    images = 255 - read_digits().test_images
    assert len(stage.dataset) == 539 and set(stage.labels) == {-1}
    wanted = CenterView(IMAGES)(Sample(PilImages(images)[5], 5))
    assert torch.equal(stage.dataset.eval()[5][0], wanted)


def test_a_draw_is_a_function_of_the_seed():
    def ids(seed):
        stage = outliers.outlier_stage(drawn(), inputs=IMAGES, num_samples=5, seed=seed)
        return list(stage.dataset.sample_id)

    assert ids(0) == ids(0) == sorted(set(ids(0))) and len(ids(0)) == 5
    assert ids(0) != ids(1)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_gives_its_test_images(tmp_path, name):
    images, split = drawn(), np.arange(12) % 2
    path = tmp_path / "small.npz"
    np.savez(path, x=images, y=np.zeros(12, dtype=np.int64), split=split)
    stage = getattr(outliers, f"{name}_outliers")(inputs=IMAGES, data_root=path)
    wanted = outliers.outlier_stage(images[split == 1], inputs=IMAGES)
    assert torch.equal(seen(stage), seen(wanted))


def test_omniglot(tmp_path):
    path = tmp_path / "small.npz"
    np.savez(path, x=drawn(channels=()), y=np.zeros(12, dtype=np.int64))
    stage = outliers.omniglot_outliers(inputs=IMAGES, data_root=path, num_samples=7)
    assert seen(stage).shape == (7, 3, 16, 16)


def test_features(tmp_path):
    path, vectors = tmp_path / "small.npz", np.random.default_rng(0).random((9, 4), np.float32)
    np.savez(path, f=vectors, y=np.zeros(9, dtype=np.int64))
    stage = outliers.features_outliers(inputs=VECTORS, data_root=path)
    torch.testing.assert_close(seen(stage).norm(dim=1), torch.ones(9))
    raw = outliers.features_outliers(inputs=VECTORS, data_root=path, normalize=False)
    assert torch.equal(seen(raw), torch.from_numpy(vectors))
    with pytest.raises(InputError, match="4 values and the model takes 5"):
        outliers.features_outliers(inputs=InputSpec(vector=5), data_root=path)


@pytest.fixture
def folder(tmp_path):
    for place, image in zip(("a.png", "x/b.jpg", "x/y/c.png"), drawn(3), strict=True):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / place)
    (tmp_path / "images" / "notes.txt").write_text("x")
    return tmp_path / "images"


def test_an_image_folder_of_any_depth(folder):
    stage = outliers.image_folder_outliers(inputs=IMAGES, data_root=folder)
    wanted = outliers.outlier_stage(drawn(3)[[0]], inputs=IMAGES)
    assert len(stage.dataset) == 3 and torch.equal(seen(stage)[0], seen(wanted)[0])
    few = outliers.image_folder_outliers(inputs=IMAGES, data_root=str(folder), num_samples=2)
    assert len(few.dataset) == 2


def test_damaged_and_foreign_files_are_found_before_the_run(folder, tmp_path):
    (folder / "d.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"outliers: .*d\.png is no readable image"):
        outliers.image_folder_outliers(inputs=IMAGES, data_root=folder)
    (folder / "d.png").unlink()
    Image.fromarray(drawn(1)[0]).save(tmp_path / "outside.png")
    (folder / "e.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(InputError, match=r"e\.png leads out of"):
        outliers.image_folder_outliers(inputs=IMAGES, data_root=folder)


def test_messages_name_the_set_and_its_own_key(tmp_path):
    for make, root, part in (
        (outliers.cifar10_outliers, tmp_path / "none", "does not exist"),
        (outliers.cifar100_outliers, None, "data_root is not set"),
        (outliers.omniglot_outliers, tmp_path, "images_background"),
        (outliers.image_folder_outliers, tmp_path / "none", "is no folder"),
        (outliers.image_folder_outliers, None, "is no folder"),
        (outliers.features_outliers, tmp_path / "none.npz", "is not a file"),
    ):
        with pytest.raises(InputError, match=part) as caught:
            make(inputs=IMAGES, data_root=root)
        assert str(caught.value).startswith("outliers: ")
        assert "outliers.data_root=" in str(caught.value)
        assert " data_root=" not in str(caught.value)
    with pytest.raises(InputError, match="the set of outliers is empty"):
        outliers.image_folder_outliers(inputs=IMAGES, data_root=tmp_path)


@pytest.mark.parametrize("count", [0, 13])
def test_a_count_that_cannot_be_drawn(count):
    with pytest.raises(InputError, match=f"num_samples is {count} for 12 outliers"):
        outliers.outlier_stage(drawn(), inputs=IMAGES, num_samples=count)


def test_images_are_nothing_for_a_model_of_vectors():
    with pytest.raises(InputError, match="outliers=features"):
        outliers.inverted_digits(inputs=VECTORS)
