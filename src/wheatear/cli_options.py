"""Arguments and options that several commands share; `--tta` is in cli_tta."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.errors import InputError

if TYPE_CHECKING:
    from wheatear.sized import HeadPx


def named_path(text: str) -> Path:
    """A path of the command line; an empty one, as of a variable that is not set, would be the folder one is in."""
    if not text:
        raise typer.BadParameter("is empty; name a file or a folder")
    return Path(text)


def named_model(text: str | None) -> str | None:
    """A detector of the command line; an empty name is none."""
    if text == "":
        raise typer.BadParameter("is empty; name a detector, or leave it out")
    return text


DatasetArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Photos with boxes: Kaggle, GWHD 2021, COCO, YOLO or VOC.")
]
PhotosArgument = Annotated[
    list[Path], typer.Argument(metavar="PHOTO|DIR", help="Photos, or folders of photos.", parser=named_path)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="A shipped detector, or a model.onnx.",
        show_default="small",
        callback=named_model,
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="Split by this file of `data split --out`, not by DIR/images.csv."),
]
HeadPxOption = Annotated[
    str | None,
    typer.Option(
        "--head-px",
        metavar="PIXELS|auto",
        help="Size of the heads in these photos; they are resized to what the model knows.",
        show_default="auto for photos whose longer side has 1600 px or more, or 200 to 768, else as they are",
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
