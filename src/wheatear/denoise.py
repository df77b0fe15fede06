"""Label denoising: labelled boxes are moved towards what a detector finds for the same heads.

Two people who label the same photo draw the edges of a head some pixels apart, and no network can predict
which of them drew a box. A detector trained on thousands of such boxes, without memorising any, finds roughly
their mean; training on that means training on less noise. This is self-distillation (Furlanello et al. 2018,
"Born-Again Neural Networks") of the boxes only: no head is added and none is removed. What the labels of a
photo have in common, for example if all lie a little above their heads, is not noise: it may be the
convention of the whole session, and is kept.
"""

from dataclasses import replace

import numpy as np

from wheatear.boxes import sizes
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.matching import match

# A detection and a label that overlap less are hardly of the same head; those that just overlap this much gain most.
MATCH_IOU = 0.4


def denoised(sample: Sample, heads: Detections, keep: float) -> tuple[Sample, int]:
    """The sample with its boxes moved, and how many were moved: those matched by a detection, unless all is kept.

    heads: what a detector finds in the photo, best first, in pixels of the photo.
    keep: 0..1, how much is kept of each label's own deviation; 0 takes the detector's boxes, shifted and
          resized by the mean of their differences from the labels (per edge, as fractions of a head's side),
          1 leaves the labels unchanged.
    """
    if keep == 1:
        return sample, 0
    (taken,) = match(sample.boxes, heads, np.array([MATCH_IOU])).taken
    hit = taken >= 0
    boxes, found = sample.boxes.copy(), heads.boxes[hit]
    if hit.any():
        side = sizes(found)[:, None]
        apart = (boxes[taken[hit]] - found) / side
        boxes[taken[hit]] = found + side * (keep * apart + (1 - keep) * apart.mean(axis=0))
    return replace(sample, boxes=boxes), int(hit.sum())
