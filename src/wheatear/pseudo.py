"""Pseudo-labels: what a detector finds in photos without labels, taken for their labels.

No photo is left out for what is in it, be it no head at all or many doubtful ones: those that a detector finds easy
are the ones that it learns least from.
"""

from pathlib import Path

from wheatear.data.sample import Sample
from wheatear.detector import Detector
from wheatear.sized import HeadPx, detect_in_file

SOURCE = "pseudo"


def pseudo_label(detector: Detector, photo: Path, min_score: float, head_px: HeadPx = None) -> Sample:
    """A photo with the heads that a detector finds, to be trained on; of no heads where it finds none.

    min_score: 0..1, the lowest score that is taken for a head. head_px: as in detect_sized. InputError where the photo
    cannot be read or run.
    """
    heads = detect_in_file(detector, photo, min_score, head_px).heads
    return Sample(photo, heads.boxes, heads.width, heads.height, source=SOURCE, split="train")
