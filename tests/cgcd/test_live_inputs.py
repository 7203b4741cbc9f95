"""Live inputs: the run's own views, and one sentence for what is no input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd.engine import run_stages
from cgcd.live_inputs import LiveInputs
from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios.features import VectorView
from scenarios.omniglot import read_omniglot
from scenarios.online import OnlineProtocol
from scenarios.published_scenarios import dataset_online_scenario
from strategies import SMILE, smile

WIDTH = 50
VECTORS = np.random.default_rng(0).standard_normal((40, WIDTH)).astype(np.float32)


def of_vectors(**scenario) -> LiveInputs:
    spec = InputSpec(vector=WIDTH)
    return LiveInputs(spec, {"normalize": True, "center": False, **scenario}, {})


@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_get_the_bits_of_the_run(normalize):
    door = of_vectors(normalize=normalize)
    view = VectorView(None, normalize)
    run = torch.stack([view(Sample(vector, 0)) for vector in VECTORS])
    assert torch.equal(door(VECTORS), run)
    assert torch.equal(torch.cat([door(vector) for vector in VECTORS]), run)  # alone as in company


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.int64])
def test_tensors_of_any_type_are_converted(kind):
    whole = torch.arange(2 * WIDTH).reshape(2, WIDTH)
    expected = of_vectors()(whole.numpy().astype(np.float32))
    assert torch.equal(of_vectors()(whole.to(kind)), expected)


def test_nothing_gives_nothing():
    assert of_vectors()([]).shape == (0, WIDTH)
    assert of_vectors()(np.zeros((0, WIDTH))).shape == (0, WIDTH)
    assert LiveInputs(InputSpec(size=8), {}, {})([]).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    "given", ["abc", 3.0, None, [[1, 2], [3]], np.zeros((2, 3, WIDTH)), np.zeros(5)], ids=str
)
def test_what_is_no_vector(given):
    with pytest.raises(InputError, match=f"wanted .*{WIDTH}"):
        of_vectors()(given)


def test_centered_vectors_are_refused():
    with pytest.raises(InputError, match="centered"):
        of_vectors(center=True)(VECTORS)


def test_a_file_is_read_as_the_run_has_read_it(tmp_path):
    generator = np.random.default_rng(0)
    for character in "abc":
        folder = tmp_path / "images_background" / "alphabet" / character
        folder.mkdir(parents=True)
        for number in range(4):
            drawing = generator.integers(0, 2, (9, 9)).astype(bool)
            Image.fromarray(drawing).save(folder / f"{number}.png")
    spec = InputSpec(size=8)
    scenario = dataset_online_scenario(
        dataset="omniglot",
        name="omniglot",
        inputs=spec,
        data_root=tmp_path,
        protocol=OnlineProtocol(num_known=2),
    )
    door = LiveInputs(spec, {}, scenario.description)
    paths = read_omniglot(tmp_path).train_images.paths
    for row, sample in zip(
        scenario.stream.dataset.sample_id, scenario.stream.dataset.eval(), strict=True
    ):
        with Image.open(paths[row]) as image:
            assert torch.equal(door(image)[0], sample[0])
            assert not torch.equal(LiveInputs(spec, {}, {})(image)[0], sample[0])


@pytest.mark.parametrize("told", [{"inverted": True}, {}])
def test_a_run_keeps_that_its_files_are_inverted(blob_model, blob_stream, told):
    scenario = blob_stream()
    scenario.description |= told
    base = replace(smile.BASE, epochs=1, batch_size=16)
    strategy = SMILE(model=blob_model(), base=base, hash_hidden=8, hash_bottleneck=8)
    assert run_stages(strategy, scenario).to_json().get("inverted", False) == bool(told)
