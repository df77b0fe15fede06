"""A recipe: one TOML file with the constants of a detector and its training. Unknown keys are errors."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from wheatear.errors import InputError, first_problem
from wheatear.train.anchors import AnchorLevel, check_reach
from wheatear.train.recipe_stages import (
    CNNStage,
    Count,
    Fraction,
    JointStage,
    OfList,
    Part,
    Positive,
    RCNNStage,
    RPNStage,
)
from wheatear.tta import Augmentation

PRETRAINED_STRIDES = (4, 8, 16, 32)  # of the maps of every ImageNet backbone
SAMPLING_RATIO = 2  # Mask R-CNN's


NAME = r"^[^/\\\s.][^/\\]*$"  # it also names the folder of the recipe's runs


class AnyBackboneRecipe(Part):
    """Common to all backbones: mean and standard deviation of RGB in 0..1, initial weights (`published`)."""

    mean: Annotated[tuple[float, float, float], OfList]
    std: Annotated[tuple[Positive, Positive, Positive], OfList]
    weights: str = ""


class NotesBackboneRecipe(AnyBackboneRecipe):
    """The notes' CNN: `channels` lists the filters of each group of 3×3 convolutions, with pooling in between."""

    name: Literal["notes"]
    channels: Annotated[list[Annotated[list[Count], Field(min_length=1)]], Field(min_length=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class PretrainedBackboneRecipe(AnyBackboneRecipe):
    """An ImageNet classifier.

    stride_in_1x1: whether a ResNet-50 halves the map in its 1×1 convolutions (He 2015, Caffe's weights), not
        its 3×3 ones (torchvision's). A run that starts from a whole detector uses that detector's setting.
    frozen: how many of the four stages, from the first on, are never trained (Detectron's FREEZE_AT minus 1).
    last_blocks: how many blocks of a ResNet's fourth stage to keep; None: all. That stage has more weights
        than the three before it together, and serves heads that are hundreds of pixels long.
    """

    name: Literal[
        "resnet18",
        "resnet50",
        "mobilenet_v2",
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
    ]
    stride_in_1x1: bool = False
    frozen: Annotated[int, Field(ge=0, le=4)] = 0
    last_blocks: Count | None = None

    @model_validator(mode="after")
    def _only_a_bottleneck_has_a_choice(self) -> "PretrainedBackboneRecipe":
        if self.stride_in_1x1 and self.name != "resnet50":
            raise ValueError("stride_in_1x1 is a property of resnet50 alone")
        return self

    @model_validator(mode="after")
    def _only_a_resnet_ends_in_blocks(self) -> "PretrainedBackboneRecipe":
        there = {"resnet18": 2, "resnet50": 3}.get(self.name, 0)
        if self.last_blocks and self.last_blocks > there:
            raise ValueError(f"last_blocks: {self.name} has {there} to choose from")
        return self


BackboneRecipe = NotesBackboneRecipe | PretrainedBackboneRecipe


class PyramidRecipe(Part):
    """A feature pyramid over the strides of the RPN and the RoI head, with `channels` at every level."""

    channels: Count


class SamplingRecipe(Part):
    """Which boxes are heads and which background, by their IoU with a head, and how many are sampled."""

    fg_iou_thresh: Annotated[float, Field(gt=0, le=1)]
    bg_iou_thresh: Fraction
    batch_size_per_image: Count
    positive_fraction: Fraction

    @model_validator(mode="after")
    def _nothing_is_both(self) -> "SamplingRecipe":
        if self.bg_iou_thresh > self.fg_iou_thresh:
            raise ValueError("bg_iou_thresh must not be above fg_iou_thresh")
        if self.batch_size_per_image * self.positive_fraction < 1:
            raise ValueError(
                "positive_fraction of batch_size_per_image is less than one box: no head is learned from"
            )
        return self


class RPNRecipe(SamplingRecipe):
    """Anchors, their labels and sampling, and the number of proposals for a 1024² photo (`grown`).

    One head serves all strides; scales are multiples of the stride.
    """

    strides: Annotated[list[Count], Field(min_length=1)]
    channels: Count
    scales: Annotated[list[Positive], Field(min_length=1)]
    ratios: Annotated[list[Positive], Field(min_length=1)]
    pre_nms_top_n: Count
    post_nms_top_n: Count
    nms_thresh: Fraction

    def anchors(self) -> list[AnchorLevel]:
        """The anchors for each map that the RPN uses."""
        return [
            AnchorLevel(stride, tuple(scale * stride for scale in self.scales), tuple(self.ratios))
            for stride in self.strides
        ]


class RoIRecipe(SamplingRecipe):
    """How proposals are cropped from the map, labelled and sampled, and what the RoI head learns from them.

    cells:    a region uses the coarsest stride at which it is this many cells long (`region_levels`).
    sampling_ratio: RoIAlign's; each value of a crop is the mean of sampling_ratio² samples.
    box_loss: smooth L1 of the deltas, or 1 - GIoU of the boxes; it is multiplied by box_loss_weight.
    quality:  the meaning of a score. "none": the probability of a head. "soft": the same, trained towards the
              IoU of its box (varifocal, quality focal loss). "iou": the square root of the probability times
              the IoU that a separate output predicts.
    """

    strides: Annotated[list[Count], Field(min_length=1)]
    cells: Positive = 7.0
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    box_loss_weight: Positive = 1.0
    quality: Literal["none", "soft", "iou"] = "none"
    pool: Literal["crop_and_resize", "roi_align"]
    sampling_ratio: Count = SAMPLING_RATIO
    size: Count
    channels: Count
    box_weights: Annotated[tuple[Positive, Positive, Positive, Positive], OfList]


class DetectionRecipe(Part):
    """How the R-CNN's scored boxes become detections.

    min_size: boxes and proposals thinner than this, in pixels at the recipe's scale, are dropped.
    suppression: "nms" drops boxes by nms_thresh; "matrix" lowers their scores instead (`matrix_nms`).
    tta: the exported detector's default test-time augmentation (`wheatear.tta`).
    vote_iou: a box kept by NMS becomes the mean of those that overlap it by more than this IoU (`vote`); 1: off.
    margin: the share of a box's width and height by which each of its edges is moved outwards
        (`with_margin`), for labels that are slightly larger than what the network predicts.
    """

    suppression: Literal["nms", "matrix"] = "nms"
    score_floor: Annotated[float, Field(gt=0, lt=1)]
    nms_thresh: Fraction
    min_size: Positive
    tta: Augmentation | None = None
    vote_iou: Annotated[float, Field(gt=0, le=1)] = 1.0
    margin: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    # Photos can have well over 100 heads; a count must never be capped.
    detections_per_img: Annotated[int, Field(ge=500)]

    @model_validator(mode="after")
    def _votes_are_for_what_nms_left(self) -> "DetectionRecipe":
        if self.vote_iou < 1 and self.suppression != "nms":
            raise ValueError('vote_iou goes with suppression = "nms"')
        return self


class Recipe(Part):
    """A detector and how it is trained."""

    name: Annotated[str, Field(pattern=NAME)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    image_size: Annotated[int, Field(ge=32, multiple_of=32)]
    backbone: Annotated[BackboneRecipe, Field(discriminator="name")]
    pyramid: PyramidRecipe | None = None
    rpn: RPNRecipe
    roi: RoIRecipe
    detection: DetectionRecipe
    stages: Annotated[
        list[Annotated[CNNStage | RPNStage | RCNNStage | JointStage, Field(discriminator="stage")]],
        Field(min_length=1),
    ]

    def strides(self) -> list[int]:
        """The strides that the RPN or the RoI head uses, ascending."""
        return sorted({*self.rpn.strides, *self.roi.strides})

    def is_joint(self) -> bool:
        """Whether everything is trained at once."""
        return all(isinstance(stage, JointStage) for stage in self.stages)

    def is_whole(self) -> bool:
        """Whether its stages end with a detector, not with cnn or rpn, which need rcnn after them."""
        return self.stages[-1].stage not in ("cnn", "rpn")

    def learns_of_both(self) -> bool:
        """Whether any stage trains on both labellings if two are given."""
        return any(isinstance(stage, JointStage) and stage.both for stage in self.stages)

    def goes_on(self) -> bool:
        """Whether its first stage needs an already trained detector to continue from."""
        return bool(self.stages) and self.stages[0].stage == "blend"

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Recipe":
        strides = self.strides()
        if self.pyramid is None:
            if len(self.rpn.strides) > 1 or len(self.roi.strides) > 1:
                raise ValueError("several strides need a [pyramid]")
            if self.roi.quality == "iou":
                raise ValueError('roi.quality = "iou" needs a [pyramid]')
            self._anchors_fit_the_window()
        elif strides != [strides[0] * 2**i for i in range(len(strides))]:
            raise ValueError(f"pyramid: each stride must be twice the one before, not {strides}")
        elif any(len(set(each)) < len(each) for each in (self.rpn.strides, self.roi.strides)):
            raise ValueError("strides: give each once")
        elif self.roi.pool != "roi_align":
            raise ValueError('a [pyramid] needs roi.pool = "roi_align"')
        elif not self.is_joint():
            raise ValueError("a [pyramid] is trained by joint stages alone")
        if self.roi.pool == "crop_and_resize" and self.roi.size < 2:
            raise ValueError('roi.pool = "crop_and_resize" needs a size of 2 or more')
        if self.roi.pool == "crop_and_resize" and self.roi.sampling_ratio != SAMPLING_RATIO:
            raise ValueError('roi.sampling_ratio is for roi.pool = "roi_align"')
        return self

    @model_validator(mode="after")
    def _the_notes_losses_are_theirs(self) -> "Recipe":
        roi, theirs = self.roi, ("none", "smooth_l1", 1.0)
        if not self.is_joint() and (roi.quality, roi.box_loss, roi.box_loss_weight) != theirs:
            raise ValueError("roi: quality, box_loss and box_loss_weight are for joint stages")
        return self

    @model_validator(mode="after")
    def _the_backbone_has_the_maps(self) -> "Recipe":
        there = list(PRETRAINED_STRIDES)
        if isinstance(self.backbone, NotesBackboneRecipe):
            there = [2**group for group in range(len(self.backbone.channels))]
        for part, strides in (("rpn", self.rpn.strides), ("roi", self.roi.strides)):
            if missing := set(strides) - set(there):
                raise ValueError(f"{part}: no map of stride {min(missing)}; the backbone has {there}")
        for stage in self.stages:
            if isinstance(stage, CNNStage) and stage.snip_size % there[-1]:
                raise ValueError(
                    f"stages: a snip_size of {stage.snip_size} is no multiple of the stride {there[-1]}"
                )
        return self

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> "Recipe":
        names = [stage.stage for stage in self.stages]
        apart = ["cnn", "rpn", "rcnn"][: len(names)]  # the first one or two alone: for their figures
        together = [name for name in ("joint", "refine", "blend") if name in names]
        if names != apart and (names != together or names[0] == "refine"):
            raise ValueError(
                f"stages: {', '.join(names)}; give cnn, rpn, rcnn in this order; or joint, refine, blend; or blend"
            )
        if "joint" in names and isinstance(self.stages[0], JointStage) and self.stages[0].share < 1:
            raise ValueError("stages: the first one begins with nothing to keep; give it no share")
        if "cnn" in names and not isinstance(self.backbone, NotesBackboneRecipe):
            raise ValueError('stages: cnn trains the notes\' CNN; give backbone.name = "notes" or joint')
        return self

    def _anchors_fit_the_window(self) -> None:
        """Raise ValueError for an anchor longer than the RPN's window, which on a single map sees nine cells alone.

        A pyramid is trained with the RPN, and the coarser levels tell its cells about their surroundings, so
        anchors there may be longer.
        """
        try:
            for level in self.rpn.anchors():
                check_reach(level.cell(), level.stride)
        except InputError as error:
            raise ValueError(f"rpn: {error}") from None


def shipped() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(
        p.name.removesuffix(".toml")
        for p in resources.files("wheatear.recipes").iterdir()
        if p.name.endswith(".toml")
    )


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its shipped name ("seed") or from a TOML file.

    Raises InputError, naming the file and the key at fault.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if str(name) not in shipped():
            raise InputError(
                f"recipe {name}: not one of {', '.join(shipped())}; give one of these or a .toml file"
            )
        text = resources.files("wheatear.recipes").joinpath(f"{name}.toml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); give a recipe in TOML") from None
    try:
        return validated(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: not TOML: {error}") from None


def validated(content: object, name: str | Path) -> Recipe:
    """A recipe from its keys and values. Raises InputError, naming `name` and the key at fault."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{name}: {first_problem(error, 'recipe')}") from None
