"""The names a user may rely on; a change here is a change of the public interface."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

NAMES = {
    "cgcd": """GCDModel GCDOutput InputError PrototypeMemory UNLABELED __version__ open_run
        run_stages""",
    "cgcd.models": """Adapter Backbone ClassPrototypes CosineHead FeCAMHead
        FixedFeatures GCDModel GaussianHead HashHead HashTrunk InputSpec MemoryBranch NearestMean
        PrincipalComponents ProjectionHead RandomFeatures RidgeHead RidgeRegression SignMagnitude
        SignMagnitudeHead SteppedGaussianHead TailSnapshot create_backbone""",
    "cgcd.losses": """GroupEntropy adaptive_pseudo_labels center_cross_entropy center_quantization
        center_separation class_scores cosine_cross_entropy feature_distillation group_entropy
        hamming_radius hard_ratio info_nce mean_entropy old_logit_distillation parametric_discovery
        prototype_separation prototype_similarity ramped self_distillation separation_target
        sign_quantization supervised_contrastive""",
    "cgcd.memory": """Assignment CategoryBook CategoryMerge ClassStatistics HashCodebook
        PrototypeBook PrototypeMemory PrototypeSample
        ReferenceMemory ReferenceSample pack unpack""",
    "cgcd.discovery": """Choice CountEstimate CountProblem DEFAULT_ESTIMATOR ESTIMATORS Estimator
        GaussianClasses KMeansResult Matching PROPOSALS Proposal Relabeling UNMATCHED
        calibrated_threshold choose_estimator contingency estimate_novel
        familiarity
        kmeans least_familiar logit_scores match novel_directions pinned_kmeans propose relabel
        semi_supervised_kmeans""",
    "cgcd.metrics": """AnswerTable adjusted_rand_index closed_set_accuracy discovery discovery_gm
        false_known_rate forgetting forgetting_gm greedy_accuracy group_accuracy_matrix
        held_accuracy identity_accuracy joint_accuracy
        matched_accuracy normalized_mutual_information novelty_metrics num_found pass_metrics
        per_class_accuracy
        perfect_closed_set pruned_accuracy purity stream_accuracies""",
    "cgcd.engine": """Baselines Batch ClosedFormStrategy DiscoveryMetrics DiscoveryStrategy
        HashStrategy LossTerms
        NoveltyMetrics OnlineStrategy ParametricBase
        Recipe RunResult SingleStageResult StageAnalysis StageMetric StageOutputs StreamResult
        Trial TuningResult WarmUp WarmedCosine discovery_evaluator grid_candidates grow_by_clusters
        half_labeled hidden_class_scenario
        parameter_groups run_stages tune""",
    "cgcd.tracking": "",
    "cgcd.tracking.report": "",
    "cgcd.cli": "",
    "scenarios": """BlurryProtocol Composition DATASETS GivenStages ImageArrays OnlineComposition
        OnlineProtocol Protocol PublishedDataset ShareProtocol SingleStageComposition
        SingleStageProtocol StagePlan as_discovery
        compose compose_online compose_single_stage
        dataset_gcd_scenario dataset_online_scenario dataset_scenario digits_gcd_scenario
        digits_online_scenario digits_scenario discovery_scenario feature_width
        features_gcd_scenario features_online_scenario features_scenario
        features_stages_scenario folder_scenario given_stages_scenario
        image_folder_gcd_scenario image_folder_online_scenario image_folder_scenario
        online_scenario single_stage_scenario""",
    "strategies": """Analytic GCD Gaussian Happy NMC PHE ProtoGCD PrototypeMemory SMILE SimGCD
        VBCGCD""",
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
