"""Labelled photos in any of five formats, read into Samples and written again.

Each format has its own module: kaggle, gwhd, coco, yolo, voc. Any of them may come with an images.csv, which
`wheatear data split` and `write_dataset` write, so that no format loses what it has no place for:
    DIR/images.csv          image_id, source, session, photo, split

The readers take the labels as they are: boxes outside the photo and duplicate rows are left to `check`.
"""

import shutil
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np

from wheatear.csv_files import read_table, require
from wheatear.data import coco, gwhd, kaggle, voc, yolo
from wheatear.data.labels import SPLITS, Labelled, Labels, refuse_missing, refuse_second
from wheatear.data.sample import Sample
from wheatear.data.splits import COLUMNS, write_images_csv
from wheatear.errors import InputError, refuse_name
from wheatear.images import photo_size

IMAGES_CSV = "images.csv"


class Format(Protocol):
    """The functions that a format's module provides.

    is_here: whether a folder holds its labels. read: the folder's photos and labels; InputError if they break
    the format. place: a photo's path relative to the folder. write: write the labels into an existing folder.
    """

    def is_here(self, folder: Path) -> bool: ...
    def read(self, folder: Path) -> Labelled: ...
    def place(self, sample: Sample) -> PurePath: ...
    def write(self, samples: Sequence[Sample], folder: Path) -> None: ...


# A folder with labels in several formats is read in the first of these.
FORMATS: dict[str, Format] = {"kaggle": kaggle, "gwhd": gwhd, "coco": coco, "yolo": yolo, "voc": voc}


def read_dataset(
    folder: str | Path, labels: str | Path | None = None, images: str | Path | None = None
) -> list[Sample]:
    """Read every labelled photo of a folder in any of FORMATS, sorted by name.

    labels: another csv, Kaggle's (a submission too) or GWHD 2021's, whose boxes replace the folder's own for
    the photos it names; the others keep theirs, as a relabelling often covers only some of the photos.
    images: another images.csv, used instead of the folder's own.
    A photo that no line of a Kaggle csv names, or that has no text file in a YOLO folder, has no heads: its
    boxes are (0, 4). In the other formats a photo that is not named is unlabelled, and left out. Width and
    height are 0 if the photo cannot be read.

    Raises InputError, naming file and line, if the folder is in none of the formats, a column is missing or
    there twice, a box cannot be parsed, a line names a photo that does not exist, a photo is on two lines of
    a file with one line per photo, or a photo's name is not valid UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    photos, known = _format_of(folder).read(folder)
    for path in photos.values():
        refuse_name(path)
    if len({each.split for each in known.values()}) == 1:  # then the labels define no division
        for each in known.values():
            each.split = ""
    if labels is not None:
        _relabel(known, read_labels(labels, photos))
    own = folder / IMAGES_CSV
    described: dict[str, dict[str, str]] = {}
    if images is not None or own.is_file():
        described = _read_images_csv(Path(images or own), photos, "image_id", *(["split"] if images else []))
    return [_to_sample(photos[name], known[name], described.get(name, {})) for name in sorted(known)]


def read_labels(file: str | Path, photos: Container[str]) -> dict[str, Labels]:
    """The labels in a csv, Kaggle's or GWHD 2021's, by photo; InputError if a photo is not in `photos`."""
    file = Path(file)
    header, table = read_table(file)
    parse = gwhd.parse if gwhd.BOXES in header else kaggle.parse
    labels = parse(file, header, table)
    refuse_missing(str(file), {name: each.line for name, each in labels.items()}, photos)
    return labels


def names_empty_photos(file: Path) -> bool:
    """Whether a csv that `read_labels` accepts is of a kind with a line for every photo, even without heads."""
    return bool({gwhd.BOXES, kaggle.PREDICTIONS} & set(read_table(file)[0]))


def refuse_read(folder: Path, file: Path) -> None:
    """InputError for a file to be written that `read_dataset` would from then on read as one of the folder's own."""
    own = any(map(file.match, (kaggle.KAGGLE_CSV, gwhd.FILES, IMAGES_CSV)))
    if own and file.resolve().parent == folder.resolve():
        raise InputError(f"{file}: would be read as the data set's own; name another file for --out")


