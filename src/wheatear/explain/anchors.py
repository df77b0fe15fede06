"""Anchors: those at one cell of each level, all of them, and which fit which head (Faster R-CNN §3.1.1, §3.3).

A anchors per cell, G heads.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torchvision.ops import box_iou

from wheatear.data.sample import Sample
from wheatear.explain.colours import IGNORED, START, TRUTH, WINDOW
from wheatear.explain.drawing import (
    caption,
    draw_boxes,
    legend,
    nothing,
    panel_for,
    sheet,
    show,
    zoom,
)
from wheatear.explain.look import Look, Network
from wheatear.train.anchors import AnchorLevel, inside

WINDOW_CELLS = 3  # the side of the RPN's convolution


def anchor_boxes(run: Network, sample: Sample) -> Figure:
    """The anchors of the middle cell of each level with the RPN's window, and an overview of all anchors.

    The overview of a single level shows all its anchors and those inside the photo; that of several levels
    shows, for each, the heads that its anchors fit best.
    """
    look = run.look(sample)
    levels = len(look.shapes)
    if levels == 1:
        figure, axes = sheet(1, 3, panel_for(look.image, 4.2))
        _show_cell(axes[0], look, 0)
        _show_all(axes[1:], look)
    else:
        figure, axes = sheet(2, levels, panel_for(look.image, 4.2))
        for level in range(levels):
            _show_cell(axes[level], look, level)
        _show_best(axes[levels:], look)
    return caption(figure, _describe(look))


def middle_cell(level: AnchorLevel, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(A, 4) anchors of the cell in the middle of a map, and the (4,) window that the RPN judges them by."""
    row, column = shape[0] // 2, shape[1] // 2
    x, y = (column + level.offset) * level.stride, (row + level.offset) * level.stride
    anchors = level.cell().numpy() + np.array([x, y, x, y])
    corner = np.array([column - 1, row - 1, column - 1, row - 1]) * level.stride
    return anchors, corner + np.array([0, 0, WINDOW_CELLS, WINDOW_CELLS]) * level.stride


def best_anchors(look: Look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of the G heads: its best anchor (G, 4), their IoU (G,) and that anchor's level (G,); G may be 0."""
    every = torch.cat(look.anchors)
    level = torch.cat([torch.full((len(anchors),), i) for i, anchors in enumerate(look.anchors)])
    iou, best = box_iou(torch.from_numpy(look.boxes), every).max(1)
    return every[best].numpy(), iou.numpy(), level[best].numpy()


def _show_cell(axes: Axes, look: Look, number: int) -> None:
    """The anchors and the window of the middle cell of one level."""
    level = look.model.rpn.levels[number]
    show(axes, look.image, f"a cell of stride {level.stride}, and its window")
    anchors, window = middle_cell(level, look.shapes[number])
    side = level.stride * WINDOW_CELLS
    draw_boxes(axes, anchors, START, label=f"{len(anchors)} anchors")
    draw_boxes(axes, look.boxes, TRUTH, style="--", label="heads")
    # Drawn last and by far the widest, as in most recipes it is as large as an anchor.
    draw_boxes(axes, window, WINDOW, width=3.2, style=":", label=f"3×3 cells, {side}×{side} px")
    zoom(axes, [window, *anchors])
    legend(axes)


def _show_all(axes: list[Axes], look: Look) -> None:
    """All anchors, and those that do not cross the photo's border."""
    every = torch.cat(look.anchors)
    kept = inside(every, *look.size)
    show(axes[0], look.image, f"all {len(every):,} anchors")
    draw_boxes(axes[0], every[~kept].numpy(), IGNORED, width=0.15, rim=False)
    draw_boxes(axes[0], every[kept].numpy(), START, width=0.15, rim=False)
    left, top, right, bottom = *every[:, :2].amin(0).tolist(), *every[:, 2:].amax(0).tolist()
    axes[0].set(xlim=(left, right), ylim=(bottom, top))
    show(axes[1], look.image, f"the {int(kept.sum()):,} inside the photo")
    draw_boxes(axes[1], every[kept].numpy(), START, width=0.15, rim=False)


def _show_best(axes: list[Axes], look: Look) -> None:
    """One panel per level: the heads whose best anchor is on that level, with that anchor."""
    anchors, _, levels = best_anchors(look)
    for number, panel in enumerate(axes):
        if not len(look.boxes):
            nothing(panel, "no labelled heads")
            continue
        here, stride = levels == number, look.model.rpn.levels[number].stride
        show(panel, look.image, f"{here.sum()} of {len(here)} heads: the best anchor is of stride {stride}")
        draw_boxes(panel, anchors[here], START)
        draw_boxes(panel, look.boxes[here], TRUTH, style="--")


def _describe(look: Look) -> str:
    every = torch.cat(look.anchors)
    kept = int(inside(every, *look.size).sum())
    levels = zip(look.model.rpn.levels, look.shapes, strict=True)
    text = f"{'; '.join(_describe_level(*level) for level in levels)}. {len(every):,} anchors in all; "
    if look.model.rpn.inside_only:
        text += (
            f"{len(every) - kept:,} cross the photo's border (grey) and are not used in training, but can still "
            f"become proposals; {kept:,} remain."
        )
    else:
        text += f"{len(every) - kept:,} cross the border and are trained like the others."
    if len(look.boxes):
        iou = best_anchors(look)[1]
        text += f" The best anchor of a head has a median IoU of {np.median(iou):.2f}, and at least {iou.min():.2f}."
    return text


def _describe_level(level: AnchorLevel, shape: tuple[int, int]) -> str:
    window = WINDOW_CELLS * level.stride
    return (
        f"{level.per_cell()} anchors at each of {shape[0]}×{shape[1]} cells of stride {level.stride}: sizes "
        f"{', '.join(f'{size:.0f}' for size in level.sizes)} px, height / width "
        f"{', '.join(f'{ratio:g}' for ratio in level.ratios)}, the longest side {longest(level):.0f} px "
        f"{'within' if longest(level) <= window else 'beyond'} a window of {window} px"
    )


def longest(level: AnchorLevel) -> float:
    """The longest side of a level's anchors in px."""
    cell = level.cell()
    return float((cell[:, 2:] - cell[:, :2]).max())
