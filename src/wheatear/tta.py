"""Test-time augmentation: a detector runs on several views of a photo, flipped and resized; the results are fused.

What is augmented is a run on one window. So a large photo is divided into the same windows as without it
(tiles.py): each is read once, no more memory is needed than for a single view, and a head that a window cuts
is left to its neighbour, as it is cut in all views alike.

Letters: N detections.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

import numpy as np

from wheatear.boxes import weighted_box_fusion
from wheatear.detections import Detections
from wheatear.tiles import Run, run_scaled

# Above this IoU, boxes are of the same head: close to the best value in the paper that weighted_box_fusion follows, and
# here too.
FUSION_IOU = 0.55


class View(NamedTuple):
    """How a window is changed before the detector sees it: transposed, then flipped, then resized by scale."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False
    scale: float = 1.0


FLIPS = tuple(View(False, *flips) for flips in product((False, True), repeat=2))
TURNS = tuple(View(*flips) for flips in product((False, True), repeat=3))  # all symmetries of a square
# Heads differ by more than a quarter between photos (43 to 127 px), so training covers these sizes. None of these views
# is upside down: a detector may have learned that labels lie above their heads.
SCALES = tuple(
    View(mirrored=mirrored, scale=scale) for scale in (1.0, 0.85, 1.2) for mirrored in (False, True)
)
# 2.4 times the work of a single view, for most of the gain of six. The second is enlarged: in fields not used in
# training, it is small heads that are missed, and a smaller view misses more of them.
MIX = (View(), View(mirrored=True, scale=1.2))
Augmentation = Literal["mix", "flips", "turns", "scales"]  # the names of VIEWS
ONCE = "once"  # the photo as it is
VIEWS = {"mix": MIX, "flips": FLIPS, "turns": TURNS, "scales": SCALES}


def run_views(run: Run, views: Sequence[View], score_threshold: float, image: np.ndarray) -> Detections:
    """Run a detector on each view of (h, w, 3) uint8 and fuse its detections, in pixels of the image as given.

    run: should return all detections, however unsure, as a fused score is the mean over the views.
    score_threshold: the lowest fused score that is returned.
    """
    found = [_run_view(run, view, image) for view in views]
    fused = weighted_box_fusion([each.boxes for each in found], [each.scores for each in found], FUSION_IOU)
    return Detections(*fused, *image.shape[:2]).above(score_threshold)


def _run_view(run: Run, view: View, image: np.ndarray) -> Detections:
    seen = image.swapaxes(0, 1) if view.transposed else image
    seen = seen[:: -1 if view.upside_down else 1, :: -1 if view.mirrored else 1]
    heads = run_scaled(run, seen, view.scale)
    return Detections(_as_given(heads.boxes, view, *seen.shape[:2]), heads.scores, *image.shape[:2])


def _as_given(boxes: np.ndarray, view: View, height: int, width: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of a view of this size -> in pixels of the image that the view was made from."""
    xmin, ymin, xmax, ymax = boxes.T
    if view.mirrored:
        xmin, xmax = width - xmax, width - xmin
    if view.upside_down:
        ymin, ymax = height - ymax, height - ymin
    if view.transposed:
        xmin, ymin, xmax, ymax = ymin, xmin, ymax, xmax
    return np.stack([xmin, ymin, xmax, ymax], axis=1)
