import numpy as np
import pytest
import torch
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from cgcd.discovery import (
    ESTIMATORS,
    CountProblem,
    choose_estimator,
    estimate_novel,
    kmeans,
)
from cgcd.discovery.count_clusters import (
    GrowingClusters,
    best_candidate,
    coarse_step,
    coarse_to_fine,
    squared_distances,
)
from cgcd.discovery.count_coverage import coverage, held_out_radius
from cgcd.discovery.count_pruning import uses
from cgcd.discovery.count_validity import chord_distance


def blob_problem(
    num_known: int = 4, num_novel: int = 3, seed: int = 0, max_novel: int = 12, per_class: int = 30
) -> CountProblem:
    """Gaussian blobs around 16 orthogonal directions, all classes in the stage."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_known + num_novel), per_class)
    known = labels[labels < num_known]

    def drawn(classes: np.ndarray) -> np.ndarray:
        return np.eye(16)[classes] + 0.08 * generator.standard_normal((len(classes), 16))

    return CountProblem(drawn(labels), drawn(known), known, max_novel, seed)


FROM_BLOBS = [name for name in ESTIMATORS if name != "prototype_score"]


@pytest.mark.parametrize("name", FROM_BLOBS)
@pytest.mark.parametrize(("num_known", "num_novel"), [(4, 3), (8, 1), (8, 6)])
def test_blobs_are_counted(name, num_known, num_novel):
    for seed in range(1 if name == "hidden_classes" else 3):
        estimate = estimate_novel(blob_problem(num_known, num_novel, seed), name)
        assert abs(estimate.num_novel - num_novel) <= 1
        assert estimate.seconds > 0
        assert name == "hidden_classes" or estimate.estimator == name


def test_prototype_score_finds_where_known_classes_are_pure_and_whole():
    """On blobs it is flat between the first k that frees the known means and the truth."""
    estimate = estimate_novel(blob_problem(4, 3), "prototype_score")
    score, accuracy, centroid = (estimate.scores[n] for n in ("score", "accuracy", "centroid"))
    np.testing.assert_allclose(score, accuracy + centroid)
    assert score[0] < score[3] and score[-1] < score[3]
    assert score[3] == pytest.approx(2, abs=0.02)
    assert score.argmax() == estimate.num_novel


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_are_functions_of_the_seed_within_the_limit(name):
    problem = blob_problem(max_novel=2)
    one, two = estimate_novel(problem, name), estimate_novel(problem, name)
    assert one.num_novel == two.num_novel <= 2
    assert one.candidates.tolist() == two.candidates.tolist() == sorted(set(one.candidates))
    assert 0 <= one.candidates.min() and one.candidates.max() <= 2
    assert one.scores.keys() == two.scores.keys() and one.scores
    for curve in one.scores:
        assert one.scores[curve].shape == one.candidates.shape
        np.testing.assert_array_equal(one.scores[curve], two.scores[curve])


def test_a_stage_of_known_classes_has_no_novel_one():
    problem = blob_problem(6, 0)
    assert [estimate_novel(problem, name).num_novel for name in ("coverage", "pruning")] == [0, 0]
    assert estimate_novel(problem, "calinski_harabasz").num_novel == 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_small_stages_and_one_known_class(name):
    generator = np.random.default_rng(0)
    few = CountProblem(
        generator.standard_normal((4, 3)), generator.standard_normal((5, 3)), [0] * 5, 50
    )
    if name == "hidden_classes":
        with pytest.raises(ValueError, match="1 classes in 5 folds"):
            estimate_novel(few, name)
    else:
        assert 0 <= estimate_novel(few, name).num_novel <= 4


def test_identical_samples_are_one_class():
    problem = CountProblem(np.ones((9, 4)), np.ones((4, 4)), [0, 0, 1, 1], 3)
    for name in ("coverage", "elbow", "pruning", "calinski_harabasz", "silhouette"):
        assert estimate_novel(problem, name).num_novel == 0


def test_scale_does_not_matter_unless_it_is_asked_for():
    plain = blob_problem()
    scale = torch.linspace(1, 9, len(plain.features))[:, None]
    scaled = CountProblem(
        (plain.features * scale).double(), plain.reference.numpy(), plain.reference_labels, 12
    )
    torch.testing.assert_close(scaled.features, plain.features)
    raw = CountProblem(scale, scale[:2], [0, 1], 1, normalize=False)
    assert torch.equal(raw.features, scale) and raw.num_known == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": torch.ones(1, 2)}, "holds 1 features"),
        ({"features": torch.ones(5)}, r"\(N, D\) wanted"),
        ({"features": torch.ones(5, 3)}, "2 wide and the stage 3"),
        ({"features": torch.full((5, 2), torch.nan)}, "not finite"),
        ({"reference_labels": [0, 2]}, "without gaps"),
        ({"reference_labels": [0, -1]}, "without gaps"),
        ({"reference_labels": [0]}, r"\(2,\) integers"),
        ({"reference_labels": [0.0, 1.0]}, r"\(2,\) integers"),
        ({"max_novel": 0}, "max_novel is 0"),
    ],
)
def test_bad_problems(changed, message):
    good = {"features": torch.ones(5, 2), "reference": torch.eye(2), "reference_labels": [0, 1]}
    with pytest.raises(ValueError, match=message):
        CountProblem(**{**good, "max_novel": 3, **changed})


def test_bad_names():
    with pytest.raises(ValueError, match="'guess' is unknown; choose silhouette"):
        estimate_novel(blob_problem(), "guess")
    problem = blob_problem()
    for names in ([], ["hidden_classes"], ["guess"]):
        with pytest.raises(ValueError, match="wanted one or more of silhouette"):
            choose_estimator(problem.reference, problem.reference_labels, names)


def test_a_stage_below_the_known_classes_cannot_be_cut():
    problem = CountProblem(torch.eye(3)[:2], torch.eye(3), [0, 1, 2], 3)
    with pytest.raises(ValueError, match=r"2 unlabeled samples cannot .* estimator=coverage"):
        estimate_novel(problem, "silhouette")
    assert estimate_novel(problem, "coverage").num_novel <= 2


def test_the_choice_is_by_the_least_error_on_hidden_classes():
    problem = blob_problem(6, 2)
    choice = choose_estimator(
        problem.reference, problem.reference_labels, ("prototype_score", "coverage"), num_folds=3
    )
    assert choice.num_hidden.tolist() == [2, 2, 2]
    means = {name: errors.mean() for name, errors in choice.errors.items()}
    assert choice.name == min(means, key=means.get)
    assert all(errors.shape == (3,) for errors in choice.errors.values())
    few = choose_estimator(torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3), ("coverage",))
    assert few.num_hidden.tolist() == [1, 1, 1, 1]


def test_coverage_is_its_loop_version():
    problem = blob_problem(5, 4, seed=3, max_novel=9)
    rows, labels = problem.reference.numpy(), problem.reference_labels.numpy()
    generator = np.random.default_rng(3)
    first = np.zeros(len(rows), dtype=bool)
    for c in range(5):
        first[generator.permutation(np.flatnonzero(labels == c))[:15]] = True
    distances = []
    for inside in (first, ~first):
        means = np.stack([rows[inside & (labels == c)].mean(0) for c in range(5)])
        distances += [min(np.linalg.norm(x - m) for m in means) for x in rows[~inside]]
    radius = held_out_radius(problem.reference, problem.reference_labels, 0.3, 3)
    assert radius == pytest.approx(np.quantile(distances, 0.7), rel=1e-5)

    centers = GrowingClusters(problem.features, problem.class_means, num_pinned=5, seed=3)
    uncovered = [
        np.mean([min(np.linalg.norm(x - c) for c in centers.at(5 + k).centers.numpy()) > radius
                 for x in problem.features.numpy()])
        for k in range(10)
    ]  # fmt: skip
    for slack in (0.0, 2.0):
        allowed = 0.3 + slack * np.sqrt(0.21 * (1 / 270 + 1 / 150))
        found = coverage(problem, slack=slack)
        assert found.num_novel == next((k for k in range(10) if uncovered[k] <= allowed), 9)
        wanted = uncovered[: found.num_novel + 1]
        np.testing.assert_allclose(found.scores["uncovered"], wanted, atol=1e-6)
    with pytest.raises(ValueError, match="uncovered is 0"):
        coverage(problem, 0)


def test_elbow_of_a_piecewise_linear_curve():
    candidates = np.arange(11)
    curve = np.where(candidates < 4, 100 - 20 * candidates, 20 - (candidates - 4) * 10 / 6)
    distance = chord_distance(candidates, curve, (0, 10), (100, 10))
    assert distance.argmax() == 4
    # the line through (0, 1) and (1, 0) is at distance (1 - x - y) / sqrt(2)
    assert distance[4] == pytest.approx((1 - 0.4 - 10 / 90) / 2**0.5)
    assert distance[0] == pytest.approx(0) and distance[10] == pytest.approx(0)
    assert chord_distance([0, 1], [5, 5], (0, 1), (5, 5)).tolist() == [0, 0]


def test_uses_by_hand():
    points = torch.tensor([[0.0], [0.9], [10.0]])
    use, sizes = uses(points, torch.tensor([[0.0], [2.0], [10.0], [50.0]]))
    # 0 would lose 4 - 0, 0.9 would lose 1.21 - 0.81, 10 would lose 64 - 0
    assert sizes.tolist() == [2, 0, 1, 0]
    torch.testing.assert_close(use, torch.tensor([2.2, 0.0, 64.0, 0.0]))
    assert uses(points, torch.zeros(1, 1))[0].tolist() == [float("inf")]


@pytest.mark.parametrize("best", [0, 1, 37, 119, 120])
@pytest.mark.parametrize("high", [25, 39, 40, 120, 500])
def test_coarse_to_fine_finds_the_top_of_a_hill(best, high):
    best = min(best, high)
    scores = coarse_to_fine(lambda k: -abs(k - best), 0, high, coarse_step(high))
    assert best_candidate(scores) == best
    assert list(scores) == sorted(scores) and {0, high} <= set(scores)
    assert len(scores) <= 60
    assert best_candidate({3: 1.0, 1: 1.0, 2: 0.0}) == 1


def test_growing_clusters_keep_pins_and_are_no_worse_than_one_start():
    generator = np.random.default_rng(0)
    points = torch.tensor(generator.standard_normal((300, 8)), dtype=torch.float32)
    pinned = GrowingClusters(points, points[:3], num_pinned=3)
    partition = pinned.at(10)
    assert torch.equal(partition.centers[:3], points[:3])
    exact = torch.cdist(points.double(), partition.centers.double()).square()
    assert torch.equal(partition.labels, exact.argmin(1))
    torch.testing.assert_close(partition.distances.double(), exact.amin(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        squared_distances(points, points[:5]).double(),
        torch.cdist(points, points[:5]).square().double(),
        atol=1e-4,
        rtol=1e-4,
    )
    strided = GrowingClusters(points, points[:3], stride=4)
    late, strided = strided.at(12), GrowingClusters(points, points[:3], stride=4)
    assert strided.at(20).centers.shape == (20, 8) and strided.at(11).centers.shape == (11, 8)
    assert torch.equal(strided.at(12).centers, late.centers)  # whatever was asked for before
    free = GrowingClusters(points, points.mean(0, keepdim=True))
    inertia = [free.at(k).inertia for k in range(1, 11)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[-1] < 1.05 * kmeans(points, 10, num_starts=1).inertia


def test_indices_are_scikit_learns():
    problem = blob_problem()
    clusters = GrowingClusters(problem.features, problem.class_means, num_pinned=4)
    for name, index, sign in (
        ("calinski_harabasz", calinski_harabasz_score, 1),
        ("davies_bouldin", davies_bouldin_score, -1),
    ):
        estimate = estimate_novel(problem, name)
        (curve,) = estimate.scores.values()
        wanted = [
            sign * index(problem.features.numpy(), clusters.at(4 + k).labels.numpy())
            for k in estimate.candidates
        ]
        np.testing.assert_allclose(curve, wanted, rtol=1e-6)
