"""The feature pyramid (Lin et al. 2017), and the RoI head that uses the level that suits a region's size.

B images, (C, H, W) features, R regions of interest in a batch (image index, then xyxy pixels).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork

from wheatear.train.roi import roi_align


class Pyramid(nn.Module):
    """Maps with the same number of channels at each stride, the coarser ones added to the finer ones."""

    def __init__(self, in_channels: Mapping[int, int], strides: Sequence[int], channels: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.out_channels = dict.fromkeys(strides, channels)
        self.fpn = FeaturePyramidNetwork(
            [in_channels[s] for s in strides], channels, norm_layer=nn.BatchNorm2d
        )

    def forward(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The backbone's maps -> {stride: (B, channels, H, W)}."""
        levels = self.fpn({str(stride): maps[stride] for stride in self.strides})
        return {stride: levels[str(stride)] for stride in self.strides}


def region_levels(boxes: Tensor, strides: Sequence[int], cells: float) -> Tensor:
    """The level for each of (R, 4) boxes: (R,) int64 indices into `strides`, which ascend.

    It is the coarsest in which the box's side (the square root of its area) is at least `cells` cells long,
    or else the finest: FPN's eq. 1, with its 224 pixels at stride 16 expressed as 14 cells.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    side = (width * height).sqrt()
    steps = [side >= cells * stride for stride in strides[1:]]
    return torch.stack([torch.zeros_like(side, dtype=torch.bool), *steps]).sum(0)


def pyramid_roi_align(
    maps: Mapping[int, Tensor], rois: Tensor, cells: float, size: int, sampling_ratio: int = 2
) -> tuple[Tensor, Tensor]:
    """Crop (R, 5) rois from their levels' maps: {stride: (B, C, H, W)} -> (R, C, size, size), in level order.

    Also returns (R,), the position of each roi among the crops; R may be 0. The crops are the largest tensor
    after the maps, so it is cheaper to reorder the head's outputs. torchvision's `MultiScaleRoIAlign` does
    the same without "aligned": its samples lie half a cell further right and down on the map, consistent with
    its anchors (`grid_anchors`).
    """
    strides = sorted(maps)
    level = region_levels(rois[:, 1:], strides, cells)
    chosen = [torch.where(level == i)[0] for i in range(len(strides))]
    crops = [
        roi_align(maps[s], rois[those], s, size, sampling_ratio)
        for s, those in zip(strides, chosen, strict=True)
    ]
    return torch.cat(crops), torch.cat(chosen).argsort()


class PyramidHead(nn.Module):
    """Pool each region from its level, apply two hidden layers, then score it and predict its deltas.

    With `quality`, a third logit predicts how well the resulting box will fit.
    """

    def __init__(
        self,
        in_channels: int,
        strides: Sequence[int],
        cells: float,
        size: int,
        channels: int,
        *,
        quality: bool,
        sampling_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.strides, self.cells, self.size = tuple(strides), cells, size
        self.sampling_ratio = sampling_ratio
        self.hidden = TwoMLPHead(in_channels * size * size, channels)
        self.scores = nn.Linear(channels, 3 if quality else 2)
        self.deltas = nn.Linear(channels, 4)
        for layer, std in ((self.scores, 0.01), (self.deltas, 0.001)):  # Fast R-CNN §2.3
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Mapping[int, Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Maps, (R, 5) rois -> class_logits (R, 2) background, head, or (R, 3) with quality; deltas (R, 4)."""
        levels = {stride: maps[stride] for stride in self.strides}
        crops, place = pyramid_roi_align(levels, rois, self.cells, self.size, self.sampling_ratio)
        seen = self.hidden(crops)[place]
        return self.scores(seen), self.deltas(seen)
