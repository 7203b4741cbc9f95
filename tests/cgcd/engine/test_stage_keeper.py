"""A run that breaks off inside a stage ends as if it had not."""

from __future__ import annotations

import json
import logging
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import nn

from cgcd.engine import Baselines, Recipe, WarmUp, discovery_evaluator, run_stages
from cgcd.engine.checkpoint_files import within_folders
from cgcd.engine.seeding import generator_states, set_generator_states
from cgcd.engine.stage_keeper import StageKeeper
from cgcd.tracking.tensorboard import StageTensorBoard
from cgcd.vocabulary import InputError
from strategies import PHE, SMILE, Analytic, Happy, ProtoGCD, SimGCD


class Crash(Exception):
    pass


class CrashAt(SupervisedPlugin):
    """Ends training after a step of a stage, or at an epoch's end, as a crash would."""

    def __init__(self, stage: int = 0, step: int = -1, epoch: int = -1) -> None:
        super().__init__()
        self.stage, self.step, self.epoch = stage, step, epoch

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        return

    def after_training_iteration(self, strategy, **kwargs):
        if (strategy.stage_index, strategy.clock.train_exp_iterations) == (self.stage, self.step):
            raise Crash

    def before_training_epoch(self, strategy, **kwargs):
        if (strategy.stage_index, strategy.epoch) == (self.stage, self.epoch):
            raise Crash


def state_of(strategy) -> dict[str, torch.Tensor]:
    modules = {"model": strategy.model, **strategy.state_modules()}
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def files(folder) -> dict[str, bytes]:
    """What a run leaves for people to read, without how long it took."""
    found = {p.name: p.read_bytes() for p in (folder / "predictions").iterdir()}
    lines = (folder / "metrics.csv").read_text().splitlines()
    found["metrics"] = "\n".join(line for line in lines if "seconds" not in line).encode()
    found["results"] = json.dumps(plain(json.loads((folder / "results.json").read_text()))).encode()
    return found


def plain(value):
    if isinstance(value, dict):
        timed = ("seconds", "cached")
        return {k: plain(v) for k, v in value.items() if not k.startswith(timed)}
    return [plain(v) for v in value] if isinstance(value, list) else value


