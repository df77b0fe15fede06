"""The training stages, as a recipe describes them, and what all tables of a recipe are built of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Stretch = Annotated[float, Field(ge=1, le=3)]
OfList = Field(strict=False)  # for tuples, which TOML and JSON have as lists
Steps = Annotated[list[Annotated[tuple[Annotated[int, Field(ge=0)], Positive], OfList]], Field(min_length=1)]


class Part(BaseModel):
    """Base of every table in a recipe: frozen, with no unknown keys, only finite numbers, and no true for a 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stage(Part):
    """Common to all training stages; `batch_size` is per process."""

    batch_size: Count
    epochs: Count


class SteppedStage(Stage):
    """A stage from the notes. `lr` lists [after this many epochs, rate]; `l2` is Keras's (weight² × l2)."""

    optimizer: Literal["rmsprop", "adam"]
    lr: Steps
    l2: Annotated[float, Field(ge=0)] = 0.0

    def lr_at(self, epoch: int) -> float:
        """The learning rate in epoch `epoch`, counted from 0."""
        return [rate for start, rate in self.lr if epoch >= start][-1]

    @model_validator(mode="after")
    def _lr_starts_at_zero(self) -> "SteppedStage":
        starts = [start for start, _ in self.lr]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("lr must begin at epoch 0 and go forward")
        return self


class CNNStage(SteppedStage):
    """The snip classifier: head or background.

    val_by: what `val_fraction` is drawn from: field photos, so that validation snips show plants not used in
    training, or single snips, as in the notes; this flatters, as snips of one photo overlap and look alike.
    hard_negatives: share of the background training snips that have heads near their border but none in their
    middle; the others, like all background snips for validation, contain no heads.
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


SMALLEST = 0.1  # the smallest factor by which augmentation may scale a photo; the largest is its inverse


class AugmentRecipe(Part):
    """How a training photo is augmented (`augment`). Probabilities, 0 to 1, are per training photo.

    crop:      side in pixels of the square that is trained on.
    scale:     range of the factor on the stage's image_size, drawn so that halving is as likely as doubling.
    stretch:   largest ratio of the factors along the two axes, either way; 1 keeps the shape of heads.
    turn:      quarter turns and flips, as a field has no up or down.
    mirror:    probability of a left-right flip alone if `turn` is false, for labels offset up or down.
    brightness, contrast, saturation, cast: largest relative change; `cast` changes each channel separately.
    blur, shake, noise, compress: probabilities of defocus, camera shake, sensor noise and a low-quality JPEG.
    tone:      probability of another photo's colours: mean and contrast of each channel.
    mosaic, mixup, cutout: probabilities of four photos in one, two blended, and grey boxes.
    paste:     probability of heads and pieces of ground from another photo.
    keep_area: a head stays a label if this share of its box is left, and min_side pixels of each side.
    """

    crop: Annotated[int, Field(ge=64, multiple_of=32)]
    scale: Annotated[tuple[Positive, Positive], OfList] = (1.0, 1.0)
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
    paste: Fraction = 0.0
    keep_area: Fraction = 0.35
    min_side: Positive = 4.0

    @field_validator("scale")
    @classmethod
    def _smaller_first(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not SMALLEST <= scale[0] <= scale[1] <= 1 / SMALLEST:
            raise ValueError(f"the smaller first, both between {SMALLEST:g} and {1 / SMALLEST:g}")
        return scale


class JointStage(Stage):
    """Everything trained at once, with all losses.

    lr is the peak: a linear warm-up over warmup_steps times a cosine decay to final_lr of it; backbone_lr is
    the backbone's share of it. ema: decay per step of the averaged weights, which are kept; 0: no averaging.
    image_size: px of a 1024 px photo in training; None: the recipe's.
    proposals: how many per photo the RoI head's training regions are drawn from; None: as many as at
    detection. With few, the only background it sees is the edges of heads.
    val_every: epochs from one validation to the next; with a share below 1 there is only one, of the weights
    that are kept.
    both: given two labellings (`--both`), whether this stage trains on both or only on the data set's own.
    share: how far the weights that are kept lie on the way from the stage's initial to its final weights.
    Half-way, a detector keeps most of what it knew and of what it learned (WiSE-FT, Wortsman et al. 2022).
    refine and blend: like joint, but starting from the weights of the stage before, with a new warm-up (a
    warm restart, Loshchilov 2017). A recipe of blend alone starts from an already trained detector.
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
