"""What a model finds in a photo, without torch: all that the pictures of the result need.

G heads as labelled. Boxes are xyxy pixels of the photo shown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.detector import Detector
from wheatear.images import open_photo, photo_size
from wheatear.sized import is_measured


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo (H, W, 3) uint8, its labelled heads (G, 4), and all detections, whatever their score.

    part: the part of a large photo that is shown, in the photo's own pixels.
    caveat: a sentence on what `wheatear count` does to the photo that is not done here; "" if nothing.
    """

    image: np.ndarray
    boxes: np.ndarray
    detections: Detections
    part: Sample
    caveat: str = ""


class Finder(Protocol):
    """Something that finds heads: an ExportedModel, a TrainedRun or another Network."""

    @property
    def threshold(self) -> float:
        """The lowest score that counts as a head."""

    def seen(self, sample: Sample) -> Seen:
        """The photo and what is found in it."""


class ExportedModel:
    """A shipped detector, or any model.onnx, run at the photo's own size."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._last: tuple[Sample, Seen] | None = None

    @property
    def threshold(self) -> float:
        """The score threshold for counting."""
        return self.detector.card.threshold_to_count()

    def seen(self, sample: Sample) -> Seen:
        """The photo and what is found in it; the last result is kept for the next picture."""
        if self._last is None or self._last[0] is not sample:
            image = open_photo(sample.path)
            found = self.detector.detect(image, score_threshold=0.0)
            self._last = sample, Seen(image, sample.boxes, found, sample, caveat(sample))
        return self._last[1]


def caveat(sample: Sample, views: str | None = None) -> str:
    """A sentence on what `wheatear count` does to a photo beyond one run of the network; "" if nothing.

    views: the test-time augmentation that the detector uses by default.
    """
    more = []
    if is_measured(sample.width, sample.height):
        more.append("resizes a photo of this size where its heads call for it")
    if views:
        more.append(f"fuses several views of it (--tta {views})")
    return f"`wheatear count` {' and '.join(more)}, so its count may be another." if more else ""


def unlabelled(photo: str | Path) -> Sample:
    """A photo that belongs to no data set. Raises InputError if it cannot be read."""
    path = Path(photo)
    width, height = photo_size(path)
    return Sample(path, np.zeros((0, 4), np.float32), width, height)
