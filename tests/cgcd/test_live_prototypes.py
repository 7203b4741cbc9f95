"""The live door of a run whose categories move: every call that is answered is on disk."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cgcd import open_run
from cgcd.cli.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on stored embeddings of four known classes and three novel ones."""
    root = tmp_path_factory.mktemp("live")
    generator = np.random.default_rng(0)
    classes = np.repeat(np.arange(7), 24)
    centers = generator.standard_normal((7, 8))
    vectors = centers[classes] + 0.3 * generator.standard_normal((len(classes), 8))
    np.savez(root / "vectors.npz", f=vectors.astype(np.float32), y=classes)
    settings = [
        *("strategy=prototype_memory", "scenario=features_online", "model=identity"),
        *("strategy.tune_base=false", "strategy.merge_every=20", "strategy.observe_batch_size=16"),
        "strategy.base.batch_size=16",
        *("scenario.protocol.num_known=4", "scenario.protocol.num_novel=3"),
        *("scenario.window=50", "tracking=none", "analysis=false"),
        *(f"data_root={root / 'vectors.npz'}", f"runs_root={root / 'runs'}"),
    ]
    assert run(settings) == 0
    (found,) = (root / "runs").iterdir()
    return found


@pytest.fixture
def vectors():
    return np.random.default_rng(1).standard_normal((12, 8)).astype(np.float32)


def kept(live) -> dict[str, list]:
    return {name: value.tolist() for name, value in live.strategy.book.state_dict().items()}


def test_every_call_is_on_disk_and_readers_see_it(folder, vectors):
    with open_run(folder) as live:
        start = live.strategy.book.version
        assert start == 4 * 12 + 3 * 24  # half of the known classes' vectors were labeled
        first = live.observe(vectors[0])
        second = live.observe(vectors[0])  # joins or is known: nothing is opened, prototypes move
        assert not second.is_new.any() and second.ids == first.ids
        with open_run(folder, read_only=True) as reader:
            assert kept(reader) == kept(live)
            live.observe(vectors[1:])
            assert reader.strategy.book.version == start + 2
            reader.refresh()
            assert kept(reader) == kept(live)
            assert reader.look_up(vectors).ids.tolist() == live.look_up(vectors).ids.tolist()


def test_one_by_one_answers_as_together(folder, vectors, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    with open_run(folder) as one, open_run(other) as two:
        alone = [one.observe(vector).ids[0] for vector in vectors]
        assert two.observe(vectors).ids.tolist() == alone
        assert kept(one) == kept(two)


def test_what_cannot_be_stored_has_not_happened(folder, vectors, monkeypatch):
    with open_run(folder) as live:
        before = kept(live)

        def full(*_: object) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr("cgcd.live.write_whole", full)
        with pytest.raises(OSError, match="No space"):
            live.observe(vectors)
        assert kept(live) == before
