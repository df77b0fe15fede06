"""Anchors fitted to boxes: k-means on 1 - IoU of their sides, as in YOLOv2 (Redmon & Farhadi 2017, §2).

Sides are (width, height) in pixels. The IoU of two of them is that of boxes with a common centre: the upper
limit for an anchor on a grid, whose centre is fixed by its cell. Letters: G boxes, K anchors.
"""

from collections.abc import Sequence

import numpy as np

from wheatear.data.check import clean
from wheatear.data.sample import Sample

DRAWN = 4  # candidates at a time; with only one, groups of boxes that lie apart were left without an anchor
USUAL = 9  # anchors per cell, as in Faster R-CNN §3.1.1
ROUNDS = 300  # far more than convergence takes; a limit in case two assignments alternate


def box_sides(samples: Sequence[Sample]) -> np.ndarray:
    """(G, 2) float64 sides of the boxes that training would use: cleaned, from photos in the train split or in none."""
    boxes = [clean(sample).boxes for sample in samples if sample.split in ("train", "")]
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    return corners[:, 2:] - corners[:, :2]


def sides_iou(sides: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of every pair with a common centre: (G, 2), (K, 2) -> (G, K) float64 in 0..1; sides must be above 0."""
    shared = np.minimum(sides[:, None], anchors[None]).prod(2)
    return shared / (sides.prod(1)[:, None] + anchors.prod(1)[None] - shared)


def best_iou(sides: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The IoU of each of (G, 2) sides with the best of (K, 2) anchors: (G,), 0 if there are no anchors."""
    return sides_iou(sides, anchors).max(1, initial=0.0)


def fit_anchors(sides: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """The k anchors that overlap (G, 2) sides best on average: (K, 2) float64, the smallest area first.

    K is less than k if there are fewer distinct boxes, which then are the anchors; no boxes give (0, 2).
    It is a local optimum from a single start; on GWHD's boxes the mean IoU of five starts differed by 0.002 at most.
    """
    sides = np.asarray(sides, np.float64).reshape(-1, 2)
    anchors = np.unique(sides, axis=0)
    if len(anchors) > k:
        anchors = _settle(sides, _spread_out(sides, k, rng))
    return anchors[anchors.prod(1).argsort(kind="stable")]


def _spread_out(sides: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k distinct boxes to start from: each the best of DRAWN, drawn in proportion to their distance from those before.

    This is k-means++ (Arthur & Vassilvitskii 2007) in its greedy form.
    """
    chosen = sides[[rng.integers(len(sides))]]
    while len(chosen) < k:
        distance = 1 - best_iou(sides, chosen)
        drawn = rng.choice(len(sides), DRAWN, p=distance / distance.sum())
        grown = [np.append(chosen, sides[[one]], axis=0) for one in drawn]
        chosen = max(grown, key=lambda anchors: float(best_iou(sides, anchors).mean()))
    return chosen


def _settle(sides: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Move each anchor to the mean of the boxes nearest to it until no box changes its anchor."""
    before = np.full(len(sides), -1)
    for _ in range(ROUNDS):
        nearest = sides_iou(sides, anchors).argmax(1)
        if (nearest == before).all():
            break
        members = [sides[nearest == i] for i in range(len(anchors))]
        # An anchor that no box is nearest to stays where it is.
        anchors = np.stack(
            [own.mean(0) if len(own) else old for own, old in zip(members, anchors, strict=True)]
        )
        before = nearest
    return anchors
