"""The second stage at work: a region cut out of the map in two ways, and regions before and after they are moved.

R regions, C H W features.
"""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.ops import box_iou

from wheatear.data.sample import Sample
from wheatear.explain.channels import strongest_channels
from wheatear.explain.colours import FOUND, HEAT, START, TRUTH, WINDOW
from wheatear.explain.drawing import bare, caption, draw_boxes, nothing, sheet, show, zoom
from wheatear.explain.look import Look, Network
from wheatear.train.roi import crop_and_resize, roi_align, to_rois

SURE = 50  # best regions, from which one that shows the difference is chosen
CHANNELS = 3
SHOWN = 8
MARKERS = {"crop_and_resize": ("+", FOUND), "RoIAlign": ("x", WINDOW)}


def pooled_crop(run: Network, sample: Sample) -> Figure:
    """One region as cropped for the RoI head by crop_and_resize and by RoIAlign, and the sample points of both."""
    look = run.look(sample)
    if not len(look.proposals[0]):
        return _empty("no region was proposed, so there is nothing to cut out.")
    chosen, size = farthest_from_middle(look), look.model.roi_head.size
    stride = int(look.region_strides[chosen])
    features = look.maps[stride]
    rois = to_rois([look.proposals[0][chosen : chosen + 1]])
    crops = {
        "crop_and_resize": crop_and_resize(features, rois, stride, size)[0],
        "RoIAlign": roi_align(features, rois, stride, size, look.model.recipe.roi.sampling_ratio)[0],
    }
    figure, axes = sheet(3, 1 + CHANNELS, (2.6, 2.7))
    points = {
        "crop_and_resize": sample_points(rois[0, 1:], features, stride, size),
        "RoIAlign": aligned_points(rois[0, 1:], size),
    }
    upper, middle, lower = axes[:: 1 + CHANNELS]
    for panel, names in ((upper, ["crop_and_resize"]), (middle, ["RoIAlign"]), (lower, list(points))):
        _show_points(panel, look, rois[0, 1:], {name: points[name] for name in names})
    _show_crops(axes, crops)
    return caption(figure, _describe_crops(look, chosen, np.abs(np.subtract(*points.values())).max(), crops))


