"""The receptive field that a network's structure allows, whatever its weights and the photo.

A copy of the network is made that lets everything through: the weights of a layer are all the same positive
number, activations and batch norms are removed, and max-pooling becomes average pooling. Then the gradient is
0 only at pixels with no path to the cell, so the pixels with a gradient are the field. (Counting by hand, as
in `receptive.arithmetic`, gives the same, but is laborious for a pyramid, whose cells have paths through
several maps.)
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wheatear.train.faster_rcnn import FasterRCNN

STRIP = (64, 2048)  # px: a field is a square, so its width is enough, and no backbone's field is wider


def fields_by_structure(model: FasterRCNN, strides: Sequence[int]) -> list[tuple[int, int]]:
    """For each stride's map: the sides in px of the receptive fields of a cell and of the RPN's window of 3×3 cells.

    In a pyramid they depend on where a cell lies within a coarser cell; these are the largest.
    """
    pixels = torch.zeros(1, 3, *STRIP, dtype=torch.float64, requires_grad=True)
    backbone = let_through(model.backbone)
    maps = backbone(pixels)
    if model.pyramid is not None:
        maps = let_through(model.pyramid)(maps)
    found = []
    for stride in strides:
        first = maps[stride].shape[3] // 2
        places = range(first, first + max(maps) // stride)
        cell, window = (
            max(width_seen(maps[stride], pixels, at, around) for at in places) for around in (0, 1)
        )
        found.append((cell, window))
    return found


def let_through(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode without anything that could block a gradient, in float64 so that none underflows."""
    opened = copy.deepcopy(module).eval().double()
    for layer in opened.modules():
        for name, child in layer.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6 | nn.BatchNorm2d):
                setattr(layer, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(layer, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    for parameter in opened.parameters():
        nn.init.constant_(parameter, 1 / max(1, parameter[0].numel()))  # so that sums stay near 1
    return opened


def width_seen(feature: Tensor, pixels: Tensor, column: int, around: int) -> int:
    """Width in px of the strip's part that affects cells `column` ± `around` of a map (1, C, H, W)."""
    answer = feature[0, :, feature.shape[2] // 2, column - around : column + around + 1].sum()
    (gradient,) = torch.autograd.grad(answer, pixels, retain_graph=True)
    seen = torch.where(gradient[0].abs().sum((0, 1)) > 0)[0]
    return int(seen[-1] - seen[0]) + 1
