"""The live door: answers go on after a run, for one writer and many readers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cgcd import open_run
from cgcd.cli.parts import check_targets
from cgcd.cli.run import run
from cgcd.vocabulary import InputError

QUICK = [
    "strategy=phe",
    "scenario=digits_online",
    "strategy.base.epochs=1",
    "strategy.hash_hidden=32",
    "strategy.code_length=16",
    "strategy.separation=1",
    "strategy.warm_up.steps=2",
    "strategy.warm_up.cache=false",
    "model.projection_hidden=16",
    "strategy.observe_batch_size=16",
    "scenario.window=400",
    "tracking=none",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    assert run([*QUICK, f"runs_root={root}"]) == 0
    (found,) = root.iterdir()
    return found


@pytest.fixture
def images():
    noise = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3))
    return list(noise.astype(np.uint8))


def size_of(live) -> int:
    return len(live.strategy.book)


def test_goes_on_from_the_end_of_the_stream(folder):
    lines = (folder / "predictions" / "stream.csv").read_text().splitlines()[1:]
    with open_run(folder, read_only=True) as live:
        assert size_of(live) == max(5, 1 + max(int(line.split(",")[3]) for line in lines))
        assert live.names([0, 4, size_of(live), -1]) == [
            "0",
            "4",
            f"new-{size_of(live)}",
            "unknown",
        ]


def test_answers_survive_closing_and_readers_see_them(folder, images):
    with open_run(folder) as live:
        start = size_of(live)
        with open_run(folder, read_only=True) as reader:
            first = live.observe(images[0])
            rest = live.observe([Image.fromarray(image) for image in images[1:]])
            assert size_of(live) == start + first.is_new.sum() + rest.is_new.sum()
            reader.refresh()
            assert size_of(reader) == size_of(live)
            assert reader.look_up(images).ids.tolist() == live.look_up(images).ids.tolist()
    with open_run(folder) as again:
        known = again.look_up(images)
        assert not known.is_new.any()
        assert again.observe(images).ids.tolist() == known.ids.tolist()
        assert again.look_up(images[3]).ids == known.ids[3]
        assert len(again.observe([]).ids) == 0


def test_one_writer(folder, images):
    with open_run(folder):
        with pytest.raises(InputError, match="another process answers"):
            open_run(folder)
        with pytest.raises(InputError, match="open to read only"):
            open_run(folder, read_only=True).observe(images[0])
    open_run(folder).close()


def test_what_cannot_be_opened(folder, tmp_path, images):
    with pytest.raises(InputError, match="no finished on-line run"):
        open_run(tmp_path)
    with open_run(folder) as live:
        with pytest.raises(InputError, match="wanted uint8"):
            live.observe(images[0].astype(np.float32))
        with pytest.raises(InputError, match="an input is a str"):
            live.observe(["photo.jpg"])
        live.save()
        torn = folder / "live" / "book.safetensors"
        content = torn.read_bytes()
        torn.write_bytes(content[:-9])
        with pytest.raises(InputError, match="damaged"):
            live.refresh()
        torn.write_bytes(content)
    text = (folder / "config.yaml").read_text()
    try:
        (folder / "config.yaml").write_text(text.replace("torch.optim.AdamW", "os.system"))
        with pytest.raises(InputError, match=r"names os\.system"):
            open_run(folder)
    finally:
        (folder / "config.yaml").write_text(text)


def test_trusted_packages():
    check_targets({"a": [{"_target_": "torch.optim.SGD"}]}, trust_code=False)
    check_targets({"_target_": "somewhere.Else"}, trust_code=True)
    with pytest.raises(InputError, match=r"somewhere\.Else"):
        check_targets({"a": [{"_target_": "somewhere.Else"}]}, trust_code=False)
