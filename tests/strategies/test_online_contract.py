"""What every on-line strategy promises, whatever its method: one contract, run on blobs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cgcd.engine import Baselines, HashStrategy, discovery_evaluator, run_stages, stream
from cgcd.metrics import stream_accuracies
from cgcd.stages import OnlineScenario
from cgcd.vocabulary import InputError
from strategies import PHE, SMILE, Happy, PrototypeMemory, phe, prototype_memory, smile

HASH = {"hash_hidden": 32, "hash_bottleneck": 16}
METHODS = {
    "phe": (PHE, phe.BASE, "fp32", HASH),
    "phe_bf16": (PHE, phe.BASE, "bf16", HASH),
    "smile": (SMILE, smile.BASE, "fp32", HASH),
    "prototype_memory": (PrototypeMemory, prototype_memory.BASE, "fp32", {"merge_every": 30}),
}


@pytest.fixture(scope="module", params=METHODS)
def build(request, blob_model):
    """Builds the strategy under test; add a method by adding it to METHODS."""
    kind, recipe, precision, own = METHODS[request.param]

    def build(epochs: int = 4, **kwargs):
        settings = {
            "base": replace(recipe, epochs=epochs, batch_size=16),
            "observe_batch_size": 8,
            "evaluator": discovery_evaluator(Baselines()),
            **own,
            **kwargs,
        }
        return kind(model=blob_model(precision=precision), **settings)

    return build


@pytest.fixture(scope="module")
def trained(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    strategy.train(scenario.train_stream[0])
    return strategy, scenario


@pytest.fixture(scope="module")
def whole(build, blob_stream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run_stages(build(), blob_stream(), folder), folder


def weights(strategy):
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in strategy.state_modules().items()
        for name, tensor in module.state_dict().items()
    }


def inputs_of(scenario) -> torch.Tensor:
    return torch.stack([sample[0] for sample in scenario.stream.dataset.eval()])


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_row_a_window_with_bound_and_floor(whole):
    result, folder = whole
    assert [row["stream/seen"] for row in result.rows] == [40, 80, 120, 144]
    last = result.rows[-1]
    for front in ("strict/", "pruned/", "greedy/", "bound/closed_set_strict_"):
        assert {f"{front}all", f"{front}known", f"{front}novel"} <= last.keys()
    assert {"floor/leader_strict_all", "floor/leader_created", "stream/created"} <= last.keys()
    stored = json.loads((folder / "results.json").read_text())
    assert stored["finished"] and stored["windows"] == list(result.rows)
    assert stored["headline"]["value"] == last["strict/all"] == result.headline
    lines = (folder / "predictions" / "stream.csv").read_text().splitlines()
    assert len(lines) == 145 and lines[0].startswith("position,sample,true_class,category")


def test_metrics_csv_tells_the_window(whole):
    result, folder = whole
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = [(row["stage"], row["split"], row["metric"], row["seen"]) for row in rows]
    assert len(set(keys)) == len(keys)
    found = {int(r["seen"]): float(r["value"]) for r in rows if r["metric"] == "strict/all"}
    assert found == {row["stream/seen"]: row["strict/all"] for row in result.rows}
    assert result.mean("strict/all") == result.headline and result.mean("gone") is None


def test_rows_are_those_of_the_whole_prefix(whole):
    result, folder = whole
    with (folder / "predictions" / "stream.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = np.array([int(row["category"]) for row in rows])
    truth = np.array([int(row["true_class"].split()[1]) for row in rows])
    for row in result.rows:
        seen = row["stream/seen"]
        for key, value in stream_accuracies(ids[:seen], truth[:seen], 8).items():
            assert row[key] == value
        assert row["stream/categories"] == len(np.unique(ids[:seen]))
        assert row["stream/true_novel"] == len(set(truth[:seen][truth[:seen] >= 8]))


def test_windows_are_read_in_the_order_of_their_numbers(tmp_path):
    for index in (999_999, 1_000_000, 5):
        (tmp_path / f"window_{index:06d}.safetensors").touch()
    assert [index for index, _ in stream._numbered(tmp_path)] == [5, 999_999, 1_000_000]


def test_learns_the_known_classes(build, blob_stream):
    last = run_stages(build(epochs=30), blob_stream()).rows[-1]
    assert last["bound/closed_set_identity_known"] > 0.95
    assert last["stream/created"] >= 1


@pytest.mark.parametrize("kept", range(4))
def test_a_broken_stream_goes_on_with_the_same_file(build, blob_stream, whole, tmp_path, kept):
    result, _ = whole
    run_stages(build(), blob_stream(), tmp_path)
    expected = (tmp_path / "predictions" / "stream.csv").read_bytes()
    for path in sorted((tmp_path / "checkpoints" / "stream").iterdir())[kept:]:
        path.unlink()
    (tmp_path / "predictions" / "stream.csv").unlink()
    seen = []
    again = run_stages(build(), blob_stream(), tmp_path, on_stage=seen.append)
    assert (tmp_path / "predictions" / "stream.csv").read_bytes() == expected
    assert without_seconds(again.rows) == without_seconds(result.rows) == without_seconds(seen)


def test_a_damaged_window_is_answered_again(build, blob_stream, tmp_path, caplog):
    run_stages(build(), blob_stream(), tmp_path)
    expected = (tmp_path / "predictions" / "stream.csv").read_bytes()
    torn = sorted((tmp_path / "checkpoints" / "stream").iterdir())[1]
    content = bytearray(torn.read_bytes())
    content[-3] ^= 1
    torn.write_bytes(content)
    run_stages(build(), blob_stream(), tmp_path)
    assert "damaged" in caplog.text
    assert (tmp_path / "predictions" / "stream.csv").read_bytes() == expected


def test_windows_of_another_size_leave_nothing_behind(build, blob_stream, tmp_path, caplog):
    run_stages(build(), blob_stream(), tmp_path)
    expected = (tmp_path / "predictions" / "stream.csv").read_bytes()
    run_stages(build(), blob_stream(window=100), tmp_path)
    assert "another size" in caplog.text
    assert (tmp_path / "predictions" / "stream.csv").read_bytes() == expected
    assert len(list((tmp_path / "checkpoints" / "stream").iterdir())) == 2


def test_answers_do_not_depend_on_company_or_window(trained, build, blob_stream, whole):
    strategy, scenario = trained
    images = inputs_of(scenario)
    together = strategy.codes(images)
    alone = torch.cat([strategy.codes(image) for image in images[:24]])
    assert torch.equal(together[:24], alone)
    assert torch.equal(strategy.codes(images.flip(0)).flip(0), together)
    other = run_stages(build(), blob_stream(window=1000)).rows[-1]
    assert without_seconds([other])[0] == pytest.approx(
        {**without_seconds(whole[0].rows[-1:])[0], "stream/opened": other["stream/opened"]}
    )


def test_observe_equals_the_run_and_look_up_changes_nothing(trained, whole):
    strategy, scenario = trained
    images = inputs_of(scenario)
    strategy.book = None
    before = strategy.look_up(images)
    ids = np.concatenate([strategy.observe(part).ids for part in images.split(7)])
    lines = (whole[1] / "predictions" / "stream.csv").read_text().splitlines()[1:]
    assert ids.tolist() == [int(line.split(",")[3]) for line in lines]
    version = strategy.book.version
    again = strategy.look_up(images)
    assert strategy.book.version == version
    assert (before.ids[before.ids >= 0] < len(strategy.book)).all()
    if isinstance(strategy, HashStrategy):  # codes stay where they are, prototypes move
        assert not again.is_new.any()


def test_a_restored_book_answers_alike(trained):
    strategy, scenario = trained
    rows = strategy.book_rows(strategy.codes(inputs_of(scenario)))
    whole, first, second = (strategy.new_book() for _ in range(3))
    expected = whole.observe(rows).ids
    first.observe(rows[:50])
    second.load_state_dict(first.state_dict())
    assert np.array_equal(second.observe(rows[50:]).ids, expected[50:])


def test_the_truth_of_the_stream_moves_nothing(build, blob_stream, whole, tmp_path):
    blind = run_stages(build(), blob_stream(hide_truth=True), tmp_path)
    assert "strict/all" not in blind.rows[-1] and blind.headline is None
    columns = [
        [line.split(",")[3:] for line in (path / "predictions" / "stream.csv").open()]
        for path in (whole[1], tmp_path)
    ]
    assert columns[0] == columns[1]


def test_a_base_label_moves_the_weights(build, blob_stream):
    def swapped(labels):
        labels[:2] = labels[-2:]
        return labels

    first, second = build(), build()
    first.train(blob_stream().train_stream[0])
    second.train(blob_stream(relabel=swapped).train_stream[0])
    one, other = weights(first), weights(second)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_another_stream_gives_the_same_weights(build, blob_stream):
    """Invariant 4 of SMILE's specification, and what "online" means for any method."""
    own, other = blob_stream(), blob_stream(seed=1, num_novel=9, per_class=30)
    mixed = OnlineScenario(
        own.train_stream[0],
        other.stream,
        other.test_stream[0],
        window=50,
        name="mixed",
        class_names=other.class_names,
        num_base=own.num_base,
    )
    first, second = build(epochs=1), build(epochs=1)
    run_stages(first, own)
    run_stages(second, mixed)
    assert not np.array_equal(own.truth, other.truth)
    one, two = weights(first), weights(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_evaluating_leaves_no_trace(trained):
    strategy, scenario = trained
    before = weights(strategy)
    state = torch.get_rng_state()
    strategy.eval(scenario.test_stream)
    assert torch.equal(torch.get_rng_state(), state)
    after = weights(strategy)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_seed_gives_the_same_weights(build, blob_stream):
    first, second, other = build(), build(), build(seed=1)
    for strategy in (first, second, other):
        strategy.train(blob_stream().train_stream[0])
    one, two, three = map(weights, (first, second, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], three[name]) for name in one)


