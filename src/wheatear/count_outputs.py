"""Files made from a count's finished tables: the means of folders, other programs' formats, the HTML report.

They are made from the tables, not from the run, so that a resumed run's files contain every photo, and a
finished run can produce them with --resume, without counting again.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from wheatear.count import COUNTS_HEADER, DETECTIONS, PLOTS, PLOTS_HEADER
from wheatear.count_report import write_report
from wheatear.count_settings import Settings, places_of
from wheatear.detections import HEADER, Detections
from wheatear.detector import Card
from wheatear.errors import InputError
from wheatear.exports import EXPORTS, open_export
from wheatear.files import refuse_foreign
from wheatear.folders import FOLDERS, FOLDERS_HEADER, Folder, by_folder, folder_rows
from wheatear.photo_names import (
    BOXES_MAP,
    COUNTS,
    DENSITY_MAP,
    HEADS_MAP,
    MAPS,
    PICTURES,
    PLOTS_MAP,
    Photo,
    are_results,
    common_folder,
    is_of_page,
)
from wheatear.tables import rows_so_far, table

if TYPE_CHECKING:  # it needs the extra `geo`
    from wheatear.plots import Plots

REPORT = "report.html"
NAMED = 5  # plots in a message
MAP_ENDINGS = ("", HEADS_MAP, BOXES_MAP, DENSITY_MAP, PLOTS_MAP)


def refuse_foreign_count(out: Path, photos: Sequence[Photo], drawn: bool, files: Sequence[str]) -> None:
    """InputError if OUT has a file that a run would overwrite but no count's tables beside it: it is not ours.

    The same applies to a table saved by the browser page, to one whose columns were changed, and to a folder
    where a file is to be written. drawn: whether the run draws pictures. files: the others that it writes.
    """
    if folders := [out / name for name in files if (out / name).is_dir() and Path(name).suffix]:
        raise InputError(f"{folders[0]}: is a folder; move it away, or name another folder for --out")
    if is_of_page(out / COUNTS):
        whose = "was saved by the page in a browser, and may hold work by hand"
        raise InputError(f"{out / COUNTS}: {whose}; move it away, or name another folder for --out")
    if are_results(out):
        if (lost := out / COUNTS).is_file() and not _is_as_written(lost):
            whose = "has other columns than a count writes, so maybe work by hand"
            raise InputError(f"{lost}: {whose}; move it away, or name another folder for --out")
        return
    pictures = [f"{PICTURES}/{photo.picture}" for photo in photos if drawn]
    there = [name for name in (*files, *pictures) if (out / name).is_file()]
    there += [f"{MAPS}/{place}" for place in sorted(_places(out / MAPS) & _maps_of(photos))]
    refuse_foreign([out / name for name in there], "count's tables")


def _is_as_written(counts: Path) -> bool:
    """Whether a table of counts has the columns that a run writes; changes in its values cannot be recognised."""
    with counts.open(encoding="utf-8", errors="replace") as text:
        return text.readline().rstrip("\r\n") == ",".join(COUNTS_HEADER)


def refuse_older(out: Path, formats: Iterable[str]) -> None:
    """InputError if OUT has a format's folder with files in it, which would pass for those of a new run."""
    for name in formats:
        place = out / EXPORTS[name][0]
        if place.is_dir() and any(place.iterdir()):
            raise InputError(f"{place}: holds files already; move it away, or name another folder for --out")


def older_files(out: Path, written: Iterable[str], has_plots: bool, has_report: bool) -> list[str]:
    """The files and folders in OUT from an earlier run that a new run with these formats will not write again.

    has_plots, has_report: whether the new run writes plots.csv and report.html.
    """
    kept = {place for place, _ in EXPORTS.values()} | {PLOTS, REPORT}
    kept -= {EXPORTS[name][0] for name in written}
    kept -= {name for name, again in ((PLOTS, has_plots), (REPORT, has_report)) if again}
    return sorted(name for name in kept if (out / name).exists())


def older_pictures(out: Path, photos: Sequence[Photo], drawn: bool) -> list[str]:
    """The folders in OUT with pictures or maps from an earlier run that a new run of these photos will not draw again.

    drawn: whether the new run draws pictures at all.
    """
    pictures = {_place(photo) for photo in photos if drawn}
    kept = {PICTURES: pictures, MAPS: _maps_of(photos)}
    return [name for name, mine in kept.items() if not _places(out / name) <= mine]


def may_be_map(file: Path, out: Path, photos: Sequence[Photo]) -> bool:
    """Whether a file has the place of a GeoPackage in OUT that a run writes if these photos are GeoTIFFs."""
    maps, place = (out / MAPS).resolve(), file.resolve()
    if place.suffix != ".gpkg" or not place.is_relative_to(maps):
        return False
    return str(place.relative_to(maps).with_suffix("")) in _maps_of(photos)


def _place(photo: Photo) -> str:
    return str(PurePath(photo.picture).with_suffix(""))


def _maps_of(photos: Sequence[Photo]) -> set[str]:
    """The paths of the photos' maps if they were GeoTIFFs, below MAPS and without extensions."""
    return {_place(photo) + ending for photo in photos for ending in MAP_ENDINGS}


