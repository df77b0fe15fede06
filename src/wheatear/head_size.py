"""The size of the heads in a photo, measured by the detector itself.

A detector was trained on heads of one size and is less sure of others. So it is run on a few places of the
photo at several scales. At the scale at which it is surest of the heads, and finds them about as large as
those of its training, they are measured. Letters: N detections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from wheatear.boxes import sizes
from wheatear.detections import Detections
from wheatear.pixels import Pixels, Window
from wheatear.tiles import SIZE, run_scaled

SMALLEST_HEAD, LARGEST_HEAD = 4, 10_000  # pixels, in any photo
# An octave apart, as training covers heads half an octave larger and smaller: for heads from four times smaller to four
# times larger than those of training; and sixteen times larger in a photo that fits into one run at these scales, as
# one of a few heads does.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
NEAR_SCALES = (0.0625, 0.125)
WINDOW = 640  # pixels after scaling: room for about 20 heads, at 0.4 of the cost of a 1024² photo
FEW_PLACES, PLACES = 3, 12  # the first few suffice if heads are sure; alleys and bare soil need more
CANDIDATES = 4 * PLACES  # places that are checked for data
LIKELY = 0.3  # the lowest score of a head that counts as evidence for or against a scale
ENOUGH = 10  # such heads; fewer count less, by the square root, and below half of them nothing is measured
# Evidence below which nothing is measured either. In a photo of a few near heads, leaves that are enlarged enough look
# like many small heads, with evidence of up to 0.35; real small heads, which fill the view, had 0.37 and more.
EVIDENCE, EVIDENCE_OF_SMALL = 0.28, 0.36
# The same for near heads, whatever their number; at wrong scales up to 1, leaves and soil had up to 0.29.
NEAR_EVIDENCE = 0.3
SURE = 0.5  # of the best score: heads that reach it are measured
# Octaves: a photo whose heads are smaller or larger than those of training by less than this is left as it is. Small
# heads are missed sooner than large ones.
SMALLER, LARGER = 0.25, 0.5


@dataclass(frozen=True)
class HeadSize:
    """The size of a photo's heads, as measured.

    px: their median size, the square root of a box's area in pixels; None if too few are sure enough.
    trained_px: that of the detector's training.
    """

    px: float | None
    trained_px: float

    @property
    def to_resize(self) -> float | None:
        """px if it is so far from trained_px that the photo should be resized, else None."""
        if self.px is None:
            return None
        smallest, largest = usual_px(self.trained_px)
        return None if smallest < self.px < largest else self.px


def usual_px(trained_px: float) -> tuple[float, float]:
    """The head sizes between which a photo is left as it is."""
    return trained_px * 2**-SMALLER, trained_px * 2**LARGER


def measure_heads(run: Callable[[np.ndarray], Detections], pixels: Pixels, trained_px: float) -> HeadSize:
    """Measure the median size of the photo's heads.

    run: one run of the detector with a low score threshold. trained_px: the head size of its training, in
    pixels.
    """
    places = _places(pixels)
    is_whole = _is_whole(pixels, max(NEAR_SCALES))
    scales = (*NEAR_SCALES, *SCALES) if is_whole else SCALES
    looks: dict[float, dict[Window, Detections]] = {scale: {} for scale in scales}
    found: dict[float, Detections] = {}
    for some in (places[:FEW_PLACES], places[FEW_PLACES:]):
        for scale, looked in looks.items():
            windows = {_window(pixels, place, scale): None for place in some}  # equal in a small photo
            for window in windows:
                if window not in looked:
                    looked[window] = run_scaled(run, pixels.read(window), scale).above(LIKELY)
        found = {
            scale: _joined(_uncut(heads, 1 / scale) for heads in looked.values())
            for scale, looked in looks.items()
        }
        size = _size(found, trained_px)
        if size is not None:
            return HeadSize(size, trained_px)
    if not is_whole:
        return HeadSize(None, trained_px)
    # If no head lies entirely within the photo, use those cut by its border.
    cut = {scale: _joined(looked.values()) for scale, looked in looks.items() if _is_whole(pixels, scale)}
    return HeadSize(_near_size(found, trained_px) or _near_size(found | cut, trained_px), trained_px)


def _size(looks: dict[float, Detections], trained_px: float) -> float | None:
    """The median size of the sure heads at the best scale; None if there are too few or the evidence is too weak.

    Spikelets of near heads look like small heads: a few heads that are larger, and surer, take precedence.
    """
    evidence = {scale: _evidence(heads, scale, trained_px) for scale, heads in looks.items()}
    best = max(evidence, key=evidence.__getitem__)
    heads = looks[best]
    if len(heads) < ENOUGH / 2:
        return None
    size = _median_of_sure(heads)
    if evidence[best] < (EVIDENCE_OF_SMALL if size <= usual_px(trained_px)[0] else EVIDENCE):
        return None
    larger = {scale: found for scale, found in looks.items() if scale < best and len(found) > 1}
    return _near_size(larger, trained_px, _mean_evidence(heads, best, trained_px)) or size


def _near_size(looks: dict[float, Detections], trained_px: float, other: float = 0.0) -> float | None:
    """The same for a few heads that are not small; even one, if it is sure and surer than the other evidence."""
    evidence = {
        scale: _mean_evidence(heads, scale, trained_px) for scale, heads in looks.items() if scale <= 1
    }
    best = max(evidence, key=evidence.__getitem__, default=None)
    if best is None or evidence[best] < NEAR_EVIDENCE or evidence[best] <= other:
        return None
    return _median_of_sure(looks[best])


def _median_of_sure(heads: Detections) -> float:
    return max(1.0, float(np.median(sizes(heads.above(SURE * float(heads.scores.max())).boxes))))


def _joined(found: Iterable[Detections]) -> Detections:
    """The heads of all windows, with sizes in pixels of the photo but meaningless positions."""
    nothing = Detections(np.zeros((0, 4)), np.zeros(0))
    parts = [nothing, *found]
    return Detections(np.concatenate([f.boxes for f in parts]), np.concatenate([f.scores for f in parts]))


def _uncut(heads: Detections, margin: float) -> Detections:
    """The heads that stay clear of the window's borders by more than a margin, in pixels of the window."""
    left, top, right, bottom = heads.boxes.T
    clear = np.minimum(left, top) > margin
    return heads[clear & (right < heads.width - margin) & (bottom < heads.height - margin)]


