"""Compare one labelling of photos with another as if that were a detector: how well two people agree."""

from collections.abc import Mapping, Sequence

import numpy as np

from wheatear.data.labels import Labels
from wheatear.data.sample import Sample
from wheatear.detections import Detections


def compare(
    samples: Sequence[Sample], other: Mapping[str, Labels], names_empty: bool = False
) -> tuple[list[Sample], dict[str, Detections]]:
    """The samples covered by both labellings, and the other's boxes as detections of score 1, by file name.

    other: labels by photo name, as returned by data.formats.read_labels.
    names_empty: whether the other labelling also names photos without heads (`names_empty_photos`).
    A photo that the other does not name is left out, unless it has no heads here and the other would not name
    it if it agreed, as in Kaggle's layout.
    """
    covered = [sample for sample in samples if sample.name in other or not (names_empty or len(sample.boxes))]
    return covered, {sample.path.name: _as_detections(sample, other.get(sample.name)) for sample in covered}


def _as_detections(sample: Sample, labels: Labels | None) -> Detections:
    boxes = np.array(labels.boxes if labels else [], np.float32).reshape(-1, 4)
    return Detections(boxes, np.ones(len(boxes)), sample.height, sample.width)
