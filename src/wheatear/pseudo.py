"""Pseudo-labels: what a detector finds in photos without labels, used as their labels.

No photo is left out because of its content, whether it has no heads or many doubtful ones: the photos that a
detector finds easy are those from which it learns least.
"""

from pathlib import Path

from wheatear.data.sample import Sample
from wheatear.detections import Detections

SOURCE = "pseudo"


def pseudo_label(photo: Path, heads: Detections) -> Sample:
    """A photo with the heads that a detector finds in it, as a training sample; without heads if it finds none."""
    return Sample(photo, heads.boxes, heads.width, heads.height, source=SOURCE, split="train")