def points(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            if not tag.startswith(("seconds", "throughput", "memory", "stream/seconds")):
                events = [(event.step, event.value) for event in accumulator.Scalars(tag)]
                read.setdefault(tag, []).extend(events)
    return {tag: sorted(values) for tag, values in read.items()}


def with_dropout():
    """Draws from torch's global generator at every step of the tail."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tail = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 24))
        return nn.Sequential(nn.Linear(16, 48), nn.ReLU(), tail)


def recipe(of, optimizer, lr, epochs):
    return Recipe(
        epochs=epochs,
        batch_size=16,
        optimizer=partial(optimizer, lr=lr),
        weights=of.weights,
        drop_last=of.drop_last,
    )


@pytest.fixture(scope="module")
def cases(blob_model, blobs, blob_stream, blob_single_stage, quick_happy):
    """Builders of strategy and scenario, by name."""
    import strategies

    def short(
        kind, optimizer=torch.optim.SGD, lr=0.05, epochs=(3, 3), precision="fp32", **settings
    ):
        module = getattr(strategies, kind.__module__.split(".")[1])

        def build(**more):
            net = with_dropout() if kind is Happy else None
            model = blob_model(backbone=net, precision=precision)
            recipes = {"base": recipe(module.BASE, optimizer, lr, epochs[0])}
            if hasattr(module, "CONTINUAL"):
                recipes["continual"] = recipe(module.CONTINUAL, optimizer, lr, epochs[1])
            return kind(model=model, **recipes, **settings, **more)

        return build

    blobs = partial(blobs, novel=(1,), per_class=20)
    small = {"hash_hidden": 32, "hash_bottleneck": 16}
    adam = torch.optim.AdamW
    warm = WarmUp(steps=6, batch_size=16, cache=False)
    return {
        "happy": (short(Happy, warm_up=warm, kmeans_starts=2), blobs),
        "happy, bf16": (short(Happy, warm_up=warm, kmeans_starts=2, precision="bf16"), blobs),
        "happy, AdamW": (short(Happy, adam, 1e-3, kmeans_starts=2), blobs),
        "happy, estimate": (
            short(Happy, num_novel="estimate", kmeans_starts=2),
            partial(blobs, num_novel="estimate"),
        ),
        "proto_gcd": (short(ProtoGCD, kmeans_starts=2), blobs),
        "proto_gcd, one stage": (short(ProtoGCD), blob_single_stage),
        "simgcd": (short(SimGCD, new_rows="random"), blobs),
        "analytic": (short(Analytic, num_features=64), blobs),
        "phe": (short(PHE, adam, 1e-3, **small), blob_stream),
        "smile": (short(SMILE, **small), blob_stream),
    }


@pytest.fixture(scope="module")
def whole(cases, tmp_path_factory):
    """Uninterrupted runs without any checkpoint inside a stage, made once each."""
    made = {}

    def run(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("whole")
            build, scenario = cases[name]
            strategy = build(evaluator=measured(folder))
            run_stages(strategy, scenario(), folder, checkpoint_minutes=None)
            strategy.evaluator.loggers[0].close()
            made[name] = SimpleNamespace(folder=folder, strategy=strategy, state=state_of(strategy))
        return made[name]

    return run


def measured(folder):
    return discovery_evaluator(Baselines(), loggers=[StageTensorBoard(folder / "tensorboard")])


def attempt(build, scenario, folder, steps=1, crash=None):
    """One try in a folder; the strategy if it came to its end."""
    torch.manual_seed(99), np.random.seed(99), random.seed(99)  # nothing may hang on these
    strategy = build(evaluator=measured(folder), plugins=[crash or CrashAt()])
    try:
        run_stages(strategy, scenario(), folder, checkpoint_minutes=None, checkpoint_steps=steps)
    except Crash:
        return None
    finally:
        strategy.evaluator.loggers[0].close()
    return strategy


PLACES = [("happy", 0, 7), ("happy", 1, 2), ("happy, AdamW", 1, 3), ("happy, estimate", 1, 3)]
PLACES += [("happy, bf16", 0, 7), ("happy, bf16", 1, 2)]
PLACES += [("proto_gcd", 1, 3), ("proto_gcd, one stage", 0, 5), ("simgcd", 1, 4)]
PLACES += [("analytic", 0, 8), ("phe", 0, 14), ("smile", 0, 3)]


@pytest.mark.parametrize(("name", "stage", "step"), PLACES)
def test_a_crash_inside_a_stage_changes_nothing(cases, whole, tmp_path, name, stage, step, caplog):
    build, scenario = cases[name]
    assert attempt(build, scenario, tmp_path, crash=CrashAt(stage, step)) is None
    steps = [int(p.name[-8:]) for p in within_folders(tmp_path / "checkpoints")]
    assert steps[-1] <= step and len(steps) <= 2
    with caplog.at_level(logging.INFO, logger="cgcd"):
        strategy = attempt(build, scenario, tmp_path)
    assert f"going on inside stage {stage}" in caplog.text
    assert_same(state_of(strategy), whole(name).state)
    assert files(tmp_path) == files(whole(name).folder)
    assert points(tmp_path / "tensorboard") == points(whole(name).folder / "tensorboard")
    left = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert left == {p.name for p in (whole(name).folder / "checkpoints").iterdir()}


def test_many_crashes_one_after_the_other(cases, whole, tmp_path):
    build, scenario = cases["happy"]
    crashes = [CrashAt(0, 3), CrashAt(0, 3), CrashAt(0, 4), CrashAt(0, epoch=1)]
    crashes += [CrashAt(0, epoch=2), CrashAt(1, 1), CrashAt(1, 2)]
    for crash in crashes:
        assert attempt(build, scenario, tmp_path, steps=2, crash=crash) is None
    strategy = attempt(build, scenario, tmp_path, steps=2)
    assert_same(state_of(strategy), whole("happy").state)
    assert files(tmp_path) == files(whole("happy").folder)
    assert points(tmp_path / "tensorboard") == points(whole("happy").folder / "tensorboard")


def test_the_number_of_workers_may_change_on_the_way(cases, whole, tmp_path):
    build, scenario = cases["happy, AdamW"]
    workers = partial(build, num_workers=2)
    assert attempt(workers, scenario, tmp_path, steps=2, crash=CrashAt(0, 9)) is None
    assert attempt(build, scenario, tmp_path, steps=2, crash=CrashAt(1, 3)) is None
    assert_same(state_of(attempt(workers, scenario, tmp_path)), whole("happy, AdamW").state)


@pytest.fixture
def broken(cases, tmp_path):
    """A Happy run that broke off in stage 1, after two checkpoints inside it."""
    build, scenario = cases["happy, AdamW"]
    attempt(build, scenario, tmp_path, crash=CrashAt(1, 4))
    paths = within_folders(tmp_path / "checkpoints")
    assert [p.name for p in paths] == ["within_001_00000003", "within_001_00000004"]
    return SimpleNamespace(folder=tmp_path, build=build, scenario=scenario, paths=paths)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("tensors.safetensors", flip),
        ("state.json", cut),
        ("state.json", lambda path: path.unlink()),
    ],
)
def test_a_damaged_newest_falls_back_to_the_one_before(broken, whole, spoil, name, caplog):
    spoil(broken.paths[1] / name)
    with caplog.at_level(logging.INFO, logger="cgcd"):
        strategy = attempt(broken.build, broken.scenario, broken.folder)
    assert "within_001_00000004 is damaged" in caplog.text
    assert (
        "going back to the one before" in caplog.text and "at epoch 1 of 3, batch 1" in caplog.text
    )
    assert_same(state_of(strategy), whole("happy, AdamW").state)
    assert points(broken.folder / "tensorboard") == points(
        whole("happy, AdamW").folder / "tensorboard"
    )


def test_both_damaged_begins_the_stage_anew(broken, whole, caplog):
    for path in broken.paths:
        cut(path / "tensors.safetensors")
    strategy = attempt(broken.build, broken.scenario, broken.folder)
    assert "going on inside" not in caplog.text
    assert_same(state_of(strategy), whole("happy, AdamW").state)


def test_a_newer_version_is_refused(broken):
    path = broken.paths[1] / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(InputError, match="has schema version 99 and this cgcd reads up to"):
        attempt(broken.build, broken.scenario, broken.folder)


def test_another_run_is_refused(cases, tmp_path):
    build, scenario = cases["happy, AdamW"]
    attempt(build, scenario, tmp_path, crash=CrashAt(0, 4))
    with pytest.raises(InputError, match="holds a run with another seed"):
        attempt(partial(build, seed=1), scenario, tmp_path)
    assert within_folders(tmp_path / "checkpoints")


def test_what_does_not_fit_is_one_sentence(broken):
    strategy = broken.build()
    strategy.keeper = StageKeeper(broken.folder / "checkpoints")
    strategy.keeper.find(1, {})
    strategy.evaluator.loggers.clear()
    with pytest.raises(InputError, match=r"does not fit the stage as it begins here \(.* differs"):
        strategy.train(broken.scenario().train_stream[0])


def test_the_warm_up_is_not_made_again(cases, tmp_path, monkeypatch):
    build, scenario = cases["happy"]
    attempt(build, scenario, tmp_path, crash=CrashAt(0, 0))
    assert (tmp_path / "checkpoints" / "start.safetensors").is_file()
    monkeypatch.setattr("cgcd.engine.template.warm_up", lambda *a, **k: pytest.fail("made again"))
    attempt(build, scenario, tmp_path)
    assert not (tmp_path / "checkpoints" / "start.safetensors").exists()


def test_a_plugin_with_its_own_loader_is_stored_by_stages(cases, tmp_path, caplog):
    class OwnLoader(CrashAt):
        def before_training_exp(self, strategy, **kwargs):
            strategy.dataloader = list(strategy.dataloader)

    build, scenario = cases["happy, AdamW"]
    assert attempt(build, scenario, tmp_path, crash=OwnLoader(1, 3)) is None
    assert not within_folders(tmp_path / "checkpoints")
    assert "reads batches of its own" in caplog.text
    attempt(build, scenario, tmp_path, crash=OwnLoader())


def test_by_time(cases, tmp_path, monkeypatch):
    now = iter(range(0, 10**6, 25))
    monkeypatch.setattr("cgcd.engine.stage_keeper.time.monotonic", lambda: next(now))
    stored = []
    store = StageKeeper.store

    def noted(self, strategy, batches):
        stored.append(strategy.clock.train_exp_iterations)
        store(self, strategy, batches)

    monkeypatch.setattr(StageKeeper, "store", noted)
    build, scenario = cases["happy, AdamW"]
    run_stages(build(), scenario(), tmp_path, checkpoint_minutes=1.0)
    assert 2 <= len(stored) < 30


@pytest.mark.parametrize("wrong", [{"checkpoint_minutes": 0}, {"checkpoint_steps": 0}])
def test_numbers_out_of_range_are_named(cases, tmp_path, wrong):
    build, scenario = cases["happy, AdamW"]
    with pytest.raises(InputError, match=next(iter(wrong))):
        run_stages(build(), scenario(), tmp_path, **wrong)


def test_generator_states_are_put_back():
    for _ in range(2):  # with and without a normal number that waits
        random.gauss(0, 1), np.random.standard_normal()
        kept = generator_states()
        drawn = [torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1)]
        set_generator_states(kept)
        again = [torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1)]
        assert drawn == again
