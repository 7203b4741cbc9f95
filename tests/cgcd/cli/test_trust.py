"""A config from elsewhere builds nothing but our own."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from cgcd.cli.trust import check_targets, resolved
from cgcd.vocabulary import InputError

SAFE = {
    "strategy": {
        "_target_": "strategies.PHE",
        "base": {
            "_target_": "cgcd.engine.Recipe",
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True},
        },
        "plugins": [{"_target_": "avalanche.training.plugins.ReplayPlugin"}],
    },
    "model": {"_target_": "cgcd.models.GCDModel", "backbone": {"_target_": "cgcd.models.Adapter"}},
    "scenario": {"_target_": "scenarios.digits_online_scenario"},
    "view": {"_target_": "torchvision.transforms.CenterCrop", "size": "${length}"},
    "length": 12,
}


def test_ours_may_be_built_and_come_out_plain():
    plain = resolved(OmegaConf.create(SAFE), trust_code=False)
    assert type(plain) is dict and plain["view"]["size"] == 12
    check_targets({"_target_": "somewhere.Else"}, trust_code=True)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "somewhere.Else",
        "torch.optim.optimizer.torch.hub.load",
        "torch.optim.optimizer.torch",
        "cgcd.engine.cache.os.system",
        "cgcd.engine.cache.os",
        "cgcd.engine.loop.FileLock",  # imported there, made elsewhere
        "cgcd.engine.cache.write_text",  # a function that writes
        "cgcd.cli.run.run",  # builds whatever it is told
        "cgcd.open_run",
        "cgcd.live.open_run",
        "cgcd.engine.Gone",
        "cgcd",
        ["os.system"],
    ],
    ids=str,
)
def test_what_is_not_ours_is_refused(target):
    for place in ({"_target_": target}, {"a": [{"b": {"_target_": target}}]}):
        with pytest.raises(InputError, match="which is none of ours; look at it"):
            resolved(OmegaConf.create(place), trust_code=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"evil": {"_target_": "os.system"}, "strategy": {"epochs": "${evil}"}},
        {"strategy": {"_target_": "${name}"}, "name": "os.system"},
        {"strategy": '${oc.create:"{_target_: os.system}"}'},
        {"strategy": r'\${oc.create:"{_target_: os.system}"}'},  # would be resolved when built
    ],
)
def test_interpolations_hide_nothing(changes):
    with pytest.raises(InputError, match="none of ours"):
        resolved(OmegaConf.create({**SAFE, **changes}), trust_code=False)


def test_no_file_is_unpickled():
    model = {"_target_": "cgcd.models.GCDModel", "backbone_kwargs": {"checkpoint_path": "x.pth"}}
    with pytest.raises(InputError, match=r"checkpoint_path=x\.pth, which is none of ours"):
        check_targets({"strategy": {"plugins": [model]}}, trust_code=False)


def test_what_cannot_be_resolved():
    with pytest.raises(InputError, match="cannot be resolved"):
        resolved(OmegaConf.create({"a": "${gone}"}), trust_code=True)