def box_regression(run: Network, sample: Sample) -> Figure:
    """The best regions that do not overlap: before they are moved, after, and the head."""
    look = run.look(sample)
    before, after = look.proposals[0], look.judged.boxes
    best = look.judged.scores.argsort(descending=True)
    if not len(best):
        return _empty("no region was proposed, so there is nothing to move.")
    gt_boxes = torch.from_numpy(look.boxes)
    shown = spread(after, best, SHOWN)
    figure, axes = sheet(2, SHOWN // 2, (2.6, 2.8))
    for panel in axes:
        bare(panel)
    for panel, i in zip(axes, shown, strict=False):
        _show_move(panel, look, before[i], after[i], gt_boxes, score_of(look, i))
    made = (
        ""
        if look.judged.fit is None
        else " The score is √(p · f): p is the probability of a head, f the predicted IoU."
    )
    return caption(figure, _describe_moves(before, after, gt_boxes, len(shown)) + made)


def score_of(look: Look, region: int) -> str:
    """The score of a region, and the parts it is made of."""
    text = f"score {look.judged.scores[region]:.2f}"
    if look.judged.fit is not None:
        text += f" (p {look.judged.likely[region]:.2f}, f {look.judged.fit[region]:.2f})"
    return text


def farthest_from_middle(look: Look) -> int:
    """Index of the region, of the SURE best, farthest from the photo's middle: there the two methods differ most."""
    boxes = look.proposals[0][:SURE]
    middle = torch.tensor([look.size[1], look.size[0]]) / 2
    return int(((boxes[:, :2] + boxes[:, 2:]) / 2 - middle).abs().amax(1).argmax())


def spread(boxes: Tensor, order: Tensor, count: int) -> list[int]:
    """The first `count` indices of `order` whose boxes do not overlap any chosen before."""
    chosen: list[int] = []
    for i in order.tolist():
        if len(chosen) < count and not (box_iou(boxes[i : i + 1], boxes[chosen]) > 0).any():
            chosen.append(i)
    return chosen


def sample_points(box: Tensor, features: Tensor, stride: int, size: int) -> np.ndarray:
    """(size, 2) x and y in pixels at which crop_and_resize samples the photo, along the diagonal of a box (4,)."""
    cells = torch.tensor([features.shape[3], features.shape[2]])
    points = torch.linspace(0, 1, size)[:, None] * (box[2:] - box[:2]) + box[:2]
    # Rows 0..H-1 stand for 0..H·stride pixels; the value of a cell belongs to the middle of its pixels.
    return ((points / (stride * cells) * (cells - 1) + 0.5) * stride).numpy()


def aligned_points(box: Tensor, size: int) -> np.ndarray:
    """(size, 2) x and y in pixels of the centres of RoIAlign's bins, along the diagonal of a box (4,)."""
    steps = (torch.arange(size) + 0.5)[:, None] / size
    return (steps * (box[2:] - box[:2]) + box[:2]).numpy()


def _show_points(axes: Axes, look: Look, box: Tensor, points: Mapping[str, np.ndarray]) -> None:
    show(axes, look.image, "samples of both" if len(points) > 1 else f"samples of {next(iter(points))}")
    draw_boxes(axes, box.numpy(), START)
    for name, at in points.items():
        marker, colour = MARKERS[name]
        columns, rows = np.meshgrid(at[:, 0], at[:, 1])
        axes.scatter(columns, rows, marker=marker, s=18, c=colour)
    zoom(axes, [box.numpy()])


def _show_crops(axes: list[Axes], crops: dict[str, Tensor]) -> None:
    """One column per channel: the two crops on the same scale, and their difference."""
    first, second = crops.values()
    for column, channel in enumerate(strongest_channels(second, CHANNELS).tolist(), 1):
        both = torch.stack([first[channel], second[channel]]).numpy()
        low, high = both.min(), both.max()
        upper, middle, lower = axes[column :: 1 + CHANNELS]
        for panel, name, crop in zip((upper, middle), crops, both, strict=True):
            panel.imshow(crop, cmap=HEAT, vmin=low, vmax=high)
            bare(panel, f"{name}, channel {channel}")
        lower.imshow(np.abs(both[0] - both[1]), cmap=HEAT, vmin=0, vmax=max(high - low, 1e-9))
        bare(lower, "difference, same scale")


def _describe_crops(look: Look, chosen: int, shift: float, crops: dict[str, Tensor]) -> str:
    stride, (one, other) = look.region_strides[chosen], crops.values()
    x1, y1, x2, y2 = look.proposals[0][chosen].tolist()
    gap = (one - other).abs().mean() / other.std().clamp(min=1e-9)
    return (
        f"Region {chosen + 1} by objectness, {x2 - x1:.0f}×{y2 - y1:.0f} px, as {one.shape[1]}×{one.shape[2]} values "
        f"of the map of stride {stride}{_levels_of_regions(look)}, in its {CHANNELS} most varied channels there. "
        "crop_and_resize samples from edge to edge of the region, and treats the centres of the outermost cells as the "
        f"photo's edges, so its samples lie up to {shift:.0f} px from the centres of RoIAlign's bins. The crops differ "
        f"by {gap:.0%} of a standard deviation on average. This run uses {look.model.recipe.roi.pool}."
    )


def _levels_of_regions(look: Look) -> str:
    """How many regions go to each level of a pyramid; "" without one."""
    if look.model.pyramid is None:
        return ""
    counts = [
        (stride, int((look.region_strides == stride).sum())) for stride in look.model.recipe.roi.strides
    ]
    return (
        f" (by their sizes {', '.join(f'{count} regions go to stride {stride}' for stride, count in counts)})"
    )


def _show_move(axes: Axes, look: Look, before: Tensor, after: Tensor, gt_boxes: Tensor, title: str) -> None:
    show(axes, look.image)
    shown = [before.numpy(), after.numpy()]
    if len(gt_boxes):
        overlaps = box_iou(torch.stack([before, after]), gt_boxes)
        nearest = int(overlaps.amax(0).argmax())
        title += f"\nIoU {overlaps[0, nearest]:.2f} → {overlaps[1, nearest]:.2f}"
        if overlaps[:, nearest].max() > 0:
            draw_boxes(axes, gt_boxes[nearest].numpy(), TRUTH, label="head", width=1.8)
            shown.append(gt_boxes[nearest].numpy())
    draw_boxes(axes, before.numpy(), START, style="--", label="region")
    draw_boxes(axes, after.numpy(), FOUND, label="displaced")
    zoom(axes, shown)
    axes.set_title(title, fontsize=8)


def _describe_moves(before: Tensor, after: Tensor, gt_boxes: Tensor, shown: int) -> str:
    moved = ((after[:, :2] + after[:, 2:] - before[:, :2] - before[:, 2:]) / 2).norm(dim=1)
    text = (
        f"The {shown} best regions that do not overlap: the region (vermillion, dashed), displaced by its deltas "
        + "(sky blue)"
        + (", and the head (blue)" if len(gt_boxes) else "")
        + f". All {len(before)} regions move, by a median of {moved.median():.1f} px and at most {moved.max():.1f} px."
    )
    if len(gt_boxes):
        old, new = box_iou(before, gt_boxes).amax(1), box_iou(after, gt_boxes).amax(1)
        near = old >= 0.5
        if near.any():
            change = f"{old[near].mean():.3f} to {new[near].mean():.3f}"
            text += f" Of the {int(near.sum())} with an IoU of 0.5 or more the mean IoU goes from {change}."
    return text


def _empty(text: str) -> Figure:
    figure, (axes,) = sheet(1, 1, (6.0, 2.0))
    nothing(axes, text)
    return caption(figure, text)
