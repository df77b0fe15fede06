"""Anchors: the boxes of fixed size and shape that the RPN scores at each cell of a map (Faster R-CNN §3.1.1).

H × W cells in a map, A anchors per cell, K = H·W·A anchors in one level. Boxes are xyxy in image pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wheatear.errors import InputError


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors on one of the backbone's maps.

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
        """A, the number of anchors per cell."""
        return len(self.sizes) * len(self.ratios)

    def cell(self) -> Tensor:
        """(A, 4) anchors centred on the origin."""
        return cell_anchors(self.sizes, self.ratios)

    def grid(self, height: int, width: int, device: torch.device) -> Tensor:
        """(H·W·A, 4) anchors for a map of height × width cells."""
        return grid_anchors(self.cell().to(device), height, width, self.stride, self.offset)


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return the (A, 4) anchors of a cell centred on (0, 0): all sizes at the first ratio, then the second, ….

    An anchor has area size² and height / width = ratio. torchvision's `AnchorGenerator` uses the same
    formula and order but rounds the corners to whole pixels: 22.6 × 45.3 px becomes 22 × 46 px.
    """
    size = torch.tensor(sizes, dtype=torch.float32)
    stretch = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]
    width, height = (size / stretch).flatten(), (size * stretch).flatten()
    return torch.stack([-width, -height, width, height], dim=1) / 2


def grid_anchors(cell: Tensor, height: int, width: int, stride: int, offset: float = 0.5) -> Tensor:
    """Return the (H·W·A, 4) anchors of a map, in the order row, column, anchor.

    This is the order in which (A, H, W) scores flatten after permute(1, 2, 0).

    In a map made by 2× pooling, like the notes', column c describes the surroundings of the pixels from
    c·stride up to (c + 1)·stride, so its anchors are centred on (c + 0.5)·stride; rows likewise. torchvision
    centres them on c·stride (offset 0), which suits a ResNet: its stride-2 convolutions are centred on every
    second pixel, starting with the first. Here all backbones use offset 0.5. A ResNet's anchors are then half
    a cell off, which its deltas learn to correct: training it with offset 0 was neither better nor worse
    (docs/experiments.md).
    """
    row = (torch.arange(height, device=cell.device) + offset) * stride
    column = (torch.arange(width, device=cell.device) + offset) * stride
    y, x = torch.meshgrid(row, column, indexing="ij")
    centre = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4).to(cell.dtype)
    return (centre + cell).reshape(-1, 4)


def inside(anchors: Tensor, height: int, width: int) -> Tensor:
    """Return (K,) bool: whether each anchor lies within a height × width image; it may touch the border.

    Without a pyramid, anchors that cross the border are left out of training, where they would introduce
    large errors that are hard to correct (Faster R-CNN §3.3).
    """
    x1, y1, x2, y2 = anchors.unbind(dim=1)
    return (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)


def check_reach(cell: Tensor, stride: int, window: int = 3) -> None:
    """Raise InputError if any of the (A, 4) anchors is longer than `window` strides (equal is allowed).

    The RPN scores an anchor from the window × window cells around its centre and would have to guess what
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
