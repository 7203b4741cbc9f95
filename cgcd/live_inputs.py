"""What the live door takes, under the view that the run's stream was answered in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cgcd.models import InputSpec
from cgcd.stages import Sample
from cgcd.vocabulary import InputError
from scenarios.features import VectorView
from scenarios.views import CenterView

_LARGEST = 1e16  # as in files: the length of what is larger is no float32
_IMAGE = "a PIL image, uint8 (H, W, 3), or a tensor under the evaluation transform"


class LiveInputs:
    """Makes tensors of images or vectors as the run's own scenario does, bit for bit.

    Args:
        spec: what the model takes.
        scenario: the run's config of its scenario, plain.
        results: of the run; `inverted` tells that its files were read inverted.
    """

    def __init__(
        self, spec: InputSpec, scenario: Mapping[str, Any], results: Mapping[str, Any]
    ) -> None:
        self.spec = spec
        self.centered = bool(scenario.get("center"))
        self.vector_view = VectorView(None, bool(scenario.get("normalize")))
        self.inverted = bool(results.get("inverted"))

    def __call__(self, inputs: Any) -> Tensor:
        """Inputs of the model, (N, C, H, W) or (N, D); (C, H, W) tensors stay as they are.

        Raises:
            InputError: if they are none.
        """
        if self.spec.vector is not None:
            return self._vectors(inputs)
        if isinstance(inputs, Tensor):
            if not inputs.is_floating_point():
                raise InputError(f"an input is a tensor of {inputs.dtype}; wanted {_IMAGE}")
            return inputs.float()
        one = isinstance(inputs, Image.Image) or (
            isinstance(inputs, np.ndarray) and inputs.ndim <= 3
        )
        try:
            images = [inputs] if one else list(inputs)
        except TypeError as error:
            raise InputError(f"an input is a {type(inputs).__name__}; wanted {_IMAGE}") from error
        if not images:
            return torch.empty(0, *self.spec.shape)
        view = CenterView(self.spec)
        return torch.stack([view(Sample(self._image(image), 0)) for image in images])

    def _vectors(self, inputs: Any) -> Tensor:
        if self.centered:
            raise InputError(
                "this run centered its embeddings, which the live door cannot; give the vectors to "
                "strategy.observe under the scenario's own view"
            )
        width = self.spec.vector
        if isinstance(inputs, Tensor):
            inputs = inputs.detach().to("cpu", torch.float32).numpy()
        try:
            with np.errstate(over="ignore"):  # what becomes infinite is refused below the door
                array = np.asarray(inputs, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"the input is no vector ({error}); wanted {width} numbers") from error
        if array.shape == (0,):
            array = array.reshape(0, width)
        if array.ndim not in (1, 2) or array.shape[-1] != width:
            raise InputError(
                f"the vectors have the shape {array.shape}; wanted ({width},) or (N, {width})"
            )
        if not (np.abs(array) <= _LARGEST).all():  # also where one is nan
            raise InputError(
                f"an input holds nan or an infinite number, or one beyond {_LARGEST:g}; leave it "
                "out or compute it again"
            )
        return torch.from_numpy(self.vector_view.prepared(array.reshape(-1, width)))

    def _image(self, image: Any) -> Image.Image:
        if isinstance(image, np.ndarray):
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)
            if image.dtype != np.uint8 or not fits or not image.size:
                raise InputError(
                    f"an image is {image.dtype} of shape {image.shape}; wanted uint8 (H, W, 3), "
                    "or a PIL image"
                )
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise InputError(f"an input is a {type(image).__name__}; wanted {_IMAGE}")
        try:
            rgb = image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"an image cannot be read ({error}); fetch it again") from error
        return ImageOps.invert(rgb) if self.inverted else rgb
