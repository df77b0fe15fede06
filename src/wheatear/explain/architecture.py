"""The network as a diagram: what each part consists of, with the shapes that this photo has on its way through.

C H W features, A anchors per cell, R proposals, D detections. `diagram` draws the columns.
"""

from matplotlib.figure import Figure

from wheatear.data.sample import Sample
from wheatear.explain.colours import FOUND, HEAD, START, WINDOW
from wheatear.explain.diagram import Column, Layer, draw_columns
from wheatear.explain.drawing import caption
from wheatear.explain.look import Look, Network


def layers(run: Network, sample: Sample) -> Figure:
    """A column for each part of the network, with the actual shape after each layer."""
    look = run.look(sample)
    weights = {name: sum(p.numel() for p in part.parameters()) for name, part in run.model.named_children()}
    parts = ", ".join(f"{name} {count:,}" for name, count in weights.items())
    return caption(
        draw_columns(columns(look)),
        f"Shapes are channels × height × width for this photo of {look.size[1]}×{look.size[0]} px. "
        f"{sum(weights.values()):,} weights: {parts}.",
    )


def columns(look: Look) -> list[Column]:
    """The parts in the order in which the photo passes through them."""
    backbone = backbone_layers(look)
    before_rpn = f"map of stride {look.model.rpn.levels[-1].stride}"
    parts = [Column("backbone", backbone, leaves=before_rpn)]
    if look.model.pyramid is not None:
        parts = [Column("backbone", backbone, leaves=backbone[-1].name)]
        levels = pyramid_layers(look)
        parts.append(Column("feature pyramid", levels, leaves=levels[-1].name))
    rpn = rpn_layers(look)
    parts.append(Column("region proposal network", rpn, leaves=rpn[-1].name))
    return [*parts, Column("RoI head (R-CNN)", roi_layers(look))]


def backbone_layers(look: Look) -> list[Layer]:
    """The photo, each map that the backbone outputs and, if there is one, the snip classifier."""
    height, width = look.size
    found = [Layer("photo", (f"3 × {height} × {width}",), WINDOW)]
    for stride, maps in sorted(look.backbone_maps.items()):
        found.append(Layer(f"map of stride {stride}", (shape_of(maps.shape[1:]),), HEAD))
    head = look.model.snip_head
    if head is not None:
        found.append(Layer("snip classifier (training only)", (f"{head.in_features:,} → 2",), WINDOW))
    return found


def pyramid_layers(look: Look) -> list[Layer]:
    """The levels, coarsest first; each is upsampled by 2 and added to the backbone's map of the next stride."""
    return [
        Layer(
            f"level of stride {stride}{' (+ the map)' if stride < max(look.maps) else ''}",
            (shape_of(look.maps[stride].shape[1:]),),
            HEAD,
        )
        for stride in sorted(look.maps, reverse=True)
    ]


def rpn_layers(look: Look) -> list[Layer]:
    """From the maps to the proposals; with several levels, their shapes are listed one below the other."""
    rpn, settings = look.model.rpn, look.model.rpn.proposal_settings
    per_cell, channels = rpn.levels[0].per_cell(), rpn.head.conv.out_channels
    strides = ", ".join(str(level.stride) for level in rpn.levels)
    most = settings.most_before(look.size)
    best = [min(most, len(anchors)) for anchors in look.anchors]
    return [
        Layer(
            f"map of stride {strides}",
            tuple(shape_of(feature.shape[1:]) for feature in look.features),
            HEAD,
        ),
        Layer("3×3 convolution, ReLU", tuple(shape_of((channels, *shape)) for shape in look.shapes), START),
        Layer(
            "1×1: scores and deltas",
            tuple(f"{per_cell} and {4 * per_cell} × {height} × {width}" for height, width in look.shapes),
            START,
        ),
        Layer("one box an anchor", tuple(f"{len(anchors):,} × 4" for anchors in look.anchors), START),
        Layer("best before NMS", tuple(f"{count:,} × 4" for count in best), START),
        Layer(f"NMS at IoU {settings.nms_thresh}", (f"{len(look.proposals[0])} × 4",), START),
    ]


def roi_layers(look: Look) -> list[Layer]:
    """From the proposals to the detections."""
    head, recipe, count = look.model.roi_head, look.model.recipe, len(look.proposals[0])
    maps = [look.maps[stride] for stride in recipe.roi.strides]
    cut = ", ".join(f"{(look.region_strides == stride).sum()} of {stride}" for stride in recipe.roi.strides)
    one = recipe.pyramid is None
    matrix = recipe.detection.suppression == "matrix"
    suppression = "matrix NMS" if matrix else f"NMS at IoU {recipe.detection.nms_thresh}"
    found = f"{len(look.detections)} detections"
    grown, moved = [], []
    if recipe.detection.margin:
        grown = [Layer(f"edges moved out by {recipe.detection.margin:.2%}", (f"{count} × 4",), FOUND)]
    if recipe.detection.vote_iou < 1:
        moved = [Layer(f"votes of boxes above IoU {recipe.detection.vote_iou}", (found,), FOUND)]
    return [
        Layer("proposals", (f"{count} × 4",), START),
        Layer(
            f"map of stride {', '.join(map(str, recipe.roi.strides))}",
            tuple(shape_of(each.shape[1:]) for each in maps),
            HEAD,
            beside=True,
        ),
        Layer(
            recipe.roi.pool if one else f"{recipe.roi.pool} ({cut})",
            (shape_of((count, maps[0].shape[1], head.size, head.size)),),
            FOUND,
        ),
        Layer(
            "fully connected, ReLU, batch norm" if one else "fully connected, ReLU, twice",
            (f"{count} × {recipe.roi.channels}",),
            FOUND,
        ),
        Layer(
            "scores and deltas" if look.judged.fit is None else "scores, predicted IoU, deltas",
            (
                f"{count} × 2 and {count} × 4"
                if look.judged.fit is None
                else f"{count} × 2, {count} and {count} × 4",
            ),
            FOUND,
        ),
        *grown,
        Layer(f"score floor {recipe.detection.score_floor}, {suppression}", (found,), FOUND),
        *moved,
    ]


def shape_of(sides: tuple[int, ...]) -> str:
    """The sides as text: 512 × 32 × 32."""
    return " × ".join(map(str, sides))
