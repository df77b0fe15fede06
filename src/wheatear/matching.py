"""Which detections find a head: greedy matching, done once for all score thresholds.

Shape letters: T IoU thresholds, N detections in a photo, G heads in a photo, P photos.

Detections take their heads in descending score, so what the best k of them take does not depend on the rest.
One pass over all detections therefore gives the matches for every score threshold: those of a prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wheatear.boxes import iou
from wheatear.detections import Detections


@dataclass(frozen=True, eq=False)
class Matches:
    """A photo's detections matched to its heads, at T IoU thresholds.

    heads:  G, the number of labelled heads.
    scores: (N,) float32, descending.
    hits:   (T, N + 1) int64; hits[:, k] is how many of the k best detections find a head.
    taken:  (T, N) int64; the index among the G heads of the one that each detection finds, -1 if it finds
            none.
    """

    heads: int
    scores: np.ndarray
    hits: np.ndarray
    taken: np.ndarray

    def kept(self, score_threshold: float) -> int:
        """The number of detections with score >= score_threshold: the first ones, as scores descend."""
        return int(np.count_nonzero(self.scores >= np.float32(score_threshold)))


@dataclass(frozen=True, eq=False)
class Tally:
    """Numbers of heads, detections and hits in P photos at one score threshold: (P,), (P,), (T, P) int64."""

    heads: np.ndarray
    found: np.ndarray
    hits: np.ndarray

    def of(self, photos: np.ndarray) -> "Tally":
        """The tally of some of the photos, by index or bool mask (P,)."""
        return Tally(self.heads[photos], self.found[photos], self.hits[:, photos])

    def accuracy(self) -> np.ndarray:
        """TP / (TP + FP + FN) of each photo, (T, P) in 0..1; 1 without heads and detections."""
        union = self.heads + self.found - self.hits
        return np.divide(self.hits, union, out=np.ones(union.shape), where=union > 0)


def match(boxes: np.ndarray, detections: Detections, iou_thresholds: np.ndarray) -> Matches:
    """Match a photo's detections to its heads (G, 4) at each of the IoU thresholds (T,), all above 0.

    In descending score, each detection takes the free head that it overlaps most, if their IoU is at least
    the threshold; of equal IoUs the head listed first.
    """
    # float32 on both sides, so that an overlap of exactly 11/20 reaches the threshold 0.55.
    thresholds = iou_thresholds.astype(np.float32)
    overlaps = iou(detections.boxes, np.asarray(boxes, np.float32))
    free = np.ones((len(thresholds), len(boxes)), bool)
    taken = np.full((len(thresholds), len(detections)), -1)
    every = np.arange(len(thresholds))
    for n in np.flatnonzero(overlaps.max(axis=1, initial=0) >= thresholds.min()):
        reachable = np.where(free & (overlaps[n] >= thresholds[:, None]), overlaps[n], -1)
        best = reachable.argmax(axis=1)
        hit = reachable[every, best] >= 0
        taken[hit, n] = best[hit]
        free[every, best] &= ~hit
    hits = np.pad((taken >= 0).cumsum(axis=1), ((0, 0), (1, 0)))
    return Matches(len(boxes), detections.scores, hits, taken)


def tally(matches: Sequence[Matches], score_threshold: float) -> Tally:
    """Count heads, detections with score >= score_threshold and their hits, in one or more photos."""
    found = [photo.kept(score_threshold) for photo in matches]
    hits = [photo.hits[:, k] for photo, k in zip(matches, found, strict=True)]
    return Tally(np.array([photo.heads for photo in matches]), np.array(found), np.stack(hits, axis=1))
