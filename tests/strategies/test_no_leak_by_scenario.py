"""Hidden and test labels of every kind of stream move no bit; one base label moves the weights.

Stock benchmarks, masked or as discovery scenarios, are in `test_avalanche_interop`.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from cgcd.cli.configs import config_dir
from cgcd.engine import Baselines, discovery_evaluator

HERE = Path(__file__).parent
made = SimpleNamespace(**runpy.run_path(str(HERE / "configured.py")))
streams = SimpleNamespace(**runpy.run_path(str(HERE / "poisonable.py")))

STRATEGY_OF_SETTING = {"continual": "happy", "single_stage": "simgcd", "online": "phe"}
BUILT_AS = {  # what a config builds, and the kind of stream here that comes from the same hands
    "dataset_scenario": "images",
    "dataset_gcd_scenario": "single stage",
    "dataset_online_scenario": "on-line",
    "digits_scenario": "images",
    "digits_gcd_scenario": "single stage",
    "digits_online_scenario": "on-line",
    "features_scenario": "features",
    "features_gcd_scenario": "single stage",
    "features_online_scenario": "on-line",
    "features_stages_scenario": "features_stages",
    "folder_scenario": "folder",
    "image_folder_scenario": "images",
    "image_folder_gcd_scenario": "single stage",
    "image_folder_online_scenario": "on-line",
}
PROTOCOLS = {
    *(type(protocol).__name__ for protocol in streams.PROTOCOLS.values()),
    *("HalfKnown", "OnlineProtocol", "SingleStageProtocol"),
}


@pytest.mark.parametrize("kind", streams.KINDS)
def test_no_hidden_or_test_label_of_a_stream_moves_a_bit(kind, tmp_path):
    def after(number, **how):
        folder = tmp_path / str(number)
        folder.mkdir()
        scenario = streams.KINDS[kind](folder, **how)
        strategy = made.configured(
            STRATEGY_OF_SETTING[scenario.setting],
            streams.inputs_of(scenario),
            evaluator=discovery_evaluator(Baselines()),
        )
        return made.stored_run(strategy, scenario, folder / "run")

    clean, poisoned, changed = after(0), after(1, poisoned=True), after(2, changed=True)
    assert clean.moved_by(poisoned) == {"rows"}  # other accuracies: the truth did change
    assert "tensors" in clean.moved_by(changed)


def targets(group):
    """Classes and functions that the files of a config group name."""
    folder = config_dir() / group
    return {OmegaConf.load(path)._target_.rsplit(".", 1)[1] for path in folder.glob("*.yaml")}


def test_every_scenario_and_protocol_of_the_configs_is_among_them():
    assert targets("scenario") == BUILT_AS.keys()
    assert set(BUILT_AS.values()) <= streams.KINDS.keys()
    assert targets("protocol") == PROTOCOLS
