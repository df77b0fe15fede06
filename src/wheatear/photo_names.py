"""Which photos to count, and what each is called in the tables."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from wheatear.files import part_of
from wheatear.images import find_photos, is_found

# The results of a run, below OUT.
COUNTS, SETTINGS = "counts.csv", "settings.json"
PICTURES, MAPS = "annotated", "maps"
# What the names of a photo's maps have more than that of its GeoPackage of heads.
HEADS_MAP, BOXES_MAP, DENSITY_MAP, PLOTS_MAP = "_heads", "_boxes", "_density", "_plots"
MOST = 1000  # characters, in which a table has its header and the settings their model
HEADER_START = "image,heads,"  # of COUNTS
# That COUNTS has more where the page in a browser saved it; by the first three such a table is known.
PAGE_COLUMNS = ("removed", "added", "checked", "threshold", "model", "resized_by")
MODEL_KEY = "model_sha256"  # of SETTINGS


@dataclass(frozen=True)
class Photo:
    """A photo to count: its file, its name in the tables and its annotated picture's, each unique."""

    path: Path
    name: str
    picture: str


def each_once(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The inputs without those that name a file or folder again, be it by a link; and all that were given twice.

    A file in a folder that is given too is among the latter, but stays: name_photos takes it once.
    """
    places: dict[str, Path] = {}
    again: list[Path] = []
    for path in inputs:
        if (place := os.path.realpath(path)) in places:
            again.append(path)
        places.setdefault(place, path)
    once = list(places.values())
    folders = {os.path.abspath(path) for path in once if path.is_dir()}
    again += [
        path
        for path in once
        if folders.intersection(map(str, Path(os.path.abspath(path)).parents))
        and (path.is_dir() or is_found(path.name))
    ]
    return once, again


def name_photos(inputs: Sequence[Path], out: Path) -> list[Photo]:
    """The photos at these files and folders with their names, sorted by path, but for what a count drew: `undrawn`."""
    return named(undrawn(inputs, out)[0], inputs)


def undrawn(inputs: Sequence[Path], out: Path) -> tuple[list[Path], int]:
    """The photos at these files and folders, sorted, and how many more a run drew, into `out` or earlier elsewhere."""
    drawn = {os.path.realpath(out / folder) for folder in (PICTURES, MAPS)}
    known = cache(are_results)
    found = find_photos(inputs)
    photos = [photo for photo in found if not _was_drawn(photo, drawn, known)]
    return photos, len(found) - len(photos)


def named(photos: Sequence[Path], inputs: Sequence[Path]) -> list[Photo]:
    """Photos that were found at these files and folders, in their order, with their names; [] where there are none.

    A photo is named relative to the folder it was found in, a file given by itself is named without its
    folder. If two photos would share a name, all are named relative to the folder that holds all of them.
    """
    paths = [os.path.abspath(photo) for photo in photos]
    folders = {
        os.path.abspath(path): place for place, path in reversed([*enumerate(inputs)]) if path.is_dir()
    }
    common = common_folder(map(os.path.dirname, paths))
    short_names = [_short_name(path, folders) for path in paths]
    names = _distinct(short_names, [way(path, common) for path in paths])
    places = _places([str(PurePath(name).with_suffix("")) for name in names], names)
    return [Photo(*photo) for photo in zip(photos, names, [f"{place}.jpg" for place in places], strict=True)]


def common_folder(folders: Iterable[str]) -> str:
    """The folder in which all these absolute paths lie; "" where there is none, as Windows may have two drives."""
    with suppress(ValueError):
        return os.path.commonpath(list(folders))
    return ""


def way(path: str, folder: str) -> str:
    """An absolute path from a folder on, as common_folder gives one; from its drive on where that is ""."""
    from_there = os.path.relpath(path, folder) if folder else path.replace(":", "", 1).lstrip("\\/")
    return PurePath(from_there).as_posix()


def _was_drawn(photo: Path, drawn: set[str], known: Callable[[Path], bool]) -> bool:
    """Whether it lies in this run's pictures or maps, or in another's, which has its counts or settings beside it."""
    folders = Path(os.path.realpath(photo)).parents
    return any(
        str(folder) in drawn or (folder.name in (PICTURES, MAPS) and known(folder.parent))
        for folder in folders
    )


def are_results(folder: Path) -> bool:
    """Whether a folder holds a count's table or settings, and not files of one's own by these names.

    A table that the page in a browser saved is one's own. Of a first run that was stopped there are settings alone.
    """
    counts, settings = folder / COUNTS, folder / SETTINGS
    if holds(counts, HEADER_START) and not is_of_page(counts):
        return True
    return any(holds(file, f'"{MODEL_KEY}"') for file in (settings, part_of(settings)))


def is_of_page(counts: Path) -> bool:
    """Whether a table of counts was saved by the page in a browser, so that there may be work by hand in it."""
    return holds(counts, ",".join(("", *PAGE_COLUMNS[:3])))


def holds(file: Path, words: str) -> bool:
    """Whether a file begins with some words, within MOST characters; False where it is not there or cannot be read."""
    with suppress(OSError), file.open(encoding="utf-8", errors="replace") as text:
        return words in text.read(MOST)
    return False


def _distinct(short: list[str], long: list[str]) -> list[str]:
    """The short names if no two of them agree, on disks that do not tell capitals apart either."""
    return short if not _clashing(short) else long


def _places(short: list[str], long: list[str]) -> list[str]:
    """Those of pictures and maps: the short name but for photos whose own agree, on such disks, or would in a map's."""
    clashing = _clashing(short, PLOTS_MAP)
    mixed = [long[i] if name.casefold() in clashing else name for i, name in enumerate(short)]
    return mixed if not _clashing(mixed, PLOTS_MAP) else long


def _clashing(names: list[str], ending: str = "") -> set[str]:
    """The names, in small letters, that are there more than once, or are another with an ending."""
    folded = Counter(name.casefold() for name in names)
    twice = {name for name, times in folded.items() if times > 1}
    return twice | {name + ending for name in folded if ending and name + ending in folded}


def _short_name(path: str, folders: Mapping[str, int]) -> str:
    """The photo's way from the first of the folders, which have their places in a list, that it lies in."""
    holders = [str(folder) for folder in PurePath(path).parents if str(folder) in folders]
    return way(path, min(holders, key=folders.__getitem__, default=os.path.dirname(path)))
