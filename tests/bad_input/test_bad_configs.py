"""Values that cannot be used: key, value and what was wanted are said, nothing is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

TYPES = [
    ("seed=abc", "seed=abc", "a whole number >= 0"),
    ("seed=1.5", "seed=1.5", "a whole number"),
    ("seed=null", "seed=None", "a whole number"),
    ("strategy.base.epochs=two", "strategy.base.epochs=two", "a whole number"),
    ("strategy.base.epochs=1.5", "strategy.base.epochs=1.5", "a whole number"),
    ("strategy.base.epochs=true", "strategy.base.epochs=true", "a whole number"),
    ("strategy.base.drop_last=maybe", "drop_last=maybe", "true or false"),
    ("strategy.base.optimizer.lr=fast", "optimizer.lr=fast", "a number"),
    ("strategy.base.optimizer.lr=nan", "optimizer.lr=nan", "a finite number"),
    ("strategy.base.weights=null", "strategy.base.weights=null", "values by name"),
    ("strategy.base.weights.contrastive=x", "weights.contrastive=x", "a number"),
    ("strategy.base=5", "strategy.base=5", "wanted a Recipe"),
    ("strategy.warm_up=5", "strategy.warm_up=5", "a WarmUp"),
    ("strategy.plugins=[1]", "strategy.plugins[0]=1", "a BasePlugin"),
    ("scenario.protocol=null", "scenario.protocol=null", "a StagedProtocol"),
    ("scenario.normalize=5", "scenario.normalize=5", "true or false"),
    ("model.backbone.hidden=abc", "model.backbone.hidden=abc", "hidden=512"),
    ("model.mean=[1,a,2]", "model.mean[1]=a", "a number"),
    ("schema_version=x", "schema_version=x", "a whole number"),
]
RANGES = [
    ("seed=99999999999999999999", "seed=99999999999999999999", ">= 0"),
    ("strategy.kmeans_seed=-1", "strategy.kmeans_seed=-1", "set strategy.kmeans_seed=0"),
    ("strategy.base.batch_size=0", "strategy.base: ", "batch_size is 0; wanted at least 1"),
    ("strategy.base.batch_size=1000", "one batch of 1000", "lower strategy.base.batch_size"),
    ("strategy.base.optimizer.lr=-1", "strategy.base: ", "lr=-1; wanted 0 or more"),
    ("strategy.base.floor=2", "floor is 2", "from 0 to 1"),
    ("strategy.base.clip_norm=0", "clip_norm is 0", "above 0, or null"),
    ("strategy.teacher_temperature=0", "teacher_temperature is 0", "above 0"),
    ("strategy.radius_scale=inf", "radius_scale=inf", "a finite number"),
    ("model.projection_hidden=-3", "projection_hidden is -3", "at least 1"),
    ("model.backbone.hidden=0", "hidden is 0", "model.backbone.hidden=512"),
    ("scenario.noise=-1", "noise is -1", "0 or more"),
    ("scenario.held_out=1", "held_out is 1", "from 0 to below 1"),
    ("schema_version=99", "schema_version=99", "reads up to"),
]
KEYS = [
    ("strateg=happy", "there is no key 'strateg'", "'strategy'"),
    ("strategy.base.epoch=1", "'strategy.base.epoch'", "did you mean 'strategy.base.epochs'"),
    ("+foo=1", "nothing reads the key 'foo'", "leave it out"),
    ("+strategy.nope=1", "nope", "strategy cannot be built"),
    ("strategy=hapy", "strategy=hapy", "did you mean 'happy'"),
    ("seed", "seed cannot be read", "wanted key=value"),
    ("strategy.base.epochs=${nope}", "'nope' not found", "does not resolve"),
    ("strategy._target_=strategies.Nope", "strategies.Nope", "strategy"),
    ("scenario._target_=builtins.dict", "makes a dict", "choose one with scenario=NAME"),
    ("model._target_=os.system", "os.system", "model"),
]
CONTINUAL = "strategy.continual.optimizer."
CONTRADICTIONS = [
    (["scenario.num_novel=estimate"], "num_novel is 'given' but stage 1", "num_novel=estimate"),
    (["scenario=digits"], "gives images and the model takes vectors", "set model="),
    (["model=resnet10t"], "the model takes images", "set model=adapter"),
    (["model.backbone.dim=9"], "12 values", "set model.backbone.dim=12"),
    (["strategy.continual.optimizer._target_=torch.optim.AdamW"], "momentum", "recipe's optimizer"),
    (
        ["~strategy.continual.optimizer.momentum", f"{CONTINUAL}_target_=torch.optim.AdamW"],
        "uses SGD and the continual one AdamW",
        "the same optimizer class",
    ),
    (["~strategy.continual.weights.contrastive"], "contrastive is missing", "loss terms are"),
    (["+strategy.base.weights.nope=1"], "nope is given", "loss terms are"),
    (["num_novel=500"], "stage 1 is to bring 500 novel classes", "make the stage larger"),
    (["num_novel=estimate", "estimator=guess"], "estimator is 'guess'", "wanted one of"),
    (["-m", "--cfg", "job"], "-m runs and --cfg", "give one of the two"),
    (["seed=0,1"], "seed=0,1 is a sweep", "add -m"),
]
ONE_VALUE = [([override], given, wanted) for override, given, wanted in (*TYPES, *RANGES, *KEYS)]
AT_A_STAGE = CONTRADICTIONS[0][0]  # noticed once training is under way, in a folder of its own
WITH_CONTROL = [[TYPES[0][0]], [RANGES[1][0]], [KEYS[1][0]], AT_A_STAGE]


@pytest.mark.parametrize(("overrides", "given", "wanted"), [*ONE_VALUE, *CONTRADICTIONS])
def test_values_that_cannot_be_used(
    overrides: list[str],
    given: str,
    wanted: str,
    place: Path,
    tiny: Callable,
    refused: Callable,
    works: Callable,
) -> None:
    before = sorted(place.rglob("*"))
    refused(tiny(*overrides), given, wanted)
    assert overrides == AT_A_STAGE or sorted(place.rglob("*")) == before
    if overrides in WITH_CONTROL:
        works(tiny())


def copied(place: Path, works: Callable, command: list[str]) -> Path:
    """A run's folder as somebody else gets it."""
    works(command)
    (own,) = (place / "own").iterdir()
    received = place / "received"
    shutil.rmtree(received, ignore_errors=True)
    shutil.copytree(own, received)
    return received


