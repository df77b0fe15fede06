"""How large the heads of a photo are, measured by the detector itself.

A detector learned heads of one size and is less sure of others. So a few places of the photo are shown to it at several
scales. At the scale at which it is surest of the heads, and finds them as large as those it learned, they are measured.
Letters: N detections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from wheatear.boxes import area
from wheatear.detections import Detections
from wheatear.pixels import Pixels, Window
from wheatear.tiles import SIZE, run_scaled

SMALLEST_HEAD, LARGEST_HEAD = 4, 10_000  # pixels, of any photo
# An octave apart, as the detector learned heads of half an octave more and less: heads from four times smaller to four
# times larger than its own; and sixteen times in a photo that is seen whole so, as one of a few heads is.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
NEAR_SCALES = (0.0625, 0.125)
WINDOW = 640  # pixels of the detector: room for about 20 heads, at 0.4 of the cost of a 1024² photo
FEW_PLACES, PLACES = 3, 12  # the first are enough where heads are sure; alleys and bare soil take more
CANDIDATES = 4 * PLACES  # places that are looked at for data
LIKELY = 0.3  # the score of a head that speaks for or against a scale
ENOUGH = 10  # such heads; fewer say less, as their root, and below a half of them nothing is measured
# Evidence below which nothing is measured either. Leaves of a photo with a few near heads, looked at large enough, are
# many small heads of up to 0.35; true small ones, as they fill the view, had 0.37 and more.
EVIDENCE, EVIDENCE_OF_SMALL = 0.28, 0.36
# The same of near heads, whatever their number; at scales up to 1 that are not theirs leaves and soil had up to 0.29.
NEAR_EVIDENCE = 0.3
SURE = 0.5  # of the best score: the heads that are measured
# Octaves: heads that are smaller or larger than those of its training by less are left as they are. Small ones are
# missed sooner than large ones.
SMALLER, LARGER = 0.25, 0.5


@dataclass(frozen=True)
class HeadSize:
    """px: the median size of a photo's heads, the root of a box's area in pixels; None where none are sure enough.
    trained_px: that of the detector's training."""

    px: float | None
    trained_px: float

    @property
    def to_resize(self) -> float | None:
        """px where it is so far from trained_px that the photo is better resized, else None."""
        if self.px is None:
            return None
        smallest, largest = usual_px(self.trained_px)
        return None if smallest < self.px < largest else self.px


def usual_px(trained_px: float) -> tuple[float, float]:
    """Between which sizes of heads a photo is left as it is."""
    return trained_px * 2**-SMALLER, trained_px * 2**LARGER


def measure_heads(run: Callable[[np.ndarray], Detections], pixels: Pixels, trained_px: float) -> HeadSize:
    """The median size of the photo's heads.

    run: one run of the detector with a low score threshold.
    """
    places = _places(pixels)
    is_whole = _is_whole(pixels, max(NEAR_SCALES))
    scales = (*NEAR_SCALES, *SCALES) if is_whole else SCALES
    looks: dict[float, dict[Window, Detections]] = {scale: {} for scale in scales}
    found: dict[float, Detections] = {}
    for some in (places[:FEW_PLACES], places[FEW_PLACES:]):
        for scale, looked in looks.items():
            windows = {_window(pixels, place, scale): None for place in some}  # in a small photo they are one
            looked |= {w: _look(run, pixels, w, scale) for w in windows if w not in looked}
        found = {
            scale: _joined(_uncut(heads, 1 / scale) for heads in looked.values())
            for scale, looked in looks.items()
        }
        size = _size(found, trained_px)
        if size is not None:
            return HeadSize(size, trained_px)
    if not is_whole:
        return HeadSize(None, trained_px)
    # Where no head is whole in the photo itself, those that its border cuts.
    cut = {scale: _joined(looked.values()) for scale, looked in looks.items() if _is_whole(pixels, scale)}
    return HeadSize(_near_size(found, trained_px) or _near_size(found | cut, trained_px), trained_px)


def _size(looks: dict[float, Detections], trained_px: float) -> float | None:
    """The median of the sure heads at the best scale, None where there are too few.

    Spikelets of near heads look like small heads: a few heads that are larger, and surer, go before.
    """
    evidence = {scale: _evidence(heads, scale, trained_px) for scale, heads in looks.items()}
    best = max(evidence, key=evidence.__getitem__)
    heads = looks[best]
    if len(heads) < ENOUGH / 2:
        return None
    size = _median_of_sure(heads)
    if evidence[best] < (EVIDENCE_OF_SMALL if _is_small(size, trained_px) else EVIDENCE):
        return None
    larger = {scale: found for scale, found in looks.items() if scale < best and len(found) > 1}
    return _near_size(larger, trained_px, _mean_evidence(heads, best, trained_px)) or size


