"""The RPN's training targets in this photo: labelled anchors, and samples drawn from them (Faster R-CNN §3.1.2-3).

N anchors used in training: those inside the photo or, with a pyramid, all; G heads.
"""

from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.ops import box_iou

from wheatear.data.sample import Sample
from wheatear.explain.colours import BACKGROUND, HEAD, IGNORED, START, TRUTH, WINDOW
from wheatear.explain.drawing import bare, caption, draw_boxes, legend, panel_for, sheet, show, zoom
from wheatear.explain.look import Look, Network
from wheatear.train.anchors import inside
from wheatear.train.targets import encode, match
from wheatear.train.targets import sample as draw_sample

SHOWN = 4  # samples of each kind
CONTEXT = 0.5  # margin on each side, as a fraction of the square around all boxes shown
POINTS = 20_000  # more anchors than this, as on a fine level, would hide the photo
KINDS = ((1, HEAD, "foreground"), (0, BACKGROUND, "background"), (-1, IGNORED, "ignored"))


@dataclass(frozen=True)
class LabelledAnchors:
    """The anchors of a photo, (N, 4), labelled as in training.

    windows: (N, 4), by which the RPN judges them. strides: (N,), of their levels. labels: (N,) 1, 0 or -1.
    iou: (N,), the best with any head. matched_idxs: (N,) into the heads. fg_idx, bg_idx: indices of the
    anchors drawn for training.
    """

    anchors: Tensor
    windows: Tensor
    strides: Tensor
    labels: Tensor
    iou: Tensor
    matched_idxs: Tensor
    fg_idx: Tensor
    bg_idx: Tensor

    def drawn(self) -> Tensor:
        """(N,) labels, -1 for all anchors that were not drawn."""
        kept = torch.full_like(self.labels, -1)
        kept[self.fg_idx], kept[self.bg_idx] = 1, 0
        return kept


def label_anchors(look: Look) -> LabelledAnchors:
    """Label and sample the anchors of a photo as in the RPN's training, with the recipe's seed."""
    rpn, settings, gt_boxes = look.model.rpn, look.model.rpn.target_settings, torch.from_numpy(look.boxes)
    anchors = torch.cat(look.anchors)
    strides = torch.tensor([level.stride for level in rpn.levels]).repeat_interleave(
        torch.tensor([len(some) for some in look.anchors])
    )
    if rpn.inside_only:
        usable = inside(anchors, *look.size)
        anchors, strides = anchors[usable], strides[usable]
    iou = box_iou(gt_boxes, anchors)
    labels, matched_idxs = match(
        iou,
        settings.fg_iou_thresh,
        settings.bg_iou_thresh,
        allow_low_quality=settings.allow_low_quality,
    )
    generator = torch.Generator().manual_seed(look.model.recipe.seed)
    index, drawn = draw_sample(
        labels[None], settings.batch_size_per_image, settings.positive_fraction, generator
    )
    chosen = index[drawn == 1], index[drawn == 0]
    best = iou.amax(0) if len(gt_boxes) else anchors.new_zeros(len(anchors))
    return LabelledAnchors(anchors, windows(anchors, strides), strides, labels, best, matched_idxs, *chosen)


def windows(anchors: Tensor, strides: Tensor) -> Tensor:
    """(N, 4) the 3×3 cells around the centres of (N, 4) anchors on maps of these strides (N,)."""
    centres, reach = (anchors[:, :2] + anchors[:, 2:]) / 2, 1.5 * strides[:, None]
    return torch.cat([centres - reach, centres + reach], 1)


def labelling(run: Network, sample: Sample) -> Figure:
    """Foreground, background and ignored anchors before sampling, and those drawn for training."""
    look = run.look(sample)
    labelled = label_anchors(look)
    figure, axes = sheet(1, 2, panel_for(look.image, 5.5))
    for panel, labels, title in (
        (axes[0], labelled.labels, f"all anchors{within(look)}"),
        (axes[1], labelled.drawn(), "drawn for training"),
    ):
        show(panel, look.image, title)
        _draw_labels(panel, labelled, labels)
        draw_boxes(panel, look.boxes, TRUTH, width=1, style="--", label="head")
        legend(panel)
    return caption(figure, _describe(look, labelled))


def within(look: Look) -> str:
    """Which anchors are labelled, as text: " inside the photo", or "" if all are."""
    return " inside the photo" if look.model.rpn.inside_only else ""


