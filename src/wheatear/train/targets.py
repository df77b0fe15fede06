"""The training targets of the RPN and the RoI head: which boxes are heads, and the deltas to move them there.

B images, N boxes (anchors or proposals) in one image, G ground-truth boxes, S boxes sampled for training.
Labels: 1 foreground, 0 background, -1 ignored. Boxes are xyxy pixels, half-open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_iou

Weights = tuple[float, float, float, float]

# An untrained network's exp(dw) may overflow. 62.5 lets an anchor of 16 px grow to 1000 px.
MAX_LOG_SCALE = math.log(1000 / 16)


@dataclass(frozen=True)
class TargetSettings:
    """How boxes become training examples; the fields are the parameters of `match`, `sample` and `encode`."""

    fg_iou_thresh: float
    bg_iou_thresh: float
    batch_size_per_image: int
    positive_fraction: float
    allow_low_quality: bool
    weights: Weights = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Targets:
    """The boxes sampled from a batch of images, image by image, the foreground of each first.

    image (S,) and index (S,) int64: which image, and which of its boxes; boxes (S, 4): those boxes; labels
    (S,) int64 1 or 0; target_deltas (S, 4), 0 for background.
    """

    image: Tensor
    index: Tensor
    boxes: Tensor
    labels: Tensor
    target_deltas: Tensor

    def rois(self) -> Tensor:
        """(S, 5): image index, then box."""
        return torch.cat([self.image[:, None].to(self.boxes.dtype), self.boxes], dim=1)


def encode(gt: Tensor, anchors: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Return the (N, 4) deltas dx, dy, dw, dh that turn (N, 4) anchors into (N, 4) gt (Faster R-CNN eq. 2).

    dx, dy in anchor widths and heights; dw, dh logarithms of ratios; each multiplied by its weight.
    Both boxes of a pair must have an area, or the deltas are not finite.
    """
    x, y, w, h = _centre_size(gt)
    xa, ya, wa, ha = _centre_size(anchors)
    deltas = torch.stack([(x - xa) / wa, (y - ya) / ha, (w / wa).log(), (h / ha).log()], dim=-1)
    return deltas * deltas.new_tensor(weights)


def decode(deltas: Tensor, anchors: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Apply (N, 4) deltas to (N, 4) anchors and return the (N, 4) boxes: the inverse of `encode`.

    A side grows at most 62.5-fold (MAX_LOG_SCALE). The result has the dtype of the anchors: in mixed
    precision's bfloat16 a coordinate of 1000 px would be off by up to 2 px.
    """
    dx, dy, dw, dh = (deltas.to(anchors.dtype) / anchors.new_tensor(weights)).unbind(dim=-1)
    xa, ya, wa, ha = _centre_size(anchors)
    x, y = xa + dx * wa, ya + dy * ha
    half_w = dw.clamp(max=MAX_LOG_SCALE).exp() * wa / 2
    half_h = dh.clamp(max=MAX_LOG_SCALE).exp() * ha / 2
    return torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], dim=-1)


def match(
    iou: Tensor, fg_iou_thresh: float, bg_iou_thresh: float, *, allow_low_quality: bool
) -> tuple[Tensor, Tensor]:
    """Label N boxes by their (G, N) IoU with the heads (Faster R-CNN §3.1.2).

    Returns labels (N,) int64 and matched_idxs (N,) int64: the head with which a box has the highest IoU, the
    first if several are equal; only meaningful for label 1.
    1:  best IoU ≥ fg_iou_thresh; with allow_low_quality also the best box of each head (all of them if
        several are equal), however low the IoU, and nothing overrides that. As in torchvision, such a box
        belongs to the head with which *it* has the highest IoU, not necessarily the one that chose it.
    0:  best IoU ≤ bg_iou_thresh (torchvision: <).
    -1: the others.
    A head that no box touches chooses none. (In torchvision its best IoU is 0, and every box with an IoU
    of 0 becomes foreground.) Without heads (G = 0) every box is background.
    """
    if iou.numel() == 0:
        none = torch.zeros(iou.shape[1], dtype=torch.int64, device=iou.device)
        return none, none.clone()
    best_iou, matched_idxs = iou.max(dim=0)
    labels = torch.full_like(matched_idxs, -1)
    labels[best_iou <= bg_iou_thresh] = 0
    labels[best_iou >= fg_iou_thresh] = 1
    if allow_low_quality:
        labels[_best_of_a_head(iou)] = 1
    return labels, matched_idxs


def sample(
    labels: Tensor, batch_size_per_image: int, positive_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sample training examples from (B, N) labels, at random and without replacement (Faster R-CNN §3.1.3).

    Returns index (B, S) int64 into the N and the labels there, S = min(N, batch_size_per_image): first
    foreground, at most batch_size_per_image · positive_fraction; then background, which fills the rest as far
    as it goes; then -1 if an image has no more to sample from. All images at once: one by one, a GPU would
    wait for each.
    """
    most = labels.shape[1]
    luck = torch.rand(labels.shape, generator=generator, device=generator.device).to(labels.device)
    foreground = luck.masked_fill(labels != 1, -1).topk(
        min(int(batch_size_per_image * positive_fraction), most), dim=1
    )
    rank = luck.masked_fill(labels != 0, -1)
    others = rank.gather(1, foreground.indices)
    rank = rank.scatter(
        1, foreground.indices, torch.where(foreground.values < 0, others, foreground.values + 1)
    )
    drawn, index = rank.topk(min(batch_size_per_image, most), dim=1)
    return index, labels.gather(1, index).masked_fill(drawn < 0, -1)


def sample_targets(
    boxes: Sequence[Tensor], gt_boxes: Sequence[Tensor], settings: TargetSettings, generator: torch.Generator
) -> Targets:
    """Match each image's (N, 4) boxes to its (G, 4) heads, sample from them and compute their targets."""
    matches = [
        match(
            box_iou(gt, of_image),
            settings.fg_iou_thresh,
            settings.bg_iou_thresh,
            allow_low_quality=settings.allow_low_quality,
        )
        for of_image, gt in zip(boxes, gt_boxes, strict=True)
    ]
    labels, matched_idxs = (
        pad_sequence(list(parts), batch_first=True, padding_value=-1) for parts in zip(*matches, strict=True)
    )
    index, drawn = sample(labels, settings.batch_size_per_image, settings.positive_fraction, generator)
    image, place = torch.where(drawn >= 0)
    index, drawn = index[image, place], drawn[image, place]
    chosen = pad_sequence(list(boxes), batch_first=True)[image, index]
    fg = torch.where(drawn == 1)[0]
    gt = pad_sequence(list(gt_boxes), batch_first=True)[image[fg], matched_idxs[image[fg], index[fg]]]
    target_deltas = torch.zeros_like(chosen)
    target_deltas[fg] = encode(gt, chosen[fg], settings.weights)
    return Targets(image, index, chosen, drawn, target_deltas)


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split (…, 4) xyxy into centre x, centre y, width and height."""
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _best_of_a_head(iou: Tensor) -> Tensor:
    """Return (N,) bool: some head overlaps this box, and overlaps no other box more."""
    best = iou.amax(dim=1, keepdim=True)
    return (iou == torch.where(best > 0, best, torch.inf)).any(dim=0)
