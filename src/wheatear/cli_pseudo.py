"""`wheatear data pseudo`: labels for photos that have none, by a detector.

No photo is left out because of its content, whether it has no heads or many doubtful ones: the photos that a
detector finds easy are those from which it learns least.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wheatear import words
from wheatear.cli_detecting import Looking, detect_in_each
from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import (
    HeadPxOption,
    ModelOption,
    PhotosArgument,
    TTAOption,
    named_path,
    parse_head_px,
    say_unchosen,
)
from wheatear.errors import InputError, refuse_name


@friendly_errors()
def pseudo_command(
    photos: PhotosArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="New or empty folder.", parser=named_path)
    ],
    model: ModelOption = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Lowest score at which a detection becomes a label.",
            show_default="the model's own",
        ),
    ] = None,
    head_px: HeadPxOption = None,
    tta: TTAOption = None,
    link: Annotated[bool, typer.Option("--link", help="Link to the photos instead of copying them.")] = False,
) -> None:
    """Label photos with the detections of a model, and write them as a data set in Kaggle's layout.

    Use it with `wheatear train DIR --more OUT`; all photos are in the train
    split. A photo that cannot be read is reported and left out; the exit code is
    then 1.
    """
    from wheatear.data.formats import refuse_filled, refuse_full, refuse_inside, write_dataset
    from wheatear.data.sample import Sample
    from wheatear.detector import DEFAULT_MODEL, load
    from wheatear.files import make_folder

    size = parse_head_px(head_px)
    refuse_filled(out)
    for folder in photos:
        if folder.is_dir():
            refuse_inside(folder, out)
    todo = _photos(photos, out)
    if not link:
        refuse_full(out, todo)  # now, and not after all photos were looked at
    detector = load(model or DEFAULT_MODEL, tta=tta)
    make_folder(out if out.exists() else out.parent)
    if min_score is None:
        say_unchosen(detector, "--min-score")
        min_score = detector.card.score_threshold
    looking, least = Looking(detector, size), min_score

    def labelled(photo: Path) -> Sample:
        heads = looking.find(photo, least)
        return Sample(photo, heads.boxes, heads.width, heads.height, source="pseudo", split="train")

    samples = detect_in_each(todo, labelled)
    looking.tell()
    write_dataset(samples, out, "kaggle", link)
    empty, heads = sum(not len(s.boxes) for s in samples), sum(len(s.boxes) for s in samples)
    typer.echo(
        f"{words.photos(len(samples))} ({empty:,} without heads) with {heads:,} heads of a score "
        f"of {min_score:g} or more written to {out}"
    )
    if len(samples) < len(todo):
        raise typer.Exit(1)


def _photos(given: Sequence[Path], out: Path) -> list[Path]:
    """The photos to label; InputError where there are none, or two share the name that the layout knows them by."""
    from wheatear.data.labels import by_name
    from wheatear.images import is_found
    from wheatear.photo_names import name_photos

    found = by_name(photo.path for photo in name_photos(given))
    if not found:
        raise InputError(
            f"no photos found in {', '.join(map(str, given))}; give JPEG, PNG, TIFF or WebP files"
        )
    for photo in found.values():
        refuse_name(photo)
        if photo.exists() and not is_found(photo.name):
            raise InputError(
                f"{photo}: no data set could have a photo of this name; let it end like .jpg, without a dot in front"
            )
    return list(found.values())
