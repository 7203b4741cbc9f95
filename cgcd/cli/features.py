"""`cgcd features`: embeddings of images by any backbone, as a file that streams are made of."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcd.cli.messages import exit_code, log_lines
from cgcd.vocabulary import InputError

if TYPE_CHECKING:
    from cgcd.engine.extraction import Extraction
    from cgcd.engine.feature_file import FeatureFile
    from scenarios.image_source import ImageSource

_CPU_BATCH, _DEVICE_BATCH = 16, 128
_MOST_READERS = 8  # more would wait for the disk
_GB = 10**9


def features(arguments: Sequence[str]) -> int:
    """Write the embeddings of one config; everything after `cgcd features` as Hydra takes it."""
    return exit_code(lambda: _features(arguments), "the same command goes on after the last shard")


def execute(config: Any, chosen: Mapping[str, str]) -> int:
    """Compute what is not known and write the file.

    Raises:
        InputError: if something given cannot be used.
    """
    from cgcd.cli.settings import check_settings

    content = check_settings(config, chosen, "features")
    out = _checked_out(content["out"])
    import warnings

    from PIL import Image

    from cgcd.cli.parts import usable_device
    from cgcd.engine.extraction import extract
    from cgcd.engine.feature_store import FeatureStore, trim
    from cgcd.engine.precision import prepare_backbone
    from cgcd.places import cache_folder
    from cgcd.tracking.image_bar import ImageBar
    from scenarios.image_source import read_image_source
    from scenarios.views import CenterView

    device = usable_device(content["device"])
    backbone = _backbone(config)
    backbone.compute_in(content["precision"])
    prepare_backbone(backbone, device)
    source = read_image_source(
        content["data"],
        content["data_root"],
        labels=content["labels"],
        shorter_side=backbone.spec.resize,
    )
    settings = _settings(content, backbone, source, device)
    before = _written_before(out, settings, content["overwrite"])
    folder = cache_folder() / "features"
    store = FeatureStore(
        folder / _digest(settings), backbone.dim, content["dtype"], content["overwrite"]
    )
    if before is not None and not content["overwrite"]:
        store.include(before.digests, before.f)
    print(f"{_title(source, content)} -> {out}")
    print(
        f"{content['model']['backbone']}, {backbone.origin}: {backbone.dim} numbers an image at "
        f"{backbone.spec.size} pixels on {device.type}",
        flush=True,
    )
    with warnings.catch_warnings(), ImageBar(len(source)) as bar, _threads(content, device):
        warnings.simplefilter("ignore")  # of metadata: what matters is whether the image comes
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        found = extract(
            source.images,
            source.content,
            CenterView(backbone.spec),
            backbone,
            store,
            device=device,
            batch_size=_or_auto(
                content["batch_size"], _CPU_BATCH if device.type == "cpu" else _DEVICE_BATCH
            ),
            threads=_or_auto(content["read_threads"], min(_cores(), _MOST_READERS)),
            max_skipped=content["max_skipped"] if content["data"] == "files" else 0.0,
            on_progress=bar,
        )
    if not len(found.rows):
        raise InputError(f"none of the {len(source)} images can be read; {found.skipped[0][1]}")
    whole = _file(source, found, settings)
    done = before is not None and not content["overwrite"] and before.equals(whole)
    if not done:
        _write(whole, out)
        trim(folder, int(content["cache_limit_gb"] * _GB), store.used)
    print(_report(found, out, _write_skipped(source, found, out)))
    if done:
        print("finished before; overwrite=true computes it anew")
    print(_next_commands(whole, out))
    return 0


def _features(arguments: Sequence[str]) -> int:
    if {"-m", "--multirun"} & set(arguments):
        raise InputError("cgcd features writes one file; give one model=NAME and no -m")
    with log_lines():
        if any(argument.startswith("-") for argument in arguments):
            from cgcd.cli.front import through_hydra

            return through_hydra(arguments, execute, "features")
        from cgcd.cli.configs import compose_run

        return execute(*compose_run(arguments, "features"))


def _checked_out(given: str | None) -> Path:
    wanted = "wanted FILE.npz or FILE.safetensors"
    if given is None:
        raise InputError(f"out is not set; {wanted}: set out=features.npz")
    out = Path(given)
    if out.suffix not in (".npz", ".safetensors"):
        raise InputError(f"out={given} ends in {out.suffix!r}; {wanted}")
    if out.is_dir():
        raise InputError(f"out={given} is a folder; {wanted}")
    parent = next(place for place in out.absolute().parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"out={given} cannot be written; {wanted} in a folder of yours")
    return out


def _backbone(config: Any) -> Any:
    import logging

    from cgcd.cli.parts import instantiated
    from cgcd.engine.seeding import isolated_randomness

    if "dim" in config.model.backbone:  # of vectors; found in data_root, which holds images here
        raise InputError(
            f"the model takes embeddings ({config.model.backbone._target_}); wanted one that takes "
            "images: set model=vit_base_dino, or model=timm model.backbone=NAME"
        )
    with isolated_randomness(config.seed, "model"):
        backbone = instantiated(config.model, "model").backbone
    if backbone.origin == "random":
        logging.getLogger(__name__).warning(
            "the weights of %s are random, and so are its embeddings; set model.pretrained=true or "
            "model.weights=FILE",
            config.model.backbone,
        )
    return backbone


def _settings(
    content: Mapping[str, Any], backbone: Any, source: ImageSource, device: Any
) -> dict[str, Any]:
    """All that an embedding depends on beside its image, as plain data.

    What changes the speed, and at most the last bit, is not part of it.
    """
    from dataclasses import asdict
    from importlib.metadata import version

    from cgcd.engine.feature_store import digest

    states = (tensor.detach().cpu().contiguous() for tensor in backbone.state_dict().values())
    weights = sorted(  # without their names, which depend on where the backbone is cut
        digest(f"{t.dtype} {tuple(t.shape)}".encode() + t.numpy().tobytes()) for t in states
    )
    return {
        "backbone": content["model"]["backbone"],
        "backbone_kwargs": content["model"]["backbone_kwargs"],
        "weights": digest(b"".join(weights)).hex(),
        "input": asdict(backbone.spec),
        "images": source.kind,
        "dtype": content["dtype"],
        **({} if backbone.precision == "fp32" else {"precision": backbone.precision}),
        "device": device.type,
        "versions": {name: version(name) for name in ("torch", "timm", "pillow")},
    }


def _digest(settings: Mapping[str, Any]) -> str:
    import json

    from cgcd.engine.feature_store import digest

    return digest(json.dumps(settings, sort_keys=True).encode()).hex()


def _written_before(out: Path, settings: Mapping[str, Any], overwrite: bool) -> FeatureFile | None:
    """The file at `out`, if there is one of these settings; another one is not replaced."""
    import json

    from cgcd.engine.feature_file import FeatureFile

    if not out.exists():
        return None
    before = FeatureFile.read(out)
    if before is not None and before.settings == json.loads(json.dumps(settings)):
        return before
    if not overwrite:
        holds = "no whole file of embeddings" if before is None else "embeddings of other settings"
        raise InputError(f"out={out} holds {holds}; give another out, or set overwrite=true")
    return None


def _threads(content: Mapping[str, Any], device: Any) -> Any:
    """Inside, the backbone computes in the threads it is to have."""
    from contextlib import contextmanager

    import torch

    @contextmanager
    def inside() -> Any:
        before = torch.get_num_threads()
        auto = max(min(before, _cores() - 1), 1) if device.type == "cpu" else before
        torch.set_num_threads(_or_auto(content["torch_threads"], auto))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return inside()


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _or_auto(given: Any, automatic: int) -> int:
    return automatic if given == "auto" else int(given)


def _file(source: ImageSource, found: Extraction, settings: Mapping[str, Any]) -> FeatureFile:
    import json

    import numpy as np

    from cgcd.engine.feature_file import FeatureFile

    rows = found.rows
    return FeatureFile(
        found.features,
        np.array([source.ids[row] for row in rows]),
        found.digests,
        json.loads(json.dumps(settings)),
        y=None if source.targets is None else source.targets[rows],
        split=None if source.split is None else source.split[rows],
        classes=None if source.targets is None else np.array(source.class_names),
    )


def _write(whole: FeatureFile, out: Path) -> None:
    try:
        whole.write(out)
    except OSError as error:
        raise InputError(
            f"out={out} cannot be written ({error.strerror}); give another out"
        ) from error


def _write_skipped(source: ImageSource, found: Extraction, out: Path) -> Path | None:
    """Write path and reason of what is left out beside the file; None, and no file, if nothing."""
    from cgcd.engine.cache import write_text
    from cgcd.tracking.cells import csv_text

    path = out.with_name(f"{out.stem}.skipped.csv")
    if not found.skipped:
        path.unlink(missing_ok=True)
        return None
    rows = [(source.ids[index], reason) for index, reason in found.skipped]
    write_text(path, csv_text([("path", "reason"), *rows]))
    return path


def _title(source: ImageSource, content: Mapping[str, Any]) -> str:
    where = content["data_root"] if content["data"] == "files" else content["data"]
    told = f"{len(source.class_names)} classes" if source.targets is not None else "no labels"
    if content["data"] == "files" and source.targets is not None:
        told += " by their folders (labels=none if these name no classes)"
    parts = "" if source.split is None else f", {int(source.split.sum())} of them for testing"
    return f"{where}: {len(source)} images{parts}, {told}"


def _report(found: Extraction, out: Path, skipped: Path | None) -> str:
    profile, new = found.profile, found.num_computed
    text = f"{out}: {len(found.rows)} images, {new} computed, {len(found.rows) - new} known"
    if skipped is not None:
        text += f", {len(found.skipped)} left out ({skipped})"
    text += f"; {profile.total:.1f} s"
    if new:
        shares = {
            "in the backbone": profile.backbone,
            "waiting for images": profile.waiting,
            "writing": profile.writing,
        }
        text += f", {new / profile.total:.0f} images/s\ntime: " + ", ".join(
            f"{seconds:.1f} s ({seconds / profile.total:.0%}) {what}"
            for what, seconds in shares.items()
        )
    return text


def _next_commands(whole: FeatureFile, out: Path) -> str:
    """What to do with the file, one line a use."""
    name = shlex.quote(f"{out}")
    if whole.y is None or whole.classes is None:
        return (
            "use it:  cgcd run scenario=features_stages model=adapter scenario.labeled=KNOWN.npz "
            f"scenario.stages=[{name}]"
        )
    num_known = (len(whole.classes) + 1) // 2
    return (
        f"use it:  cgcd run scenario=features model=adapter data_root={name}\n"
        "         cgcd run strategy=phe scenario=features_online model=adapter "
        f"scenario.protocol.num_known={num_known} "
        f"scenario.protocol.num_novel={len(whole.classes) - num_known} data_root={name}"
    )
