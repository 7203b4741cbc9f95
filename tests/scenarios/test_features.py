"""Embeddings: what is read, and the views against hand-worked ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from cgcd.engine.seeding import Draw, drawing
from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios import OnlineProtocol, compose_online, features_online_scenario
from scenarios.features import NoisyViews, VectorView, read_features

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.standard_normal((40, 5)).astype(np.float16)
LABELS = np.arange(40) % 4
PROTOCOL = OnlineProtocol(num_known=2)
INPUTS = InputSpec(vector=5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "features.npz", f=VECTORS, y=LABELS.astype(np.int16))
    return tmp_path / "features.npz"


def test_only_the_training_part_is_read(tmp_path: Path, file: Path) -> None:
    features = read_features(file)
    np.testing.assert_array_equal(features.vectors, VECTORS)
    assert features.targets.dtype == np.int64 and features.class_names == ("0", "1", "2", "3")
    split = np.arange(40) % 3  # 1 and 2 are other parts
    names = np.array(["a", "b", "c", "d"])
    np.savez(tmp_path / "split.npz", f=VECTORS, y=LABELS, split=split, classes=names)
    features = read_features(tmp_path / "split.npz")
    np.testing.assert_array_equal(features.vectors, VECTORS[::3])
    assert features.targets.tolist() == LABELS[::3].tolist()
    assert features.class_names == ("a", "b", "c", "d")


def with_value(value: float) -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[7, 2] = value
    return vectors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": None}, "lacks 'f'"),
        ({"y": None}, "lacks 'y'"),
        ({"f": VECTORS.astype(np.float64)}, "'f' is float64"),
        ({"f": VECTORS[:, 0]}, r"'f' is float16 of shape \(40,\)"),
        ({"f": VECTORS[:, :0]}, r"'f' is float16 of shape \(40, 0\)"),
        ({"f": with_value(np.nan)}, "1 embeddings hold .*not finite, the first is row 7;"),
        ({"f": with_value(np.inf)}, "not finite"),
        ({"y": LABELS[:39]}, r"shape \(39,\) for 40"),
        ({"y": LABELS - 2}, "labels run from -2"),
        ({"y": LABELS - 1}, "has embeddings without a label"),
        ({"classes": np.array(["a"])}, "labels run from 0 to 3; wanted 0 to 0"),
        ({"split": np.ones(40, int)}, "'split' is .*0 for at least one"),
        ({"split": np.zeros(39, int)}, "'split' is"),
        ({"classes": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
def test_wrong_members_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    arrays = {"f": VECTORS, "y": LABELS, **changes}
    path = tmp_path / "features.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=rf"features\.npz.*{message}"):
        read_features(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data_root is not set"):
        read_features(None)
    with pytest.raises(InputError, match="nowhere is not a file"):
        read_features(tmp_path / "nowhere")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_the_evaluation_view_by_hand(file: Path, normalize: bool, center: bool) -> None:
    scenario = features_online_scenario(
        inputs=INPUTS, data_root=file, protocol=PROTOCOL, normalize=normalize, center=center
    )
    composition = compose_online(LABELS, PROTOCOL, 0)
    assert scenario.stream_hash == composition.hash and scenario.name == "features"
    whole = VECTORS.astype(np.float64)
    if center:
        whole = whole - whole[composition.labeled].mean(0)
    if normalize:
        whole = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    for stage, rows in zip(
        scenario.train_stream, (composition.labeled, composition.stream), strict=True
    ):
        got = torch.stack([sample[0] for sample in stage.dataset.eval()])
        assert got.shape == (len(rows), 5) and got.dtype == torch.float32
        np.testing.assert_allclose(got, whole[rows], atol=1e-6)
        with drawing(Draw(num_views=3)):
            views = stage.dataset.train()[0][0]
        np.testing.assert_allclose(views, np.tile(whole[rows[0]], (3, 1)), atol=1e-6)


def test_noise_is_normal_and_hangs_on_draw_sample_and_view_alone() -> None:
    views = NoisyViews(VectorView(normalize=False), noise=0.2)
    zeros = np.zeros(2001, np.float32)  # odd: one normal number is left over
    with drawing(Draw(seed=3, num_views=2)):
        first, again = views(Sample(zeros, 7)), views(Sample(zeros, 7))
        other_sample = views(Sample(zeros, 8))
    with drawing(Draw(seed=3, num_views=3)):
        more_views = views(Sample(zeros, 7))
    with drawing(Draw(seed=3, epoch=1, num_views=2)):
        other_epoch = views(Sample(zeros, 7))
    assert first.shape == (2, 2001) and first.dtype == torch.float32
    assert torch.equal(first, again) and torch.equal(first, more_views[:2])
    for other in (other_sample, other_epoch, first.flip(0)):
        assert not (first == other).any()
    for row in (*more_views, *other_epoch):
        assert stats.kstest(row.numpy() / 0.2, "norm").pvalue > 0.001
    correlation = np.corrcoef(np.concatenate((more_views, other_epoch, other_sample)))
    assert np.abs(correlation - np.eye(7)).max() < 0.1


def test_noise_is_added_after_normalizing_and_zeros_stay_finite() -> None:
    views = NoisyViews(VectorView(), noise=0.01)
    with drawing(Draw(num_views=2)):
        gap = views(Sample(np.array([300.0, 400.0], np.float16), 0)) - torch.tensor([0.6, 0.8])
    assert 0 < gap.abs().max() < 0.1
    assert VectorView()(Sample(np.zeros(3, np.float16), 0)).tolist() == [0, 0, 0]


def test_a_model_that_does_not_fit_is_told_what_to_set(file: Path) -> None:
    def build(inputs: InputSpec, **settings: float) -> None:
        features_online_scenario(inputs=inputs, data_root=file, protocol=PROTOCOL, **settings)

    with pytest.raises(InputError) as error:
        build(InputSpec(vector=768))
    assert str(error.value) == (
        "the embeddings have 5 values and the model takes 768: set model.backbone.dim=5"
    )
    with pytest.raises(
        InputError, match=r"of 5 values and the model takes images: set model=adapter"
    ):
        build(InputSpec())
    for noise in (-0.1, float("nan")):
        with pytest.raises(InputError, match=r"noise is .*set scenario\.noise="):
            build(INPUTS, noise=noise)


def test_the_real_embeddings(shared: Path) -> None:
    path = shared / "data" / "grocery81_mnv2_feats.npz"
    scenario = features_online_scenario(
        inputs=InputSpec(vector=1280),
        data_root=path,
        protocol=OnlineProtocol(num_known=40, num_novel=41),
        center=True,
    )
    counts = scenario.description
    assert counts["labeled"] + counts["stream"] == 2640 and len(scenario.class_names) == 81
    assert scenario.class_names[0] == "Golden-Delicious"
    assert abs(scenario.stream.dataset.eval()[0][0].norm() - 1) < 1e-5
