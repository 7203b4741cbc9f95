"""A run goes on with its own data and views only, in every setting."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd.engine import run_stages
from cgcd.models import Adapter, GCDModel, InputSpec
from cgcd.vocabulary import InputError
from scenarios import OnlineProtocol, Protocol, SingleStageProtocol
from scenarios.datasets import digits_scenario
from scenarios.folder import ImageFiles
from scenarios.identity import data_hash
from scenarios.online_datasets import digits_online_scenario, features_online_scenario
from scenarios.single_stage_datasets import digits_gcd_scenario, features_gcd_scenario
from scenarios.views import CenterView, HorizontalFlip, RandomAffine, RandomCrop
from strategies import SMILE, smile

DIM = 16


@pytest.fixture
def file(tmp_path):
    """Embeddings of ten easy classes."""
    generator = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 24)
    corners = np.sign(generator.standard_normal((10, DIM)))
    f = (corners[y] + 0.4 * generator.standard_normal((len(y), DIM))).astype(np.float32)
    np.savez(tmp_path / "f.npz", f=f, y=y)
    return tmp_path / "f.npz"


def of_features(file, build=features_online_scenario, **changes):
    protocol = {
        features_online_scenario: OnlineProtocol(num_known=6),
        features_gcd_scenario: SingleStageProtocol(num_known=6),
    }[build]
    return build(inputs=InputSpec(vector=DIM), data_root=file, protocol=protocol, **changes)


@pytest.mark.parametrize("build", [features_online_scenario, features_gcd_scenario])
@pytest.mark.parametrize("changes", [{"normalize": False}, {"center": True}, {"noise": 0.1}])
def test_a_view_changes_the_data_hash_alone(file, build, changes):
    one, again, other = of_features(file, build), of_features(file, build), None
    other = of_features(file, build, **changes)
    assert one.data_hash == again.data_hash != other.data_hash
    assert one.stream_hash == other.stream_hash


@pytest.mark.parametrize("build", [digits_scenario, digits_online_scenario, digits_gcd_scenario])
def test_augmentations_and_inputs_count_in_every_setting(build):
    spec = InputSpec(size=8)
    settings = [
        (spec, (RandomAffine(), RandomCrop())),
        (spec, (RandomAffine(degrees=11), RandomCrop())),
        (spec, (RandomCrop(), HorizontalFlip())),
        (replace(spec, mean=(0.1, 0.1, 0.1)), (RandomAffine(), RandomCrop())),
    ]
    protocol = (
        {
            "protocol": Protocol(
                num_base=4,
                num_stages=2,
                novel_per_stage=1,
                samples_per_novel=40,
                samples_per_known=6,
            )
        }
        if build is digits_scenario
        else {}
    )
    made = [build(inputs=i, augmentations=a, **protocol) for i, a in settings]
    assert len({scenario.data_hash for scenario in made}) == len(made)
    assert len({scenario.stream_hash for scenario in made}) == 1
    assert (
        build(inputs=spec, augmentations=settings[0][1], **protocol).data_hash == made[0].data_hash
    )


def test_samples_in_memory_and_files(tmp_path):
    array = np.arange(40, dtype=np.float32).reshape(10, 4)
    changed = array.copy()
    changed[9, 3] += 1
    hashes = {data_hash(a) for a in (array, changed, array[:9], array.astype(np.float64), ())}
    assert len(hashes) == 5 and data_hash(torch.from_numpy(array)) == data_hash(array)
    for part in ("here", "there"):
        folder = tmp_path / part / "train" / "ant"
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / "1.png")
    here, there = (
        ImageFiles([str(tmp_path / part / "train" / "ant" / "1.png")]) for part in ("here", "there")
    )
    view = CenterView(InputSpec(size=8))
    assert data_hash(here, view) == data_hash(there, view) != data_hash(here)
    os.truncate(there.paths[0], 10)
    assert data_hash(here, view) != data_hash(there, view)


def test_a_run_does_not_go_on_with_other_data(file, tmp_path):
    def strategy():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = Adapter(DIM, 16)
            model = GCDModel(net, example=torch.rand(2, DIM), projection_hidden=8, tail_units="all")
        base = replace(smile.BASE, epochs=1, batch_size=16)
        return SMILE(model=model, base=base, hash_hidden=8, hash_bottleneck=8)

    folder = tmp_path / "run"
    run_stages(strategy(), of_features(file), folder)
    run_stages(strategy(), of_features(file), folder)  # its own goes on
    with pytest.raises(InputError, match="holds a run with another data"):
        run_stages(strategy(), of_features(file, normalize=False), folder)
    with np.load(file) as stored:
        np.savez(file, f=-stored["f"], y=stored["y"])
    with pytest.raises(InputError, match="holds a run with another data"):
        run_stages(strategy(), of_features(file), folder)
