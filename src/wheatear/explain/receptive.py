"""What a cell of a map can see, by the network's structure and as measured by gradients.

A cell's receptive field is the square of pixels that can change it. Within it, pixels in the middle have many
paths to the cell and those at the corners only one, so the part that matters is smaller (Luo et al.,
"Understanding the Effective Receptive Field", NIPS 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn.functional import avg_pool2d

from wheatear.data.sample import Sample
from wheatear.explain.colours import HEAT, INK, START, WINDOW
from wheatear.explain.drawing import caption, draw_boxes, legend, nothing, sheet, show, zoom
from wheatear.explain.field import fields_by_structure
from wheatear.explain.look import Look, Network
from wheatear.explain.result import plot_sizes, size_range
from wheatear.train.dataset import to_tensor
from wheatear.train.recipe import NotesBackboneRecipe

SHARE = 0.9  # of the gradient, for the part that matters
BLUR = 4  # px; single pixels of a gradient look like noise
NOTES_PX = 282  # 218 for a cell of the seed recipe's last map, plus a cell of 32 px on either side
Unit = Literal["cell", "score"]


@dataclass(frozen=True, eq=False)
class Field:
    """What one unit sees: its gradient (H, W) ≥ 0 over the pixels of a crop, and its centre (x, y) in that crop.

    span: (width, height) of the pixels whose gradient is not 0. side: that of the square around the centre
    that holds SHARE of the gradient. Both are 0 if nothing flows back, as from a unit whose ReLUs are all
    inactive.
    """

    image: np.ndarray
    gradient: np.ndarray
    centre: tuple[float, float]
    span: tuple[int, int]
    side: float


def receptive_field(run: Network, sample: Sample) -> Figure:
    """The fields of the middle cell and of the RPN's best score there, beside the head sizes: one row per level."""
    look = run.look(sample)
    found = look.detections.above(run.threshold).boxes
    figure, axes = sheet(len(look.shapes), 3, (4.2, 4.2))
    texts = [
        _show_level(axes[3 * level : 3 * level + 3], look, level, sides, found)
        for level, sides in enumerate(known_sides(look))
    ]
    sizes = f"Heads as labelled: {size_range(look.boxes)} px (smallest / median / largest √area)."
    return caption(figure, " ".join([*texts, sizes]))


def arithmetic(channels: list[list[int]]) -> dict[int, int]:
    """{stride: side in px of the receptive field} of the notes' CNN, from its groups of 3×3 convolutions.

    A 3×3 convolution adds two steps of its map, 2×2 pooling adds one, and the pooling doubles the step.
    """
    sides, side, step = {}, 1, 1
    for group, filters in enumerate(channels):
        if group:
            side, step = side + step, 2 * step
        side += 2 * step * len(filters)
        sides[step] = side
    return sides


def known_sides(look: Look) -> list[tuple[int, int]]:
    """Sides in px of the fields of a cell and of the RPN's score there, for each level."""
    recipe, strides = look.model.recipe.backbone, [level.stride for level in look.model.rpn.levels]
    if isinstance(recipe, NotesBackboneRecipe) and look.model.pyramid is None:
        sides = arithmetic(recipe.channels)
        return [(sides[stride], sides[stride] + 2 * stride) for stride in strides]
    return fields_by_structure(look.model, strides)


