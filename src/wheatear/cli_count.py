"""`wheatear count`: the options."""

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear import words
from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import (
    HeadPxOption,
    ModelOption,
    PhotosArgument,
    TTAOption,
    named_path,
    number,
    parse_head_px,
)
from wheatear.errors import InputError

if TYPE_CHECKING:  # numpy, Pillow and onnxruntime are loaded once there is something to count
    from wheatear.outputs import Maps

GROUND, MAPS, SPEED = "Ground (for heads per square metre)", "Maps (for GeoTIFFs)", "Speed"


class Format(StrEnum):
    """The names of exports.EXPORTS, which `--help` shall list without loading it."""

    coco = "coco"
    yolo = "yolo"
    voc = "voc"
    kaggle = "kaggle"


def count_command(
    photos: PhotosArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.", parser=named_path),
    ],
    model: ModelOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Lowest score at which a detection counts as a head.",
            show_default="the model's own",
        ),
    ] = None,
    by_hand: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="CSV of your own counts for some photos (columns image, heads); the score threshold for all photos is "
            "fitted to them.",
        ),
    ] = None,
    head_px: HeadPxOption = None,
    tta: TTAOption = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Save a copy of each photo with its boxes drawn.")
    ] = True,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format", help="Also write the heads in this format; can be repeated.", show_default=False
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html, a single page with all results.")
    ] = False,
    gsd: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            parser=number,
            help="Millimetres of ground per pixel (ground sampling distance).",
            rich_help_panel=GROUND,
        ),
    ] = None,
    frame: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            parser=number,
            help="Width of ground shown by each photo, in metres.",
            rich_help_panel=GROUND,
        ),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            parser=number,
            help="Distance from the camera to the heads, in metres; lens and sensor are read from EXIF.",
            rich_help_panel=GROUND,
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="GeoJSON, GeoPackage or Shapefile with the plots to count heads in.",
            rich_help_panel=MAPS,
        ),
    ] = None,
    cell: Annotated[
        float,
        typer.Option(
            metavar="M", parser=number, help="Cell size of the density map, in metres.", rich_help_panel=MAPS
        ),
    ] = 1.0,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, help="Photos processed in parallel; they share the CPU cores.", rich_help_panel=SPEED
        ),
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an earlier run into --out; photos already counted are skipped.",
            rich_help_panel=SPEED,
        ),
    ] = False,
) -> None:
    """Count the wheat heads in photos, and in GeoTIFFs of any size.

    Writes counts.csv, folders.csv, detections.csv and annotated pictures to
    --out, and maps for GeoTIFFs; --report and --format add further files.
    A photo that cannot be read is reported and left out.

    Exit code 0: all photos counted; 1: some were not, or another error; 2: no
    photos found, or a mistake for which the usage is shown.
    """
    from wheatear.images import left_out
    from wheatear.photo_names import each_once, named, undrawn

    with friendly_errors():
        photos, again = each_once(photos)
        found, drawn = undrawn(photos)
        todo = named(found, photos)
        if drawn:
            typer.echo(f"wheatear: left out, as a count drew them: {words.photos(drawn)}", err=True)
        unread = left_out(photos)
        for line in unread:
            typer.echo(f"wheatear: {line}", err=True)
        if not any(os.path.exists(photo.path) for photo in todo):  # Path.exists raises where it may not look
            missing = [str(path) for path in photos if not os.path.lexists(path)]
            given, mend = ", ".join(map(str, photos)), "give JPEG, PNG, TIFF or WebP files"
            wrong = (
                f"no such file or folder: {', '.join(missing)}" if missing else f"no photos found in {given}"
            )
            typer.echo(f"wheatear: {wrong}; {mend}", err=True)
            raise typer.Exit(2)
        if again:
            typer.echo(f"wheatear: {words.first_of(again)}: given twice; counted once", err=True)
        if by_hand and threshold is not None:
            raise InputError("--threshold and --by-hand: give one of the two")
        from wheatear.area import Scale
        from wheatear.cli_count_run import run_count
        from wheatear.count import Options

        maps, size, scale = _maps(plots, cell), parse_head_px(head_px), Scale(gsd, frame, height)
        options = Options(threshold, size, scale, maps, pictures, jobs, resume)
        failed = run_count(todo, out, model, tta, by_hand, options, formats or [], report, unread)
    if failed:
        raise typer.Exit(1)


def _maps(plots: Path | None, cell: float) -> "Maps":
    from wheatear.outputs import Maps

    if not (cell > 0 and math.isfinite(cell)):
        raise InputError(f"--cell {cell:g}: not a length; give metres above 0")
    if plots is None:
        return Maps(None, cell)
    try:
        from wheatear.plots import read_plots
    except ImportError as error:
        raise InputError(
            f"{plots}: plots need the extra `geo`: pip install '.[geo]' in wheatear's folder"
        ) from error
    known = read_plots(plots)
    if known.note:
        typer.echo(f"wheatear: {plots}: {known.note}", err=True)
    return Maps(known, cell)
