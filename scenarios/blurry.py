"""Si-Blurry for discovery: stages without sharp borders, cut at random points.

Source: Moon et al., Online Class Incremental Learning on Stochastic Blurry Task Boundary via Mask
and Visual Prompt Tuning, ICCV 2023, arXiv 2308.09303, and the sampler of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.draws import (
    BASE_DRAW,
    BLURRY_CUT_DRAW,
    CLASS_DRAW,
    DISJOINT_CUT_DRAW,
    SCATTER_DRAW,
    cut_at_random,
    draw_without_replacement,
)
from scenarios.fields import refuse
from scenarios.staged import Schedule, StagedProtocol, labeled_counts


@dataclass(frozen=True, kw_only=True)
class BlurryProtocol(StagedProtocol):
    """A labeled base, then all other images once each, in stages with blurred borders.

    The novel classes are divided at random into disjoint ones, whose images all come at one stage,
    and blurry ones, of whose images some are scattered over the other stages. How many classes and
    how many scattered images a stage gets is cut at random points, and the rest of the base classes
    is scattered likewise. Classes get rows in the order in which they first occur.

    Every stage brings at least one novel class: the random division of the disjoint classes is one
    of those, all equally likely, that give each stage at least one.

    Attributes: those of `StagedProtocol`; `novel_order` says which classes are used, when they come
        is drawn by the run's seed; and
        labeled_fraction: share in (0, 1] of each base class's n images that stage 0 labels,
            int(share * n).
        disjoint_ratio: share in (0, 1] of the novel classes that is disjoint, rounded; at least as
            many as there are continual stages.
        blurry_ratio: share in [0, 1] of each blurry class's n images that is scattered,
            int(share * n), and none where there is one stage only.

    Raises:
        InputError: if a value is none of the above; what depends on the data is checked by
            `compose`.

    Source: see the module; disjoint_ratio 0.5 and blurry_ratio 0.1 are the published ones. Ours
    are the labeled base, a count of scattered images by class instead of by stage, at least one
    new class a stage, and that no remainder is dropped.
    """

    labeled_fraction: float = 0.8
    disjoint_ratio: float = 0.5
    blurry_ratio: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("labeled_fraction", "0.8")
        self.check_share("disjoint_ratio", "0.5")
        self.check_range("blurry_ratio", 0, 1, "a share from 0 to 1", "0.1")

    def schedule(self, classes: np.ndarray, counts: np.ndarray, seed: int) -> Schedule:
        base, stages = self.num_base, np.arange(self.num_stages)
        num_labeled = labeled_counts(self, self.labeled_fraction, classes, counts)
        rest = cut_at_random(counts[:base] - num_labeled, self.num_stages, seed, BASE_DRAW)

        home, is_blurry = self._homes(len(counts) - base, seed)
        novel = counts[base:]
        scattered = np.where(is_blurry, (self.blurry_ratio * novel).astype(np.int64), 0)
        if self.num_stages == 1:
            scattered[:] = 0
        taken = np.where(stages == home[:, None], (novel - scattered)[:, None], 0)
        if self.num_stages > 1:
            elsewhere = cut_at_random(scattered, self.num_stages - 1, seed, SCATTER_DRAW)
            taken[stages != home[:, None]] = elsewhere.ravel()

        first = np.concatenate((np.zeros(base, dtype=np.int64), 1 + np.argmax(taken > 0, axis=1)))
        return Schedule(first, [num_labeled, *np.concatenate((rest, taken)).T], once=True)

    def _homes(self, num_novel: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Home of each novel class, in 0 .. T - 1, and whether it is blurry, (num_novel,) each."""
        num_disjoint = int(self.disjoint_ratio * num_novel + 0.5)
        if num_disjoint < self.num_stages:
            refuse(
                "disjoint_ratio",
                f"{self.disjoint_ratio}, which makes {num_disjoint} of {num_novel} novel classes"
                " disjoint",
                f"at least 1 for each of {self.num_stages} stages",
                "raise scenario.protocol.disjoint_ratio or lower scenario.protocol.num_stages",
            )
        everything = np.array([num_novel])
        turn = draw_without_replacement(everything, everything, seed, CLASS_DRAW)
        gaps, cuts = np.array([num_disjoint - 1]), np.array([self.num_stages - 1])
        drawn = np.sort(draw_without_replacement(gaps, cuts, seed, DISJOINT_CUT_DRAW))
        disjoint = np.diff(drawn + 1, prepend=0, append=num_disjoint)
        num_blurry = np.array([num_novel - num_disjoint])
        blurry = cut_at_random(num_blurry, self.num_stages, seed, BLURRY_CUT_DRAW)[0]
        home = np.empty(num_novel, dtype=np.int64)
        home[turn] = np.concatenate(
            [np.repeat(np.arange(self.num_stages), n) for n in (disjoint, blurry)]
        )
        is_blurry = np.ones(num_novel, dtype=bool)
        is_blurry[turn[:num_disjoint]] = False
        return home, is_blurry
