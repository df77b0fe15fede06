"""The labels of a photo as read from files, and what the readers of all formats share."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from wheatear.errors import InputError
from wheatear.images import find_photos, is_found
from wheatear.photo_names import MAPS, PICTURES, are_results
from wheatear.words import composed, first_of

Box = tuple[float, float, float, float]

Size = tuple[int, int]

UNKNOWN: Size = (0, 0)
HEAD = "wheat head"  # the name of the only class, in formats that name classes
SPLITS = ("train", "val", "test", "")
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "test": "test"}
# Folders of DIR in which COCO, YOLO and VOC have their photos, or folders of these.
PHOTO_FOLDERS = ("images", "JPEGImages", *SPLIT_NAMES)

# Output of a count that could be mistaken for photos or labels; see exports.EXPORTS, which imports the formats.
FOLDERS_OF_A_COUNT, COCO_OF_A_COUNT = (PICTURES, MAPS, "yolo", "voc"), "detections.coco.json"
# A message names this many of the missing photos: enough to see the pattern, and still one line.
NAMED_AT_MOST = 3
BEYOND = 1e9  # pixels; no photo is as large, and the square of it is still finite in float32


@dataclass
class Labels:
    """The labels of one photo; `line` is where the file first names it, `size` its width and height.

    boxes: xyxy pixels. rows: of the same length, as in `Sample`.
    """

    line: int = 0
    source: str = ""
    session: str = ""
    split: str = ""
    boxes: list[Box] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    size: Size = UNKNOWN


class Labelled(NamedTuple):
    """A folder as read in one format: all its photos, and the labels of those that have any, by name."""

    photos: dict[str, Path]
    labels: dict[str, Labels]


def photos_in(folder: Path, needed_by: str) -> dict[str, Path]:
    """The photos directly in a folder, by name; InputError if the folder does not exist."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the photos that {needed_by} names belong there")
    return by_name(path for path in sorted(folder.iterdir()) if is_found(path.name))


def photos_below(folder: Path) -> list[Path]:
    """The photos in a folder and all below it, except those that `wheatear count` drew there.

    Links to folders are followed if they are PHOTO_FOLDERS or lie in one; others may lead anywhere.
    """
    links = linked([folder / name for name in PHOTO_FOLDERS])
    return without_counts(find_photos([*links, folder]), folder)


def linked(folders: Sequence[Path]) -> list[Path]:
    """Which of these folders are links, and which links in them lead elsewhere (`_leads_away`)."""
    inner = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if _leads_away(path)]
    return [*filter(_is_linked, folders), *inner]


def _is_linked(folder: Path) -> bool:
    return folder.is_symlink() and folder.is_dir()


def _leads_away(path: Path) -> bool:
    """Whether it is a link, not a hidden one, to a folder that is not in its own folder, and so not found anyway."""
    is_seen = not path.name.startswith(".") and _is_linked(path)
    return is_seen and not path.resolve().is_relative_to(path.parent.resolve())


def by_name(paths: Iterable[Path], labelled: Container[str] | None = None) -> dict[str, Path]:
    """Files by the name that the formats use for a photo, without extension; InputError if two share it.

    labelled: the names that matter, None for all. A folder that is searched with all its subfolders may hold
    other pictures, such as the plots of a run, RUN/STAGE/history.png; of those that share a name the first is
    taken.
    """
    files: dict[str, Path] = {}
    for path in paths:
        name = composed(path.stem)
        if (first := files.setdefault(name, path)) != path and (labelled is None or name in labelled):
            raise InputError(f"{first} and {path} share a name; rename one")
    return files


def shown(paths: Iterable[Path], folder: Path) -> list[Path]:
    """The files found in a data set's folder without the hidden ones, as Macs leave them beside every file."""
    return [
        path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def without_counts(paths: Iterable[Path], folder: Path) -> list[Path]:
    """The files found in a data set's folder, except those that `wheatear count` wrote into it or anywhere below.

    A COCO file in the folder itself stays, as there is no telling whose it is.
    """
    known = cache(are_results)

    def is_written(place: Path) -> bool:
        holder = place.parent
        if place.name in FOLDERS_OF_A_COUNT:
            return holder.is_relative_to(folder) and known(holder)
        return place.name == COCO_OF_A_COUNT and folder in holder.parents and known(holder)

    return [path for path in paths if not any(map(is_written, (path, *path.parents)))]


def split_of(photo: Path) -> str:
    """The split that a folder of a photo's path, relative to its data set, is named after; "" if none is."""
    return next((SPLIT_NAMES[part] for part in photo.parts[:-1] if part in SPLIT_NAMES), "")


def parse_box(words: Iterable[str], place: str, form: str) -> Box:
    """Four numbers; InputError, naming the place and the expected form, for anything else."""
    words = list(words)
    try:
        a, b, c, d = map(float, words)
        if all(abs(number) < BEYOND for number in (a, b, c, d)):  # False for nan
            return a, b, c, d
    except ValueError:
        pass
    raise InputError(f"{place}: {' '.join(words)!r} is no box; write it as {form!r}")


def parse_size(width: str, height: str) -> Size:
    """The size of a photo as given by its labels; UNKNOWN if they give none, or one that makes no sense."""
    try:
        size = int(float(width)), int(float(height))
    except (ValueError, OverflowError):
        return UNKNOWN
    return size if min(size) > 0 else UNKNOWN


def refuse_missing(file: str, lines: Mapping[str, int], photos: Container[str]) -> None:
    """InputError for names that are not among the photos; each has its line, 0 for none."""
    missing = [
        f"{name} (line {line})" if line else name for name, line in lines.items() if name not in photos
    ]
    if missing:
        raise InputError(f"{file}: no photo for {first_of(missing, NAMED_AT_MOST)}; add or unlist them")


def refuse_second(file: Path, line: int, name: str, first: int) -> None:
    """InputError if a photo's line is not its first, in a file with one line per photo."""
    if line != first:
        raise InputError(f"{file}, line {line}: {name} is on line {first} already; keep one")


def refuse_classes(folder: Path, classes: Iterable[str]) -> None:
    """InputError if boxes are of more than one class, as it is unknown which are the heads."""
    names = sorted(set(classes))
    if len(names) > 1:
        named = ", ".join(names[:NAMED_AT_MOST])
        raise InputError(f"{folder}: {len(names)} classes of boxes ({named}); keep that of the heads alone")


def decimal(value: float) -> str:
    """A coordinate to 0.001 pixel; whole numbers without a decimal point, as some readers accept nothing else."""
    rounded = round(float(value), 3) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:.3f}".rstrip("0").rstrip(".")
