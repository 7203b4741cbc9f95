"""The live door: answers go on after a run, for one writer and many readers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cgcd import open_run
from cgcd.cli.folders import take_folder
from cgcd.cli.run import run
from cgcd.engine.cache import write_whole
from cgcd.memory import pack
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


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the run to damage, without a live book."""
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("live"))
    return tmp_path / "run"


def test_windows_that_are_missing_are_noticed(copied):
    first, second, *_ = sorted((copied / "checkpoints" / "stream").iterdir())
    second.rename(second.with_name("kept"))
    with pytest.raises(InputError, match=r"whole windows of 400 of the \d+ samples .* overwrite"):
        open_run(copied)
    write_whole(first, {"x": torch.zeros(1)}, {"seconds": "1"})  # whole, but no window
    with pytest.raises(InputError, match="whole windows of 0 of"):
        open_run(copied, read_only=True)
    (copied / "checkpoints" / "stream" / "kept").unlink()


def far_code(live) -> torch.Tensor:
    """Real code of 16 bits that no category of the book is near to, (1, L)."""
    every = (torch.arange(2**16)[:, None] >> torch.arange(16)) % 2
    is_new = live.strategy.book.look_up(pack(every.bool())).is_new
    return every[int(np.argmax(is_new))][None] - 0.5


def test_a_book_that_cannot_be_stored_has_not_grown(copied, images, monkeypatch):
    with open_run(copied) as live:
        code, size = far_code(live), size_of(live)
        live.strategy.codes = lambda inputs: code

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("cgcd.live.write_whole", full)
        with pytest.raises(OSError, match="No space left"):
            live.observe(images[0])
        assert size_of(live) == size and live.look_up(images[0]).is_new.all()
        monkeypatch.undo()
        answer = live.observe(images[0])
        assert answer.is_new.all() and answer.ids.tolist() == [size]
    with open_run(copied, read_only=True) as again:
        assert size_of(again) == size + 1
        assert again.strategy.book.look_up(pack(code > 0)).ids.tolist() == [size]


def test_a_closed_door_only_looks_up(copied, images):
    live = open_run(copied)
    live.close()
    with open_run(copied):  # the lock is free
        for act in (lambda: live.observe(images[0]), live.save):
            with pytest.raises(InputError, match="is closed; use look_up, or open it anew"):
                act()
        assert len(live.look_up(images[0]).ids) == 1
    with pytest.raises(InputError, match="open to read only"):
        open_run(copied, read_only=True).save()


def test_opening_that_fails_frees_the_lock(copied):
    with open_run(copied) as live:
        live.save()
    book = copied / "live" / "book.safetensors"
    good = book.read_bytes()
    book.write_bytes(good[:-5])
    with pytest.raises(InputError, match="damaged") as kept:
        open_run(copied)
    book.write_bytes(good)
    open_run(copied).close()
    assert kept.tb is not None  # its frames, and so the first door, are still alive


def test_a_live_writer_keeps_the_run(copied):
    with open_run(copied), pytest.raises(InputError, match=r"a process answers with .* close it"):
        take_folder(copied, "a: 1", overwrite=True)
    assert open_run(copied, read_only=True)  # nothing was removed
    with open_run(copied) as live:
        live.save()
    take_folder(copied, "a: 1", overwrite=True)
    assert sorted(p.name for p in copied.iterdir() if p.name[0] != ".") == ["config.yaml", "live"]
    assert not list((copied / "live").glob("*.safetensors"))


def test_what_says_finished_goes_first(copied, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cgcd.cli.folders.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        take_folder(copied, "a: 1", overwrite=True)
    monkeypatch.undo()
    with pytest.raises(InputError, match="no finished on-line run"):
        open_run(copied)


def test_a_book_of_another_run_is_refused(copied):
    with open_run(copied) as live:
        tensors = live.strategy.book.state_dict()
    book = copied / "live" / "book.safetensors"
    for texts in ({"run": "0" * 64}, {}):
        write_whole(book, tensors, texts)
        with pytest.raises(InputError, match="belongs to another run"):
            open_run(copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": None}, "holds no book .*Missing"),
        ({"known_centers": torch.tensor(7)}, "known_centers 7, wanted 0 or 1"),
        ({"words": torch.tensor(3)}, r"shape \(\)"),
        ({"num_known": torch.zeros(0, dtype=torch.int64)}, "one number each"),
    ],
)
def test_a_book_that_is_none(copied, changes, message):
    with open_run(copied) as live:
        state, run = {**live.strategy.book.state_dict(), **changes}, live._run
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    write_whole(copied / "live" / "book.safetensors", kept, {"run": run})
    with pytest.raises(InputError, match=message):
        open_run(copied)
    (copied / "live" / "book.safetensors").unlink()
    open_run(copied).close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "cannot be read"),
        ("hello", "lacks model, scenario, strategy"),
        ("- 1", "lacks model, scenario, strategy"),
        ("", "lacks model, scenario, strategy"),
        ("strategy: {}", "lacks model, scenario, strategy"),
        ("model: ${gone}", "cannot be resolved"),
        ("a: !!python/object:os.system x", "cannot be read"),
        ("{model: {_target_: torch.optim.SGD}, strategy: {}, scenario: {}}", "model "),
    ],
)
def test_a_config_that_is_none(copied, text, message):
    (copied / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        open_run(copied)


@pytest.mark.parametrize("part", ["known_class_names", "stream_length"])
def test_results_that_lack_a_part(copied, part):
    results = json.loads((copied / "results.json").read_text())
    del results[part]
    (copied / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="lacks known_class_names or stream_length"):
        open_run(copied)


@pytest.mark.parametrize("device", ["cuda:99", "tpuu"])
def test_a_device_that_is_not_there(folder, device):
    with pytest.raises(InputError, match=f"device={device} cannot be used here"):
        open_run(folder, device=device)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((5, 5, 7), np.uint8),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros(5, np.uint8),
        "abc",
        3.0,
        None,
        [[1, 2], [3]],
        torch.zeros(3, 8, 8, dtype=torch.uint8),
    ],
    ids=str,
)
def test_what_is_no_image(folder, given):
    with open_run(folder, read_only=True) as live, pytest.raises(InputError, match="wanted"):
        live.look_up(given)
    with open_run(folder, read_only=True) as live:
        shape = live.strategy.model.inputs.shape
        with pytest.raises(InputError, match="nan or an infinite"):
            live.look_up(torch.full(shape, torch.nan))
        assert len(live.look_up(torch.zeros(2, *shape, dtype=torch.float64)).ids) == 2
