"""Where the RPN suspects heads: objectness, the best regions, those left after NMS, and how many heads they cover.

K anchors, R regions, G heads.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image

from wheatear.data.sample import Sample
from wheatear.explain.colours import HEAT, INK, START, TRUTH
from wheatear.explain.drawing import bare, caption, draw_boxes, nothing, panel_for, sheet, show
from wheatear.explain.look import Look, Network
from wheatear.train.targets import decode

COVERED = 0.5  # IoU, as in `val_recall`
STRICT = 0.7


def best_regions(run: Network, sample: Sample) -> Figure:
    """Objectness over the photo, the regions before and after NMS, and recall against their number."""
    look = run.look(sample)
    boxes, scores = look.proposals
    before = before_nms(look)
    levels = len(look.shapes)
    columns = 2 if levels == 1 else 3
    figure, axes = sheet(-(-(levels + 3) // columns), columns, panel_for(look.image, 4.6))
    for panel in axes[levels + 3 :]:
        bare(panel)
    _show_objectness(axes[:levels], look)
    middle = axes[levels : levels + 2]
    for panel, regions, name in zip(
        middle, (before, boxes), ("best regions", "left by the NMS"), strict=True
    ):
        show(panel, look.image, f"the {len(regions):,} {name}")
        draw_boxes(panel, regions.numpy(), START, width=0.5, rim=False)
        draw_boxes(panel, look.boxes, TRUTH, width=1)
    _plot_recall(axes[levels + 2], look)
    return caption(figure, _describe(look, len(before), scores))


def before_nms(look: Look) -> Tensor:
    """(R, 4), the best boxes of each level, moved and clipped, before NMS: pre_nms_top_n, more in a large photo."""
    rpn, found = look.model.rpn, []
    most = rpn.proposal_settings.most_before(look.size)
    objectness, deltas = look.scored
    sizes = [len(anchors) for anchors in look.anchors]
    for scores, moves, anchors in zip(
        objectness.split_with_sizes(sizes), deltas.split_with_sizes(sizes), look.anchors, strict=True
    ):
        top = scores.argsort(descending=True)[:most]
        found.append(decode(moves[top], anchors[top], rpn.target_settings.weights))
    return clip_boxes_to_image(torch.cat(found), look.size)


def best_of_cells(look: Look, objectness: Tensor) -> list[np.ndarray]:
    """(K,) logits -> (H, W) for each level: the highest score, in 0..1, of the anchors at each cell."""
    sizes = [len(anchors) for anchors in look.anchors]
    return [
        scores.sigmoid().reshape(rows, columns, -1).amax(-1).numpy()
        for scores, (rows, columns) in zip(objectness.split_with_sizes(sizes), look.shapes, strict=True)
    ]


def recall_by_number(boxes: Tensor, gt_boxes: Tensor, iou_thresh: float) -> np.ndarray:
    """(R,), the fraction of (G, 4) heads that the best 1, 2, … R of (R, 4) regions cover; G ≥ 1, R may be 0."""
    if not len(boxes):
        return np.zeros(0)
    covered = box_iou(gt_boxes, boxes).cummax(1).values >= iou_thresh
    return covered.float().mean(0).numpy()


def _show_objectness(axes: list[Axes], look: Look) -> None:
    """One heat map per level, all on the same scale."""
    cells = zip(axes, best_of_cells(look, look.scored[0]), look.model.rpn.levels, strict=True)
    for panel, best, level in cells:
        show(panel, look.image, f"objectness, stride {level.stride}: the best anchor of each cell")
        rows, columns = best.shape
        place = (0, columns * level.stride, rows * level.stride, 0)
        heat = panel.imshow(best, cmap=HEAT, vmin=0, vmax=1, alpha=0.75, extent=place)
        panel.set(xlim=(0, look.size[1]), ylim=(look.size[0], 0))
    panel.figure.colorbar(heat, ax=panel, shrink=0.7)


def _plot_recall(axes: Axes, look: Look) -> None:
    boxes = look.proposals[0]
    if not len(look.boxes) or not len(boxes):
        nothing(axes, "no recall without " + ("regions" if len(look.boxes) else "labelled heads"))
        return
    number = np.arange(1, len(boxes) + 1)
    for threshold, line in ((COVERED, "-"), (STRICT, "--")):
        share = recall_by_number(boxes, torch.from_numpy(look.boxes), threshold)
        axes.plot(number, share, line, color=INK, label=f"IoU {threshold}")
    axes.axvline(len(look.boxes), color=TRUTH, ls=":", label=f"{len(look.boxes)} heads")
    axes.set(xlabel="best regions kept", ylabel="heads covered", ylim=(0, 1), xlim=(0, len(boxes)))
    axes.legend(fontsize=8)


def _describe(look: Look, before: int, scores: Tensor) -> str:
    settings = look.model.rpn.proposal_settings
    limit = settings.most_after(look.size)
    text = (
        f"{len(look.scored[0]):,} anchors are scored and moved; the best {before:,} go into the NMS (IoU "
        f"{settings.nms_thresh}), which leaves {len(scores)} (at most {limit}; thinner than "
        f"{settings.min_size:g} px are dropped)"
    )
    if len(scores):
        text += f", with objectness {scores[0]:.2f} down to {scores[-1]:.2f}"
    if len(look.boxes):
        gt_boxes = torch.from_numpy(look.boxes)
        half, strict = (
            recall_by_number(look.proposals[0], gt_boxes, t)[-1:].sum() for t in (COVERED, STRICT)
        )
        text += f". They cover {half:.0%} of the {len(gt_boxes)} heads at IoU {COVERED} and {strict:.0%} at {STRICT}"
    return f"{text}."
