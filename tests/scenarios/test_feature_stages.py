"""Streams of embeddings: who is where, by hand; bad input by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cgcd.models import InputSpec
from cgcd.stages import DiscoveryScenario
from cgcd.vocabulary import UNLABELED, InputError
from scenarios import Protocol, features_scenario, features_stages_scenario
from scenarios.feature_stages import HalfKnown

DIM, EACH, CLASSES = 4, 20, 6
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(CLASSES), EACH))
VECTORS = np.random.default_rng(1).standard_normal((len(LABELS), DIM)).astype(np.float32)
NAMES = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])
INPUTS = InputSpec(vector=DIM)


def rows(stage: Any) -> np.ndarray:
    return np.asarray(list(stage.dataset.sample_id))


def composed(path: Path, **settings: Any) -> DiscoveryScenario:
    return features_scenario(inputs=INPUTS, data_root=path, **settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ids = np.array([f"s{i}" for i in range(len(LABELS))])
    np.savez(tmp_path / "all.npz", f=VECTORS, y=LABELS, classes=NAMES, ids=ids)
    return tmp_path / "all.npz"


def test_a_share_of_each_class_is_held_out_and_nobody_trains_on_it(file: Path) -> None:
    scenario = composed(file, held_out=0.25)
    tests = [rows(stage) for stage in scenario.test_stream]
    tested = np.concatenate(tests)
    assert np.bincount(LABELS[tested]).tolist() == [5] * CLASSES
    assert len(scenario.train_stream) == 4 and scenario.num_base == 3
    for t, stage in enumerate(scenario.train_stream):
        assert not np.intersect1d(rows(stage), tested).size
        assert set(LABELS[tests[t]]) == ({0, 1, 2} if t == 0 else {t + 2})
        shown = LABELS[rows(stage)] if t == 0 else np.full(len(rows(stage)), UNLABELED)
        np.testing.assert_array_equal(stage.labels, shown)
    assert scenario.sample_names[7] == "s7" and scenario.class_names == tuple(NAMES)
    assert scenario.stream_hash == composed(file, held_out=0.25).stream_hash
    assert scenario.stream_hash != composed(file, held_out=0.25, seed=1).stream_hash


def test_a_split_says_who_is_tested(tmp_path: Path) -> None:
    split = np.arange(len(LABELS)) % 3
    np.savez(tmp_path / "s.npz", f=VECTORS, y=LABELS, split=split)
    scenario = composed(
        tmp_path / "s.npz",
        protocol=Protocol(num_base=4, num_stages=2, samples_per_novel=None, samples_per_known=3),
    )
    trained = np.concatenate([rows(stage) for stage in scenario.train_stream])
    tested = np.concatenate([rows(stage) for stage in scenario.test_stream])
    assert set(split[trained]) == {0} and sorted(tested) == np.flatnonzero(split == 1).tolist()
    assert scenario.num_base == 4 and scenario.sample_names is None


@pytest.mark.parametrize(("classes", "base", "stages"), [(2, 1, 1), (7, 4, 3), (100, 50, 5)])
def test_half_of_any_number_of_classes_is_known(classes: int, base: int, stages: int) -> None:
    protocol = HalfKnown().of(classes)
    assert (protocol.num_base, protocol.num_stages) == (base, stages)


def test_what_cannot_be_composed_is_named(tmp_path: Path, file: Path) -> None:
    with pytest.raises(InputError, match=r"no test part and held_out is 0"):
        composed(file, held_out=0)
    with pytest.raises(InputError, match=r"held_out is 1\.5"):
        composed(file, held_out=1.5)
    np.save(tmp_path / "bare.npy", VECTORS)
    with pytest.raises(InputError, match=r"lacks 'y'.*scenario=features_stages"):
        composed(tmp_path / "bare.npy")
    with pytest.raises(InputError, match="at least 2, one to know"):
        HalfKnown().of(1)


# ------------------------------------------------------------------ stages without labels


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    known = LABELS < 3
    np.savez(tmp_path / "known.npz", f=VECTORS[known], y=LABELS[known], classes=NAMES[:3])
    np.save(tmp_path / "may.npy", VECTORS[LABELS == 3])
    lines = ["id,a,b,c,d", *(f"j{i},{','.join(map(str, v))}" for i, v in enumerate(VECTORS[:9]))]
    (tmp_path / "june.csv").write_text("\n".join(lines))
    return {
        "labeled": tmp_path / "known.npz",
        "stages": [tmp_path / "may.npy", tmp_path / "june.csv"],
    }


def stream(given: dict[str, Any], **more: Any) -> DiscoveryScenario:
    return features_stages_scenario(inputs=INPUTS, **{**given, **more})


def test_files_become_stages_in_their_order(given: dict[str, Any]) -> None:
    scenario = stream(given)
    base, may, june = scenario.train_stream
    assert len(base.dataset) == 54 and base.labeled and scenario.num_novel == "estimate"
    assert np.bincount(scenario.test_stream[0].labels).tolist() == [2, 2, 2]
    assert not np.intersect1d(rows(base), rows(scenario.test_stream[0])).size
    assert rows(may).tolist() == list(range(60, 80)) and rows(june).tolist() == list(range(80, 89))
    for stage in (may, june, *list(scenario.test_stream)[1:]):
        assert set(stage.labels.tolist()) == {UNLABELED} and stage.num_novel is None
    assert scenario.sample_kind == "id"
    assert (
        scenario.sample_names[59:61] == ("known:59", "may:0") and scenario.sample_names[-1] == "j8"
    )
    wanted = VECTORS[0] / np.linalg.norm(VECTORS[0])
    np.testing.assert_allclose(june.dataset.eval()[0][0], wanted, rtol=1e-3)


def test_truth_is_for_measuring_only(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("id,class\nmay:0,dog\nj1,bee\nj0,emu\n")
    scenario = stream(given, truth=tmp_path / "truth.csv")
    assert scenario.class_names == ("ant", "bee", "cat", "dog", "emu")
    assert scenario.test_stream[1].labels[:2].tolist() == [3, UNLABELED]
    assert scenario.test_stream[2].labels[:3].tolist() == [4, 1, UNLABELED]
    assert all(set(s.labels.tolist()) == {UNLABELED} for s in list(scenario.train_stream)[1:])


def test_labels_in_a_stage_are_a_truth(given: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "may.npz", f=VECTORS[:4], y=[0, 1, 0, 1], classes=["dog", "ant"])
    scenario = stream(given, stages=tmp_path / "may.npz", num_novel="given")
    assert scenario.test_stream[1].labels.tolist() == [3, 0, 3, 0]
    assert scenario.train_stream[1].labels.tolist() == [UNLABELED] * 4
    assert scenario.train_stream[1].num_novel == 1


def test_what_does_not_fit_together_is_named(given: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.ones((3, 5), np.float32))
    with pytest.raises(InputError, match=r"wide\.npy has embeddings of 5 values and .* of 4"):
        stream(given, stages=[tmp_path / "wide.npy"])
    with pytest.raises(InputError, match="both hold the id 'may:0'"):
        stream(given, stages=[given["stages"][0]] * 2)
    (tmp_path / "truth.csv").write_text("id,class\nnobody,dog\n")
    with pytest.raises(InputError, match=r"names 1 samples that are not there.*'nobody'"):
        stream(given, truth=tmp_path / "truth.csv")
    (tmp_path / "truth.csv").write_text("id,class\nknown:0,dog\n")
    with pytest.raises(InputError, match="gives 'known:0' the class 'dog' and it is labeled as"):
        stream(given, truth=tmp_path / "truth.csv")
    with pytest.raises(InputError, match=r"lacks 'y'"):
        stream(given, labeled=given["stages"][0])
