"""Batch norm for the notes' stages, whose last batch may hold a single snip or region.

Letters: B images, R regions, C channels, H × W cells.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class _ForOneToo(_BatchNorm):
    """In training, a single value a channel, which has no variance, is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (R, C) -> the same, normalised."""
        if self.training and x.numel() == self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Norm1d(_ForOneToo, nn.BatchNorm1d):
    """Of (R, C): a region may be alone in a batch."""


class Norm2d(_ForOneToo, nn.BatchNorm2d):
    """Of (B, C, H, W): the last map of a snip may be a single cell, and the snip alone at the end of an epoch."""