def _evidence(heads: Detections, scale: float, trained_px: float) -> float:
    """The mean evidence, reduced if there are few heads: 0..1."""
    return _mean_evidence(heads, scale, trained_px) * sqrt(min(1.0, len(heads) / ENOUGH))


def _mean_evidence(heads: Detections, scale: float, trained_px: float) -> float:
    """How sure the detector is on average, reduced by how far each head's size is off: 0..1.

    Scores are squared: leaves and stalks, enlarged enough, give many unlikely heads, and a photo may have
    few.
    """
    if not len(heads):
        return 0.0
    fit = np.exp(-np.abs(np.log(np.maximum(sizes(heads.boxes) * scale, 1) / trained_px)))
    return float((heads.scores**2 * fit).mean())


def _places(pixels: Pixels) -> list[tuple[float, float]]:
    """Where windows lie, as fractions of the distance that they can move down and right.

    They are spread evenly but not on a grid, whose lines might coincide with a trial's alleys (the R2
    sequence, Roberts 2018). Kept are at most PLACES whose window at scale 1 has at least half as much data as
    the window with the most: so half of it, or less in a narrow strip.
    """
    ratio = 1.32471795724474602596  # the real root of x³ = x + 1
    places = [((0.5 + i / ratio) % 1, (0.5 + i / ratio**2) % 1) for i in range(CANDIDATES)]
    valid = [pixels.valid(_window(pixels, place, 1.0)) for place in places]
    data = [1.0 if each is None else float(each.mean()) for each in valid]
    least = min(1.0, max(data)) / 2
    return [place for place, share in zip(places, data, strict=True) if share > 0 and share >= least][:PLACES]


def _is_whole(pixels: Pixels, scale: float) -> bool:
    """Whether the detector can see the whole photo in one run at this scale."""
    return max(pixels.height, pixels.width) * scale <= SIZE


def _window(pixels: Pixels, place: tuple[float, float], scale: float) -> Window:
    """The whole photo if the detector can see it in one run, else a window that is WINDOW² pixels after scaling."""
    if _is_whole(pixels, scale):
        return Window(0, 0, pixels.height, pixels.width)
    side = ceil(WINDOW / scale)
    height, width = min(side, pixels.height), min(side, pixels.width)
    top, left = round(place[0] * (pixels.height - height)), round(place[1] * (pixels.width - width))
    return Window(top, left, top + height, left + width)
