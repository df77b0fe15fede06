"""Which photos to count, and what each is called in the tables."""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from wheatear.files import part_of
from wheatear.images import find_photos, is_found

# The results of a run, below OUT.
COUNTS, SETTINGS = "counts.csv", "settings.json"
PICTURES, MAPS = "annotated", "maps"
# What is added to the name of a photo's GeoPackage of heads for the names of its other maps.
HEADS_MAP, BOXES_MAP, DENSITY_MAP, PLOTS_MAP = "_heads", "_boxes", "_density", "_plots"
MOST = 1000  # characters from the start of a file, which include a table's header and the settings' model
HEADER_START = "image,heads,"  # of COUNTS
# Further columns of a COUNTS that the browser page saved; the first three identify such a table.
PAGE_COLUMNS = ("removed", "added", "checked", "threshold", "model")
MODEL_KEY = "model_sha256"  # of SETTINGS


@dataclass(frozen=True)
class Photo:
    """A photo to count: its file, its name in the tables and that of its annotated picture, each unique."""

    path: Path
    name: str
    picture: str


def each_once(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The inputs without those that repeat a file or folder, even through a link; and all that were repeated.

    A file in a folder that is given too is among the latter but also stays in the former: name_photos takes
    it once.
    """
    places: dict[str, Path] = {}
    again: list[Path] = []
    for path in inputs:
        if (place := os.path.realpath(path)) in places:
            again.append(path)
        places.setdefault(place, path)
    once = list(places.values())
    folders = {os.path.abspath(path) for path in once if path.is_dir()}
    again += [path for path in once if _is_searched(path, folders)]
    return once, again


def _is_searched(path: Path, folders: Container[str]) -> bool:
    """Whether a search of one of these folders comes to a path, which it does not by way of hidden or linked ones."""
    place = Path(os.path.abspath(path))
    if not (place.is_dir() or is_found(place.name)):
        return False
    for step in (place, *place.parents):
        if step != place and str(step) in folders:
            return True
        if step.is_dir() and (step.name.startswith(".") or step.is_symlink()):
            return False
    return False


def name_photos(inputs: Sequence[Path]) -> list[Photo]:
    """The photos at these files and folders with their names, in find_photos' order, except those drawn by a count."""
    return named(undrawn(inputs)[0], inputs)


def undrawn(inputs: Sequence[Path]) -> tuple[list[Path], int]:
    """The photos at these files and folders, sorted, and how many more a count drew."""
    known = cache(are_results)
    found = find_photos(inputs)
    photos = [photo for photo in found if not _was_drawn(photo, known)]
    return photos, len(found) - len(photos)


def named(photos: Sequence[Path], inputs: Sequence[Path]) -> list[Photo]:
    """Photos that were found at these files and folders, in their order, with their names; [] if there are none.

    A photo is named relative to the folder it was found in, a file given by itself without its folder. If two
    photos would have the same name, be it only on disks that ignore case, all are named relative to the folder that
    contains all of them.
    """
    paths = [os.path.abspath(photo) for photo in photos]
    folders = {
        os.path.abspath(path): place for place, path in reversed([*enumerate(inputs)]) if path.is_dir()
    }
    common = common_folder(map(os.path.dirname, paths))
    names = [_short_name(path, folders) for path in paths]
    if _clashing(names):
        names = [way(path, common) for path in paths]
    places = _places([str(PurePath(name).with_suffix("")) for name in names], names)
    return [Photo(*photo) for photo in zip(photos, names, [f"{place}.jpg" for place in places], strict=True)]


def common_folder(folders: Iterable[str]) -> str:
    """The folder that contains all these absolute paths; "" if there is none, as for two drives on Windows."""
    with suppress(ValueError):
        return os.path.commonpath(list(folders))
    return ""


def way(path: str, folder: str) -> str:
    """An absolute path relative to a folder from common_folder; from its drive on if that is ""."""
    from_there = os.path.relpath(path, folder) if folder else path.replace(":", "", 1).lstrip("\\/")
    return PurePath(from_there).as_posix()


def _was_drawn(photo: Path, known: Callable[[Path], bool]) -> bool:
    """Whether a photo lies in a run's pictures or is one of its maps of density, beside its counts or settings.

    Orthomosaics may lie in a folder of the user's own that is called maps, too.
    """
    drawn_in = (PICTURES, MAPS) if photo.stem.endswith(DENSITY_MAP) else (PICTURES,)
    folders = Path(os.path.realpath(photo)).parents
    return any(folder.name in drawn_in and known(folder.parent) for folder in folders)


def are_results(folder: Path) -> bool:
    """Whether a folder contains a count's table or settings, and not the user's own files of these names.

    A table that the browser page saved is the user's own. A first run that was stopped is recognised by its
    settings alone.
    """
    counts, settings = folder / COUNTS, folder / SETTINGS
    if holds(counts, HEADER_START) and not is_of_page(counts):
        return True
    return any(holds(file, f'"{MODEL_KEY}"') for file in (settings, part_of(settings)))


def is_of_page(counts: Path) -> bool:
    """Whether a table of counts was saved by the browser page, so that it may contain work by hand."""
    return holds(counts, ",".join(("", *PAGE_COLUMNS[:3])))


def holds(file: Path, words: str) -> bool:
    """Whether some words are in a file's first MOST characters; False if it does not exist or cannot be read."""
    with suppress(OSError), file.open(encoding="utf-8", errors="replace") as text:
        return words in text.read(MOST)
    return False


def _places(short: list[str], long: list[str]) -> list[str]:
    """The names of pictures and maps, without extension; unique on disks that ignore case.

    They are the short names, but the long ones for photos whose short names are equal, or would be with the
    ending of a map.
    """
    clashing = _clashing(short, PLOTS_MAP)
    mixed = [long[i] if name.casefold() in clashing else name for i, name in enumerate(short)]
    return mixed if not _clashing(mixed, PLOTS_MAP) else long


def _clashing(names: list[str], ending: str = "") -> set[str]:
    """The names, case-folded, that occur more than once, or that are another one with this ending."""
    folded = Counter(name.casefold() for name in names)
    twice = {name for name, times in folded.items() if times > 1}
    return twice | {name + ending for name in folded if ending and name + ending in folded}


def _short_name(path: str, folders: Mapping[str, int]) -> str:
    """The photo's path relative to the first of the folders, by their places in a list, that contains it."""
    holders = [str(folder) for folder in PurePath(path).parents if str(folder) in folders]
    return way(path, min(holders, key=folders.__getitem__, default=os.path.dirname(path)))
