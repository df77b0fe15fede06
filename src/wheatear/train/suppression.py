"""Suppression by degrees: overlapping heads keep a part of their score (after Soft-NMS, Bodla et al. 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

EPS = 1e-6  # two boxes on the same place leave each other nothing to divide by


def matrix_nms(boxes: Tensor, scores: Tensor) -> Tensor:
    """The (N,) scores of (N, 4) boxes, lowered by the better boxes that overlap them; N may be 0.

    Matrix NMS (Wang et al., SOLOv2, 2020, eq. 4, linear): a box keeps the smallest share (1 - iou) / (1 - c) that a
    better box leaves it, c being what that better box itself overlaps of a still better one at most. Unlike Soft-NMS's
    loop it is a few operations on a matrix, so that it goes into an exported graph.
    """
    order = scores.argsort(descending=True)
    iou = box_iou(boxes[order], boxes[order]).triu(diagonal=1)  # [i, j]: i is better than j
    overlapped = F.pad(iou, (0, 0, 1, 0)).amax(
        0
    )  # the row more is that of no better box; no maximum without it
    worse = torch.ones_like(iou).triu(diagonal=1) > 0
    shares = (1 - iou) / (1 - overlapped[:, None]).clamp(min=EPS)
    kept = F.pad(shares.where(worse, 1.0), (0, 0, 1, 0), value=1.0).amin(0)
    return (scores[order] * kept)[order.argsort()]
