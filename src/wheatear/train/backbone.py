"""The notes' CNN.

Shapes: B images, C channels, H × W pixels. Images are padded on the right and at the bottom with the mean
colour to a multiple of the largest stride S, so the map of stride s is (B, C, ⌈H/S⌉·S/s, ⌈W/S⌉·S/s).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wheatear.train.batch_norm import Norm2d
from wheatear.train.recipe import NotesBackboneRecipe


class NotesCNN(nn.Module):
    """Groups of 3×3 convolution, ReLU, batch norm; 2× max-pool and dropout after each group but the last.

    Group i (from 0) has stride 2**i. Kernels are initialised with Glorot's uniform, as in the notes' Keras.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: NotesBackboneRecipe) -> None:
        super().__init__()
        self.groups = nn.ModuleList()
        channels = 3
        for filters in recipe.channels:
            layers: list[nn.Module] = []
            for out in filters:
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), Norm2d(out)]
                channels = out
            self.groups.append(nn.Sequential(*layers))
        self.shrink = nn.Sequential(nn.MaxPool2d(2), nn.Dropout(recipe.dropout))
        self.register_buffer("mean", 255 * torch.tensor(recipe.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(recipe.std).view(1, 3, 1, 1), persistent=False)
        self.out_channels = {2**i: filters[-1] for i, filters in enumerate(recipe.channels)}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """(B, 3, H, W) RGB in 0..255, any dtype -> {stride: map after the group's last batch norm}."""
        x = pad_to_multiple((images.to(self.mean.dtype) - self.mean) / self.std, max(self.out_channels))
        maps = {}
        for i, group in enumerate(self.groups):
            x = group(self.shrink(x) if i else x)
            maps[2**i] = x
        return maps


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) -> the same, zero-padded right and bottom so that `multiple` divides both sides."""
    height, width = x.shape[-2:]
    # Rounded up without negative numbers: from -width % multiple, torch.export concludes that a width is a
    # negative multiple of something, and fails.
    below, right = ((side + multiple - 1) // multiple * multiple - side for side in (height, width))
    return F.pad(x, (0, right, 0, below))
