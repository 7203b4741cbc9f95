"""Precision in the engine: the device, the memory format, the scaling of gradients, going on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.amp import GradScaler

from cgcd.engine import Recipe, parameter_groups, run_stages
from cgcd.engine.compiling import check_compiler
from cgcd.engine.optimization import StagedOptimizer
from cgcd.engine.precision import gradient_scaler, prepare_backbone
from cgcd.models import GCDModel
from cgcd.models.small_map import SmallMapConv2d
from cgcd.vocabulary import InputError
from strategies.happy import BASE

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_fp16_is_for_cuda_alone(quick_happy, blob_model):
    model = blob_model()
    model.backbone.compute_in("fp16")
    with pytest.raises(InputError, match="fp16 cannot be used on device=cpu; wanted CUDA: set"):
        quick_happy(model)
    prepare_backbone(model.backbone, CUDA)
    assert gradient_scaler(model.backbone, CPU).is_enabled()
    model.backbone.compute_in("bf16")
    assert not gradient_scaler(model.backbone, CPU).is_enabled()


def is_channels_last(model: GCDModel) -> bool:
    kernels = [p for p in model.backbone.parameters() if p.dim() == 4 and p.shape[-1] > 1]
    return all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)


def test_convolutional_nets_lie_channels_last():
    small = {"projection_hidden": 16, "projection_dim": 8, "input_size": 32}
    net = GCDModel("resnet10t", **small)
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    prepare_backbone(net.backbone, torch.device("mps"))
    assert not is_channels_last(net)
    on_cuda = copy.deepcopy(net)
    prepare_backbone(on_cuda.backbone, CUDA)
    prepare_backbone(net.backbone, CPU)
    assert is_channels_last(net) and is_channels_last(on_cuda)
    assert any(isinstance(module, SmallMapConv2d) for module in net.modules())
    assert not any(isinstance(module, SmallMapConv2d) for module in on_cuda.modules())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in net.state_dict().items())
    assert net.snapshot().tail.state_dict().keys() == net.backbone.tail.state_dict().keys()
    thin = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    vit = GCDModel("vit_tiny_patch16_224", backbone_kwargs=thin, **small)
    prepare_backbone(vit.backbone, CUDA)
    assert not is_channels_last(vit)


# -------------------------------------------------------------------- steps


def recipe() -> Recipe:
    return Recipe(epochs=1, batch_size=4, optimizer=BASE.optimizer, clip_norm=0.5)


def staged(model: GCDModel, scaler: GradScaler | None = None) -> StagedOptimizer:
    made = StagedOptimizer(model, recipe(), parameter_groups(model))
    made.begin(model, recipe(), scaler)
    return made


def loss_of(model: GCDModel) -> torch.Tensor:
    views = torch.rand(4, 2, 16, generator=torch.Generator().manual_seed(3))
    out = model.from_trunk(model.trunk_output(views))
    return out.features.square().mean() + out.projections.mean()


def grown(blob_model) -> GCDModel:
    model = blob_model()
    model.head.grow(3, generator=torch.Generator().manual_seed(0))
    return model


def test_a_step_without_scaling_is_the_plain_step(blob_model):
    model, plain = grown(blob_model), grown(blob_model)
    engine, other = staged(model), staged(plain)
    for _ in range(2):
        engine.optimizer.zero_grad()
        engine.backward(loss_of(model))
        engine.clip(recipe())
        engine.step()
        other.optimizer.zero_grad()
        loss_of(plain).backward()
        learning = [p for group in other.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(learning, 0.5)
        other.optimizer.step()
    weights = plain.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_scaled_gradients_are_clipped_in_their_own_scale(blob_model):
    model, plain = grown(blob_model), grown(blob_model)
    engine, other = staged(model, GradScaler("cpu")), staged(plain)
    for one, net in ((engine, model), (other, plain)):
        one.backward(loss_of(net))
        one.clip(recipe())
        one.step()
    weights = plain.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-6, atol=1e-8)


def test_an_overflow_leaves_the_step_out_and_the_scale_is_stored(blob_model):
    model = grown(blob_model)
    before = copy.deepcopy(model.state_dict())
    engine = staged(model, GradScaler("cpu"))
    engine.backward(loss_of(model) * 1e38)
    engine.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    plain, tensors = engine.state()
    assert plain["scaler"]["scale"] == 2.0**15
    again = staged(model, GradScaler("cpu"))
    again.load(model, plain, tensors)
    assert again.scaler.get_scale() == 2.0**15


# -------------------------------------------------------------------- runs


def first_terms(quick_happy, model: GCDModel, scenario) -> dict[str, float]:
    """Loss terms of the first step of stage 0."""
    stage = scenario.train_stream[0]
    strategy = quick_happy(model, epochs=(1, 1), batch_size=len(stage.dataset))
    strategy.train(stage)
    return {name: float(term) for name, term in strategy.terms.items()}


def test_losses_in_bf16_are_close_to_those_in_fp32(quick_happy, blob_model, blobs):
    half = blob_model()
    half.backbone.compute_in("bf16")
    wanted = first_terms(quick_happy, blob_model(), blobs())
    found = first_terms(quick_happy, half, blobs())
    assert found != wanted
    assert found == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"precision": "bf16"}, r"another precision \(fp32 instead of bf16\)"),
        ({"compiled": True}, r"another compilation \(False instead of True\)"),
    ],
)
def test_a_run_goes_on_only_as_it_began(
    quick_happy, blob_model, blobs, tmp_path, monkeypatch, chosen, said
):
    monkeypatch.setattr("cgcd.engine.precision.check_compiler", lambda device: None)
    scenario, other = blobs(novel=(1,)), blob_model()
    run_stages(quick_happy(epochs=(1, 1)), scenario, tmp_path)
    other.backbone.compute_in(**chosen)
    with pytest.raises(InputError, match=said):
        run_stages(quick_happy(other, epochs=(1, 1)), scenario, tmp_path)


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")
def test_no_compiler_is_one_sentence(quick_happy, blob_model):
    from torch._inductor import config

    torch.compiler.reset()
    model = blob_model()
    model.backbone.compute_in(compiled=True)
    without = config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with without, pytest.raises(InputError, match=r"compile=true cannot be used .*C\+\+ compiler"):
        quick_happy(model)


@pytest.mark.skipif(torch.version.cuda is None, reason="torch was built without CUDA")
def test_the_device_is_part_of_what_is_wanted():
    if torch.cuda.is_available():
        pytest.skip("here it can be used")
    torch.compiler.reset()
    with pytest.raises(InputError, match="wanted Triton for device=cuda"):
        check_compiler(CUDA)
