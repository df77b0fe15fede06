"""The stages of training, as a recipe describes them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from wheatear.train.recipe_part import Count, Fraction, Part, Positive

Stretch = Annotated[float, Field(ge=1, le=3)]
Steps = Annotated[list[tuple[Annotated[int, Field(ge=0)], Positive]], Field(min_length=1)]


class Stage(Part):
    """What every stage of training has; `batch_size` is that of one process."""

    batch_size: Count
    epochs: Count


class SteppedStage(Stage):
    """A stage of the notes. `lr` lists [after this many epochs, rate]; `l2` is Keras's (weight² × l2)."""

    optimizer: Literal["rmsprop", "adam"]
    lr: Steps
    l2: Annotated[float, Field(ge=0)] = 0.0

    def lr_at(self, epoch: int) -> float:
        """The learning rate of epoch `epoch`, counted from 0."""
        return [rate for start, rate in self.lr if epoch >= start][-1]

    @model_validator(mode="after")
    def _lr_starts_at_zero(self) -> "SteppedStage":
        starts = [start for start, _ in self.lr]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("lr must begin at epoch 0 and go forward")
        return self


class CNNStage(SteppedStage):
    """The snip classifier: head or background.

    val_by: what `val_fraction` is drawn from: field photos, so that validation snips are of plants never seen in
    training, or single snips, as the notes did; these claim more, as snips of one photo overlap and look alike.
    hard_negatives: share of the background snips to train on that have heads near their border, but none in their
    middle; the others have none at all, as all have that are for validation.
    stretch: largest factor by which a training snip is stretched along one axis and squeezed along the other.
    """

    stage: Literal["cnn"]
    snip_size: Count
    max_per_class: Count
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    val_by: Literal["photo", "snip"] = "photo"
    hard_negatives: Fraction = 0.0
    stretch: Stretch = 1.0


class RPNStage(SteppedStage):
    """The region proposal network on the frozen map."""

    stage: Literal["rpn"]


class RCNNStage(SteppedStage):
    """The R-CNN on the frozen map and the frozen RPN's proposals."""

    stage: Literal["rcnn"]


SMALLEST = 0.1  # of a photo's size, and its inverse the largest, that an augmentation may make of it


class AugmentRecipe(Part):
    """How a training photo differs from the one on disk (`augment`). A chance is that of a training photo, 0 to 1.

    crop:      side in pixels of the square that is trained on.
    scale:     range of the factor on the stage's image_size, drawn so that halving is as likely as doubling.
    stretch:   largest ratio of the factors along the two axes, either way; 1 keeps the shape of heads.
    turn:      quarter turns and flips, as a field has no up.
    mirror:    chance of left for right alone, where `turn` is false: labels may have an up, if they lie beside heads.
    brightness, contrast, saturation, cast: largest change as a share; `cast` is that of one colour alone.
    blur, shake, noise, compress: chances: out of focus, a moving hand, a sensor's noise, a JPEG of low quality.
    tone:      chance of another photo's colours: mean and contrast of each channel.
    mosaic, mixup, cutout: chances: four photos in one, two blended, grey boxes.
    keep_area: a head stays a head when this share of its box is left to see; and min_side pixels of each side.
    """

    crop: Annotated[int, Field(ge=64, multiple_of=32)]
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    stretch: Stretch = 1.0
    turn: bool = True
    mirror: Fraction = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    cast: Fraction = 0.0
    blur: Fraction = 0.0
    shake: Fraction = 0.0
    noise: Fraction = 0.0
    compress: Fraction = 0.0
    tone: Fraction = 0.0
    mosaic: Fraction = 0.0
    mixup: Fraction = 0.0
    cutout: Fraction = 0.0
    keep_area: Fraction = 0.35
    min_side: Positive = 4.0

    @field_validator("scale")
    @classmethod
    def _smaller_first(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not SMALLEST <= scale[0] <= scale[1] <= 1 / SMALLEST:
            raise ValueError(f"the smaller first, both between {SMALLEST:g} and {1 / SMALLEST:g}")
        return scale


class JointStage(Stage):
    """Everything trained at once, by all losses.

    lr rises over warmup_steps towards the rate given, while it falls along a cosine to final_lr of it; backbone_lr is
    the backbone's share of it. ema: the decay a step of the averaged weights, which are those kept; 0 averages none.
    image_size: px of a 1024 px photo while training; None: the recipe's.
    proposals: those of a photo that the RoI head learns from; None: as many as at detection. With few it sees no
    background but the edges of heads. val_every: epochs from one look at the val photos to the next; with a share below
    1 they are looked at once, with the weights that are kept.
    both: where two labellings are given (`--both`), whether this stage learns from both or from the data set's own.
    share: where the weights that are kept lie on the way from those that the stage began with to those it ended with.
    Half-way a detector keeps most of what it knew and has most of what it learned (WiSE-FT, Wortsman et al. 2022).
    refine and blend: as joint and after it, on what the stage before left, with a rate that rises anew (a warm restart,
    Loshchilov 2017). A recipe of blend alone goes on from a detector that was trained before.
    """

    stage: Literal["joint", "refine", "blend"]
    optimizer: Literal["adamw", "sgd"]
    lr: Positive
    backbone_lr: Positive = 1.0
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    final_lr: Fraction = 0.02
    clip_norm: Positive
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    image_size: Count | None = None
    proposals: Count | None = None
    val_every: Count = 1
    both: bool = True
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    augment: AugmentRecipe

    @model_validator(mode="after")
    def _the_last_epoch_is_judged(self) -> "JointStage":
        if self.epochs % self.val_every:
            raise ValueError("epochs must be a multiple of val_every, so that the last one is judged")
        return self
