"""A recipe: one TOML file that holds every constant of a detector and its training. Unknown keys are errors."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wheatear.errors import InputError
from wheatear.train.anchors import AnchorLevel, check_reach

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[list[tuple[Annotated[int, Field(ge=0)], Positive]], Field(min_length=1)]


class Part(BaseModel):
    """Base of every table of a recipe: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneRecipe(Part):
    """The notes' CNN: `channels` lists the filters of each group of 3×3 convolutions; groups are halved in size."""

    name: Literal["notes"]
    channels: list[list[Count]]
    dropout: Fraction
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]


class RPNRecipe(Part):
    """Anchors, their labels, the sampling, and how many proposals are kept. Scales are multiples of the stride."""

    stride: Count
    channels: Count
    scales: list[Positive]
    ratios: list[Positive]
    fg_iou_thresh: Fraction
    bg_iou_thresh: Fraction
    batch_size_per_image: Count
    positive_fraction: Fraction
    pre_nms_top_n: Count
    post_nms_top_n: Count
    nms_thresh: Fraction

    def anchors(self) -> AnchorLevel:
        """The anchors of the one map that the RPN looks at."""
        return AnchorLevel(
            self.stride, tuple(scale * self.stride for scale in self.scales), tuple(self.ratios)
        )


class RoIRecipe(Part):
    """How proposals are cut out of the map, labelled and sampled."""

    stride: Count
    pool: Literal["crop_and_resize", "roi_align"]
    size: Count
    channels: Count
    fg_iou_thresh: Fraction
    bg_iou_thresh: Fraction
    batch_size_per_image: Count
    positive_fraction: Fraction
    box_weights: tuple[Positive, Positive, Positive, Positive]


class DetectionRecipe(Part):
    """What happens to the R-CNN's scored boxes."""

    score_floor: Fraction
    nms_thresh: Fraction
    min_size: Positive
    detections_per_img: Annotated[
        int, Field(ge=500)
    ]  # fields with 150 heads a photo are common; never cap a count


class Stage(Part):
    """What every stage of training has. `lr` lists [after this many epochs, rate]; `l2` is Keras's (weight² × l2)."""

    batch_size: Count
    epochs: Count
    optimizer: Literal["rmsprop", "adam"]
    lr: Steps
    l2: Annotated[float, Field(ge=0)] = 0.0

    def lr_at(self, epoch: int) -> float:
        """The learning rate of epoch `epoch`, counted from 0."""
        return [rate for start, rate in self.lr if epoch >= start][-1]

    @model_validator(mode="after")
    def _lr_starts_at_zero(self) -> "Stage":
        starts = [start for start, _ in self.lr]
        if starts[0] != 0 or starts != sorted(starts):
            raise ValueError("lr must begin at epoch 0 and go forward")
        return self


class CNNStage(Stage):
    """The snip classifier: head or background.

    val_by: what `val_fraction` is drawn from: field photos, so that validation snips are of plants never seen in
    training, or single snips, as the notes did; these claim more, as snips of one photo overlap and look alike.
    """

    stage: Literal["cnn"]
    snip_size: Count
    max_per_class: Count
    val_fraction: Fraction
    val_by: Literal["photo", "snip"] = "photo"


class RPNStage(Stage):
    """The region proposal network on the frozen map."""

    stage: Literal["rpn"]


class RCNNStage(Stage):
    """The R-CNN on the frozen map and the frozen RPN's proposals."""

    stage: Literal["rcnn"]


class Recipe(Part):
    """A detector and how it is trained."""

    name: str
    seed: int
    image_size: Count
    backbone: BackboneRecipe
    rpn: RPNRecipe
    roi: RoIRecipe
    detection: DetectionRecipe
    stages: list[Annotated[CNNStage | RPNStage | RCNNStage, Field(discriminator="stage")]]

    @model_validator(mode="after")
    def _anchors_fit_the_window(self) -> "Recipe":
        try:
            check_reach(self.rpn.anchors().cell(), self.rpn.stride)
        except InputError as error:
            raise ValueError(f"rpn: {error}") from None
        return self


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(
        p.name.removesuffix(".toml")
        for p in resources.files("wheatear.recipes").iterdir()
        if p.name.endswith(".toml")
    )


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its shipped name ("seed") or from a TOML file.

    Raises InputError naming the file and the key at fault.
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
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); give a recipe in TOML") from None
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {key or 'recipe'}: {first['msg'].removeprefix('Value error, ')}") from None