def test_only_the_own_parts_learn(build, blob_stream):
    strategy, scenario = build(), blob_stream()
    start = {n: p.detach().clone() for n, p in strategy.model.named_parameters()}
    strategy.train(scenario.train_stream[0])
    hashed = isinstance(strategy, HashStrategy)
    fixed, own = ("projection", "extras.hash") if hashed else ("extras", "projection")
    for name, parameter in strategy.model.named_parameters():
        if name.startswith(("backbone.trunk", fixed)):
            assert torch.equal(parameter, start[name]), name
        elif name.startswith(("backbone.tail", own)):
            assert not torch.equal(parameter, start[name]), name


def test_a_batch_of_nothing_is_refused(build):
    with pytest.raises(InputError, match="observe_batch_size is 0"):
        build(observe_batch_size=0)


@pytest.mark.parametrize("made", [PHE, SMILE])
@pytest.mark.parametrize("length", [0, 65_000])
def test_a_code_has_a_length(made, length, blob_model):
    with pytest.raises(InputError, match=f"code of {length} bits"):
        made(model=blob_model(), code_length=length)


def test_bad_uses(build, blob_stream, blobs, trained):
    with pytest.raises(InputError, match="is for the setting online and blobs is continual"):
        run_stages(build(), blobs())
    with pytest.raises(InputError, match="call train"):
        build().observe(torch.zeros(16))
    strategy, scenario = trained
    with pytest.raises(InputError, match=r"has the shape \(5,\); the model takes \(16,\)"):
        strategy.observe(torch.zeros(5))
    for number in (torch.nan, torch.inf):
        with pytest.raises(InputError, match="an input holds nan or an infinite number"):
            strategy.observe(torch.full((2, 16), number))
    with pytest.raises(InputError, match="trains on the labeled stage only"):
        build_and_train_twice(build(), scenario)
    with pytest.raises(InputError, match=r"wanted at least 1: set scenario\.window"):
        blob_stream(window=0)
    with pytest.raises(InputError, match="the stream is empty"):
        blob_stream(per_class=1)


def build_and_train_twice(strategy, scenario):
    for stage in scenario.train_stream:
        strategy.train(stage)


def test_a_staged_strategy_refuses_a_stream(blob_stream, blob_model):
    with pytest.raises(InputError, match="Happy is for the setting continual"):
        run_stages(Happy(model=blob_model()), blob_stream())
