"""Losses of hash-based on-line discovery: of class prototypes, and of codes and their centers.

Source: Zheng et al., Prototypical Hash Encoding (PHE), NeurIPS 2024, arXiv 2410.19213; Du et al.,
On-the-fly Category Discovery (SMILE), CVPR 2023, for the quantization of the sign branch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cgcd.losses.classification import cosine_cross_entropy
from cgcd.vocabulary import InputError

_SMALLEST = 1e-24  # squared distance of a feature that equals a prototype: the root stays smooth


def prototype_similarity(features: Tensor, prototypes: Tensor, eps: float = 1e-4) -> Tensor:
    """How near each feature is to each prototype: log((d + 1) / (d + eps)), d their distance.

    Only directions count. The gradient is finite everywhere, also where a feature equals a
    prototype; there float32 resolves distances of about 3e-4 only.

    Args:
        features: (..., D), normalized inside.
        prototypes: (M, D), normalized inside.
        eps: > 0; bounds the similarity by log(1 / eps).

    Returns:
        Similarities (..., M) in [log 3/2, log 1/eps], falling with the distance in [0, 2]; in
        float32 or better, also under autocast.

    Source: arXiv 2410.19213 eq. 1 in the form of the authors' code: the Euclidean distance of
    normalized vectors, where the paper has the squared distance of vectors as they come.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):  # 2 - 2 cos cancels in half precision
        directions = F.normalize(prototypes.to(dtype), dim=-1)
        cosines = F.normalize(features.to(dtype), dim=-1) @ directions.T
        distances = (2 - 2 * cosines).clamp_min(_SMALLEST).sqrt()
        return ((distances + 1) / (distances + eps)).log()


def class_scores(similarities: Tensor, num_classes: int) -> Tensor:
    """Logits of classes from similarities to their prototypes: own ones minus half of the others.

    Args:
        similarities: (..., M), M = K * k: the k prototypes of a class are neighbors.
        num_classes: K, >= 1.

    Returns:
        Logits (..., K), without a temperature.

    Raises:
        ValueError: if the prototypes cannot be shared out evenly among `num_classes`.

    Source: arXiv 2410.19213, the frozen classifier of the authors' code, a matrix of 1 and -0.5,
    here as 1.5 x own - 0.5 x all.
    """
    num_prototypes = similarities.shape[-1]
    if num_classes < 1 or num_prototypes % num_classes:
        raise ValueError(
            f"{num_prototypes} prototypes cannot be shared out among {num_classes} classes; give "
            "the number of classes that the prototypes were made for"
        )
    own = similarities.unflatten(-1, (num_classes, num_prototypes // num_classes)).sum(-1)
    return 1.5 * own - 0.5 * own.sum(-1, keepdim=True)


def separation_target(num_bits: int, num_classes: int) -> int:
    """How many bits any two class centers should differ in, so that K codes of L bits have room.

    The smallest d in 2..L with C(L, d-2) <= 2^L / K <= C(L, d-1), in exact integers. It is 0 where
    there is none: K is too large for so short a code, or so small, below about 1.25 sqrt(L), that
    no coefficient reaches 2^L / K.

    >>> separation_target(12, 200)
    3

    Args:
        num_bits: code length L in bits, 1 to 1024.
        num_classes: K, >= 1. Every class of the stream counts in the published numbers, known or
            not; the known ones alone keep a strategy from learning how many there are.

    Raises:
        InputError: if an argument is out of range.

    Source: the rule of the authors' code of arXiv 2410.19213, which gives 31 of the 32 values of
    its Table 7. Eq. 7 of the paper has sums of binomial coefficients in their place and the known
    classes only, and gives other values.
    """
    if num_bits not in range(1, 1025):
        raise InputError(f"num_bits is {num_bits}; wanted a code length of 1 to 1024 bits")
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; wanted 1 or more classes to tell apart")
    num_codes = 2**num_bits
    for target in range(2, num_bits + 1):
        below, above = math.comb(num_bits, target - 2), math.comb(num_bits, target - 1)
        if below * num_classes <= num_codes <= above * num_classes:
            return target
    return 0


def hamming_radius(target: int) -> int:
    """Up to how many bits a code may differ from a category and still belong to it, >= 1.

    Half the separation, so that the balls of two centers share at most their surface.

    Args:
        target: bits that centers differ in, see `separation_target`; 0 and 1 give a radius of 1.

    Source: arXiv 2410.19213, max(floor(target / 2), 1).
    """
    return max(target // 2, 1)


def center_separation(
    centers: Tensor, target: float, slack: float = 0.95, sharpness: float = 3.0
) -> Tensor:
    """Pushes class centers apart until their codes differ in `target` bits and a little more.

    Each pair pays what its distance (slack x L - s.s') / 2 lacks of the target, s being the
    smoothed sign tanh(sharpness x center).

    Args:
        centers: real codes of the classes, (K, L), K >= 1.
        target: wanted distance in bits, see `separation_target`.
        slack: lowers every distance by (1 - slack) L / 2 bits; 1 is the plain Hamming distance.
        sharpness: > 0; larger values are closer to the sign.

    Returns:
        A scalar in bits, >= 0: the mean over classes of the sum over the others; 0 for K = 1.

    Source: arXiv 2410.19213, center separation. The slack of 0.95 and the mean over classes are
    those of the authors' code; the paper has no slack and a sum, K times as much.
    """
    num_classes, num_bits = centers.shape
    signs = (sharpness * centers).tanh()
    lacking = (target - (slack * num_bits - signs @ signs.T) / 2).relu()
    itself = torch.eye(num_classes, dtype=torch.bool, device=centers.device)
    return lacking.masked_fill(itself, 0).sum(-1).mean()


def center_quantization(centers: Tensor, sharpness: float = 3.0) -> Tensor:
    """Mean distance of the smoothed signs tanh(sharpness x center) from -1 or 1.

    Args:
        centers: real codes, of any shape.
        sharpness: > 0.

    Returns:
        A scalar in [0, 1].

    Source: arXiv 2410.19213, quantization. The mean over all entries is that of the authors' code;
    the paper sums over the centers.
    """
    return sign_quantization((sharpness * centers).tanh())


def sign_quantization(signs: Tensor) -> Tensor:
    """Mean distance of smoothed signs from -1 or 1: 1 - |s|.

    Args:
        signs: in [-1, 1], of any shape.

    Returns:
        A scalar in [0, 1].

    Source: the regularizer in the authors' code of SMILE, CVPR 2023, which weighs it by 3.
    """
    return (1 - signs.abs()).mean()


def center_cross_entropy(codes: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """Pulls real codes to the center of their class: cross-entropy over plain cosines.

    Codes and centers both get a gradient. Without a temperature the loss cannot fall below
    log(1 + (K - 1) e^-2).

    Args:
        codes: real codes of the samples, (..., L).
        centers: real codes of the classes, (K, L).
        labels: classes in [0, K), (...,); `UNLABELED` samples are left out.

    Returns:
        A scalar in nats; zero, and still of the graph, when no sample is labeled.

    Raises:
        ValueError: if `labels` is not one label for each code.

    Source: arXiv 2410.19213, the hash feature loss.
    """
    cosines = F.normalize(codes, dim=-1) @ F.normalize(centers, dim=-1).T
    rows = cosines.reshape(-1, len(centers))
    return cosine_cross_entropy(rows, labels.reshape(-1), temperature=1.0)
