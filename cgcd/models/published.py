"""timm's architectures and the weights it publishes: by name, from its cache or fetched."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from timm.models import PretrainedCfg
from torch import nn

from cgcd.models.weights import WeightsFacts, file_sha256
from cgcd.vocabulary import InputError

log = logging.getLogger(__name__)

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_KWARGS_ERRORS = (TypeError, ValueError, AssertionError, RuntimeError)


def create_timm(
    name: str, pretrained: bool, kwargs: Mapping[str, Any], input_size: int | None = None
) -> tuple[nn.Module, int]:
    """A network of timm, with its published weights if wanted, and its input size in pixels.

    Args:
        name: architecture, or architecture.tag of the weights.
        pretrained: take the weights from timm's cache or fetch them.
        kwargs: for `timm.create_model`.
        input_size: an architecture of fixed size is built for it, unless `kwargs` say otherwise.

    Raises:
        InputError: unknown name or tag, arguments that do not fit, weights that cannot be had.
    """
    card = _card(name, pretrained)
    sized, side = dict(kwargs), card.input_size[-1] if card is not None else 224
    fixed = card is not None and card.fixed_input_size and "dynamic_img_size" not in kwargs
    if fixed and input_size is not None and input_size != side:
        sized.setdefault("img_size", input_size)
    given = sized.get("img_size", side)
    net = _created(name, pretrained, sized, card)
    return net, int(given if isinstance(given, int) else given[-1])


def published_file(name: str) -> Path | None:
    """The file of timm's published weights in the caches of this machine, None if it is in none.

    Args:
        name: architecture or architecture.tag.
    """
    card = timm.get_pretrained_cfg(name)
    if card is None:
        return None
    if card.hf_hub_id:
        repository, _, revision = card.hf_hub_id.partition("@")
        if repository.endswith("/"):
            repository += name
        for file in (card.hf_hub_filename, *_HUB_FILES):
            found = file and try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
    stored = (
        Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(str(card.url or "")).path).name
    )
    return stored if stored.is_file() else None


def published_facts(name: str) -> WeightsFacts:
    """Size, hash and license of timm's published weights, as far as they are known here."""
    card, file = timm.get_pretrained_cfg(name), published_file(name)
    full = f"timm:{card.architecture}.{card.tag}" if card and card.tag else f"timm:{name}"
    license_ = (card.license if card else None) or "not stated by timm"
    if file is None:
        return WeightsFacts(full, license=license_)
    return WeightsFacts(full, file.stat().st_size, file_sha256(file), license_)


def _card(name: str, pretrained: bool) -> PretrainedCfg | None:
    """What timm knows of these weights; checks the name."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"model.backbone={name} is no model that timm {timm.__version__} knows{hint}"
        )
    try:
        card = timm.get_pretrained_cfg(name)
        known = not pretrained or (card is not None and card.has_weights)
    except RuntimeError:  # no such tag
        known = False
    if not known:
        has = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise InputError(
            f"model.backbone={name}: timm {timm.__version__} publishes no such weights; "
            f"of {architecture} it has {has}"
        )
    return card


def _created(
    name: str, pretrained: bool, kwargs: dict[str, Any], card: PretrainedCfg | None
) -> nn.Module:
    file = published_file(name) if pretrained else None
    if pretrained and file is None:
        log.info("%s: fetching the published weights (needs a network)", name)
    overlay = None
    if file is not None and card is not None and not card.custom_load:
        overlay = {"file": str(file)}  # otherwise timm asks the network for a newer one
    try:
        return timm.create_model(
            name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **kwargs
        )
    except Exception as error:  # a fetch raises what the hub's transport raises
        _try_untrained(name, kwargs)
        if not pretrained:
            raise
        if file is not None:
            raise InputError(
                f"the published weights of {name} in the cache ({file}) cannot be loaded "
                f"({type(error).__name__}); delete that file, and it is fetched anew"
            ) from error
        raise InputError(
            f"the published weights of {name} are not in the cache ({constants.HF_HUB_CACHE}) and "
            f"could not be fetched ({type(error).__name__}); fetch them once where there is a "
            "network and copy that folder, or give a file with model.weights=FILE, or set "
            "model.pretrained=false"
        ) from error


def _try_untrained(name: str, kwargs: dict[str, Any]) -> None:
    """Tell arguments that do not fit from weights that cannot be fetched."""
    try:
        timm.create_model(name, pretrained=False, **kwargs)
    except _KWARGS_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"model.backbone_kwargs do not fit {name}: {reason}") from error
