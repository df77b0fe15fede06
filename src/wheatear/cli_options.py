"""Arguments, options and checks that several commands share."""

import re
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.errors import InputError

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.detector import Detector
    from wheatear.sized import HeadPx


def named_path(text: str) -> Path:
    """A path of the command line; an empty one, as of a variable that is not set, would be the folder one is in."""
    if not text:
        raise typer.BadParameter("is empty; name a file or a folder")
    return Path(text)


def number(text: str | float) -> float:
    """A number of the command line, with a point or a comma, or an option's own."""
    try:
        if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", str(text)):
            raise ValueError("of a thousand, or of one")
        return float(str(text).replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number, such as 1.2") from None


def named_model(text: str | None) -> str | None:
    """A detector of the command line; an empty name is none."""
    if text == "":
        raise typer.BadParameter("is empty; name a detector, or leave it out")
    return text


DatasetArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Photos with boxes, in Kaggle, GWHD 2021, COCO, YOLO or VOC format."),
]
PhotosArgument = Annotated[
    list[Path], typer.Argument(metavar="PHOTO|DIR", help="Photos or folders of photos.", parser=named_path)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Shipped detector (tiny, small, medium, seed) or path of a model.onnx.",
        show_default="small",
        callback=named_model,
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Take the split from this file (as `data split --out` writes it) instead of DIR/images.csv.",
    ),
]
HeadPxOption = Annotated[
    str | None,
    typer.Option(
        "--head-px",
        metavar="PIXELS|auto",
        help="Typical head size in these photos in pixels, or auto to measure it; photos are resized to match the "
        "training data.",
        show_default="auto if the longer side is >= 1600 px or 200-768 px; other photos are not resized",
    ),
]


class TTA(StrEnum):
    """ONCE and the names of tta.VIEWS, which `--help` shall list without loading them."""

    once = "once"
    mix = "mix"
    flips = "flips"
    turns = "turns"
    scales = "scales"


TTAOption = Annotated[
    TTA | None,
    typer.Option(
        "--tta",
        help="Views of each photo to run and fuse. once: the photo as it is; mix: the photo and an enlarged mirror "
        "image (2 runs); flips: mirrored both ways (4); turns: flips plus quarter turns (8); scales: the photo and its "
        "mirror image at three sizes (6).",
        show_default="the model's own: mix for medium, once for the other shipped ones",
    ),
]


def parse_head_px(text: str | None) -> "HeadPx":
    """What `--head-px` says. InputError where it is no size."""
    if text is None or text == "auto":
        return "auto" if text else None
    from wheatear.head_size import LARGEST_HEAD, SMALLEST_HEAD

    with suppress(ValueError):
        if SMALLEST_HEAD <= (size := float(text)) <= LARGEST_HEAD:
            return size
    limits = f"{SMALLEST_HEAD} to {LARGEST_HEAD:,}"
    raise InputError(
        f"--head-px {text}: not a size; give the pixels across a typical head, {limits}, or auto"
    )


def say_unchosen(detector: "Detector", option: str = "--threshold") -> None:
    """Tell the user where the thresholds in use were chosen for other scores: fused ones are lower.

    option: the command's own for giving one.
    """
    if detector.tta is not None and detector.tta not in detector.card.tta:
        typer.echo(
            f"wheatear: {detector.card.name} has no thresholds for --tta {detector.tta}, so too few heads may be "
            f"found; choose them by `wheatear evaluate --choose-threshold`, or give {option}",
            err=True,
        )


def need_torch() -> None:
    """Raises InputError, saying what to install, where the training extra is not there."""
    try:
        import lightning  # noqa: F401
        import torchvision  # noqa: F401

        for package in ("onnx", "onnxscript", "safetensors", "tensorboard"):  # which take seconds to load
            if not find_spec(package):
                raise ImportError(f"No module named '{package}'")
    except ImportError as error:
        raise InputError(
            f"training needs more packages ({error}); run pip install '.[train]' in wheatear's folder"
        ) from None


def tell_other_sizes(samples: "Iterable[Sample]") -> None:
    """Say how many of the photos have another size than their labels say."""
    if other := sum(sample.is_of_another_size() for sample in samples):
        typer.echo(
            f"wheatear: photos of another size than their labels say, whose boxes may lie elsewhere: {other:,}; see "
            "`wheatear data check`",
            err=True,
        )
