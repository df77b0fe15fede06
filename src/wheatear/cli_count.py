"""`wheatear count`: the options, and what the user is told."""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear import words
from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import HeadPxOption, ModelOption, PhotosArgument, named_path, parse_head_px
from wheatear.cli_tta import TTAOption, say_unchosen
from wheatear.errors import InputError

if TYPE_CHECKING:  # numpy, Pillow and onnxruntime are loaded once there is something to count
    from wheatear.count import Options
    from wheatear.count_screen import Summary
    from wheatear.detector import Detector
    from wheatear.outputs import Maps
    from wheatear.photo_names import Photo

# By how much a count that was fitted to numbers by hand must miss them for a warning: of the heads, and heads a photo.
STILL_OFF, STILL_OFF_HEADS = 0.15, 2
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
            min=0, max=1, help="Lowest score that counts as a head.", show_default="the model's own"
        ),
    ] = None,
    by_hand: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Heads that you counted in some of the photos (columns image, heads): all are counted as suits these.",
        ),
    ] = None,
    head_px: HeadPxOption = None,
    tta: TTAOption = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the boxes over each photo.")
    ] = True,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format", help="Write the heads in this format too; may be given again.", show_default=False
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html, one page with all of it.")
    ] = False,
    gsd: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Millimetres of ground per pixel.", rich_help_panel=GROUND),
    ] = None,
    frame: Annotated[
        float | None,
        typer.Option(metavar="M", help="Metres of ground across a photo's width.", rich_help_panel=GROUND),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help="Metres from camera to heads, with EXIF that tells the lens.",
            rich_help_panel=GROUND,
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="GeoJSON, GeoPackage or Shapefile of plots to count in.",
            rich_help_panel=MAPS,
        ),
    ] = None,
    cell: Annotated[
        float, typer.Option(metavar="M", help="Side of the density map's cells.", rich_help_panel=MAPS)
    ] = 1.0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Photos at a time; they share the processor.", rich_help_panel=SPEED)
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip what an interrupted run into --out counted.", rich_help_panel=SPEED
        ),
    ] = False,
) -> None:
    """Count the wheat heads in photos and georeferenced images of any size.

    Writes counts.csv, folders.csv, detections.csv and annotated pictures into --out, and maps of GeoTIFFs;
    with --report and --format more. A photo that cannot be read is named and left out.

    Exit code 0: all photos counted; 1: some were not; 2: none found.
    """
    from wheatear.images import left_out
    from wheatear.photo_names import each_once, named, undrawn

    with friendly_errors():
        photos, again = each_once(photos)
        found, drawn = undrawn(photos, out)
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
            more = f" and {len(again) - 1:,} more" if len(again) > 1 else ""
            typer.echo(f"wheatear: {again[0]}{more}: given twice; counted once", err=True)
        if by_hand and threshold is not None:
            raise InputError("--threshold and --by-hand: give one of the two")
        options = _options(
            threshold, head_px, (gsd, frame, height), _maps(plots, cell), pictures, jobs, resume
        )
        failed = _run(todo, out, model, tta, by_hand, options, formats or [], report, unread)
    if failed:
        raise typer.Exit(1)


def _options(
    threshold: float | None,
    head_px: str | None,
    ground: tuple[float | None, float | None, float | None],
    maps: "Maps",
    pictures: bool,
    jobs: int,
    resume: bool,
) -> "Options":
    from wheatear.area import Scale
    from wheatear.count import Options

    return Options(threshold, parse_head_px(head_px), Scale(*ground), maps, pictures, jobs, resume)


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


def _run(
    photos: list["Photo"],
    out: Path,
    model: str | None,
    tta: str | None,
    by_hand: Path | None,
    options: "Options",
    formats: Sequence[Format],
    report: bool,
    unread: Sequence[str],
) -> int:
    """Count, print the summary, write what is made of the tables; -> the number of photos that failed.

    unread: lines on photos of kinds that are not read, for the report.
    """
    from wheatear.count_outputs import remarks, write_folders, write_formats, write_page
    from wheatear.count_settings import kept_settings
    from wheatear.files import alone_in, part_of
    from wheatear.photo_names import COUNTS

    if by_hand:
        _refuse_written_over(by_hand, out)
    detector, options = _load(model, tta, options)
    if by_hand:
        options = _fitted(detector, by_hand, photos, options)
    with alone_in(out):
        _prepare(out, photos, options, formats, report)
        try:
            with kept_settings(out, detector, options, photos) as settings:
                summary = _count(detector, photos, out, options)
            folders = write_folders(out, photos)
            write_formats(out, formats)
            if summary.first:
                summary.show(folders)
            if report:
                write_page(out, photos, detector.card, settings, summary.errors, unread)
            for line in remarks(out, options.maps.plots, options.scale.frame_m):
                typer.echo(f"wheatear: {line}", err=True)
        except KeyboardInterrupt:
            counts = out / COUNTS
            done = next(file for file in (part_of(counts), counts, out) if file.exists())
            typer.echo(
                f"wheatear: stopped; go on with --resume; the photos done so far are in {done}", err=True
            )
            raise typer.Exit(130) from None  # what a shell expects of a program that Ctrl-C ended
    typer.echo(f"Results in {out}")
    return len(summary.errors)


