import numpy as np
import pytest
import torch

from cgcd.metrics import (
    AnswerTable,
    false_known_rate,
    greedy_accuracy,
    identity_accuracy,
    joint_accuracy,
    pruned_accuracy,
    stream_accuracies,
)

NUM_KNOWN = 4


def ids(text: str) -> np.ndarray:
    return np.array([int(c) for c in text])


def stream(seed: int, num_samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a middling model: classes 0..3 are known, 4..8 novel, categories 4..13 made."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 9, num_samples)
    return np.where(
        rng.random(num_samples) < 0.5, targets, rng.integers(0, 14, num_samples)
    ), targets


def test_streams_of_the_specification():
    scores = stream_accuracies(ids("7777"), ids("0011"), 1)
    assert scores["strict/all"] == 0.5
    assert sorted([scores["strict/known"], scores["strict/novel"]]) == [0, 1]
    assert [scores[f"greedy/{group}"] for group in ("all", "known", "novel")] == [1, 1, 1]

    scores = stream_accuracies(ids("11122233"), ids("00000011"), 1)
    assert [scores[f"strict/{group}"] for group in ("all", "known", "novel")] == [0.625, 0.5, 1]
    assert [scores[f"pruned/{group}"] for group in ("all", "known", "novel")] == [0.375, 0.5, 0]

    scores = stream_accuracies(ids("55666778"), ids("00011222"), 2)
    for dialect in ("strict", "greedy"):
        got = [scores[f"{dialect}/{group}"] for group in ("all", "known", "novel")]
        assert got == pytest.approx([0.75, 0.8, 2 / 3])


@pytest.mark.parametrize("seed", range(5))
def test_dialects_are_those_of_the_accuracies(seed):
    p, y = stream(seed)
    scores = stream_accuracies(torch.tensor(p), torch.tensor(y), NUM_KNOWN)
    known = y < NUM_KNOWN
    joint = joint_accuracy(p, y, NUM_KNOWN, NUM_KNOWN)
    for dialect, expected in (
        ("strict", {group: joint[group] for group in ("all", "known", "novel")}),
        ("pruned", pruned_accuracy(p, y, known)),
        ("greedy", greedy_accuracy(p, y, known)),
    ):
        for group in ("all", "known", "novel"):
            assert scores[f"{dialect}/{group}"] == expected[group]
        parts = known.mean() * expected["known"] + (~known).mean() * expected["novel"]
        assert scores[f"{dialect}/all"] == pytest.approx(parts)
    assert len(scores) == 9 and all(type(value) is float for value in scores.values())
    assert scores["pruned/all"] <= scores["strict/all"] <= scores["greedy/all"]

    renamed = np.random.default_rng(seed).permutation(1000)[p]
    again = stream_accuracies(renamed, y, NUM_KNOWN)
    for key, value in scores.items():
        assert key.startswith("pruned") or again[key] == value  # of equal rows it keeps the first


@pytest.mark.parametrize("seed", range(3))
def test_rates_agree_with_a_loop(seed):
    p, y = stream(seed)
    named, known, taken, novel = 0, 0, 0, 0
    for answer, truth in zip(p.tolist(), y.tolist(), strict=True):
        if truth < NUM_KNOWN:
            known += 1
            named += answer == truth
        else:
            novel += 1
            taken += answer < NUM_KNOWN
    assert identity_accuracy(p, y, NUM_KNOWN) == named / known
    assert false_known_rate(torch.tensor(p), torch.tensor(y), NUM_KNOWN) == taken / novel


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_table_that_grows_gives_what_the_whole_prefix_gives(seed, size):
    p, y = stream(seed)
    p, y = np.where(p > 9, p + 30, p), np.where(y == 8, 40, y)  # gaps, and room must grow
    table = AnswerTable(NUM_KNOWN)
    for start in range(0, len(p), size):
        table.add(p[start : start + size], y[start : start + size])
        stop = start + size
        if stop % 21 and stop < len(p):
            continue
        known = y[:stop] < NUM_KNOWN
        expected = {
            **{f"pruned/{k}": v for k, v in pruned_accuracy(p[:stop], y[:stop], known).items()},
            **{f"greedy/{k}": v for k, v in greedy_accuracy(p[:stop], y[:stop], known).items()},
        }
        joint = joint_accuracy(p[:stop], y[:stop], NUM_KNOWN, NUM_KNOWN)
        expected |= {f"strict/{k}": joint[k] for k in ("all", "known", "novel") if k in joint}
        assert table.accuracies() == expected
        rates = table.rates()
        assert rates.get("identity/known") == identity_accuracy(p[:stop], y[:stop], NUM_KNOWN)
        assert rates.get("identity/false_known") == false_known_rate(p[:stop], y[:stop], NUM_KNOWN)
        assert table.num_novel == len(np.unique(y[:stop][~known]))


def test_a_matching_hides_what_the_rates_show():
    y = ids("00112233")
    swapped = ids("11004455")  # known names swapped: right under any matching, wrong by name
    assert stream_accuracies(swapped, y, 2)["strict/all"] == 1
    assert identity_accuracy(swapped, y, 2) == 0 and false_known_rate(swapped, y, 2) == 0
    closed = ids("00110011")  # nothing is discovered
    assert identity_accuracy(closed, y, 2) == 1 and false_known_rate(closed, y, 2) == 1
    assert stream_accuracies(closed, y, 2)["greedy/all"] == 1


def test_a_stream_of_known_classes_answered_by_name():
    y = ids("001122")
    assert stream_accuracies(y, y, 3) == {
        f"{dialect}/{group}": 1.0
        for dialect in ("strict", "pruned", "greedy")
        for group in ("all", "known")
    }
    assert identity_accuracy(y, y, 3) == 1.0 and false_known_rate(y, y, 3) is None


def test_a_stream_without_known_classes():
    y = ids("001122")
    for num_known, targets in ((0, y), (3, y + 3)):
        scores = stream_accuracies(y, targets, num_known)
        assert {key.split("/")[1] for key in scores} == {"all", "novel"}
        assert identity_accuracy(y, targets, num_known) is None
    assert false_known_rate(y, y + 3, 3) == 1.0 and false_known_rate(y + 3, y + 3, 3) == 0.0


@pytest.mark.parametrize("measure", [identity_accuracy, false_known_rate, stream_accuracies])
def test_bad_streams_are_refused(measure):
    with pytest.raises(ValueError, match="2 predictions for 3 targets"):
        measure([0, 1], [0, 1, 2], 1)
    with pytest.raises(ValueError, match="N >= 1"):
        measure([], [], 1)
    with pytest.raises(ValueError, match="are negative"):
        measure([0, -1], [0, 1], 1)