def write_dataset(samples: Sequence[Sample], folder: str | Path, to: str, link: bool = False) -> None:
    """Write photos and labels in one of FORMATS into a new or empty folder; the labels come last.

    Coordinates are rounded to 0.001 pixel. Source, session, photo and split go into the format's own fields,
    if it has them, and, if any is known, into images.csv. link: make symbolic links to the photos, not
    copies.

    InputError if the folder is not empty, a photo cannot be read, two share a name or copies do not fit on
    the disk; ValueError for a format or a split that does not exist.
    """
    folder = Path(folder)
    if to not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, got {to!r}")
    refuse_filled(folder)
    _refuse_unwritable(samples)
    if not link:
        refuse_full(folder, [sample.path for sample in samples])
    for sample in samples:
        _bring(sample.path, folder / FORMATS[to].place(sample), link)
    folder.mkdir(parents=True, exist_ok=True)
    if any(sample.source or sample.session or sample.photo or sample.split for sample in samples):
        write_images_csv(samples, folder / IMAGES_CSV)
    FORMATS[to].write(samples, folder)


def refuse_filled(folder: Path) -> None:
    """InputError if the folder is neither new nor empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a new or an empty folder")


def refuse_inside(source: Path, out: Path) -> None:
    """InputError if a folder to write photos into lies in the folder that they come from."""
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{out}: lies in {source}, which would have every photo twice; name a folder elsewhere"
        )


def refuse_full(folder: Path, photos: Sequence[Path]) -> None:
    """InputError if copies of these photos do not fit on the disk that the folder is, or will be, on."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    needed = sum(photo.stat().st_size for photo in photos if photo.is_file())
    free = shutil.disk_usage(there).free
    if needed >= free:
        raise InputError(
            f"{folder}: copies of the photos take {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free; "
            "give --link, or name a folder on another disk"
        )


def _format_of(folder: Path) -> Format:
    for each in FORMATS.values():
        if each.is_here(folder):
            return each
    raise InputError(
        f"{folder}: no labels here; expected train.csv (Kaggle), competition_*.csv (GWHD 2021), "
        "annotations/*.json (COCO), labels/ (YOLO) or *.xml (VOC)"
    )


def _relabel(known: dict[str, Labels], labels: Mapping[str, Labels]) -> None:
    for name, new in labels.items():
        old = known.setdefault(name, new)
        old.boxes, old.rows, old.size = new.boxes, new.rows, new.size


def _read_images_csv(file: Path, photos: Container[str], *columns: str) -> dict[str, dict[str, str]]:
    """The rows of an images.csv, which must have these columns, by photo."""
    header, table = read_table(file)
    require(file, header, *columns, optional=COLUMNS)
    lines: dict[str, int] = {}
    for line, row in table:
        name, split = row["image_id"], row.get("split", "")
        refuse_second(file, line, name, lines.setdefault(name, line))
        if split not in SPLITS:
            raise InputError(f"{file}, line {line}: no split {split!r}; write train, val, test or nothing")
    refuse_missing(str(file), lines, photos)
    return {row["image_id"]: row for _, row in table}


def _to_sample(path: Path, labels: Labels, described: Mapping[str, str]) -> Sample:
    try:
        width, height = photo_size(path)
    except InputError:
        width, height = 0, 0
    return Sample(
        path=path,
        boxes=np.array(labels.boxes, np.float32).reshape(-1, 4),
        width=width,
        height=height,
        source=described.get("source") or labels.source,
        session=described.get("session") or labels.session,
        photo=described.get("photo", ""),
        split=described.get("split") or labels.split,
        rows=np.array(labels.rows, np.int64),
        labelled_size=labels.size,
    )


def _refuse_unwritable(samples: Sequence[Sample]) -> None:
    names: dict[str, Path] = {}
    for sample in samples:
        if sample.split not in SPLITS:
            raise ValueError(f"{sample.path}: split must be train, val, test or '', got {sample.split!r}")
        if not sample.width:
            photo_size(sample.path)  # raises, and reports what is wrong with the file
        if names.setdefault(sample.name, sample.path) != sample.path:
            raise InputError(f"{sample.path}: shares its name with {names[sample.name]}; rename one")


def _bring(photo: Path, place: Path, link: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if link:
        place.symlink_to(photo.resolve())
    else:
        shutil.copyfile(photo, place)
