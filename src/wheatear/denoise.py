"""Label denoising: labelled boxes moved towards what a detector finds for the same heads.

Two people who label the same photo draw the edges of a head some pixels apart, and no network can foresee which of
them held the pen. A detector that has seen thousands of such boxes, and learnt none by heart, finds about their mean;
learning from that is learning from less noise. It is self-distillation (Furlanello et al. 2018, "Born-Again Neural
Networks") of the boxes alone: no head is added and none is taken away. What the labels of a photo have in common, as
that all lie a little above their heads, is no noise: it may be the way of the whole session, and is kept.
"""

from dataclasses import replace

import numpy as np

from wheatear.boxes import area
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.matching import match

# A box and a label that overlap less are hardly of one head; those that overlap by just so much gain most.
MATCH_IOU = 0.4


def denoised(sample: Sample, heads: Detections, keep: float) -> tuple[Sample, int]:
    """The sample with its boxes moved, and how many of them are: those that a detection was matched to.

    heads: what a detector finds in the photo, best first, in its pixels.
    keep: 0..1, how much is left of what is each label's own; 0 takes the detector's boxes, moved and sized by the mean
          of their differences from the labels (of each edge, as shares of a head's side), 1 leaves all as it is.
    """
    (taken,) = match(sample.boxes, heads, np.array([MATCH_IOU])).taken
    hit = taken >= 0
    boxes, found = sample.boxes.copy(), heads.boxes[hit]
    if hit.any():
        side = np.sqrt(area(found))[:, None]
        apart = (boxes[taken[hit]] - found) / side
        boxes[taken[hit]] = found + side * (keep * apart + (1 - keep) * apart.mean(axis=0))
    return replace(sample, boxes=boxes), int(hit.sum())
