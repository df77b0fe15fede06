"""The photos of each folder taken together, such as several of one plot or field: a mean with an interval.

The photos are regarded as a sample of the place. Two things make their mean uncertain: the place differs from
photo to photo, which averages out over more photos; and the detector errs, which does not, as its errors
within one field partly tend in the same direction. The first is given by Student's interval for a ratio of
sums (Cochran, Sampling Techniques, 1977, chapter 6), of heads to photos or heads to ground area; the second
by a share of the mean half-width of the photos' own intervals. The two are independent, so the half-width is
the root of the sum of their squares.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from wheatear.interval import NORMAL_95, Interval
from wheatear.photo_names import common_folder, way
from wheatear.tables import Row

FOLDERS = "folders.csv"
FOLDERS_HEADER = (
    "folder", "photos", "heads", "heads_per_photo", "heads_per_photo_low", "heads_per_photo_high",
    "area_m2", "heads_per_m2", "heads_per_m2_low", "heads_per_m2_high",
)  # fmt: skip
SHARED = 0.6  # of a photo's half-width: with it, intervals contained 95 of 100 means of unseen fields (docs/results.md)
T_95 = (12.706, 4.303, 3.182, 2.776)  # Student's t for 1 to 4 degrees of freedom; for more, a series is used


@dataclass
class Sums:
    """Sums over the photos of one place: heads, `of` (1 per photo, or its ground area), and products of both.

    margin: the half-widths of the photos' intervals in heads, added up; nan if a photo has none.
    """

    photos: int = 0
    heads: int = 0
    of: float = 0.0
    margin: float = 0.0
    heads_squared: int = 0
    heads_of: float = 0.0
    of_squared: float = 0.0

    def add(self, heads: int, of: float, margin: float) -> None:
        self.photos += 1
        self.heads += heads
        self.of += of
        self.margin += margin
        self.heads_squared += heads * heads
        self.heads_of += heads * of
        self.of_squared += of * of

    def ratio(self) -> float:
        """Heads per unit of `of`."""
        return self.heads / self.of

    def interval(self, shared: float = SHARED) -> Interval | None:
        """The interval for the place's own ratio; None for fewer than two photos or an unknown counting error."""
        if self.photos < 2 or math.isnan(self.margin):
            return None
        ratio = self.ratio()
        squares = self.heads_squared - 2 * ratio * self.heads_of + ratio**2 * self.of_squared
        error = math.sqrt(max(0.0, squares) * self.photos / (self.photos - 1)) / self.of
        half = math.hypot(student_95(self.photos - 1) * error, shared * self.margin / self.of)
        return Interval(max(0.0, ratio - half), ratio + half)


@dataclass
class Folder:
    """The photos of a folder: heads per photo and, for those that show any ground, heads per square metre.

    known: the number of photos whose ground area is known, even if it is 0.
    """

    per_photo: Sums = field(default_factory=Sums)
    per_m2: Sums = field(default_factory=Sums)
    known: int = 0

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row of counts.csv. ValueError if its values are not numbers."""
        heads = int(row["heads"])
        # The upper end, as the lower one may be cut off at 0.
        margin = float(row["heads_high"]) - heads if row["heads_high"] else math.nan
        self.per_photo.add(heads, 1, margin)
        if row["area_m2"]:
            self.known += 1
            if area := float(row["area_m2"]):
                self.per_m2.add(heads, area, margin)

    @property
    def measured(self) -> Sums:
        """The sums for heads per square metre; empty unless the ground area of all photos is known."""
        return self.per_m2 if self.known == self.per_photo.photos else Sums()

    def figures(self) -> list[str | float]:
        """The values of the columns FOLDERS_HEADER except the first."""
        photos, heads = self.per_photo.photos, self.per_photo.heads
        area = round(self.measured.of, 4) or ""
        return [photos, heads, *_three(self.per_photo), area, *_three(self.measured)]


def student_95(freedom: int) -> float:
    """Standard errors on each side that contain a mean in 95 of 100 samples, by degrees of freedom (1 or more).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, which is accurate to 0.003 here.
    """
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = NORMAL_95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def by_folder(rows: Iterable[Mapping[str, str]], places: Mapping[str, Path]) -> dict[str, Folder]:
    """Rows of counts.csv by folder, in the order of the rows. places: the photos' files by image name.

    A folder is named by its path relative to the folder that contains all of them; that one, if it has photos
    of its own, and a single one by its own name (by "." if another has that name); for a row without a place,
    the folder in its image name is used.
    """
    holders = {name: Path(os.path.abspath(path)).parent for name, path in places.items()}
    names = _short_names(set(holders.values()))
    folders: dict[str, Folder] = defaultdict(Folder)
    for row in rows:
        holder = holders.get(row["image"])
        folders[str(PurePath(row["image"]).parent) if holder is None else names[holder]].add(row)
    return dict(folders)


def folder_rows(folders: Mapping[str, Folder]) -> list[Row]:
    """The rows of folders.csv."""
    return [[name, *folder.figures()] for name, folder in folders.items()]


def _short_names(holders: set[Path]) -> dict[Path, str]:
    if len(holders) < 2:
        return {holder: holder.name or str(holder) for holder in holders}
    common = common_folder(map(str, holders))
    ways = {holder: way(str(holder), common) for holder in holders}
    own = Path(common).name  # of the folder that contains the others, if it has photos too
    return {
        holder: own if own and short == "." and own not in ways.values() else short
        for holder, short in ways.items()
    }


def _three(sums: Sums) -> list[str | float]:
    """The ratio and the ends of its interval; "" where unknown."""
    if not sums.of:
        return ["", "", ""]
    ends = sums.interval()
    return [round(sums.ratio(), 2), *(["", ""] if ends is None else (round(end, 2) for end in ends))]
