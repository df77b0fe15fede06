"""How large the heads of a photo are, judged by the detector itself.

A detector learned heads of one size and is less sure of others. So a few places of the photo are shown to it at several
scales, always as a window of the same size. The scale counts for most at which it is surest of the heads, and finds
them as large as those it learned. Letters: N detections.
"""

from collections.abc import Callable

import numpy as np

from wheatear.boxes import area
from wheatear.detections import Detections
from wheatear.pixels import Pixels, Window
from wheatear.tiles import run_scaled

# Half an octave apart: heads from four times smaller to four times larger than the detector's.
SCALES = tuple(2.0 ** (step / 2) for step in range(-4, 5))
WINDOW = 640  # pixels of the detector: room for about 20 heads, at 0.4 of the cost of a 1024² photo
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75))  # of the photo's height and width
BEST = 10  # heads of a window that speak for it: half of those in a window of the right scale
# By how much another scale must be better than the photo as it is: a wrong guess costs more than a missed one.
MARGIN = 1.15


def estimate_head_px(
    run: Callable[[np.ndarray], Detections], pixels: Pixels, trained_px: float
) -> float | None:
    """The size of the photo's heads, the root of a box's area in pixels, to half an octave.

    run: one run of the detector with a low score threshold. None where the detector finds heads best as they are, or
    none at all.
    """
    evidence = [
        np.mean([_evidence(run, pixels, place, scale, trained_px) for place in PLACES]) for scale in SCALES
    ]
    best = int(np.argmax(evidence))
    as_it_is = evidence[SCALES.index(1.0)]
    return None if evidence[best] <= MARGIN * as_it_is else trained_px / SCALES[best]


def _evidence(
    run: Callable[[np.ndarray], Detections],
    pixels: Pixels,
    place: tuple[float, float],
    scale: float,
    trained_px: float,
) -> float:
    """Mean score of the BEST heads at a place, each less by how far its size is off: 0..1."""
    heads = run_scaled(run, pixels.read(_window(pixels, place, scale)), scale)[:BEST]
    if not len(heads):
        return 0.0
    sizes = np.sqrt(area(heads.boxes)) * scale
    fit = np.exp(-np.abs(np.log(np.maximum(sizes, 1) / trained_px)))
    return float((heads.scores * fit).sum() / BEST)


def _window(pixels: Pixels, place: tuple[float, float], scale: float) -> Window:
    """A window around a place, seen as WINDOW² pixels; moved into the photo, and cut where it is larger than that."""
    side = max(1, round(WINDOW / scale))
    top, left = (
        max(0, min(round(share * length - side / 2), length - side))
        for share, length in zip(place, (pixels.height, pixels.width), strict=True)
    )
    return Window(top, left, min(top + side, pixels.height), min(left + side, pixels.width))
