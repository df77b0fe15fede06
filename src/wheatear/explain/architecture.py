"""The network as a diagram, with the shapes that this photo has on its way through it.

C H W features, A anchors per cell, R proposals, D detections.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from wheatear.data.sample import Sample
from wheatear.explain.colours import FOUND, HEAD, INK, START, WINDOW
from wheatear.explain.drawing import bare, caption, sheet
from wheatear.explain.look import Look, TrainedRun

BOX_HEIGHT, GAP = 0.78, 0.42  # in lines of the diagram


@dataclass(frozen=True)
class Layer:
    """A box of the diagram: what is done, and the shape that comes out of it."""

    name: str
    shape: str
    colour: str


def layers(run: TrainedRun, sample: Sample) -> Figure:
    """Three columns: the backbone, the RPN and the RoI head, with the true shape after each layer."""
    look = run.look(sample)
    columns = {
        "backbone": backbone_layers(look),
        "region proposal network": rpn_layers(look),
        "RoI head (R-CNN)": roi_layers(look),
    }
    figure, axes = sheet(1, 3, (4.2, 1.0 * max(map(len, columns.values()))))
    for panel, (title, boxes) in zip(axes, columns.items(), strict=True):
        _draw_column(panel, title, boxes, max(map(len, columns.values())))
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
    features = look.maps[head.stride].shape[1]
    return [
        Layer("proposals", f"{count} × 4", START),
        Layer(
            f"{look.model.recipe.roi.pool} on stride {head.stride}",
            shape_of((count, features, head.size, head.size)),
            FOUND,
        ),
        Layer("fully connected, ReLU, batch norm", f"{count} × {head.hidden.out_features}", FOUND),
        Layer("background, head", f"{count} × 2", FOUND),
        Layer("deltas", f"{count} × 4", FOUND),
        Layer(
            f"score floor {look.model.recipe.detection.score_floor}, NMS at {look.model.recipe.detection.nms_thresh}",
            f"{len(look.detections)} detections",
            FOUND,
        ),
    ]


def shape_of(sides: tuple[int, ...]) -> str:
    """512 × 32 × 32"""
    return " × ".join(map(str, sides))


def _draw_column(axes: Axes, title: str, boxes: list[Layer], lines: int) -> None:
    bare(axes, title)
    axes.set(xlim=(0, 1), ylim=(lines, -0.1))
    for line, layer in enumerate(boxes):
        frame = FancyBboxPatch(
            (0.04, line),
            0.92,
            BOX_HEIGHT - 0.14,
            boxstyle="round,pad=0,rounding_size=0.03",
            fc=layer.colour,
            alpha=0.3,
            ec=INK,
        )
        axes.add_patch(frame)
        axes.text(0.5, line + 0.2, layer.name, ha="center", va="center", fontsize=9)
        axes.text(0.5, line + 0.45, layer.shape, ha="center", va="center", fontsize=10, weight="bold")
        if line:
            ends = {"xy": (0.5, line), "xytext": (0.5, line - 1 + BOX_HEIGHT - 0.14)}
            axes.annotate("", **ends, arrowprops={"arrowstyle": "->", "color": INK})
