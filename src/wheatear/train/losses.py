"""The losses of the RPN and of the R-CNN (Faster R-CNN eq. 1; Fast R-CNN §2.3).

N sampled anchors, R sampled regions in a batch. All results are scalars, at least 0, attached to the graph.
The losses of an empty batch, and the box loss of a batch without foreground, are exactly 0.
"""

import torch.nn.functional as F
from torch import Tensor


def rpn_losses(
    objectness: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Return (loss_objectness, loss_rpn_box_reg) for the sampled anchors.

    objectness (N,) logits, deltas (N, 4), labels (N,) 1 or 0, target_deltas (N, 4) used at label 1 only.
    Binary cross-entropy and smooth L1 (quadratic below beta), each summed and divided by N.
    """
    logits = objectness.to(target_deltas.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
    return loss / max(labels.numel(), 1), _box_loss(deltas, labels, target_deltas, beta)


def rcnn_losses(
    class_logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Return (loss_classifier, loss_box_reg) for the sampled regions.

    class_logits (R, 2) background and head, deltas (R, 4) for heads, labels (R,) int64 1 or 0,
    target_deltas (R, 4) used at label 1 only.
    Softmax cross-entropy and smooth L1 (quadratic below beta), each summed and divided by R.
    """
    loss = F.cross_entropy(class_logits.to(target_deltas.dtype), labels, reduction="sum")
    return loss / max(labels.numel(), 1), _box_loss(deltas, labels, target_deltas, beta)


def _box_loss(deltas: Tensor, labels: Tensor, target_deltas: Tensor, beta: float) -> Tensor:
    """Smooth L1 of the foreground over the size of the whole batch, so that few heads in it weigh little."""
    foreground = labels == 1
    predicted = deltas[foreground].to(target_deltas.dtype)
    loss = F.smooth_l1_loss(predicted, target_deltas[foreground], beta=beta, reduction="sum")
    return loss / max(labels.numel(), 1)
