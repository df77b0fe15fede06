"""Pseudo-labels: what a detector finds in photos without labels, taken for their labels.

No photo is left out for what is in it, be it no head at all or many doubtful ones: those that a detector finds easy
are the ones that it learns least from.
"""

from pathlib import Path

from wheatear.data.sample import Sample
from wheatear.detector import Detector

SOURCE = "pseudo"


def pseudo_label(detector: Detector, photo: Path, min_score: float) -> Sample:
    """A photo with the heads that a detector finds, to be trained on; of no heads where it finds none.

    min_score: 0..1, the lowest score that is taken for a head. InputError where the photo cannot be read or run.
    """
    heads = detector.detect(photo, min_score)
    return Sample(photo, heads.boxes, heads.width, heads.height, source=SOURCE, split="train")
