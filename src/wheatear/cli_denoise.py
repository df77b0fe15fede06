"""`wheatear data denoise`: labels with less noise, by a detector that learnt from them."""

from pathlib import Path
from typing import Annotated

import typer

from wheatear import words
from wheatear.cli_detecting import Looking, detect_in_each
from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import (
    DatasetArgument,
    HeadPxOption,
    ImagesOption,
    ModelOption,
    TTAOption,
    parse_head_px,
    tell_other_sizes,
)


@friendly_errors()
def denoise_command(
    folder: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="Label file to write.")],
    model: ModelOption = None,
    keep: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share (0-1) of each label's individual offset to keep; the offset common to all labels of a photo is "
            "always kept.",
        ),
    ] = 0.25,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest score of a detection that may move a label.")
    ] = 0.2,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Labels to move; photos that it does not name keep DIR's own."),
    ] = None,
    images: ImagesOption = None,
    head_px: HeadPxOption = None,
    tta: TTAOption = None,
) -> None:
    """Move the labelled boxes of the train photos towards a detector's boxes, and write them as a CSV.

    Use it with `wheatear train DIR --labels CSV`. No heads are added or removed.
    Labels of val photos stay as they are; without a split, all photos are
    processed. A photo that cannot be read is reported and keeps its labels; the
    exit code is then 1.
    """
    from wheatear.data import gwhd, kaggle
    from wheatear.data.formats import read_dataset, refuse_read
    from wheatear.data.splits import photos_of
    from wheatear.denoise import denoised
    from wheatear.detector import DEFAULT_MODEL, load
    from wheatear.files import make_way, refuse_own

    size = parse_head_px(head_px)
    samples = read_dataset(folder, labels, images)
    refuse_own(folder, out, labels, images)
    refuse_read(folder, out)
    todo = photos_of(samples, "train" if any(sample.split for sample in samples) else "all", folder)
    tell_other_sizes(samples)  # now, as the labels to be written give each photo the size that it has
    # Kaggle's columns cannot say of a photo that it has no heads, where DIR's own labels give it some.
    empty = {sample.name for sample in samples if not len(sample.boxes)} if labels else set[str]()
    emptied = empty and any(
        len(own.boxes) for own in read_dataset(folder, images=images) if own.name in empty
    )
    write_labels = gwhd.write_labels if emptied else kaggle.write_labels
    detector = load(model or DEFAULT_MODEL, tta=tta)
    make_way(out)
    looking = Looking(detector, size)
    found = detect_in_each(todo, lambda s: denoised(s, looking.find(s.path, min_score), keep))
    looking.tell()
    done, moved = {sample.name: sample for sample, _ in found}, sum(count for _, count in found)
    write_labels([done.get(sample.name, sample) for sample in samples], out)
    heads, others = sum(len(sample.boxes) for sample in done.values()), len(samples) - len(done)
    typer.echo(
        f"{words.photos(len(done))} with {heads:,} heads written to {out}; {moved:,} of these moved, "
        f"{keep:.0%} kept of what is their own"
        + (f"; and {words.photos(others)} with labels as they were" if others else "")
    )
    if len(done) < len(todo):
        raise typer.Exit(1)
