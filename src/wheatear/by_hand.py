"""A score threshold for one's own field, from some of its photos whose heads somebody counted.

In a field that a detector has not seen it finds too many heads or too few, all over the field. A few numbers tell
which, and no boxes are wanted.
"""

import math
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from wheatear.data.tables import read_table, require
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.evaluation import SCORE_THRESHOLDS
from wheatear.images import is_found
from wheatear.photo_names import Photo
from wheatear.sized import HeadPx, detect_in_file

COLUMNS = ("image", "heads")
DIGITS = 6  # of the heads in a photo, at most
OWN_WORTH = 2  # photos counted by hand, that the detector's own threshold weighs as much as
# By how much a count that was fitted must miss the numbers to be called off: of the heads, and heads a photo.
STILL_OFF, STILL_OFF_HEADS = 0.15, 2


class ByHand(NamedTuple):
    """threshold: of scores, of two decimals. photos: those counted by hand. heads, found, found_now: how many they
    have together by hand, at the detector's own threshold and at this one."""

    threshold: float
    photos: int
    heads: int
    found: int
    found_now: int

    def is_still_off(self) -> bool:
        """Whether the threshold does not make up for what the detector misses here, or finds too much."""
        return abs(self.found_now - self.heads) > max(STILL_OFF * self.heads, STILL_OFF_HEADS * self.photos)


def read_by_hand(file: Path, photos: Sequence[Photo]) -> dict[Photo, int]:
    """The heads of the photos that a csv has rows of, whose columns are COLUMNS, in whatever capitals, and any others.

    image: a photo's name in the tables of a count, or the end of its path, from the file's name alone on, where no
    other has it; if there is none, in whatever capitals, with or without its ending, and with Windows' \\ for /. Rows
    with "no" in a column "checked", as the page in a browser writes it, are left out.
    InputError, with the row, for one that is no photo of these, is there twice, or whose heads are no whole number; and
    for none at all.
    """
    header, table = read_table(file)
    require(file, [name.lower() for name in header], *COLUMNS)
    rows = [(line, {name.lower(): value for name, value in row.items()}) for line, row in table]
    names = {_composed(photo.name): photo for photo in photos}
    files, loosely = defaultdict[str, list[Photo]](list), defaultdict[str, list[Photo]](list)
    for photo in photos:
        files[_composed(photo.path.name)].append(photo)
        loosely[_loose(photo.path.name)].append(photo)
    counted: dict[Photo, int] = {}
    for line, row in rows:
        if row.get("checked") == "no":
            continue
        place, image = f"{file}, line {line}", _composed(row["image"])
        known = [names[image]] if image in names else _ending_in(image, files, _composed)
        known = known or _ending_in(image.replace("\\", "/"), loosely, _loose)
        if len(known) != 1:
            problem = (
                "several photos have that name; give"
                if known
                else "is no photo of those given; take it out, or give"
            )
            raise InputError(f"{place}: '{image}': {problem} its path below the folder")
        (photo,) = known
        if photo in counted:
            raise InputError(f"{place}: '{image}' is there twice; keep one row")
        heads = _count(row["heads"])
        if heads is None:
            raise InputError(
                f"{place}: '{row['heads']}' is no number of heads; count them, or take the row out"
            )
        counted[photo] = heads
    if not counted:
        what = "no photo is checked in it" if rows else "has no rows"
        raise InputError(f"{file}: {what}; count the heads of some of the photos, best of five or more")
    return counted


def _composed(name: str) -> str:
    """A name with its accents as most systems write them: Macs keep letter and accent apart."""
    return unicodedata.normalize("NFC", name)


def _loose(name: str) -> str:
    """A name without the ending of a photo and its capitals."""
    composed = _composed(name)
    return (PurePosixPath(composed).stem if is_found(composed) else composed).casefold()


def _ending_in(image: str, files: Mapping[str, Sequence[Photo]], like: Callable[[str], str]) -> list[Photo]:
    """The photos whose paths end like this; files: all of them, by their files' names, these as `like` has them."""
    parts = [like(part) for part in PurePosixPath(image).parts]
    return [
        photo
        for photo in files.get(parts[-1] if parts else "", ())
        if [like(part) for part in Path(os.path.abspath(photo.path)).parts[-len(parts) :]] == parts
    ]


def _count(text: str) -> int | None:
    """A whole number, which spreadsheets may write with a point or comma and zeros; None for anything else."""
    whole, _, rest = text.strip().replace(",", ".").partition(".")
    return int(whole) if whole.isdecimal() and len(whole) <= DIGITS and rest in ("", "0", "00") else None


def fit_threshold(detector: Detector, counted: dict[Photo, int], head_px: HeadPx = None) -> ByHand:
    """threshold_for the photos of a field that were counted by hand, after a look at them.

    head_px: as in detect_sized. InputError for a photo that cannot be read or run.
    """
    own, floor = detector.card.threshold_to_count(), detector.card.score_floor
    looks = [detect_in_file(detector, photo.path, floor, head_px).heads for photo in counted]
    scores = np.concatenate([look.scores for look in looks])
    heads, photos = sum(counted.values()), len(counted)
    threshold = threshold_for(scores, heads, photos, own, floor)
    found, found_now = (sum(len(look.above(at)) for look in looks) for at in (own, threshold))
    return ByHand(threshold, photos, heads, found, found_now)


def thresholds_from(floor: float) -> np.ndarray:
    """The score thresholds that one for a field is looked for among, (T,), rising; none below floor."""
    return SCORE_THRESHOLDS[floor <= SCORE_THRESHOLDS]


def threshold_for(scores: np.ndarray, heads: int, photos: int, own: float, floor: float) -> float:
    """The score threshold, of two decimals, for a field by some photos with so many heads together.

    That at which as many of their scores (N,) count, as far as there is one, drawn to the detector's own as if
    OWN_WORTH photos more had spoken for it. None below floor, under which the detector gives no scores.
    """
    candidates = thresholds_from(floor)
    found = (scores >= candidates[:, None].astype(np.float32)).sum(1)
    best = candidates[np.lexsort((abs(candidates - own), abs(found - heads)))[0]]
    # Halves go up, as in the page's code, which must come to the same.
    return math.floor(100 * float(own + (best - own) * photos / (photos + OWN_WORTH)) + 0.5) / 100
