"""The second stage: is this region a head, and where exactly? (Fast R-CNN; Faster R-CNN §3.2)

B images, (C, H, W) features, R regions in a batch (image index, then xyxy pixels), G ground-truth boxes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor, nn

from wheatear.train.batch_norm import Norm1d
from wheatear.train.recipe import DetectionRecipe
from wheatear.train.suppression import matrix_nms, vote
from wheatear.train.targets import Targets, TargetSettings, Weights, decode, sample_targets

Pool = Literal["crop_and_resize", "roi_align"]


def to_rois(boxes: Sequence[Tensor]) -> Tensor:
    """Join the (R_i, 4) boxes of images 0, 1, … into (R, 5): image index, then box."""
    return torch.cat([F.pad(image_boxes, (1, 0), value=image) for image, image_boxes in enumerate(boxes)])


def crop_and_resize(features: Tensor, rois: Tensor, stride: int, size: int = 7) -> Tensor:
    """Crop the (R, 5) rois from (B, C, H, W) features and resize each bilinearly to (C, size, size).

    This is TensorFlow's tf.image.crop_and_resize, which the notes use. A box is normalised by the size of
    the image (as padded for the backbone: H·stride × W·stride pixels) and sampled at size ≥ 2 points from
    edge to edge, both edges included: row i at y1·(H-1) + i·(y2-y1)·(H-1)/(size-1), with 0 ≤ y1 ≤ y2 ≤ 1,
    in cells from the centre of the first. Rois lie within the image; R may be 0.

    The edges of the image are thus mapped to the centres of the outermost cells: samples lie half a cell too
    far inwards at the edges and are exact only in the middle, a bias that `roi_align` does not have.
    """
    if features.shape[0] == 1:
        return _crops(features, rois[:, 1:], stride, size)
    crops = rois.new_zeros(len(rois), features.shape[1], size, size)
    for image, one in enumerate(features[:, None]):
        chosen = rois[:, 0] == image
        crops[chosen] = _crops(one, rois[chosen, 1:], stride, size)
    return crops


def roi_align(features: Tensor, rois: Tensor, stride: int, size: int = 7, sampling_ratio: int = 2) -> Tensor:
    """Average sampling_ratio² bilinear samples in each of size × size bins of (R, 5) rois (Mask R-CNN §3).

    (B, C, H, W) features -> (R, C, size, size). "Aligned": pixel x is at x/stride - 0.5 cells from the
    centre of the first cell. R may be 0.

    On a CPU the backward pass of torchvision's uses one core and takes a fifth of a training step, so
    features that need a gradient go through `bagged_roi_align` there.
    """
    features = features.to(rois.dtype)
    if features.requires_grad and features.device.type == "cpu":
        return bagged_roi_align(features, rois, stride, size, sampling_ratio)
    return torchvision.ops.roi_align(features, rois, size, 1 / stride, sampling_ratio, aligned=True)


def bagged_roi_align(features: Tensor, rois: Tensor, stride: int, size: int, sampling_ratio: int) -> Tensor:
    """`roi_align` as an `embedding_bag`: a bin is a weighted sum of 4·sampling_ratio² cells near its samples."""
    images, channels, height, width = features.shape
    rows, row_weights = _beside(rois[:, 2], rois[:, 4], height, stride, size, sampling_ratio)
    columns, column_weights = _beside(rois[:, 1], rois[:, 3], width, stride, size, sampling_ratio)
    first = rois[:, 0].long().view(-1, 1, 1, 1, 1) * (height * width)
    cells = first + rows[:, :, None, :, None] * width + columns[:, None, :, None]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None]
    bags = (len(rois) * size * size, (2 * sampling_ratio) ** 2)
    pooled = F.embedding_bag(
        cells.reshape(bags),
        features.permute(0, 2, 3, 1).reshape(images * height * width, channels),
        mode="sum",
        per_sample_weights=weights.reshape(bags),
    )
    return pooled.view(len(rois), size, size, channels).permute(0, 3, 1, 2)


def _beside(
    low: Tensor, high: Tensor, cells: int, stride: int, size: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Along one axis of (R,) regions, the cells beside each sample and their weights in the mean of its bin.

    low, high: the regions' ends, in pixels; cells: the length of the map. Returns indices and weights, each
    (R, size, 2 · sampling_ratio). A sample up to one cell outside the map takes the outermost cell; one
    further out is zero.
    """
    samples = size * sampling_ratio
    shares = (torch.arange(samples, device=low.device) + 0.5) / samples
    at = (low[:, None] + (high - low)[:, None] * shares) / stride - 0.5
    inside = (at >= -1) & (at <= cells)
    at = at.clamp(0, cells - 1)
    before = at.floor()
    weights = torch.stack([1 - (at - before), at - before], dim=2) * inside[:, :, None] / sampling_ratio
    beside = torch.stack([before, (before + 1).clamp(max=cells - 1)], dim=2).long()
    shape = (len(low), size, 2 * sampling_ratio)
    return beside.view(shape), weights.view(shape)


