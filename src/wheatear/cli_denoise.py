"""`wheatear data denoise`: labels with less noise, by a detector that learnt from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from wheatear import words
from wheatear.cli_errors import friendly_errors
from wheatear.cli_tta import TTAOption
from wheatear.errors import InputError

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.detector import Detector


@friendly_errors()
def denoise_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Photos with boxes: Kaggle, GWHD 2021, COCO, YOLO or VOC.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The file of labels to write.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="A shipped detector, or a model.onnx.", show_default="the shipped one"
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much is kept of what is a label's own; what a photo's labels share always is.",
        ),
    ] = 0.25,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest score of a box that may move a label.")
    ] = 0.2,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Move these labels instead of DIR's own.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Split by this file of `data split --out`, not by DIR/images.csv."),
    ] = None,
    tta: TTAOption = None,
) -> None:
    """Move the labelled boxes of the train photos towards what a detector finds there, and write them as a csv.

    It is for `wheatear train DIR --labels CSV`. No head is added and none is taken away. All photos are done where they
    are not divided. A photo that cannot be read is named and left out, so its labels stay; the exit code is then 1.
    """
    from wheatear.cli_evaluate import photos_of
    from wheatear.data.formats import read_dataset
    from wheatear.data.kaggle import write_labels
    from wheatear.detector import DEFAULT_MODEL, load

    samples = read_dataset(folder, labels, images)
    todo = photos_of(samples, "train", folder) if any(sample.split for sample in samples) else samples
    done, moved = _denoise(load(model or DEFAULT_MODEL, tta=tta), todo, keep, min_score)
    write_labels(done, out)
    heads = sum(len(sample.boxes) for sample in done)
    typer.echo(
        f"{words.photos(len(done))} with {heads:,} heads written to {out}; {moved:,} of these moved, "
        f"{keep:.0%} kept of what is their own"
    )
    if len(done) < len(todo):
        raise typer.Exit(1)


def _denoise(
    detector: "Detector", samples: "Sequence[Sample]", keep: float, min_score: float
) -> "tuple[list[Sample], int]":
    """The samples with moved boxes, and how many are; photos that cannot be read or run are named and left out.

    InputError where none is left.
    """
    from wheatear.denoise import denoised

    console, done, moved = Console(stderr=True), [], 0
    for sample in track(
        samples, "Detecting", console=console, transient=True, disable=not console.is_terminal
    ):
        try:
            heads = detector.detect(sample.path, min_score)
        except InputError as error:
            typer.echo(f"wheatear: {error}", err=True)
            continue
        better, count = denoised(sample, heads, keep)
        done.append(better)
        moved += count
    if not done:
        raise InputError("none of the photos can be read; nothing is written")
    return done, moved
