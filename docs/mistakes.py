"""Figures of four mistakes that are easily made, each on a photo and a run, with what they change in numbers."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.ops import box_iou

from wheatear.data.sample import Sample
from wheatear.explain.classifier import snip_size
from wheatear.explain.colours import HEAD, HEAT, INK, MISSED, START, TRUTH
from wheatear.explain.drawing import bare, caption, draw_boxes, legend, panel_for, sheet, show
from wheatear.explain.labels import label_anchors
from wheatear.explain.look import Look, TrainedRun
from wheatear.explain.proposals import best_of_cells
from wheatear.train.snips import head_corners

SIDES = np.arange(4, 129)  # px
SHIFT = 1 / 3  # of the side: two squares shifted by a third have an IoU of exactly 0.5
VAL_FRACTION = 0.2


def plus_one(run: TrainedRun, sample: Sample) -> Figure:
    """The effect of "+1" in every width and height on the IoU."""
    figure, (axes,) = sheet(1, 1, (7, 3.2))
    moved = np.stack([SIDES * SHIFT, 0 * SIDES, SIDES * (1 + SHIFT), SIDES], 1)
    still = np.stack([0 * SIDES, 0 * SIDES, SIDES, SIDES], 1)
    wrong = np.array([iou_plus_one(a, b) for a, b in zip(still, moved, strict=True)])
    axes.axhline(0.5, color=TRUTH, label="half-open boxes")
    axes.plot(SIDES, wrong, color=START, label="with +1")
    axes.set(xlabel="side of two squares, one moved by a third, px", ylabel="IoU", ylim=(0.48, 0.6))
    axes.legend(fontsize=8)
    touching = iou_plus_one(np.array([0, 0, 8, 8]), np.array([8, 0, 16, 8]))
    return caption(
        figure,
        f"With +1 two 8-px boxes that only touch have an IoU of {touching:.3f} instead of 0. Squares moved by a "
        f"third have {wrong[SIDES == 8][0]:.3f} at 8 px and {wrong[SIDES == 74][0]:.3f} at 74 px (the median head of "
        "the real photos) instead of 0.500: small heads are taken for better matches than they are.",
    )


def iou_plus_one(a: np.ndarray, b: np.ndarray) -> float:
    """The IoU of two boxes (4,) with 1 added to every width and height."""
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1, 0, None).prod()
    return float(inner / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - inner))


def lost_heads(run: TrainedRun, sample: Sample) -> Figure:
    """Heads left without a foreground anchor once background overwrites the heads' best anchors."""
    look = run.look(sample)
    labelled, settings = label_anchors(look), run.model.rpn.target_settings
    overlaps = box_iou(torch.from_numpy(look.boxes), labelled.anchors)
    best = overlaps.amax(1, keepdim=True)
    chosen = ((overlaps == best) & (best > 0)) | (overlaps >= settings.fg_iou_thresh)
    foreground = labelled.labels == 1
    overwritten = foreground & (labelled.iou <= settings.bg_iou_thresh)
    kept = (chosen & ~overwritten).any(1).numpy()
    figure, (axes,) = sheet(1, 1, panel_for(look.image, 6))
    show(axes, look.image)
    draw_boxes(axes, labelled.anchors[overwritten].numpy(), START, label="anchors overwritten")
    draw_boxes(axes, look.boxes[kept], HEAD, label=f"heads still learnt ({kept.sum()})")
    draw_boxes(axes, look.boxes[~kept], MISSED, style="--", width=2, label=f"heads lost ({(~kept).sum()})")
    legend(axes)
    return caption(
        figure,
        f"{int(overwritten.sum())} of {int(foreground.sum())} foreground anchors are the best that their head has, "
        f"with an IoU of {settings.bg_iou_thresh} or less. Set to background last, they take {(~kept).sum()} of "
        f"{len(kept)} heads out of the training, and teach the RPN that these are none.",
    )


def missing_activation(run: TrainedRun, sample: Sample) -> Figure:
    """The RPN's objectness with and without the ReLU between its two layers."""
    look = run.look(sample)
    scores = look.scored[0], linear_scores(look)
    figure, axes = sheet(1, 2, panel_for(look.image, 4.2))
    for panel, logits, name in zip(axes, scores, ("with ReLU", "without"), strict=True):
        panel.imshow(best_of_cells(look, logits)[0], cmap=HEAT, vmin=0, vmax=1)
        bare(panel, f"objectness {name}")
    conv = run.model.rpn.head.conv
    closed = float(np.mean([(conv(f) < 0).float().mean().item() for f in look.features]))
    one, other = (logits > 0 for logits in scores)
    return caption(
        figure,
        f"In this trained RPN the ReLU closes {closed:.0%} of the 3×3 layer's answers; taken out, "
        f"{(one != other).float().mean():.0%} of the anchors change sides. Trained without it, the 3×3 and the 1×1 "
        f"layer fold into one linear filter a score: {conv.weight.numel():,} weights do the work of "
        f"{9 * conv.in_channels:,}, and no score can mean “this but not that”.",
    )


@torch.no_grad()
def linear_scores(look: Look) -> torch.Tensor:
    """Objectness logits (K,) of the RPN head without its ReLU."""
    head = look.model.rpn.head
    scores = [head.objectness(head.conv(feature)).permute(0, 2, 3, 1).flatten() for feature in look.features]
    return torch.cat(scores)


def split_by_snip(run: TrainedRun, sample: Sample) -> Figure:
    """The snips of one photo, split at random: how many validation snips share pixels with training snips."""
    look, size = run.look(sample), snip_size(run.model)
    corners = head_corners(look.boxes, look.size[1], look.size[0], size)
    snips = np.concatenate([corners, corners + size], 1).astype(np.float32)
    val = np.random.default_rng(0).permutation(len(snips)) < VAL_FRACTION * len(snips)
    overlaps = (
        box_iou(torch.from_numpy(snips[val]), torch.from_numpy(snips[~val])).amax(1) if (~val).any() else []
    )
    figure, (axes,) = sheet(1, 1, panel_for(look.image, 6))
    show(axes, look.image)
    draw_boxes(axes, snips[~val], INK, style=":", rim=False, label=f"training ({(~val).sum()})")
    draw_boxes(axes, snips[val], START, width=2, label=f"validation ({val.sum()})")
    legend(axes)
    shared = sum(float(overlap) > 0 for overlap in overlaps)
    half = sum(float(overlap) > 1 / 3 for overlap in overlaps)
    return caption(
        figure,
        f"{len(snips)} head snips of {size} px from one photo, a fifth drawn for validation: {shared} of {val.sum()} "
        f"share pixels with a training snip, {half} of them half of their pixels or more. The validation then asks for "
        "plants that the network has learnt by heart. Split by photo, none does.",
    )


MISTAKES = (plus_one, lost_heads, missing_activation, split_by_snip)
