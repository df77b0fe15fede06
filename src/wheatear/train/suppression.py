"""Beyond plain NMS: gradually lowering the scores of overlapped boxes, and averaging the boxes of a head."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

EPS = 1e-6  # avoids division by 0 for two boxes in the same place


def matrix_nms(boxes: Tensor, scores: Tensor) -> Tensor:
    """The (N,) scores of (N, 4) boxes, lowered according to the better boxes that overlap them; N may be 0.

    Gradual suppression (after Soft-NMS, Bodla et al. 2017), here Matrix NMS (Wang et al., SOLOv2, 2020, eq.
    4): a box keeps the smallest share (1 - iou) / (1 - c) that any better box leaves it, where c is that
    better box's own largest IoU with a still better one. Unlike Soft-NMS's loop it takes a few matrix
    operations, so it can be exported in a graph.
    """
    order = scores.argsort(descending=True)
    iou = box_iou(boxes[order], boxes[order]).triu(diagonal=1)  # [i, j]: i is better than j
    # The extra row stands for no better box; without it the maximum over no boxes would fail.
    overlapped = F.pad(iou, (0, 0, 1, 0)).amax(0)
    worse = torch.ones_like(iou).triu(diagonal=1) > 0
    shares = (1 - iou) / (1 - overlapped[:, None]).clamp(min=EPS)
    kept = F.pad(shares.where(worse, 1.0), (0, 0, 1, 0), value=1.0).amin(0)
    return (scores[order] * kept)[order.argsort()]


def unsuppressed(boxes: Tensor, there: Tensor, iou: float) -> Tensor:
    """Which boxes NMS keeps, for many sets at once: (B, N, 4) boxes, each set best first -> (B, N) bool.

    there (B, N) bool: boxes where it is false are ignored and not kept. A box is kept if no better kept box
    overlaps it by an IoU above `iou`. Starting with all boxes kept, the first round settles the best box, the
    next those that it decides, and so on; once a round changes nothing, the result is that of going through
    the boxes one by one.
    """
    better = torch.vmap(box_iou)(boxes, boxes).triu(diagonal=1) > iou  # [i, j]: i is better than j
    kept = there
    while True:
        again = there & ~(better & kept[:, :, None]).any(1)
        if torch.equal(again, kept):
            return kept
        kept = again


def vote(kept: Tensor, boxes: Tensor, scores: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Replace each kept box by the mean of the boxes that overlap it by an IoU above `iou`; best score first.

    kept (K, 4) are some of boxes (N, 4) with scores (N,) above 0 -> (K, 4), (K,); K and N may be 0. Several
    proposals find a head, each slightly off (bounding box voting, Gidaris and Komodakis 2015); the score is
    averaged too, so that a box on which all agree comes first. A vote's weight is its score times a factor
    that falls linearly to 0 at an IoU of `iou`, so there is no step over which rounding could push a box.

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