class RoIHead(nn.Module):
    """Pool each region to size × size, apply one hidden layer, then score it and predict its deltas.

    in_channels: C of the map of the given stride; channels: of the hidden layer; sampling_ratio: RoIAlign's.
    """

    def __init__(
        self,
        in_channels: int,
        size: int = 7,
        channels: int = 1024,
        pool: Pool = "crop_and_resize",
        stride: int = 16,
        sampling_ratio: int = 2,
    ) -> None:
        super().__init__()
        pools: dict[str, Callable[[Tensor, Tensor, int, int], Tensor]] = {
            "crop_and_resize": crop_and_resize,
            "roi_align": partial(roi_align, sampling_ratio=sampling_ratio),
        }
        self.pool = pools[pool]
        self.size = size
        self.stride = stride
        self.hidden = nn.Linear(in_channels * size * size, channels)
        self.norm = Norm1d(channels)
        self.scores = nn.Linear(channels, 2)
        self.deltas = nn.Linear(channels, 4)

    def forward(self, maps: Mapping[int, Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Maps by stride, (R, 5) rois -> class_logits (R, 2) background, head; deltas (R, 4)."""
        return self.judge(self.crop(maps[self.stride], rois))

    def crop(self, features: Tensor, rois: Tensor) -> Tensor:
        """Map (B, C, H, W) features and (R, 5) rois to (R, C, size, size)."""
        return self.pool(features, rois, self.stride, self.size)

    def judge(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Map (R, C, size, size) crops to class_logits (R, 2) background, head and deltas (R, 4)."""
        seen = self.norm(self.hidden(crops.flatten(1)).relu())
        return self.scores(seen), self.deltas(seen)


def label_proposals(
    proposals: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    settings: TargetSettings,
    generator: torch.Generator,
) -> Targets:
    """Sample each image's training regions from its (R, 4) proposals and (G, 4) heads (Fast R-CNN §2.3).

    The heads are added to the proposals, so that there is foreground before the RPN finds any.
    """
    candidates = [torch.cat(both) for both in zip(proposals, gt_boxes, strict=True)]
    return sample_targets(candidates, gt_boxes, settings, generator)


def detect(
    class_logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    image_size: tuple[int, int],
    settings: DetectionRecipe,
    most: int,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Turn the RoI head's outputs for one image's proposals into detections.

    class_logits (R, 2) background, head, or (R, 3) with quality; deltas (R, 4); proposals (R, 4); image_size
    (height, width); weights: of the deltas. `most` replaces the settings' detections_per_img.
    Returns boxes (D, 4) within the image, no side below min_size pixels, and scores (D,) ≥ score_floor,
    descending; D ≤ most and may be 0. Of two boxes with an IoU above nms_thresh the one with
    the lower score is dropped; with suppression "matrix", the scores of overlapped boxes are lowered instead
    (`matrix_nms`). With a vote_iou below 1 the remaining boxes become means over the boxes that overlap them
    (`vote`). With a margin above 0 all of this is done to boxes enlarged by it (`with_margin`).
    """
    if settings.margin:
        deltas = with_margin(deltas.to(proposals.dtype), settings.margin, weights)
    boxes = torchvision.ops.clip_boxes_to_image(decode(deltas, proposals, weights), image_size)
    scores = region_scores(class_logits.to(boxes.dtype))
    thick = torchvision.ops.remove_small_boxes(boxes, settings.min_size)
    boxes, scores = boxes[thick], scores[thick]
    likely = torch.where(scores >= settings.score_floor)[0]
    boxes, scores = boxes[likely], scores[likely]
    if settings.suppression == "matrix":
        scores = matrix_nms(boxes, scores)
        kept = scores.argsort(descending=True)[:most]
        kept = kept[scores[kept] >= settings.score_floor]
    else:
        kept = torchvision.ops.nms(boxes, scores, settings.nms_thresh)[:most]
    if settings.vote_iou < 1:
        return vote(boxes[kept], boxes, scores, settings.vote_iou)
    return boxes[kept], scores[kept]


def with_margin(deltas: Tensor, margin: float, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Return the (R, 4) deltas of larger boxes with the same centres as those of the given (R, 4) deltas.

    Each edge is `margin` of the box's width or height further out, so dw and dh grow by log(1 + 2 · margin)
    times their weights: a single addition in an exported graph.
    """
    grown = math.log(1 + 2 * margin)
    return deltas + deltas.new_tensor([0.0, 0.0, weights[2] * grown, weights[3] * grown])


def region_scores(class_logits: Tensor) -> Tensor:
    """(R,) scores in 0..1 from (R, 2) logits: a head's probability; from (R, 3): times the predicted IoU.

    In the second case the score is the square root of the product (as in FCOS), so that 0.5 still means a
    likely, good box.
    """
    likely = class_logits[:, :2].softmax(dim=1)[:, 1]
    return (likely * class_logits[:, 2].sigmoid()).sqrt() if class_logits.shape[1] == 3 else likely


def _crops(features: Tensor, boxes: Tensor, stride: int, size: int) -> Tensor:
    """Crop (R, 4) boxes from (1, C, H, W) features as one column of crops -> (R, C, size, size)."""
    channels, height, width = features.shape[1:]
    x1, y1, x2, y2 = (boxes[:, :, None] / stride).unbind(dim=1)
    steps = torch.linspace(0, 1, size, dtype=boxes.dtype, device=boxes.device)
    x, y = (x1 + (x2 - x1) * steps) / width, (y1 + (y2 - y1) * steps) / height
    points = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    # With align_corners, -1 is the centre of the first cell and 1 that of the last, as in TensorFlow.
    grid = 2 * points.reshape(1, -1, size, 2) - 1
    # In the dtype of the boxes: bfloat16 would move a sample by up to a quarter of a cell.
    column = F.grid_sample(features.to(boxes.dtype), grid, padding_mode="border", align_corners=True)
    return column.reshape(channels, -1, size, size).transpose(0, 1)
