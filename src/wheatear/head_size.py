"""How large the heads of a photo are, measured by the detector itself.

A detector learned heads of one size and is less sure of others. So a few places of the photo are shown to it at several
scales, always as a window of the same size. At the scale at which it is surest of the heads, and finds them as large as
those it learned, they are measured. Letters: N detections.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np

from wheatear.boxes import area
from wheatear.detections import Detections
from wheatear.pixels import Pixels, Window
from wheatear.tiles import run_scaled

# An octave apart, as the detector learned heads of half an octave more and less: heads from four times smaller to four
# times larger than its own.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
WINDOW = 640  # pixels of the detector: room for about 20 heads, at 0.4 of the cost of a 1024² photo
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75))  # of the photo's height and width
LIKELY = 0.3  # the score of a head that speaks for or against a scale
ENOUGH = 10  # such heads; fewer say less, as their root, and below a half of them nothing is measured
SURE = 0.5  # of the best score: the heads that are measured
NEAR = 0.5  # octaves: heads that differ less from the trained size, as in its training, are left as they are


def estimate_head_px(
    run: Callable[[np.ndarray], Detections], pixels: Pixels, trained_px: float
) -> float | None:
    """The median size of the photo's heads, the root of a box's area in pixels.

    run: one run of the detector with a low score threshold. None where the heads are about as large as trained_px, or
    too few are found.
    """
    looks = [_look(run, pixels, scale) for scale in SCALES]
    evidence = [_evidence(heads, scale, trained_px) for heads, scale in zip(looks, SCALES, strict=True)]
    heads = looks[int(np.argmax(evidence))]
    if len(heads) < ENOUGH / 2:
        return None
    size = float(np.median(_sizes(heads.above(SURE * float(heads.scores.max())))))
    return None if abs(np.log2(size / trained_px)) < NEAR else size


def _look(run: Callable[[np.ndarray], Detections], pixels: Pixels, scale: float) -> Detections:
    """The likely heads of all places at a scale, in pixels of the photo but of no place in it."""
    windows = {_window(pixels, place, scale): None for place in PLACES}  # in a small photo they are one
    found = [
        _uncut(run_scaled(run, pixels.read(window), scale).above(LIKELY), 1 / scale) for window in windows
    ]
    boxes, scores = (
        np.concatenate(parts) for parts in zip(*((f.boxes, f.scores) for f in found), strict=True)
    )
    return Detections(boxes, scores)


def _uncut(heads: Detections, margin: float) -> Detections:
    """Those that stay clear of the window's borders by more than a margin in its pixels."""
    left, top, right, bottom = heads.boxes.T
    clear = np.minimum(left, top) > margin
    return heads[clear & (right < heads.width - margin) & (bottom < heads.height - margin)]


def _evidence(heads: Detections, scale: float, trained_px: float) -> float:
    """How sure the detector is on average, less by how far a head's size is off: 0..1.

    Scores are squared: leaves and stalks, looked at large enough, are many unlikely heads, and a photo may have few.
    """
    if not len(heads):
        return 0.0
    fit = np.exp(-np.abs(np.log(np.maximum(_sizes(heads) * scale, 1) / trained_px)))
    return float((heads.scores**2 * fit).mean()) * sqrt(min(1.0, len(heads) / ENOUGH))


def _sizes(heads: Detections) -> np.ndarray:
    sizes: np.ndarray = np.sqrt(area(heads.boxes))
    return sizes


def _window(pixels: Pixels, place: tuple[float, float], scale: float) -> Window:
    """A window around a place, seen as WINDOW² pixels; moved into the photo, and cut where it is larger than that."""
    side = max(1, round(WINDOW / scale))
    top, left = (
        max(0, min(round(share * length - side / 2), length - side))
        for share, length in zip(place, (pixels.height, pixels.width), strict=True)
    )
    return Window(top, left, min(top + side, pixels.height), min(left + side, pixels.width))
