"""The complete two-stage detector (Faster R-CNN, Ren et al. 2015).

Shapes: B images of H × W pixels, C channels, R proposals, D detections.
"""

import torch
from torch import Tensor, nn

from wheatear.train.backbone import NotesCNN
from wheatear.train.pretrained import PretrainedCNN
from wheatear.train.pyramid import Pyramid, PyramidHead
from wheatear.train.recipe import NotesBackboneRecipe, Recipe, RoIRecipe, RPNRecipe
from wheatear.train.recipe_stages import CNNStage
from wheatear.train.rescale import grown, rescale, scaled_side, to_photo
from wheatear.train.roi import RoIHead, detect, to_rois
from wheatear.train.rpn import RPN, ProposalSettings
from wheatear.train.targets import TargetSettings

# Where smooth L1 changes from quadratic to linear. The RPN's deltas are shares of a side, so their loss is
# quadratic only when they are nearly right (1/9, as in Faster R-CNN's own code); the R-CNN's are weighted to
# unit variance (Fast R-CNN §2.3).
RPN_BETA, RCNN_BETA = 1 / 9, 1.0


class FasterRCNN(nn.Module):
    """Backbone, region proposal network, RoI head, and the snip classifier that trains the notes' backbone.

    `pyramid` is None in the notes' recipe, `snip_head` is None in a recipe without a cnn stage.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.backbone = (
            NotesCNN(recipe.backbone)
            if isinstance(recipe.backbone, NotesBackboneRecipe)
            else PretrainedCNN(recipe.backbone, max(recipe.strides()))
        )
        channels = self.backbone.out_channels
        self.snip_head = snip_head(recipe, channels)
        self.pyramid = None
        if recipe.pyramid is not None:
            self.pyramid = Pyramid(channels, recipe.strides(), recipe.pyramid.channels)
            channels = self.pyramid.out_channels
        self.rpn = build_rpn(
            recipe.rpn,
            channels[recipe.rpn.strides[0]],
            recipe.image_size,
            recipe.detection.min_size,
            inside_only=recipe.pyramid is None,
        )
        self.roi_head = build_roi_head(recipe, channels[recipe.roi.strides[0]])
        self.to(memory_format=torch.channels_last)

    def idle_groups(self) -> tuple[str, ...]:
        """The beginnings of the names of weights that no map in use depends on: groups of the notes' CNN.

        Of its coarsest groups only the snip classifier may make use.
        """
        if not isinstance(self.backbone, NotesCNN):
            return ()
        used = max(self.recipe.strides()).bit_length()  # group i has stride 2**i
        return tuple(f"backbone.groups.{i}." for i in range(used, len(self.backbone.groups)))

    def classify(self, snips: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in 0..255 -> (B, 2) logits for background and head."""
        assert self.snip_head is not None
        maps = self.backbone(snips)
        return self.snip_head(maps[max(maps)].flatten(1))

    def features(self, images: Tensor) -> dict[int, Tensor]:
        """(B, 3, H, W) RGB in 0..255 -> {stride: (B, C, ⌈H/stride⌉, ⌈W/stride⌉) or slightly larger}."""
        maps: dict[int, Tensor] = self.backbone(images)
        return maps if self.pyramid is None else self.pyramid(maps)

    def propose(self, maps: dict[int, Tensor], image_size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
        """Maps -> for each image, proposals (R, 4) xyxy pixels and their scores (R,), descending."""
        objectness, deltas, anchors = self.rpn(maps)
        return self.rpn.proposals(objectness, deltas, anchors, image_size)

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(B, 3, H, W) RGB in 0..255 -> for each image, boxes (D, 4) xyxy pixels and scores (D,), descending.

        The photos are first scaled by image_size / 1024 (`rescale`); the boxes are in pixels of the originals.
        """
        height, width = images.shape[2:]
        scale = self.recipe.image_size
        maps = self.features(rescale(images, scale))
        image_size = (scaled_side(height, scale), scaled_side(width, scale))
        found = [
            self.detect({stride: m[i : i + 1] for stride, m in maps.items()}, image_size)
            for i in range(images.shape[0])
        ]
        return [(to_photo(boxes, height, width, scale), scores) for boxes, scores in found]

    def detect(self, maps: dict[int, Tensor], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """One image's maps, each (1, C, H, W) -> boxes (D, 4) xyxy pixels and scores (D,), descending."""
        ((proposals, _),) = self.propose(maps, image_size)
        logits, deltas = self.judge(maps, to_rois([proposals]))
        return self.postprocess(logits, deltas, proposals, image_size)

    def judge(self, maps: dict[int, Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and (R, 5) rois -> the RoI head's class_logits (R, 2 or 3) and deltas (R, 4)."""
        return self.roi_head(maps, rois)

    def postprocess(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """One image's logits (R, 2 or 3), deltas and proposals (R, 4) -> boxes (D, 4), scores (D,), descending."""
        settings = self.recipe.detection
        most = grown(settings.detections_per_img, image_size, self.recipe.image_size)
        return detect(logits, deltas, proposals, image_size, settings, most, self.recipe.roi.box_weights)


def snip_head(recipe: Recipe, channels: dict[int, int]) -> nn.Linear | None:
    """The layer before the 2-way softmax, on the flattened last map of a snip; None without a cnn stage."""
    sizes = [stage.snip_size for stage in recipe.stages if isinstance(stage, CNNStage)]
    if not sizes:
        return None
    stride = max(channels)
    return nn.Linear(channels[stride] * (sizes[0] // stride) ** 2, 2)


def build_rpn(
    recipe: RPNRecipe, in_channels: int, side: int, min_size: float, *, inside_only: bool = True
) -> RPN:
    """A recipe's RPN for maps of `in_channels`; proposals thinner than `min_size` pixels are dropped.

    side: of the square photo, in pixels, for which the recipe's numbers of proposals are meant.
    inside_only: leave anchors that cross the border out of training. With a pyramid they are trained too (Lin
    et al. 2017, §5.1): heads cut off by the border are heads.
    """
    return RPN(
        in_channels,
        recipe.channels,
        recipe.anchors(),
        TargetSettings(
            recipe.fg_iou_thresh,
            recipe.bg_iou_thresh,
            recipe.batch_size_per_image,
            recipe.positive_fraction,
            allow_low_quality=True,
        ),
        ProposalSettings(side, recipe.pre_nms_top_n, recipe.post_nms_top_n, recipe.nms_thresh, min_size),
        beta=RPN_BETA,
        inside_only=inside_only,
    )


def build_roi_head(recipe: Recipe, in_channels: int) -> RoIHead | PyramidHead:
    """The notes' RoI head on a single map, or one on the levels of a pyramid."""
    roi = recipe.roi
    if recipe.pyramid is None:
        return RoIHead(in_channels, roi.size, roi.channels, roi.pool, roi.strides[0], roi.sampling_ratio)
    return PyramidHead(
        in_channels,
        roi.strides,
        roi.cells,
        roi.size,
        roi.channels,
        quality=roi.quality == "iou",
        sampling_ratio=roi.sampling_ratio,
    )


def roi_targets(recipe: RoIRecipe) -> TargetSettings:
    """How the R-CNN's proposals become training examples."""
    return TargetSettings(
        recipe.fg_iou_thresh,
        recipe.bg_iou_thresh,
        recipe.batch_size_per_image,
        recipe.positive_fraction,
        allow_low_quality=False,
        weights=recipe.box_weights,
    )
