"""`wheatear count` once its options are known: the run itself, and the messages to the user."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wheatear import words
from wheatear.by_hand import fit_threshold, read_by_hand
from wheatear.cli_detecting import detecting, say_resized
from wheatear.cli_options import say_unchosen
from wheatear.count import DETECTIONS, PLOTS, Options, count_photos, counted_before, counting_error_of
from wheatear.count_outputs import (
    REPORT,
    may_be_map,
    older_files,
    older_pictures,
    plots_counted,
    refuse_foreign_count,
    refuse_older,
    remarks,
    write_folders,
    write_formats,
    write_page,
)
from wheatear.count_screen import Summary, progress_bar
from wheatear.count_settings import begin_settings, places_of
from wheatear.detector import DEFAULT_MODEL, Detector, load
from wheatear.errors import InputError
from wheatear.exports import EXPORTS
from wheatear.files import alone_in, part_of
from wheatear.folders import FOLDERS
from wheatear.photo_names import COUNTS, SETTINGS, Photo

if TYPE_CHECKING:
    from wheatear.cli_count import Format

WRITTEN_OVER = "would be written over; name another folder for --out"
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")  # in a warning


def run_count(
    photos: list[Photo],
    out: Path,
    model: str | None,
    tta: str | None,
    by_hand: Path | None,
    options: Options,
    formats: "Sequence[Format]",
    report: bool,
    unread: Sequence[str],
) -> int:
    """Count, print the summary and write the files made from the tables -> the number of photos that failed.

    unread: lines about files of kinds that are not read and folders that are links, for the report.
    """
    if by_hand:
        _refuse_written_over(by_hand, out)
    if (plots := options.maps.plots) and may_be_map(plots.path, out, photos):
        raise InputError(f"{plots.path}: {WRITTEN_OVER}")
    detector, options = _load(model, tta, options)
    if by_hand:
        options = _fitted(detector, by_hand, photos, options)
    with alone_in(out):
        _prepare(out, photos, options, formats, report)
        try:
            settings, finish = begin_settings(out, detector, options, photos)
            summary = _count(detector, photos, out, options, finish)
            folders = write_folders(out, photos)
            write_formats(out, formats)
            summary.show(folders, plots_counted(out) if options.maps.plots else [])
            said = remarks(out, options.maps.plots, options.scale.frame_m)
            for line in said:
                typer.echo(f"wheatear: {line}", err=True)
            if report:
                drawn = options.pictures or options.resume
                lines = [*unread, *said]
                write_page(out, photos, detector.card, settings, summary.errors, lines, drawn)
        except KeyboardInterrupt:
            counts = out / COUNTS
            done = next(file for file in (part_of(counts), counts, out) if file.exists())
            typer.echo(
                f"wheatear: stopped; go on with --resume; the photos done so far are in {done}", err=True
            )
            raise typer.Exit(130) from None  # what a shell expects from a program stopped by Ctrl-C
    typer.echo(f"Results in {out}")
    return len(summary.errors)


def _load(model: str | None, tta: str | None, options: Options) -> tuple[Detector, Options]:
    """The detector, and the options with a threshold."""
    threads = max(1, (os.cpu_count() or 1) // options.jobs) if options.jobs > 1 else 0
    detector = load(model or DEFAULT_MODEL, threads, tta)
    if options.threshold is None:
        say_unchosen(detector)
        options = replace(options, threshold=detector.card.threshold_to_count())
    return detector, options


def _fitted(detector: Detector, by_hand: Path, photos: list[Photo], options: Options) -> Options:
    """The options with a threshold fitted to the photos counted by hand.

    The counting error remains the detector's own: with such a threshold it is no larger (docs/results.md). If
    the counts of these photos are still far off, it is unknown.
    """
    own = detector.card.threshold_to_count()
    fit = fit_threshold(detector, read_by_hand(by_hand, photos), options.head_px, detecting)
    found = f"{fit.found:,} are found at {own:g}, which stays"
    if fit.threshold != own:
        found = f"{fit.found:,} are found at {own:g}, {fit.found_now:,} at {fit.threshold:g}, which is taken"
    typer.echo(f"wheatear: {by_hand}: {fit.heads:,} heads in {words.photos(fit.photos)}; {found}", err=True)
    error = counting_error_of(detector, own)
    off = fit.found_now - fit.heads
    if fit.is_still_off():
        side = f"{abs(off):,} {'below' if off < 0 else 'above'} them"
        why = "are the heads of another size? try --head-px auto, and count more photos"
        typer.echo(f"wheatear: {by_hand}: that is still {side}, so there are no intervals; {why}", err=True)
        error = None
    return replace(options, threshold=fit.threshold, error=error, by_hand=by_hand.name)


def _refuse_written_over(by_hand: Path, out: Path) -> None:
    """InputError if the counts by hand are in a file that the run would overwrite."""
    if by_hand.resolve() in [(out / name).resolve() for name in (COUNTS, PLOTS)]:
        raise InputError(f"{by_hand}: {WRITTEN_OVER}")


def _prepare(
    out: Path, photos: list[Photo], options: Options, formats: "Sequence[Format]", report: bool
) -> None:
    """Before a run into OUT, refuse what would pass for its own results, and report what an earlier run left there."""
    # With --resume, tables that do not fit are refused when they are read.
    files = [] if options.resume else [COUNTS, DETECTIONS, FOLDERS, SETTINGS]
    files += [EXPORTS[name][0] for name in formats]
    files += [name for name, asked in ((PLOTS, options.maps.plots), (REPORT, report)) if asked]
    refuse_foreign_count(out, photos, options.pictures, files)
    older = older_files(out, formats, options.maps.plots is not None, report)
    if options.resume:
        if older and {photo.name for photo in photos} - counted_before(out):
            typer.echo(f"wheatear: {out}: {', '.join(older)} will lack the photos counted now", err=True)
        return
    if done := _of_a_stopped_run(out):
        stopped = f"holds {words.photos(done)} of a run that was stopped"
        raise InputError(f"{out}: {stopped}; go on with --resume, or name another folder for --out")
    refuse_older(out, formats)
    if older := older + older_pictures(out, photos, options.pictures):
        typer.echo(f"wheatear: {out}: still has {', '.join(older)} of an earlier run", err=True)


def _of_a_stopped_run(out: Path) -> int:
    """The number of photos in an unfinished table that a run with --resume can continue; 0 without one."""
    with suppress(InputError):  # a table with other columns cannot be continued
        return len(counted_before(out)) if part_of(out / COUNTS).is_file() else 0
    return 0


def _count(
    detector: Detector, photos: list[Photo], out: Path, options: Options, finish: Callable[[], None]
) -> Summary:
    """Count the photos, with a progress bar. finish: as in count_photos."""
    known = counted_before(out) if options.resume else set()
    names = {photo.name for photo in photos}
    before = len(known & names)
    if known - names:
        _tell_gone(out, known - names)
    summary, said = Summary(before), dict[str, list[str]]()
    counts = count_photos(detector, photos, out, options, finish)
    with progress_bar(len(photos) - before) as (say, step), closing(counts):
        if before:
            left = "; going on with the others" if before < len(photos) else ""
            say(f"wheatear: {before:,} of {words.photos(len(photos))} were counted before{left}")
        for count in counts:
            summary.add(count)
            step()
            if count.error:
                say(f"wheatear: {count.error}")
            for what in count.warnings:
                alike = said.setdefault(NUMBER.sub("…", what), [])
                if not alike:
                    say(f"wheatear: {count.name}: {what}")
                alike.append(what)
    say_resized(summary.resized)
    for alike in said.values():
        if more := len(alike) - 1:
            whose = f"{more:,} more photo{'s' if more > 1 else ''}, named in counts.csv"
            typer.echo(f"wheatear: {whose}: {in_common(alike)}", err=True)
    return summary


def _tell_gone(out: Path, names: set[str]) -> None:
    """Report which of these photos in OUT's tables, which are not given now, have no file any more."""
    places = places_of(out)
    gone = sorted(name for name in names if name in places and not places[name].exists())
    if gone:
        line = f"counted before, and no longer where it was: {words.first_of(gone)}"
        typer.echo(f"wheatear: {line}; to drop its row, name another folder for --out", err=True)


def in_common(lines: Sequence[str]) -> str:
    """Merge lines that differ only in their numbers into one, with … for the numbers that differ."""
    numbers = zip(*map(NUMBER.findall, lines), strict=True)
    shown = (each[0] if len(set(each)) == 1 else "…" for each in numbers)
    return NUMBER.sub(lambda _: next(shown), lines[0])
