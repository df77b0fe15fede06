"""A score threshold for one's own field, fitted to some of its photos whose heads somebody counted.

In a field that was not part of its training, a detector finds too many heads or too few, consistently across
the field. A few counts show which; boxes are not needed.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from wheatear.csv_files import read_table, require
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.evaluation import SCORE_THRESHOLDS
from wheatear.images import is_found
from wheatear.photo_names import Photo
from wheatear.sized import HeadPx, detect_in_file
from wheatear.words import composed

COLUMNS = ("image", "heads")
DIGITS = 6  # of the number of heads in a photo, at most
OWN_WORTH = 2  # photos counted by hand: the detector's own threshold has the same weight as that many
# How far a fitted count must be from the count by hand to be reported: a share of the heads, and heads per photo.
STILL_OFF, STILL_OFF_HEADS = 0.15, 2


class ByHand(NamedTuple):
    """A score threshold, of two decimals, and the photos counted by hand that it was fitted to.

    photos: their number. heads, found, found_now: the heads in all of them together, by hand, at the
    detector's own threshold and at this one.
    """

    threshold: float
    photos: int
    heads: int
    found: int
    found_now: int

    def is_still_off(self) -> bool:
        """Whether the count at this threshold is still too far from the count by hand, below or above."""
        return abs(self.found_now - self.heads) > max(STILL_OFF * self.heads, STILL_OFF_HEADS * self.photos)


def read_by_hand(file: Path, photos: Sequence[Photo]) -> dict[Photo, int]:
    """Read counts by hand from a csv -> heads by photo; it must have the columns COLUMNS, in any case.

    image: a photo's name in the tables of a count, or the end of its path, from the file name alone up, if
    only one photo has it; if none does, the same in any case, with or without its extension, and with
    Windows' \\ for /. Rows without heads, and those with "no" in a column "checked", as the browser page writes
    it, are skipped; other columns are ignored.
    InputError, with the line, for a row whose image matches none of the photos, several or one that already
    has a row, or whose heads are not a whole number; and if no row is left.
    """
    header, rows = read_table(file, lower=True)
    require(file, header, *COLUMNS, optional=["checked"])
    names = {composed(photo.name): photo for photo in photos}
    files, loosely = defaultdict[str, list[Photo]](list), defaultdict[str, list[Photo]](list)
    for photo in photos:
        files[composed(photo.path.name)].append(photo)
        loosely[_loose(photo.path.name)].append(photo)
    counted: dict[Photo, int] = {}
    for line, row in rows:
        if row.get("checked") == "no" or not row["heads"].strip():
            continue
        place, image = f"{file}, line {line}", row["image"]
        known = _exactly(image, names, files)
        if not known:
            image = image.strip()
            known = _exactly(image, names, files) or _ending_in(image.replace("\\", "/"), loosely, _loose)
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
        what = "no photo is checked and has heads in it" if rows else "has no rows"
        raise InputError(f"{file}: {what}; count the heads of some of the photos, best of five or more")
    return counted


def _loose(name: str) -> str:
    """A name without the extension of a photo, case-folded."""
    name = composed(name)
    return (PurePosixPath(name).stem if is_found(name) else name).casefold()


def _exactly(image: str, names: Mapping[str, Photo], files: Mapping[str, Sequence[Photo]]) -> list[Photo]:
    """The photo named `image`, or those whose paths end in it; files: as in `_ending_in`."""
    return [names[image]] if image in names else _ending_in(image, files, composed)


def _ending_in(image: str, files: Mapping[str, Sequence[Photo]], like: Callable[[str], str]) -> list[Photo]:
    """The photos whose paths end like `image`; files: all photos by file name, names converted by `like`."""
    parts = [like(part) for part in PurePosixPath(image).parts]
    return [
        photo
        for photo in files.get(parts[-1] if parts else "", ())
        if [like(part) for part in Path(os.path.abspath(photo.path)).parts[-len(parts) :]] == parts
    ]


def _count(text: str) -> int | None:
    """A whole number of up to DIGITS digits, which may end in .0 or ,00 as in spreadsheets; None for anything else."""
    whole, _, rest = text.strip().replace(",", ".").partition(".")
    return int(whole) if whole.isdecimal() and len(whole) <= DIGITS and rest in ("", "0", "00") else None


def fit_threshold(
    detector: Detector,
    counted: Mapping[Photo, int],
    head_px: HeadPx = None,
    watched: Callable[[list[Photo]], Iterable[Photo]] = iter,
) -> ByHand:
    """threshold_for the photos of a field that were counted by hand, once the detector has run on them.

    head_px: as in detect_sized. watched: goes through the photos, and may show how far it is. InputError for a
    photo that cannot be read or on which the model fails.
    """
    own, floor = detector.card.threshold_to_count(), detector.card.score_floor
    looks = [detect_in_file(detector, photo.path, floor, head_px).heads for photo in watched(list(counted))]
    scores = np.concatenate([look.scores for look in looks])
    heads, photos = sum(counted.values()), len(counted)
    threshold = threshold_for(scores, heads, photos, own, floor)
    found, found_now = (sum(len(look.above(at)) for look in looks) for at in (own, threshold))
    return ByHand(threshold, photos, heads, found, found_now)


def thresholds_from(floor: float) -> np.ndarray:
    """The score thresholds among which one for a field is searched, (T,), ascending; none below floor."""
    return SCORE_THRESHOLDS[floor <= SCORE_THRESHOLDS]


def threshold_for(scores: np.ndarray, heads: int, photos: int, own: float, floor: float) -> float:
    """The score threshold, of two decimals, for a field, given some of its photos and their heads in total.

    It is the one at which the number of their scores (N,) that count comes closest to heads, pulled towards
    the detector's own as if OWN_WORTH further photos supported that. None below floor is considered, as the
    detector returns no scores there.
    """
    candidates = thresholds_from(floor)
    found = (scores >= candidates[:, None].astype(np.float32)).sum(1)
    best = candidates[np.lexsort((abs(candidates - own), abs(found - heads)))[0]]
    # Halves are rounded up, as in the code of the browser page, which must give the same result.
    return math.floor(100 * float(own + (best - own) * photos / (photos + OWN_WORTH)) + 0.5) / 100