def training_samples(run: Network, sample: Sample) -> Figure:
    """Drawn anchors with the window of their cell: foreground, each with the head it should become, and background."""
    look = run.look(sample)
    labelled = label_anchors(look)
    figure, axes = sheet(2, SHOWN, (2.6, 2.9))
    for panel in axes:
        bare(panel)
    upper, lower = (index.tolist()[:SHOWN] for index in (labelled.fg_idx, labelled.bg_idx))
    for panel, i in [*zip(axes, upper, strict=False), *zip(axes[SHOWN:], lower, strict=False)]:
        _show_sample(panel, look, labelled, i)
    return caption(
        figure,
        f"{len(upper)} foreground anchors (upper row) and {len(lower)} background anchors (lower row) of those "
        "drawn. Yellow: the window of 3×3 cells that the RPN judges by; vermillion: the anchor; blue: the head that a "
        "foreground anchor should be moved onto, by the deltas written above it (shifts in widths and heights, "
        "logarithms of the growth). The RPN knows what lies outside the yellow square only through the wide receptive "
        "fields of the cells inside it.",
    )


def _draw_labels(axes: Axes, labelled: LabelledAnchors, labels: Tensor) -> None:
    """Draw foreground anchors as boxes, and only the centres of the others, of which there are thousands."""
    centres = ((labelled.anchors[:, :2] + labelled.anchors[:, 2:]) / 2).numpy()
    for label, colour, name in reversed(KINDS):
        chosen = (labels == label).numpy()
        text = f"{name} ({chosen.sum():,})"
        if label == 1:
            draw_boxes(axes, labelled.anchors.numpy()[chosen], colour, label=text, width=1)
        elif chosen.sum() > POINTS:
            axes.plot([], [], " ", label=f"{text}, not drawn")
        elif label == 0 or chosen.sum() < len(labels) / 2:
            axes.scatter(
                centres[chosen, 0],
                centres[chosen, 1],
                s=9 if label == 0 else 3,
                c=colour,
                label=text,
                linewidths=0,
            )


def _show_sample(axes: Axes, look: Look, labelled: LabelledAnchors, i: int) -> None:
    window, anchor = labelled.windows[i].numpy(), labelled.anchors[i : i + 1]
    show(axes, look.image)
    draw_boxes(axes, window, WINDOW, width=3.5)
    draw_boxes(axes, anchor.numpy(), START)
    shown, title = [window, anchor[0].numpy()], f"background, IoU {labelled.iou[i]:.2f}"
    if labelled.labels[i] == 1:
        head = torch.from_numpy(look.boxes)[labelled.matched_idxs[i]][None]
        draw_boxes(axes, head.numpy(), TRUTH)
        shown.append(head[0].numpy())
        title = f"IoU {labelled.iou[i]:.2f}\n" + " ".join(
            f"{delta:+.2f}" for delta in encode(head, anchor)[0].tolist()
        )
    if len(look.shapes) > 1:
        title = f"stride {labelled.strides[i]}, {title}"
    zoom(axes, shown, CONTEXT)
    axes.set_title(title, fontsize=8)


def _describe(look: Look, labelled: LabelledAnchors) -> str:
    settings = look.model.rpn.target_settings
    count = {name: int((labelled.labels == label).sum()) for label, _, name in KINDS}
    rescued = int(((labelled.labels == 1) & (labelled.iou < settings.fg_iou_thresh)).sum())
    return (
        f"{len(look.boxes)} heads, {len(labelled.labels):,} anchors{within(look)}: {count['foreground']:,} foreground "
        f"(IoU ≥ {settings.fg_iou_thresh}, or a head's best; {rescued} only because of the second rule), "
        f"{count['background']:,} background (IoU ≤ {settings.bg_iou_thresh}), {count['ignored']:,} ignored. Drawn "
        f"for training: {len(labelled.fg_idx)} foreground and {len(labelled.bg_idx)} background, at most "
        f"{settings.batch_size_per_image} in total{_by_level(look, labelled)}. Green boxes: foreground; a "
        "dot: the centre of one or more of the others."
    )


def _by_level(look: Look, labelled: LabelledAnchors) -> str:
    """How many foreground anchors each level has; "" if there is only one level."""
    if len(look.shapes) == 1:
        return ""
    foreground = labelled.strides[labelled.labels == 1]
    counts = [
        f"{(foreground == level.stride).sum()} of stride {level.stride}" for level in look.model.rpn.levels
    ]
    return f"; of all foreground {', '.join(counts)}"
