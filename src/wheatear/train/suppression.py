"""More than NMS alone: overlapping heads keep a part of their score, and what is left is a mean over its like."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

EPS = 1e-6  # two boxes on the same place leave each other nothing to divide by


def matrix_nms(boxes: Tensor, scores: Tensor) -> Tensor:
    """The (N,) scores of (N, 4) boxes, lowered by the better boxes that overlap them; N may be 0.

    Suppression by degrees (after Soft-NMS, Bodla et al. 2017), here Matrix NMS (Wang et al., SOLOv2, 2020, eq. 4):
    a box keeps the smallest share (1 - iou) / (1 - c) that a better box leaves it, c being what that better box itself
    overlaps of a still better one at most. Unlike Soft-NMS's loop it is a few operations on a matrix, so that it goes
    into an exported graph.
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


def unsuppressed(boxes: Tensor, there: Tensor, iou: float) -> Tensor:
    """Which boxes an NMS keeps, of many sets at once: (B, N, 4) boxes, each set best first -> (B, N) bool.

    there (B, N) bool: boxes that are not take no part and are not kept. A box is kept if no better one that is kept
    overlaps it by more than an IoU. Where all are held to be kept at first, one round settles the best box, the next
    those which it decides, and so on; once a round changes nothing, all are settled, as one by one.
    """
    better = torch.vmap(box_iou)(boxes, boxes).triu(diagonal=1) > iou  # [i, j]: i is better than j
    kept = there
    while True:
        again = there & ~(better & kept[:, :, None]).any(1)
        if torch.equal(again, kept):
            return kept
        kept = again


def vote(kept: Tensor, boxes: Tensor, scores: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Means over all boxes that overlap a kept one by more than an IoU, descending by score.

    kept (K, 4) are some of boxes (N, 4) with scores (N,) above 0 -> (K, 4), (K,); K and N may be 0. Several proposals
    find a head, each a little beside it (bounding box voting, Gidaris and Komodakis 2015); the score is their mean too,
    so that a box which all agree on comes first. A vote weighs as much as its score, less the less it overlaps: it ends
    at the IoU without a step, over which rounding could push a box.

    Autocast would multiply the matrices in bfloat16, in which a corner beyond 512 px is a multiple of 4 px.
    """
    device = boxes.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return vote(kept.float(), boxes.float(), scores.float(), iou)
    weights = ((box_iou(kept, boxes) - iou) / (1 - iou)).clamp(min=0) * scores
    total = weights.sum(1)
    means, surely = weights @ boxes / total[:, None], weights @ scores / total
    order = surely.argsort(descending=True)
    return means[order], surely[order]
