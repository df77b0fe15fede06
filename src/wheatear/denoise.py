"""Label denoising: labelled boxes moved towards what a detector finds for the same heads.

Two people who label the same photo draw the edges of a head some pixels apart, and no network can foresee which of
them held the pen. A detector that has seen thousands of such boxes, and learnt none by heart, finds about their mean;
learning from that is learning from less noise. It is self-distillation (Furlanello et al. 2018, "Born-Again Neural
Networks") of the boxes alone: no head is added and none is taken away.
"""

from dataclasses import replace

import numpy as np

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.matching import match

# A box and a label that overlap less are hardly of one head; those that overlap by just so much gain most.
MATCH_IOU = 0.4


def denoised(sample: Sample, heads: Detections, keep: float) -> tuple[Sample, int]:
    """The sample with its boxes moved, and how many of them are: those that a detection was matched to.

    heads: what a detector finds in the photo, best first, in its pixels.
    keep: 0..1, how much is left of the labelled box; 0 takes the detector's, 1 leaves all as it is.
    """
    (taken,) = match(sample.boxes, heads, np.array([MATCH_IOU])).taken
    hit = taken >= 0
    boxes = sample.boxes.copy()
    boxes[taken[hit]] = keep * sample.boxes[taken[hit]] + (1 - keep) * heads.boxes[hit]
    return replace(sample, boxes=boxes), int(hit.sum())
