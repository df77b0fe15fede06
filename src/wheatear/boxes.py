"""Geometry of boxes in numpy: float32 xyxy pixels, half-open, so a box's width is xmax - xmin.

Shape letters: N, M boxes; K boxes kept.
"""

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas in square pixels: (N, 4) -> (N,) float32. A box turned inside out has area 0."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    areas: np.ndarray = sides[:, 0] * sides[:, 1]
    return areas


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair: (N, 4), (M, 4) -> (N, M) float32 in 0..1.

    A pair whose union is empty has 0, so a box of no area overlaps nothing, not even itself.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (bottom_right - top_left).clip(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    overlaps: np.ndarray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return overlaps


def clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes cut at the photo's edges: (N, 4) -> (N, 4). A box outside the photo keeps no area but stays."""
    low = np.zeros(4, boxes.dtype)
    high = np.array([width, height, width, height], boxes.dtype)
    return boxes.clip(low, high)


def nms(boxes: np.ndarray, scores: np.ndarray, iou_thresh: float) -> np.ndarray:
    """Non-maximum suppression: (N, 4), (N,) -> (K,) int64, the boxes kept, in descending score.

    A box goes where a better one overlaps it by an IoU above (not equal to) iou_thresh, as in torchvision.
    Of two equal scores the earlier box wins. No boxes give an empty result.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    # One row of the IoU matrix at a time: the whole would be 40 GB for the 100,000 boxes of an orthomosaic.
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        overlaps = iou(boxes[best : best + 1], boxes[rest])[0]
        order = rest[overlaps <= np.float32(iou_thresh)]
    return np.array(kept, np.int64)
