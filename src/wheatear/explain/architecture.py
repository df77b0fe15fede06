"""The network as a diagram, with the shapes that this photo has on its way through it.

C H W features, A anchors per cell, R proposals, D detections.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from wheatear.data.sample import Sample
from wheatear.explain.colours import FOUND, HEAD, INK, START, WINDOW
from wheatear.explain.drawing import bare, caption, sheet
from wheatear.explain.look import Look, TrainedRun

BOX_HEIGHT = 0.64  # in lines of the diagram
PITCH = 1.2  # from one column to the next, in widths of a box
TITLES = ("backbone", "region proposal network", "RoI head (R-CNN)")


@dataclass(frozen=True)
class Layer:
    """A box of the diagram: what is done, and the shape that comes out of it.

    beside: it does not follow from the box above; both go into the next one.
    """

    name: str
    shape: str
    colour: str
    beside: bool = False


def layers(run: TrainedRun, sample: Sample) -> Figure:
    """Three columns: the backbone, the RPN and the RoI head, with the true shape after each layer."""
    look = run.look(sample)
    backbone, rpn, roi = backbone_layers(look), rpn_layers(look), roi_layers(look)
    lines = max(map(len, (backbone, rpn, roi)))
    figure, (axes,) = sheet(1, 1, (12.5, 0.95 * lines))
    bare(axes)
    axes.set(xlim=(-0.05, 2 * PITCH + 1.05), ylim=(lines, -0.5))
    for column, (title, boxes) in enumerate(zip(TITLES, (backbone, rpn, roi), strict=True)):
        _draw_column(axes, column, title, boxes)
    _arrow(axes, (1, _line(backbone, rpn[0].name)), (PITCH, BOX_HEIGHT / 2))
    _arrow(axes, (PITCH + 1, len(rpn) - 1 + BOX_HEIGHT / 2), (2 * PITCH, _line(roi, "proposals")))
    weights = {name: sum(p.numel() for p in part.parameters()) for name, part in run.model.named_children()}
    parts = ", ".join(f"{name} {count:,}" for name, count in weights.items())
    return caption(
        figure,
        f"Shapes are channels × height × width for this photo of {look.size[1]}×{look.size[0]} px. "
        f"{sum(weights.values()):,} weights: {parts}.",
    )


def backbone_layers(look: Look) -> list[Layer]:
    """The photo and each map that the backbone gives."""
    height, width = look.size
    found = [Layer("photo", f"3 × {height} × {width}", WINDOW)]
    for stride, maps in sorted(look.maps.items()):
        found.append(Layer(f"map of stride {stride}", shape_of(maps.shape[1:]), HEAD))
    head = look.model.snip_head
    if head is not None:
        found.append(Layer("snip classifier (training only)", f"{head.in_features:,} → 2", WINDOW))
    return found


def rpn_layers(look: Look) -> list[Layer]:
    """From the map to the proposals."""
    rpn, found = look.model.rpn, []
    for level, feature, anchors in zip(rpn.levels, look.features, look.anchors, strict=True):
        found.append(Layer(f"map of stride {level.stride}", shape_of(feature.shape[1:]), HEAD))
        height, width = feature.shape[2:]
        found.append(
            Layer("3×3 convolution, ReLU", shape_of((rpn.head.conv.out_channels, height, width)), START)
        )
        outputs = f"{level.per_cell()} and {4 * level.per_cell()} × {height} × {width}"
        found.append(Layer("1×1: scores and deltas", outputs, START))
        found.append(Layer("one box an anchor", f"{len(anchors):,} × 4", START))
    best = sum(min(rpn.proposal_settings.pre_nms_top_n, len(anchors)) for anchors in look.anchors)
    found.append(Layer("best before NMS", f"{best:,} × 4", START))
    found.append(
        Layer(f"NMS at IoU {rpn.proposal_settings.nms_thresh}", f"{len(look.proposals[0])} × 4", START)
    )
    return found


def roi_layers(look: Look) -> list[Layer]:
    """From the proposals to the detections."""
    head, count = look.model.roi_head, len(look.proposals[0])
    features = look.roi_map.shape[1]
    return [
        Layer("proposals", f"{count} × 4", START),
        Layer(f"map of stride {head.stride}", shape_of(look.roi_map.shape[1:]), HEAD, beside=True),
        Layer(
            look.model.recipe.roi.pool,
            shape_of((count, features, head.size, head.size)),
            FOUND,
        ),
        Layer("fully connected, ReLU, batch norm", f"{count} × {head.hidden.out_features}", FOUND),
        Layer("scores and deltas", f"{count} × 2 and {count} × 4", FOUND),
        Layer(
            f"score floor {look.model.recipe.detection.score_floor}, NMS at {look.model.recipe.detection.nms_thresh}",
            f"{len(look.detections)} detections",
            FOUND,
        ),
    ]


def _line(boxes: list[Layer], name: str) -> float:
    """Where the middle of the layer of this name is."""
    return [layer.name for layer in boxes].index(name) + BOX_HEIGHT / 2


def shape_of(sides: tuple[int, ...]) -> str:
    """512 × 32 × 32"""
    return " × ".join(map(str, sides))


def _draw_column(axes: Axes, column: int, title: str, boxes: list[Layer]) -> None:
    """One part of the network from top to bottom, an arrow between each layer and the next."""
    left = column * PITCH
    axes.text(left + 0.5, -0.25, title, ha="center", weight="bold")
    for line, layer in enumerate(boxes):
        frame = FancyBboxPatch(
            (left, line),
            1,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.03",
            fc=to_rgba(layer.colour, 0.3),
            ec=INK,
        )
        axes.add_patch(frame)
        axes.text(left + 0.5, line + 0.2, layer.name, ha="center", va="center", fontsize=9)
        axes.text(left + 0.5, line + 0.45, layer.shape, ha="center", va="center", fontsize=10, weight="bold")
        if layer.beside:
            axes.text(left + 0.5, line - (1 - BOX_HEIGHT) / 2, "+", ha="center", va="center")
        elif line:
            _arrow(axes, (left + 0.5, line - 1 + BOX_HEIGHT), (left + 0.5, line))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
