"""Anchors: nine at a cell, all of them, and those that lie inside the photo (Faster R-CNN §3.1.1, §3.3)."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wheatear.data.sample import Sample
from wheatear.explain.colours import IGNORED, START, TRUTH, WINDOW
from wheatear.explain.drawing import caption, draw_boxes, legend, panel_for, sheet, show, zoom
from wheatear.explain.look import Look, TrainedRun
from wheatear.train.anchors import AnchorLevel, inside

WINDOW_CELLS = 3  # of the RPN's convolution


def anchor_boxes(run: TrainedRun, sample: Sample) -> Figure:
    """The anchors of the middle cell in the RPN's window, all anchors, and those inside the photo."""
    look = run.look(sample)
    figure, axes = sheet(1, 3, panel_for(look.image, 4.2))
    _show_cells(axes[0], look)
    every = torch.cat(look.anchors)
    kept = inside(every, *look.size)
    show(axes[1], look.image, f"all {len(every):,} anchors")
    draw_boxes(axes[1], every[~kept].numpy(), IGNORED, width=0.15, rim=False)
    draw_boxes(axes[1], every[kept].numpy(), START, width=0.15, rim=False)
    left, top, right, bottom = *every[:, :2].amin(0).tolist(), *every[:, 2:].amax(0).tolist()
    axes[1].set(xlim=(left, right), ylim=(bottom, top))
    show(axes[2], look.image, f"the {int(kept.sum()):,} inside the photo")
    draw_boxes(axes[2], every[kept].numpy(), START, width=0.15, rim=False)
    return caption(figure, _describe(look, len(every), int(kept.sum())))


def middle_cell(level: AnchorLevel, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(A, 4) anchors of the cell in the middle of a map, and the (4,) window that the RPN judges them by."""
    row, column = shape[0] // 2, shape[1] // 2
    x, y = (column + level.offset) * level.stride, (row + level.offset) * level.stride
    anchors = level.cell().numpy() + np.array([x, y, x, y])
    corner = np.array([column - 1, row - 1, column - 1, row - 1]) * level.stride
    return anchors, corner + np.array([0, 0, WINDOW_CELLS, WINDOW_CELLS]) * level.stride


def _show_cells(axes: Axes, look: Look) -> None:
    """The middle cell's anchors and window, of every level."""
    show(axes, look.image, "the anchors of a cell, and its window")
    seen = []
    for level, shape in zip(look.model.rpn.levels, look.shapes, strict=True):
        anchors, window = middle_cell(level, shape)
        side = level.stride * WINDOW_CELLS
        draw_boxes(axes, window, WINDOW, width=2.2, label=f"3×3 cells, {side}×{side} px")
        draw_boxes(axes, anchors, START, label=f"{len(anchors)} anchors")
        seen += [window, *anchors]
    draw_boxes(axes, look.boxes, TRUTH, style="--", label="heads")
    zoom(axes, seen)
    legend(axes)


def _describe(look: Look, every: int, kept: int) -> str:
    levels = [
        f"{level.per_cell()} anchors at each of {rows}×{columns} cells of stride {level.stride}: sizes "
        f"{', '.join(f'{size:.0f}' for size in level.sizes)} px, height / width "
        f"{', '.join(f'{ratio:g}' for ratio in level.ratios)}, the longest side "
        f"{longest(level):.0f} px within a window of {WINDOW_CELLS * level.stride} px"
        for level, (rows, columns) in zip(look.model.rpn.levels, look.shapes, strict=True)
    ]
    return (
        f"{'; '.join(levels)}. {every:,} anchors in all; {every - kept:,} cross the border (grey) and are left out of "
        f"the training, though not of the proposals; {kept:,} remain."
    )


def longest(level: AnchorLevel) -> float:
    """The longest side of a level's anchors in px."""
    cell = level.cell()
    return float((cell[:, 2:] - cell[:, :2]).max())
