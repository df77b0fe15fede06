"""Geometry of boxes in NumPy: float32 xyxy pixels, half-open, so a box's width is xmax - xmin.

Shape letters: N, M boxes; K boxes kept; P pairs; V views of one photo.
"""

from collections.abc import Iterator, Sequence

import numpy as np

_LOW_NEGATED = np.array([-1, -1, 1, 1], np.float32)
PAIRS = 1_000_000  # of boxes whose overlaps are computed at a time
_LITTLE = np.finfo(np.float32).tiny  # above 0, but negligible beside any area or score


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas in square pixels: (N, 4) -> (N,) float32. An inverted box has area 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clip(min=0)
    return sides[..., 0] * sides[..., 1]


def sizes(boxes: np.ndarray) -> np.ndarray:
    """The size of each head, the square root of its box's area, in pixels: (N, 4) -> (N,) float32."""
    return np.sqrt(area(boxes))


def centres(boxes: np.ndarray) -> np.ndarray:
    """The centres of the boxes, xy: (N, 4) -> (N, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair: (N, 4), (M, 4) -> (N, M) float32 in 0..1.

    A pair whose union is empty has IoU 0, so a box without area overlaps nothing, not even itself.
    """
    return _iou(a[:, None], b[None, :])


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same for boxes (..., 4) paired element by element -> (...)."""
    shared = shared_area(a, b)
    union = area(a) + area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def shared_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The area that boxes (..., 4) share, paired element by element, in square pixels -> (...)."""
    top_left, bottom_right = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return area(np.concatenate([top_left, bottom_right], axis=-1))


def clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes clipped to the photo: (N, 4) -> (N, 4). A box outside the photo has no area left but is kept."""
    low = np.zeros(4, boxes.dtype)
    high = np.array([width, height, width, height], boxes.dtype)
    return boxes.clip(low, high)


def nms(
    boxes: np.ndarray, scores: np.ndarray, iou_thresh: float, sources: np.ndarray | None = None
) -> np.ndarray:
    """Non-maximum suppression: (N, 4), (N,) -> (K,) int64, indices of the boxes kept, in descending score.

    A box is dropped if a better one that is kept overlaps it by an IoU above (not equal to) iou_thresh, as in
    torchvision. Of two equal scores the earlier box wins. No boxes give an empty result.
    sources: (N,) integers; boxes from the same source, already suppressed there, do not suppress each other.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, rivals = boxes[order], [np.zeros((0, 2), np.int64)]
    for pairs in _near_pairs(ranked):
        overlaps = _iou(ranked[pairs[:, 0]], ranked[pairs[:, 1]])
        rivals.append(np.sort(pairs[overlaps > np.float32(iou_thresh)], axis=1))
    pairs = np.concatenate(rivals)
    if sources is not None:
        pairs = pairs[sources[order[pairs[:, 0]]] != sources[order[pairs[:, 1]]]]
    stays = np.ones(len(order), bool)
    for better, worse in sorted(pairs.tolist()):
        if stays[better]:
            stays[worse] = False
    return order[stays]


def _near_pairs(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Every pair of boxes (N, 4) that may overlap, once: (P, 2) indices, in batches.

    These are the pairs whose extents overlap along x, or along y if those are fewer: all pairs of an
    orthomosaic's boxes would be too many. A batch has at most PAIRS pairs plus those of one box.
    """
    order, numbers = min(
        (_meeting(boxes, axis) for axis in (0, 1)), key=lambda meeting: int(meeting[1].sum())
    )
    parts = np.unique(numbers.cumsum() // PAIRS, return_index=True)[1]
    for part in np.split(np.arange(len(boxes)), parts[1:]):
        first, begins = np.repeat(part, numbers[part]), numbers[part].cumsum() - numbers[part]
        after = np.arange(len(first)) - np.repeat(begins, numbers[part])
        yield order[np.stack([first, first + 1 + after], axis=1)]


def _meeting(boxes: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of boxes (N, 4) by their start along an axis, (N,), and how many later ones each meets, (N,)."""
    order = np.argsort(boxes[:, axis], kind="stable")
    begins, ends = boxes[order, axis], boxes[order, axis + 2]
    return order, (np.searchsorted(begins, ends) - np.arange(1, len(boxes) + 1)).clip(min=0)


def weighted_box_fusion(
    boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], iou_thresh: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted boxes fusion (Solovyev, Wang and Gabruseva 2021, section 3) of V views, each (N, 4) and (N,) in 0..1.

    -> boxes (K, 4) and scores (K,), float32, in descending score. The boxes of all views are processed in
    descending score (for equal scores, earlier views first); each joins the fused box that it overlaps most,
    if their IoU is above (not equal to) iou_thresh, or else starts a new one. A fused box has the mean
    corners of its T boxes, weighted by their scores, and their mean score × min(T, V) / V, so what few views
    find is less certain. Views without boxes count towards V. No views, or no boxes in them, give an empty
    result.
    """
    if not boxes:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    every_score = np.concatenate(scores)
    order = np.argsort(-every_score, kind="stable")
    every_score = every_score[order].astype(np.float64)
    fused, joined = _fuse(np.concatenate(boxes)[order], every_score, iou_thresh)
    members = np.bincount(joined, minlength=len(fused))
    # The mean score of T boxes is sum / T, and sum / T × min(T, V) / V equals sum / max(T, V):
    means = np.bincount(joined, every_score, len(fused)) / np.maximum(members, len(boxes))
    order = np.argsort(-means, kind="stable")
    return fused[order], means[order].astype(np.float32)


def _fuse(boxes: np.ndarray, scores: np.ndarray, iou_thresh: float) -> tuple[np.ndarray, np.ndarray]:
    """The fused boxes (K, 4) of boxes (N, 4), best first, with scores (N,); and which of them each joins, (N,).

    A box without area overlaps nothing. Boxes of score 0 get a tiny weight, so that they have a mean too.
    """
    weights = np.maximum(scores, _LITTLE)[:, None]
    # With the low corners negated, one minimum gives the corners of an intersection, and one sum the sides of a box.
    signed = (boxes * _LOW_NEGATED).astype(np.float32)
    weighted = np.hstack([signed * weights, weights])
    own_areas = np.maximum(area(boxes), _LITTLE)
    fused, areas = np.empty(signed.shape[::-1], np.float32), np.empty_like(own_areas)
    sums, joined, number = np.zeros_like(weighted), np.empty(len(boxes), np.int64), 0
    for i, own_area in enumerate(own_areas):
        best = _most_overlapped(fused[:, :number], areas[:number], signed[i, :, None], own_area, iou_thresh)
        number += best == number
        joined[i] = best
        sums[best] += weighted[i]
        fused[:, best] = mean = sums[best, :4] / sums[best, 4]
        areas[best] = (mean[0] + mean[2]) * (mean[1] + mean[3])
    return fused.T[:number] * _LOW_NEGATED, joined


def _most_overlapped(
    fused: np.ndarray, areas: np.ndarray, box: np.ndarray, own_area: np.float32, iou_thresh: float
) -> int:
    """Which fused box, among (4, K), a box (4, 1) overlaps most: its index, or K if no IoU exceeds iou_thresh."""
    number = len(areas)
    if not number:
        return 0
    corners = np.minimum(fused, box)
    sides = np.maximum(corners[:2] + corners[2:], 0)
    intersection = sides[0] * sides[1]
    overlaps = intersection / (areas + (own_area - intersection))
    best = int(overlaps.argmax())
    return best if overlaps[best] > iou_thresh else number
