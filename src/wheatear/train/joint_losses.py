"""The losses of the RoI head in the joint stage: class, box and, optionally, how well the box fits.

R sampled regions in a batch, F of them heads. Each loss is summed and divided by R. If F = 0, those over
heads are exactly 0, but still attached to the graph.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from wheatear.train.faster_rcnn import RCNN_BETA
from wheatear.train.losses import rcnn_losses
from wheatear.train.recipe import RoIRecipe
from wheatear.train.targets import decode


def region_losses(
    class_logits: Tensor,
    deltas: Tensor,
    regions: Tensor,
    labels: Tensor,
    target_deltas: Tensor,
    recipe: RoIRecipe,
) -> dict[str, Tensor]:
    """loss_classifier, loss_box_reg and, with quality = "iou", loss_quality.

    class_logits (R, 2) background, head, or (R, 3) with quality; deltas and target_deltas (R, 4); regions (R, 4) xyxy
    pixels; labels (R,) int64 1 or 0.
    """
    classifier, box_reg = rcnn_losses(class_logits[:, :2], deltas, labels, target_deltas, RCNN_BETA)
    head = torch.where(labels == 1)[0]
    boxes = decode(deltas[head], regions[head], recipe.box_weights)
    gt_boxes = decode(target_deltas[head], regions[head], recipe.box_weights)
    fit = paired_iou(boxes.detach(), gt_boxes)
    count = max(labels.numel(), 1)
    if recipe.quality == "soft":
        classifier = soft_classifier_loss(class_logits, labels, fit) / count
    if recipe.box_loss == "giou":
        box_reg = generalized_box_iou_loss(boxes, gt_boxes, reduction="sum") / count
    losses = {"loss_classifier": classifier, "loss_box_reg": recipe.box_loss_weight * box_reg}
    if recipe.quality == "iou":
        logits = class_logits[head, 2].to(fit.dtype)
        losses["loss_quality"] = F.binary_cross_entropy_with_logits(logits, fit, reduction="sum") / count
    return losses


def soft_classifier_loss(class_logits: Tensor, labels: Tensor, fit: Tensor) -> Tensor:
    """Summed cross-entropy whose target for a head is the IoU of its predicted box, `fit` (F,), instead of 1.

    As in Li et al. 2020, eq. 2, without its focal factor: sampling already balances heads and background.
    """
    target = labels.to(fit.dtype)
    target[labels == 1] = fit
    soft = torch.stack([1 - target, target], dim=1)
    return F.cross_entropy(class_logits[:, :2].to(fit.dtype), soft, reduction="sum")


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(F, 4), (F, 4) -> (F,): the IoU of each pair; 0 if neither box has an area."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = sum((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others)) - shared
    return shared / union.clamp(min=1e-6)
