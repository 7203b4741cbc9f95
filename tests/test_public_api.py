"""The names a user may rely on; a change here is a change of the public interface."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

NAMES = {
    "cgcd": """GCDModel GCDOutput InputError PrototypeMemory UNLABELED __version__ open_run
        run_stages""",
    "cgcd.models": """Adapter Backbone ClassPrototypes CosineHead GCDModel HashHead HashTrunk
        InputSpec ProjectionHead SignMagnitude SignMagnitudeHead TailSnapshot create_backbone""",
    "cgcd.losses": """GroupEntropy center_cross_entropy center_quantization center_separation
        class_scores cosine_cross_entropy feature_distillation group_entropy hamming_radius info_nce
        mean_entropy prototype_similarity ramped self_distillation separation_target
        sign_quantization supervised_contrastive""",
    "cgcd.memory": """Assignment HashCodebook PrototypeMemory PrototypeSample pack unpack""",
    "cgcd.discovery": """KMeansResult Matching UNMATCHED contingency familiarity kmeans
        least_familiar match novel_directions pinned_kmeans""",
    "cgcd.metrics": """adjusted_rand_index closed_set_accuracy discovery discovery_gm
        false_known_rate forgetting forgetting_gm greedy_accuracy group_accuracy_matrix
        held_accuracy identity_accuracy joint_accuracy
        matched_accuracy normalized_mutual_information num_found per_class_accuracy
        perfect_closed_set pruned_accuracy purity stream_accuracies""",
    "cgcd.engine": """Baselines Batch DiscoveryMetrics DiscoveryStrategy LossTerms OnlineStrategy
        Recipe RunResult StageMetric StageOutputs StreamResult WarmUp WarmedCosine
        discovery_evaluator parameter_groups run_stages""",
    "cgcd.tracking": "",
    "cgcd.cli": "",
    "scenarios": """Composition ImageArrays OnlineComposition OnlineProtocol Protocol StagePlan
        cifar100_online_scenario cifar100_scenario cifar10_online_scenario compose compose_online
        digits_online_scenario digits_scenario discovery_scenario features_online_scenario
        image_folder_online_scenario image_folder_scenario omniglot_online_scenario
        online_scenario""",
    "strategies": "Happy PHE SMILE",
}


@pytest.mark.parametrize("package", NAMES)
def test_public_names(package):
    module = import_module(package)
    assert set(getattr(module, "__all__", ())) == set(NAMES[package].split())
    for name in NAMES[package].split():
        assert getattr(module, name) is not None
    assert module.__doc__


def test_every_package_is_pinned():
    root = Path(__file__).resolve().parent.parent
    found = {
        ".".join(path.parent.relative_to(root).parts)
        for top in ("cgcd", "scenarios", "strategies")
        for path in (root / top).rglob("__init__.py")
    }
    assert found == set(NAMES)


def test_lazy_names_say_when_there_is_none():
    import cgcd

    assert set(cgcd.__all__) == set(dir(cgcd))
    with pytest.raises(AttributeError, match="module 'cgcd' has no attribute 'nope'"):
        _ = cgcd.nope