RECEIVED = [
    ({"strategy": {"_target_": "os.system", "command": "touch owned"}}, "os.system"),
    ({"model": {"backbone": {"_target_": "subprocess.run", "args": ["touch"]}}}, "subprocess.run"),
    ({"scenario": {"_target_": "cgcd.cli.run.run"}}, "cgcd.cli.run.run"),
    ({"strategy": {"plugins": ["${oc.create:'{_target_: os.system}'}"]}}, "os.system"),
    ({"model": {"backbone_kwargs": {"checkpoint_path": "evil.pth"}}}, "checkpoint_path=evil.pth"),
]


@pytest.mark.parametrize(("changes", "given"), RECEIVED, ids=[given for _, given in RECEIVED])
def test_a_received_run_folder_builds_nothing_of_others(
    changes: dict, given: str, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    received = copied(place, works, tiny("runs_root=own"))
    kept = OmegaConf.load(received / "config.yaml")
    OmegaConf.save(OmegaConf.merge(kept, changes), received / "config.yaml")
    refused(["verify", "received"], given, "none of ours")
    assert not (place / "owned").exists()
    OmegaConf.save(kept, received / "config.yaml")
    assert "as stored" in works(["verify", "received"])


@pytest.mark.parametrize(
    ("text", "given"),
    [("", "lacks model"), ("{", "cannot be read"), ("[1]", "lacks model"), ("a: ${b}", "'b'")],
)
def test_a_received_config_that_is_none(
    text: str, given: str, place: Path, tiny: Callable, refused: Callable, works: Callable
) -> None:
    received = copied(place, works, tiny("runs_root=own"))
    (received / "config.yaml").write_text(text)
    refused(["verify", "received"], "config", given)
