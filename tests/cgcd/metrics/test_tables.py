import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cgcd.discovery import matching
from cgcd.metrics import greedy_accuracy, held_accuracy, joint_accuracy, pass_metrics


def drawn(seed):
    """Predictions and targets (N,), and 0 <= num_base <= num_known."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, rng.integers(1, 40), rng.integers(1, 300))
    wrong = rng.integers(0, rng.integers(1, 40), len(targets))
    predictions = np.where(rng.random(len(targets)) < rng.random(), targets, wrong)
    num_base = int(rng.integers(0, 20))
    return predictions, targets, num_base, num_base + int(rng.integers(0, 9))


def one_by_one(predictions, targets, num_base, num_known):
    known = targets < num_known
    families = {
        "accuracy": joint_accuracy(predictions, targets, num_base, num_known),
        "held": held_accuracy(predictions, targets, num_base, num_known),
        "greedy": greedy_accuracy(predictions, targets, known),
        "agreement": {
            "nmi": normalized_mutual_info_score(targets, predictions),
            "ari": adjusted_rand_score(targets, predictions),
        },
    }
    return {f"{family}/{name}": v for family, part in families.items() for name, v in part.items()}


@pytest.mark.parametrize("seed", range(30))
def test_one_table_gives_what_each_metric_gives_by_itself_bit_for_bit(seed):
    found, wanted = pass_metrics(*drawn(seed)), one_by_one(*drawn(seed))
    assert found == wanted and list(found) == list(wanted)
    assert {type(value) for value in found.values()} == {float}


def test_large_tables_give_the_same_numbers_but_for_ties(monkeypatch):
    cases = [drawn(seed) for seed in range(10)]
    before = [pass_metrics(*case) for case in cases]
    monkeypatch.setattr(matching, "_DENSE_CELLS", 0)
    for case, wanted in zip(cases, before, strict=True):
        found = pass_metrics(*case)
        assert found.keys() == wanted.keys()
        free = [
            key for key in wanted if key.endswith("/all") or not key.startswith(("acc", "held"))
        ]
        assert [found[key] for key in free] == [wanted[key] for key in free]


def test_ids_of_any_size_fit():
    predictions, targets = np.array([2**62, 5, 5, 2**62, 9]), np.array([0, 1, 1, 0, 2])
    found = pass_metrics(predictions, targets, 0, 0)
    assert found["accuracy/all"] == 1.0 and found["agreement/nmi"] == pytest.approx(1.0)


def test_what_a_table_cannot_hold_is_named():
    with pytest.raises(ValueError, match="0 <= num_base <= num_known"):
        pass_metrics([0], [0], 2, 1)
    with pytest.raises(ValueError, match="targets: 1 of 1 are negative"):
        pass_metrics([0], [-1], 1, 1)
