"""Anchors: the boxes of fixed size and shape that the RPN scores at each cell of a map (Faster R-CNN §3.1.1).

H W cells of a map, A anchors per cell, K = H·W·A anchors of one level. Boxes are xyxy pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wheatear.errors import InputError


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one map of the backbone.

    stride: pixels from one cell to the next.
    sizes:  square root of an anchor's area, in pixels.
    ratios: height / width.
    offset: where in its cell an anchor is centred, in strides; see `grid_anchors`.
    """

    stride: int
    sizes: tuple[float, ...]
    ratios: tuple[float, ...]
    offset: float = 0.5

    def per_cell(self) -> int:
        """A, the number of anchors at a cell."""
        return len(self.sizes) * len(self.ratios)

    def cell(self) -> Tensor:
        """(A, 4) anchors around the origin."""
        return cell_anchors(self.sizes, self.ratios)

    def grid(self, height: int, width: int, device: torch.device) -> Tensor:
        """(H·W·A, 4) anchors of a map of height × width cells."""
        return grid_anchors(self.cell().to(device), height, width, self.stride, self.offset)


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return the (A, 4) anchors of a cell around (0, 0): all sizes of the first ratio, then of the second, ….

    An anchor has area size² and height / width = ratio. torchvision's `AnchorGenerator` has the same
    formula and order but rounds the corners to whole pixels: 22.6 × 45.3 px become 22 × 46 px.
    """
    size = torch.tensor(sizes, dtype=torch.float32)
    stretch = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]
    width, height = (size / stretch).flatten(), (size * stretch).flatten()
    return torch.stack([-width, -height, width, height], dim=1) / 2


def grid_anchors(cell: Tensor, height: int, width: int, stride: int, offset: float = 0.5) -> Tensor:
    """Return the (H·W·A, 4) anchors of a map, in the order row, column, anchor.

    That is the order into which (A, H, W) scores flatten after permute(1, 2, 0).

    A map made by 2× pooling, as the notes', has in its column c what was seen around the pixels from c·stride up to
    (c + 1)·stride, so the anchors there are centred on (c + 0.5)·stride, and likewise in its rows. torchvision centres
    them on c·stride (offset 0), which suits a ResNet: its convolutions of stride 2 are centred on every second pixel,
    from the first on. Here all backbones have the first; a ResNet's cells then lie half a cell beside, which its deltas
    learn: trained with offset 0 it was neither better nor worse (docs/experiments.md).
    """
    row = (torch.arange(height, device=cell.device) + offset) * stride
    column = (torch.arange(width, device=cell.device) + offset) * stride
    y, x = torch.meshgrid(row, column, indexing="ij")
    centre = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4).to(cell.dtype)
    return (centre + cell).reshape(-1, 4)


def inside(anchors: Tensor, height: int, width: int) -> Tensor:
    """Return a (K,) bool: the anchor does not cross the border of a height × width image; it may touch it.

    Anchors that cross it are left out of the training, where they would bring in large errors that are hard
    to correct (Faster R-CNN §3.3).
    """
    x1, y1, x2, y2 = anchors.unbind(dim=1)
    return (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)


def check_reach(cell: Tensor, stride: int, window: int = 3) -> None:
    """Raise InputError if one of the (A, 4) anchors is longer than `window` strides; just as long is allowed.

    The RPN judges an anchor by the window × window cells around its centre and would have to guess what
    lies beyond them.
    """
    limit = window * stride
    for x1, y1, x2, y2 in cell.tolist():
        if max(x2 - x1, y2 - y1) > limit:
            raise InputError(
                f"anchor of {x2 - x1:.0f}×{y2 - y1:.0f} px (width×height) is longer than {window} strides of "
                f"{stride} px: the {window}×{window} window cannot see them; use smaller sizes or "
                "ratios nearer 1"
            )