def _near_size(looks: dict[float, Detections], trained_px: float, other: float = 0.0) -> float | None:
    """The same of a few heads, which are not small: one is enough if it is sure, and surer than the other evidence."""
    evidence = {
        scale: _mean_evidence(heads, scale, trained_px) for scale, heads in looks.items() if scale <= 1
    }
    best = max(evidence, key=evidence.__getitem__, default=None)
    if best is None or evidence[best] < NEAR_EVIDENCE or evidence[best] <= other:
        return None
    return _median_of_sure(looks[best])


def _median_of_sure(heads: Detections) -> float:
    return max(1.0, float(np.median(_sizes(heads.above(SURE * float(heads.scores.max()))))))


def _look(
    run: Callable[[np.ndarray], Detections], pixels: Pixels, window: Window, scale: float
) -> Detections:
    """The likely heads that a window shows at a scale, in its own pixels."""
    return run_scaled(run, pixels.read(window), scale).above(LIKELY)


def _joined(found: Iterable[Detections]) -> Detections:
    """Those of all windows, in pixels of the photo but of no place in it."""
    nothing = Detections(np.zeros((0, 4)), np.zeros(0))
    parts = [nothing, *found]
    return Detections(np.concatenate([f.boxes for f in parts]), np.concatenate([f.scores for f in parts]))


def _uncut(heads: Detections, margin: float) -> Detections:
    """Those that stay clear of the window's borders by more than a margin in its pixels."""
    left, top, right, bottom = heads.boxes.T
    clear = np.minimum(left, top) > margin
    return heads[clear & (right < heads.width - margin) & (bottom < heads.height - margin)]


def _evidence(heads: Detections, scale: float, trained_px: float) -> float:
    """The mean one, less where there are few heads: 0..1."""
    return _mean_evidence(heads, scale, trained_px) * sqrt(min(1.0, len(heads) / ENOUGH))


def _mean_evidence(heads: Detections, scale: float, trained_px: float) -> float:
    """How sure the detector is on average, less by how far a head's size is off: 0..1.

    Scores are squared: leaves and stalks, looked at large enough, are many unlikely heads, and a photo may have few.
    """
    if not len(heads):
        return 0.0
    fit = np.exp(-np.abs(np.log(np.maximum(_sizes(heads) * scale, 1) / trained_px)))
    return float((heads.scores**2 * fit).mean())


def _is_small(px: float, trained_px: float) -> bool:
    return px <= usual_px(trained_px)[0]


def _sizes(heads: Detections) -> np.ndarray:
    sizes: np.ndarray = np.sqrt(area(heads.boxes))
    return sizes


def _places(pixels: Pixels) -> list[tuple[float, float]]:
    """Where windows lie, as shares of the way that they can go down and right: spread evenly, and not on a grid, whose
    lines a trial's alleys may share (the R2 sequence, Roberts 2018). Those of which at scale 1 half is data, or half as
    much as there is anywhere, as in a narrow strip."""
    ratio = 1.32471795724474602596  # the real root of x³ = x + 1
    places = [((0.5 + i / ratio) % 1, (0.5 + i / ratio**2) % 1) for i in range(CANDIDATES)]
    valid = [pixels.valid(_window(pixels, place, 1.0)) for place in places]
    data = [1.0 if each is None else float(each.mean()) for each in valid]
    least = min(1.0, max(data)) / 2
    return [place for place, share in zip(places, data, strict=True) if share > 0 and share >= least][:PLACES]


def _is_whole(pixels: Pixels, scale: float) -> bool:
    """Whether the detector sees all of the photo in one run."""
    return max(pixels.height, pixels.width) * scale <= SIZE


def _window(pixels: Pixels, place: tuple[float, float], scale: float) -> Window:
    """All of the photo where the detector sees it in one run, else a window seen as WINDOW² pixels."""
    if _is_whole(pixels, scale):
        return Window(0, 0, pixels.height, pixels.width)
    side = ceil(WINDOW / scale)
    height, width = min(side, pixels.height), min(side, pixels.width)
    top, left = round(place[0] * (pixels.height - height)), round(place[1] * (pixels.width - width))
    return Window(top, left, top + height, left + width)
