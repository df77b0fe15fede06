"""Pseudo-labels: what a detector finds in photos without labels, taken for their labels.

No photo is left out for what is in it, be it no head at all or many doubtful ones: those that a detector finds easy
are the ones that it learns least from.
"""

from pathlib import Path

from wheatear.data.sample import Sample
from wheatear.detections import Detections

SOURCE = "pseudo"


def pseudo_label(photo: Path, heads: Detections) -> Sample:
    """A photo with the heads that a detector finds in it, to be trained on; of no heads where it finds none."""
    return Sample(photo, heads.boxes, heads.width, heads.height, source=SOURCE, split="train")
