"""Preparing the batch norms of an exported detector for further training.

Letters: C channels.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from wheatear.train.faster_rcnn import FasterRCNN


@torch.no_grad()
def measure_norms(model: FasterRCNN, photos: Iterable[Tensor]) -> None:
    """Set each batch norm's mean and variance to those of its input on photos, (1, 3, H, W) RGB in 0..255.

    The export folds a batch norm into the convolution before it, and the one that comes back (`from_onnx`)
    only adds a bias. In evaluation that is the same network; in training a norm divides by the standard
    deviation of its batch, so the network would change at the first step. Here weight and bias change along
    with mean and variance, so the network stays the same in evaluation and nearly the same in training.
    """
    moments: dict[nn.Module, Tensor] = {}  # (3, C): number of values, their sum, the sum of their squares

    def note(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        number = values.new_full((len(values),), values.shape[1])
        seen = torch.stack([number, values.sum(1), values.square().sum(1)])
        moments[norm] = moments.get(norm, 0) + seen

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    model.eval()
    for photo in photos:
        model(photo)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        if norm in moments and moments[norm][0].min() > 1:
            move_to(norm, *moments[norm])


def move_to(norm: nn.BatchNorm1d | nn.BatchNorm2d, count: Tensor, total: Tensor, squares: Tensor) -> None:
    """Give a norm the mean and variance from these sums, each (C,), with the same output in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean = total / count
    var = (squares / count - mean.square()).clamp(min=0)
    gain = norm.weight / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias + gain * (mean - norm.running_mean))
    norm.weight.copy_(gain * (var + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