def measure(look: Look, unit: Unit, level: int, px: int) -> Field:
    """The gradient of a level's middle cell with respect to a crop of the photo that contains its field of `px`.

    unit: what is differentiated: "cell", the sum of the cell's channels; "score", its anchors' highest
    objectness.
    """
    stride, coarsest = look.model.rpn.levels[level].stride, max(look.maps)
    row, column = (cells // 2 for cells in look.shapes[level])
    reach = px * 5 // 8  # a little more than the field
    # The crop begins where a cell of every level does, so that its cells align with those of the whole photo.
    top, left = (max(0, middle * stride - reach) // coarsest * coarsest for middle in (row, column))
    bottom, right = ((middle + 1) * stride + reach for middle in (row, column))
    cell, cut = (row - top // stride, column - left // stride), look.image[top:bottom, left:right]
    gradient = _gradient(look, cut, cell, unit, level)
    centre = ((cell[1] + 0.5) * stride, (cell[0] + 0.5) * stride)
    ys, xs = np.nonzero(gradient)
    span = (int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1) if len(xs) else (0, 0)
    return Field(cut, gradient, centre, span, side_holding(gradient, centre, SHARE))


def side_holding(gradient: np.ndarray, centre: tuple[float, float], share: float) -> float:
    """Side in px of the square around `centre` that holds `share` of a gradient (H, W) ≥ 0; 0 if all of it is 0."""
    total = gradient.sum()
    if total == 0:
        return 0.0
    height, width = gradient.shape
    x, y = np.abs(np.arange(width) + 0.5 - centre[0]), np.abs(np.arange(height) + 0.5 - centre[1])
    distance = np.maximum(x[None, :], y[:, None]).ravel()
    order = distance.argsort(kind="stable")
    reached = np.searchsorted(gradient.ravel()[order].cumsum(), share * total)
    return float(2 * distance[order][min(reached, len(order) - 1)] + 1)


def _gradient(look: Look, cut: np.ndarray, cell: tuple[int, int], unit: Unit, level: int) -> np.ndarray:
    """(H, W), the absolute gradient summed over the colours."""
    pixels = to_tensor(cut).float().requires_grad_()
    with torch.enable_grad():
        feature = look.model.features(pixels)[look.model.rpn.levels[level].stride]
        if unit == "cell":
            answer = feature[0, :, cell[0], cell[1]].sum()
        else:
            anchors = look.model.rpn.levels[level].per_cell()
            first = (cell[0] * feature.shape[3] + cell[1]) * anchors
            answer = look.model.rpn.head([feature])[0][0, first : first + anchors].max()
        (gradient,) = torch.autograd.grad(answer, pixels)
    return gradient[0].abs().sum(0).numpy()


def _show_level(axes: list[Axes], look: Look, level: int, sides: tuple[int, int], found: np.ndarray) -> str:
    """A row of panels: the two fields, and the sizes of the heads, labelled and found (N, 4). -> its description."""
    stride = look.model.rpn.levels[level].stride
    fields = [measure(look, "cell", level, sides[0]), measure(look, "score", level, sides[1])]
    names = (f"a cell of the map of stride {stride}", "the RPN's best score there")
    for panel, field, px, name in zip(axes, fields, sides, names, strict=False):
        _show_field(panel, field, px, name)
    plot_sizes(axes[2], look.boxes, found)
    _mark_sides(axes[2], fields, stride)
    return _describe_level(stride, sides, fields)


def _mark_sides(axes: Axes, fields: Sequence[Field], stride: int) -> None:
    """Mark the sides of the fields in the histogram of head sizes."""
    for field, line, name in zip(fields, ("--", ":"), ("cell", "score"), strict=True):
        axes.axvline(field.side, color=START, ls=line, label=f"{SHARE:.0%} of a {name}'s gradient")
    axes.axvline(3 * stride, color=INK, ls="-.", label=f"the RPN's window, {3 * stride} px")
    axes.set_title("head sizes", fontsize=10)
    axes.set_ylim(top=1.7 * axes.get_ylim()[1])  # room for the legend above the bars
    axes.legend(loc="upper left", fontsize=8)


def _show_field(axes: Axes, field: Field, px: int, name: str) -> None:
    if not field.side:
        nothing(axes, f"{name}: nothing flows back, its ReLUs are closed")
        return
    show(axes, field.image, name)
    strength = soften(field.gradient)
    height, width = (BLUR * cells for cells in strength.shape)
    axes.imshow(strength, cmap=HEAT, alpha=0.2 + 0.7 * strength, extent=(0, width, height, 0))
    draw_boxes(axes, square(field.centre, px), WINDOW, label=f"arithmetic: {px} px")
    draw_boxes(
        axes,
        square(field.centre, field.side),
        START,
        label=f"{SHARE:.0%} of the gradient: {field.side:.0f} px",
    )
    zoom(axes, [square(field.centre, px)[0]], margin=0.1)
    legend(axes)


def soften(gradient: np.ndarray) -> np.ndarray:
    """(H, W) -> means over BLUR × BLUR pixels, scaled to at most 1; their square root, to show the faint rim."""
    means = avg_pool2d(torch.from_numpy(gradient)[None, None], BLUR, ceil_mode=True)[0, 0].numpy()
    return np.sqrt(means / means.max())


def square(centre: tuple[float, float], side: float) -> np.ndarray:
    """The square around `centre` as a box, (1, 4)."""
    x, y = centre
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])


def _describe_level(stride: int, px: tuple[int, int], fields: Sequence[Field]) -> str:
    cell, score = fields
    notes = f" (with the notes' groups {NOTES_PX} px, their “around 280”)" if px[1] == NOTES_PX else ""
    return (
        f"Calculated from the layers, a cell at stride {stride} sees {px[0]} px and the RPN's 3×3 window {px[1]} "
        f"px{notes}. Measured: only pixels within {cell.span[0]}×{cell.span[1]} and {score.span[0]}×{score.span[1]} px "
        f"affect them at all (fewer where ReLUs are inactive or the photo ends), and {SHARE:.0%} of the gradient lies "
        f"within {cell.side:.0f} and {score.side:.0f} px (vermillion)."
    )