def _places(folder: Path) -> set[str]:
    """The files in a folder and its subfolders, relative to it and without extensions."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder).with_suffix("")) for file in files}


def write_folders(out: Path, photos: Sequence[Photo]) -> dict[str, Folder]:
    """Write OUT/folders.csv for all photos in OUT's counts -> the folders; InputError if the counts are not numbers.

    photos: those of this run; OUT's settings tell where the others lie.
    """
    places = _whereabouts(out, photos)
    try:
        folders = by_folder(_rows(out / COUNTS, COUNTS_HEADER), places)
    except ValueError as error:
        wrong = f"holds something other than numbers ({error}); count again without --resume"
        raise InputError(f"{out / COUNTS}: {wrong}") from error
    with table(out / FOLDERS, FOLDERS_HEADER) as write:
        write(folder_rows(folders))
    return folders


def _whereabouts(out: Path, photos: Sequence[Photo]) -> dict[str, Path]:
    """Where the photos in OUT's tables lie, by name, those of an earlier run in the same folders as those of this one.

    Settings have places without links: their folders go by the paths given now or, if one of them is not among
    these, all go without links.
    """
    places = {photo.name: photo.path for photo in photos}
    before = {name: path for name, path in places_of(out).items() if name not in places}
    resolved = cache(os.path.realpath)
    given = {resolved(path.parent): path.parent for path in places.values()} if before else {}
    if all(resolved(path.parent) in given for path in before.values()):
        return places | {name: given[resolved(path.parent)] / path.name for name, path in before.items()}
    return {name: Path(resolved(path.parent), path.name) for name, path in (before | places).items()}


def write_formats(out: Path, formats: Sequence[str]) -> None:
    """Write OUT's tables in each of the formats (names in EXPORTS), in one pass.

    Memory does not grow with the number of heads. Coordinates are those of detections.csv, to 0.01 pixel.
    InputError if the tables do not match.
    """
    if not formats:
        return
    with ExitStack() as stack:
        adds = [stack.enter_context(open_export(name, out)) for name in dict.fromkeys(formats)]
        for name, detections in counted_heads(out):
            for add in adds:
                add(name, detections)


def counted_heads(out: Path) -> Iterator[tuple[str, Detections]]:
    """Each photo in OUT's tables with its heads and size, in the tables' order; InputError if they do not match."""
    heads = rows_so_far(out / DETECTIONS, HEADER)
    for row in _rows(out / COUNTS, COUNTS_HEADER):
        try:
            found = _detections(row, heads)
        except ValueError as error:
            wrong = f"its rows are not the heads of {row['image']} in {COUNTS}"
            raise InputError(f"{out / DETECTIONS}: {wrong}; count again without --resume") from error
        yield row["image"], found


def _detections(row: Mapping[str, str], heads: Iterator[Sequence[str]]) -> Detections:
    """The next heads, as many as the row of counts.csv has; ValueError if they are another photo's."""
    mine = list(islice(heads, int(row["heads"])))
    if [name for name, *_ in mine] != [row["image"]] * int(row["heads"]):
        raise ValueError("the heads of another photo")
    numbers = np.array([fields[1:] for fields in mine], np.float64).reshape(-1, 5)
    return Detections(numbers[:, :4], numbers[:, 4], int(row["height"]), int(row["width"]))


def write_page(
    out: Path,
    photos: Sequence[Photo],
    card: Card,
    settings: Settings,
    errors: Sequence[str],
    remarks: Sequence[str],
    drawn: bool,
) -> None:
    """Write OUT/report.html for all photos in OUT's tables; those not among `photos` have no picture.

    drawn: whether the pictures in OUT are of this count, not of an earlier one.
    """
    pictures = {photo.name: out / PICTURES / photo.picture for photo in photos if drawn}
    shown: dict[str, object] = {"date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")}
    shown |= {name: value for name, value in settings.items() if value is not None}
    if not (out / MAPS).exists():
        del shown["cell_m"]
    folder = Path(common_folder(os.path.dirname(os.path.abspath(photo.path)) for photo in photos)).name
    title = f"Wheat heads in {folder}" if folder else "Wheat heads"
    # A table of plots left by an earlier run into OUT is no result of a run that was not given plots.
    plots = plots_counted(out) if settings["plots"] else []
    counts = list(_rows(out / COUNTS, COUNTS_HEADER))
    folders = list(_rows(out / FOLDERS, FOLDERS_HEADER))
    write_report(out / REPORT, counts, pictures, card, shown, errors, folders, plots, remarks, title)


def plots_counted(out: Path) -> list[dict[str, str]]:
    """The rows of OUT/plots.csv, by column."""
    return list(_rows(out / PLOTS, PLOTS_HEADER))


def remarks(out: Path, plots: "Plots | None", frame_m: float | None) -> list[str]:
    """Remarks that follow from all of OUT's tables and not from a single photo, one line each.

    plots: if given, those that lie on no image. frame_m: if given, photos of the same size of which some are
    upright and some on their side.
    """
    lines = []
    if plots is not None:
        seen = {row["plot"] for row in _rows(out / PLOTS, PLOTS_HEADER)}
        if 0 < (lacking := sum(name not in seen for name in plots.names)) < len(plots.names):
            some = [name for name in plots.names if name not in seen][:NAMED]
            named = ", ".join(some) + (", …" if lacking > NAMED else "")
            lines.append(f"{plots.path}: {lacking:,} of {len(plots.names):,} plots lie on no image: {named}")
    if frame_m is not None:
        sizes = Counter((row["width"], row["height"]) for row in _rows(out / COUNTS, COUNTS_HEADER))
        for (width, height), upright in sizes.items():
            if int(width) < int(height) and (flat := sizes[height, width]):
                sides = f"{width} × {height} px: {upright:,} upright, {flat:,} on their side"
                doubt = "--frame is the width of each as it lies: use --gsd, or count them separately"
                lines.append(f"photos of {sides}; {doubt}")
    return lines


def _rows(path: Path, header: Sequence[str]) -> Iterator[dict[str, str]]:
    for row in rows_so_far(path, header):
        yield dict(zip(header, row, strict=True))
