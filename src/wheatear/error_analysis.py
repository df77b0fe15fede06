"""Where a detector errs: by score, by the size of the heads, by their number per photo; and its worst mistakes.

All at IoU 0.5, the first threshold of the matches. Shape letters: P photos, N detections, K points of a
curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wheatear.boxes import area, iou, sizes
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.matching import Matches, Tally

BINS = 5  # fifths of the heads or photos: each bin has enough of them for a judgement
NEAR = 0.25  # IoU from which a detection may be meant for a head; neighbours in dense photos overlap less


@dataclass(frozen=True)
class SizeBin:
    """Heads and detections whose √area lies in low <= size < high pixels (the last bin includes high).

    recall: the share of the heads that are found. precision: the share of the detections of this size that
    find a head; None without such detections.
    """

    low: float
    high: float
    heads: int
    recall: float
    precision: float | None


@dataclass(frozen=True)
class DensityBin:
    """Photos with low <= heads < high (the last bin includes high): mean absolute error and bias, in heads."""

    low: float
    high: float
    photos: int
    mae: float
    bias: float


@dataclass(frozen=True, eq=False)
class Mistake:
    """A detection that finds no head or, if score is None, a head that is not found.

    photo: its index among the samples. box: (4,) xyxy pixels.
    """

    photo: int
    box: np.ndarray
    score: float | None = None


def precision_recall(matches: Sequence[Matches]) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall (K,), (K,) in 0..1 over all photos together, for every score in descending order.

    Recall never falls. Both are empty without heads or without detections.
    """
    heads = sum(each.heads for each in matches)
    scores = np.concatenate([each.scores for each in matches])
    if not heads or not len(scores):
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([each.taken[0] >= 0 for each in matches])[order].cumsum()
    # Equal scores are kept or dropped together.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return hits[last] / (last + 1), hits[last] / heads


def by_head_size(
    samples: Sequence[Sample], found: Sequence[Detections], matches: Sequence[Matches], threshold: float
) -> list[SizeBin]:
    """Recall and precision in fifths of the heads by size, at a score threshold; [] without heads.

    found: the detections that were matched, one Detections per photo.
    """
    labelled_px = sizes(np.concatenate([sample.boxes for sample in samples]))
    head_found = np.concatenate([_found(each, threshold) for each in matches])
    found_px = sizes(np.concatenate([each.above(threshold).boxes for each in found]))
    hits = np.concatenate([each.taken[0, : each.kept(threshold)] >= 0 for each in matches])
    edges = _edges(labelled_px)
    return [
        SizeBin(
            low,
            high,
            heads=int(mine.sum()),
            recall=float(head_found[mine].mean()),
            precision=float(hits[theirs].mean()) if theirs.any() else None,
        )
        for (low, high), mine, theirs in zip(
            edges, _members(labelled_px, edges), _members(found_px, edges), strict=True
        )
    ]


def by_density(counts: Tally) -> list[DensityBin]:
    """Counting errors in fifths of the photos by their number of heads; [] without photos."""
    errors = counts.found - counts.heads
    edges = _edges(counts.heads)
    return [
        DensityBin(low, high, int(mine.sum()), float(np.abs(errors[mine]).mean()), float(errors[mine].mean()))
        for (low, high), mine in zip(edges, _members(counts.heads, edges), strict=True)
    ]


def worst_false_alarms(
    found: Sequence[Detections], matches: Sequence[Matches], threshold: float, number: int
) -> list[Mistake]:
    """The detections with the highest scores that find no head, at most one per photo, best first."""
    worst = []
    for photo, (detections, each) in enumerate(zip(found, matches, strict=True)):
        false = np.flatnonzero(each.taken[0, : each.kept(threshold)] < 0)
        if len(false):
            worst.append(Mistake(photo, detections.boxes[false[0]], float(detections.scores[false[0]])))
    return sorted(worst, key=lambda mistake: -(mistake.score or 0))[:number]


def worst_misses(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    matches: Sequence[Matches],
    threshold: float,
    number: int,
) -> list[Mistake]:
    """The heads not found for which there is the least evidence, at most one per photo.

    First those with no detection of any score near them, then in ascending order of the best score near them;
    of equals, first the largest relative to its photo's median head.
    """
    worst: list[tuple[float, float, Mistake]] = []
    for photo, (sample, detections, each) in enumerate(zip(samples, found, matches, strict=True)):
        missed = np.flatnonzero(~_found(each, threshold))
        if len(missed):
            near = iou(sample.boxes[missed], detections.boxes) >= NEAR
            suspicion = np.where(near, detections.scores, 0).max(axis=1, initial=0)
            size = area(sample.boxes[missed]) / max(1.0, float(np.median(area(sample.boxes))))
            first = np.lexsort((-size, suspicion))[0]
            mistake = Mistake(photo, sample.boxes[missed[first]])
            worst.append((float(suspicion[first]), -float(size[first]), mistake))
    return [mistake for *_, mistake in sorted(worst, key=lambda each: each[:2])][:number]


def _found(matches: Matches, threshold: float) -> np.ndarray:
    """Which of a photo's heads are found: (G,) bool."""
    found = np.zeros(matches.heads, bool)
    taken = matches.taken[0, : matches.kept(threshold)]
    found[taken[taken >= 0]] = True
    return found


def _edges(values: np.ndarray) -> list[tuple[float, float]]:
    """Limits of at most BINS bins with about equally many values, at whole numbers; no bin is empty."""
    if not len(values):
        return []
    fifths = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    limits = np.unique(np.floor(fifths))  # a limit just below a value, so that its bin holds that value
    low, high = np.floor(values.min()), np.ceil(values.max())
    inner = limits[(limits > low) & (limits < high)]
    edges = [low, *inner, high]
    return [(float(a), float(b)) for a, b in pairwise(edges)]


def _members(values: np.ndarray, edges: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Which values are in each bin; the outer bins also include the values beyond them."""
    inner = np.array([low for low, _ in edges[1:]])
    places = np.searchsorted(inner, values, side="right")
    return [places == place for place in range(len(edges))]
