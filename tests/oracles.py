"""Slow but obvious versions of the two-stage detector's maths: one box or one cell at a time."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wheatear.train.rpn import RPNHead

Box = Sequence[float]


def anchors(
    sizes: Sequence[float], ratios: Sequence[float], height: int, width: int, stride: int, offset: float
) -> list[list[float]]:
    """All anchors of a map, in the order row, column, ratio, size."""
    boxes = []
    for row in range(height):
        for column in range(width):
            for ratio in ratios:
                for size in sizes:
                    x, y = (column + offset) * stride, (row + offset) * stride
                    w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return boxes


def iou(a: Box, b: Box) -> float:
    """Shared area over joint area; 0 if neither box has any."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union else 0.0


def match(
    table: list[list[float]], n: int, fg: float, bg: float, allow_low_quality: bool
) -> tuple[list[int], list[int]]:
    """Labels and matched heads of n boxes; table[g][i] is the IoU of box i with head g."""
    labels, matched = [], []
    for i in range(n):
        column = [row[i] for row in table]
        best = max(column, default=0.0)
        matched.append(column.index(best) if column else 0)
        is_best_of_a_head = any(row[i] == max(row) and row[i] > 0 for row in table)
        if best >= fg or (allow_low_quality and is_best_of_a_head):
            labels.append(1)
        elif best <= bg or not table:
            labels.append(0)
        else:
            labels.append(-1)
    return labels, matched


def encode(gt: Box, anchor: Box, weights: Sequence[float]) -> list[float]:
    """Faster R-CNN equation 2, from boxes to deltas."""
    wa, ha = anchor[2] - anchor[0], anchor[3] - anchor[1]
    w, h = gt[2] - gt[0], gt[3] - gt[1]
    dx = ((gt[0] + gt[2]) / 2 - (anchor[0] + anchor[2]) / 2) / wa
    dy = ((gt[1] + gt[3]) / 2 - (anchor[1] + anchor[3]) / 2) / ha
    return [d * k for d, k in zip([dx, dy, math.log(w / wa), math.log(h / ha)], weights, strict=True)]


def decode(deltas: Sequence[float], anchor: Box, weights: Sequence[float]) -> list[float]:
    """Faster R-CNN equation 2, from deltas to boxes; no side grows more than 62.5-fold."""
    dx, dy, dw, dh = (d / k for d, k in zip(deltas, weights, strict=True))
    wa, ha = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y = (anchor[0] + anchor[2]) / 2 + dx * wa, (anchor[1] + anchor[3]) / 2 + dy * ha
    w, h = min(math.exp(dw), 62.5) * wa, min(math.exp(dh), 62.5) * ha
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def nms(boxes: Sequence[Box], scores: Sequence[float], thresh: float) -> list[int]:
    """Indices of the boxes that no kept box of a higher score overlaps by more than thresh, best first."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k]) <= thresh for k in kept):
            kept.append(i)
    return kept


def weighted_box_fusion(
    boxes: Sequence[Sequence[Box]], scores: Sequence[Sequence[float]], thresh: float
) -> list[tuple[list[float], float]]:
    """Fused boxes with their scores, best first, by the steps of Solovyev et al. 2021, section 3, one by one."""
    pairs = [pair for view in zip(boxes, scores, strict=True) for pair in zip(*view, strict=True)]
    clusters: list[list[tuple[Box, float]]] = []
    for box, score in sorted(pairs, key=lambda pair: -pair[1]):
        overlaps = [iou(box, mean_box(cluster)) for cluster in clusters]
        if max(overlaps, default=0.0) > thresh:
            clusters[overlaps.index(max(overlaps))].append((box, score))
        else:
            clusters.append([(box, score)])
    fused = []
    for cluster in clusters:
        mean = sum(score for _, score in cluster) / len(cluster)
        fused.append((mean_box(cluster), mean * min(len(cluster), len(boxes)) / len(boxes)))
    return sorted(fused, key=lambda pair: -pair[1])


def mean_box(cluster: Sequence[tuple[Box, float]]) -> list[float]:
    """The mean of the corners, weighted by score."""
    total = sum(score for _, score in cluster)
    return [sum(score * box[i] for box, score in cluster) / total for i in range(4)]


def crop_and_resize(features: Tensor, rois: Tensor, stride: int, size: int) -> Tensor:
    """TensorFlow's crop_and_resize, one sample at a time, as in its reference kernel."""
    _, channels, height, width = features.shape
    out = torch.zeros(len(rois), channels, size, size, dtype=features.dtype)
    for r, (image, *box) in enumerate(rois.tolist()):
        x1, x2 = box[0] / (width * stride), box[2] / (width * stride)
        y1, y2 = box[1] / (height * stride), box[3] / (height * stride)
        for i in range(size):
            for j in range(size):
                y = y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (size - 1)
                x = x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (size - 1)
                out[r, :, i, j] = _bilinear(features[int(image)], y, x)
    return out


def rpn_losses(
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    labels: Sequence[int],
    target_deltas: Sequence[Tensor],
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and smooth L1, anchor by anchor, each divided by the number of anchors."""
    loss_objectness, loss_box = torch.zeros(()).double(), torch.zeros(()).double()
    for logit, delta, label, target in zip(objectness, deltas, labels, target_deltas, strict=True):
        p = 1 / (1 + torch.exp(-logit))
        loss_objectness = loss_objectness - (torch.log(p) if label == 1 else torch.log(1 - p))
        if label == 1:
            loss_box = loss_box + sum(_smooth_l1(d - t, beta) for d, t in zip(delta, target, strict=True))
    return loss_objectness / len(labels), loss_box / len(labels)


def rpn_by_tiles(
    head: RPNHead, feature: Tensor, chosen: Sequence[tuple[int, int, int, int]]
) -> tuple[list[Tensor], list[Tensor]]:
    """The notes' method: cut a 3×3 tile for each chosen (image, row, column, anchor) and process it on its own.

    feature (B, C, H, W) is one level. Returns a logit and four deltas for each tile.
    """
    padded = F.pad(feature, (1, 1, 1, 1))
    objectness, deltas = [], []
    for image, row, column, anchor in chosen:
        tile = padded[image, :, row : row + 3, column : column + 3]
        seen = (head.conv.weight * tile).sum(dim=(1, 2, 3)) + head.conv.bias
        seen = seen.clamp(min=0)
        objectness.append(head.objectness.weight[anchor, :, 0, 0] @ seen + head.objectness.bias[anchor])
        four = slice(4 * anchor, 4 * anchor + 4)
        deltas.append(head.deltas.weight[four, :, 0, 0] @ seen + head.deltas.bias[four])
    return objectness, deltas


def _bilinear(feature: Tensor, y: float, x: float) -> Tensor:
    """The value of a (C, H, W) map between its cells; coordinates are measured from the centre of the first."""
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, feature.shape[1] - 1), min(left + 1, feature.shape[2] - 1)
    upper = feature[:, top, left] * (left + 1 - x) + feature[:, top, right] * (x - left)
    lower = feature[:, bottom, left] * (left + 1 - x) + feature[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def _smooth_l1(difference: Tensor, beta: float) -> Tensor:
    size = difference.abs()
    return size**2 / (2 * beta) if size < beta else size - beta / 2
