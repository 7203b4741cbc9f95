"""A short supervised start for a backbone that is not pretrained.

The published recipes assume strong pretrained features; from random weights their sharpened
self-distillation collapses before the supervised term takes hold. The warm-up trains the whole
network on the labeled base samples, once; it is declared in the config, cached and reported.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from cgcd.engine.batches import pass_batches, training_batches
from cgcd.engine.cache import read_whole, write_whole
from cgcd.engine.finite import check_weights
from cgcd.engine.kept_workers import KeptWorkers
from cgcd.engine.loading import DrawnViews, EpochBatches
from cgcd.engine.precision import gradient_scaler
from cgcd.engine.seeding import Draw, isolated_randomness
from cgcd.losses import cosine_cross_entropy, info_nce, supervised_contrastive
from cgcd.models import GCDModel
from cgcd.places import cache_folder
from cgcd.vocabulary import UNLABELED, InputError

log = logging.getLogger(__name__)

_VERSION = "small maps, channels last"  # of the computation; another one gives other bits
_TERMS = ("cross_entropy", "supervised_contrastive", "contrastive")


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """Recipe of the warm-up: AdamW on cross-entropy and contrastive terms over two views.

    Attributes:
        steps: optimizer steps, >= 1.
        batch_size: labeled images a step; smaller stages are taken whole.
        lr: first learning rate; cosine down to 0 after a linear rise over a tenth of the steps.
        weight_decay: of AdamW.
        temperature: of the cosine logits in the cross-entropy.
        weights: of `cross_entropy`, `supervised_contrastive` and `contrastive`.
        cache: keep and reuse the result in the cache folder.
        even_if_pretrained: also warm up a backbone whose weights came from a file or from timm.
    """

    steps: int = 100
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    temperature: float = 0.1
    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "cross_entropy": 1.0,
            "supervised_contrastive": 0.5,
            "contrastive": 0.3,
        }
    )
    cache: bool = True
    even_if_pretrained: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", dict(self.weights))
        if self.steps < 1 or self.batch_size < 2:
            raise InputError(
                f"warm_up has steps={self.steps} and batch_size={self.batch_size}; wanted at least "
                "1 and 2 (strategy.warm_up=null turns it off)"
            )
        for name, least in (("lr", 0.0), ("weight_decay", 0.0), ("temperature", 1e-6)):
            if not least <= getattr(self, name) < math.inf:
                raise InputError(
                    f"warm_up has {name}={getattr(self, name)}; wanted a number of at least "
                    f"{least:g}"
                )
        if self.weights.keys() != set(_TERMS):
            raise InputError(
                f"warm_up.weights names {sorted(self.weights)}; wanted exactly {sorted(_TERMS)}, "
                "with 0 for a term to leave out"
            )

    def factor(self, step: int) -> float:
        """Learning rate of a step as a fraction of `lr`."""
        rise = max(self.steps // 10, 1)
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * (step - rise) / max(self.steps - rise, 1))) / 2


def warm_up(
    model: GCDModel,
    dataset: Any,
    recipe: WarmUp,
    *,
    seed: int,
    device: torch.device,
    num_workers: int = 0,
) -> dict[str, Any]:
    """Train the whole model, batch-norm statistics too, on the labeled samples of `dataset`.

    Args:
        model: its head must already have a row for every label.
        dataset: the adapted training set of stage 0.

    Returns:
        For the report: steps, seconds, last loss, whether the result came from the cache.
    """
    started = time.perf_counter()
    path = None
    if recipe.cache:
        key = _digest(model, dataset, recipe, seed, device)
        path = cache_folder() / "warm_up" / f"{key}.safetensors"
    stored = None if path is None else _cached(path)
    if stored is not None:
        tensors, loss = stored
        model.load_state_dict(tensors)
        seconds = time.perf_counter() - started
        log.info("warm-up: taken from the cache")
        return {"steps": recipe.steps, "seconds": seconds, "loss": loss, "cached": True}
    # so few steps do not pay for compiling batch norm that learns its statistics
    plain = torch.compiler.set_stance("force_eager") if model.backbone.compiled else nullcontext()
    with plain, isolated_randomness(seed, "warm_up"):  # what follows is the same after a cache hit
        loss = _train(model, dataset, recipe, seed, device, num_workers)
    if path is not None:
        tensors = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}
        write_whole(path, tensors, {"loss": repr(loss)})
    seconds = time.perf_counter() - started
    log.info("warm-up: %d steps on labeled samples, loss %.3f, %.1f s", recipe.steps, loss, seconds)
    return {"steps": recipe.steps, "seconds": seconds, "loss": loss, "cached": False}


def _cached(path: Path) -> tuple[dict[str, Tensor], float] | None:
    """The stored model and the last loss."""
    if not path.is_file():
        return None
    found = read_whole(path)
    if found is None or "loss" not in found[1]:
        log.warning("%s is damaged; warming up again", path)
        return None
    return found[0], float(found[1]["loss"])


def _train(
    model: GCDModel, dataset: Any, recipe: WarmUp, seed: int, device: torch.device, workers: int
) -> float:
    learning = {name: p.requires_grad for name, p in model.named_parameters()}
    num_labeled = 1 + max(dataset.targets)
    model.requires_grad_(True)
    model.backbone.warming = True
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        fused=device.type in ("cuda", "cpu"),  # all weights learn, so the step is a large one
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor)
    scaler = gradient_scaler(model.backbone, device)
    try:
        for step, (views, labels) in enumerate(_batches(dataset, recipe, seed, device, workers)):
            loss = _loss(model, views.to(device), labels.to(device), recipe, num_labeled)
            if device.type == "cpu" or step == recipe.steps - 1:  # elsewhere no step waits
                _check_finite(loss, step, recipe)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
        check_weights(model, f"warm-up, after step {recipe.steps}", _mend(recipe))
    finally:
        model.backbone.warming = False
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learning[name])
            parameter.grad = None
        model.train()
    return float(loss.detach())


def _check_finite(loss: Tensor, step: int, recipe: WarmUp) -> None:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise InputError(
            f"warm-up, step {step}: the loss is {value}; wanted a finite number: {_mend(recipe)}"
        )


def _mend(recipe: WarmUp) -> str:
    return f"lower strategy.warm_up.lr={recipe.lr:g}"


def _loss(
    model: GCDModel, views: Tensor, labels: Tensor, recipe: WarmUp, num_labeled: int
) -> Tensor:
    """The weighed terms; rows of novel classes stay out, for here they would only be wrong ones."""
    features = model.backbone(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    projections = model.projection(features)
    terms = {
        "cross_entropy": cosine_cross_entropy(
            model.head(features)[..., :num_labeled], labels, recipe.temperature
        ),
        "supervised_contrastive": supervised_contrastive(projections, labels),
        "contrastive": info_nce(projections),
    }
    return sum((recipe.weights[name] * term for name, term in terms.items()), start=0.0)  # type: ignore[return-value]


def _batches(
    dataset: Any, recipe: WarmUp, seed: int, device: torch.device, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    labels = np.asarray(list(dataset.targets))
    labeled = np.flatnonzero(labels != UNLABELED)
    draw = Draw(seed=seed, stage=0, phase=1)
    batches = EpochBatches(
        labels,
        min(recipe.batch_size, len(labeled)),
        draw,
        lambda _, generator: generator.permutation(labeled),
    )
    batches.epochs = math.ceil(recipe.steps / len(batches))
    loader = training_batches(
        dataset,
        batches,
        device=device,
        workers=KeptWorkers(workers, device.type == "cuda"),
        generator=torch.Generator().manual_seed(seed),
    )
    step = 0
    while True:
        for views, shown, *_ in loader:
            yield views, shown
            step += 1
            if step == recipe.steps:
                return
        batches.epoch += 1


def _digest(model: nn.Module, dataset: Any, recipe: WarmUp, seed: int, device: torch.device) -> str:
    """What the result depends on: images, labels, model, recipe, seed, library, device."""
    digest = hashlib.sha256()
    digest.update(repr(model).encode())  # layers without weights: dropout, activations
    facts = {k: v for k, v in asdict(recipe).items() if k not in ("cache", "even_if_pretrained")}
    if model.backbone.precision != "fp32":
        facts["precision"] = model.backbone.precision
    digest.update(
        repr(
            (_VERSION, facts, seed, torch.__version__, device.type, torch.get_num_threads())
        ).encode()
    )
    views = DrawnViews(dataset, Draw(seed=seed, stage=0, phase=1))
    for row in range(min(len(dataset), 8)):  # stands for the augmentation
        digest.update(views[row, 0][0].numpy().tobytes())
    order = list(BatchSampler(range(len(dataset)), 256, drop_last=False))
    seen = pass_batches(
        dataset.eval(),
        order,
        device=torch.device("cpu"),
        workers=KeptWorkers(0, False),
        generator=torch.Generator(),
    )
    for images, labels, *_ in seen:
        digest.update(images.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