def _load(model: str | None, tta: str | None, options: "Options") -> tuple["Detector", "Options"]:
    """The detector, and the options with a threshold."""
    from dataclasses import replace

    from wheatear.detector import DEFAULT_MODEL, load

    threads = max(1, (os.cpu_count() or 1) // options.jobs) if options.jobs > 1 else 0
    detector = load(model or DEFAULT_MODEL, threads, tta)
    if options.threshold is None:
        say_unchosen(detector)
        options = replace(options, threshold=detector.card.threshold_to_count())
    return detector, options


def _fitted(detector: "Detector", by_hand: Path, photos: list["Photo"], options: "Options") -> "Options":
    """The options with a threshold by the photos counted by hand.

    The error stays the detector's own: with such a threshold it is no larger (docs/results.md).
    """
    from dataclasses import replace

    from wheatear.by_hand import fit_threshold, read_by_hand
    from wheatear.count import counting_error_of

    own = detector.card.threshold_to_count()
    fit = fit_threshold(detector, read_by_hand(by_hand, photos), options.head_px)
    found = f"{fit.found:,} are found at {own:g}, {fit.found_now:,} at {fit.threshold:g}, which is taken"
    typer.echo(f"wheatear: {by_hand}: {fit.heads:,} heads in {words.photos(fit.photos)}; {found}", err=True)
    error = counting_error_of(detector, own)
    off = fit.found_now - fit.heads
    if abs(off) > max(STILL_OFF * fit.heads, STILL_OFF_HEADS * fit.photos):
        side = f"{abs(off):,} {'below' if off < 0 else 'above'} them"
        why = "are the heads of another size? try --head-px auto, and count more photos"
        typer.echo(f"wheatear: {by_hand}: that is still {side}, so there are no intervals; {why}", err=True)
        error = None
    return replace(options, threshold=fit.threshold, error=error, by_hand=by_hand.name)


def _refuse_written_over(by_hand: Path, out: Path) -> None:
    """InputError where the numbers by hand are in a file that the run writes."""
    from wheatear.count import PLOTS
    from wheatear.photo_names import COUNTS

    if by_hand.resolve() in [(out / name).resolve() for name in (COUNTS, PLOTS)]:
        raise InputError(f"{by_hand}: would be written over; name another folder for --out")


def _prepare(
    out: Path, photos: list["Photo"], options: "Options", formats: Sequence[Format], report: bool
) -> None:
    """Of a new run into OUT, say what an earlier one left there, or refuse what would pass for its own."""
    from wheatear.count import DETECTIONS, PLOTS
    from wheatear.count_outputs import REPORT, older_files, older_pictures, refuse_foreign_count, refuse_older
    from wheatear.exports import EXPORTS
    from wheatear.folders import FOLDERS
    from wheatear.photo_names import COUNTS, SETTINGS

    # With --resume the tables say themselves that they do not fit.
    files = [] if options.resume else [COUNTS, DETECTIONS, FOLDERS, SETTINGS]
    files += [EXPORTS[name][0] for name in formats]
    files += [name for name, asked in ((PLOTS, options.maps.plots), (REPORT, report)) if asked]
    refuse_foreign_count(out, photos, options.pictures, files)
    if options.resume:
        return
    if done := _of_a_stopped_run(out):
        stopped = f"holds {words.photos(done)} of a run that was stopped"
        raise InputError(f"{out}: {stopped}; go on with --resume, or name another folder for --out")
    refuse_older(out, formats)
    older = older_files(out, formats, options.maps.plots is not None, report)
    if older := older + older_pictures(out, photos, options.pictures):
        typer.echo(f"wheatear: {out}: still has {', '.join(older)} of an earlier run", err=True)


def _of_a_stopped_run(out: Path) -> int:
    """The number of photos in a table that is not whole, and could be gone on with."""
    from contextlib import suppress

    from wheatear.count import counted_before
    from wheatear.files import part_of
    from wheatear.photo_names import COUNTS

    with suppress(InputError):  # a table of other columns is of no use
        return len(counted_before(out)) if part_of(out / COUNTS).is_file() else 0
    return 0


def _count(detector: "Detector", photos: list["Photo"], out: Path, options: "Options") -> "Summary":
    """Count with a progress bar."""
    from contextlib import closing

    from wheatear.count import count_photos, counted_before
    from wheatear.count_screen import Summary, progress_bar
    from wheatear.count_settings import places_of

    known = counted_before(out) if options.resume else set()
    names = {photo.name for photo in photos}
    before = len(known & names)
    if known - names:
        places = places_of(out)
        gone = [name for name in known - names if name in places and not places[name].exists()]
        if gone:
            typer.echo(
                f"wheatear: counted before, and not where they were: {words.photos(len(gone))}; their rows stay",
                err=True,
            )
    summary, said = Summary(before), Counter[str]()
    counts = count_photos(detector, photos, out, options)
    with progress_bar(len(photos) - before) as (say, step), closing(counts):
        if before:
            say(
                f"wheatear: {before:,} of {len(photos):,} photos were counted before; going on with the others"
            )
        for count in counts:
            summary.add(count)
            step()
            if count.error:
                say(f"wheatear: {count.error}")
            for what in count.warnings:
                like = re.sub(r"\d[\d.,]*", "…", what)
                if not said[like]:
                    say(f"wheatear: {count.name}: {what}")
                said[like] += 1
    for what, times in said.items():
        if more := times - 1:
            whose = f"{more:,} more photo{'s' if more > 1 else ''}, named in counts.csv"
            typer.echo(f"wheatear: {whose}: {what}", err=True)
    return summary
