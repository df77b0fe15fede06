"""The photos of each folder taken together, as several of one plot or field are: a mean with an interval.

The photos are taken for a sample of the place. Two things make their mean uncertain: the place differs from photo to
photo, which more photos average out, and the detector errs; its errors within one field go the same way in part, so
that they do not. The first is Student's interval of a ratio of sums (Cochran, Sampling Techniques, 1977, chapter 6), of
heads to photos and of heads to ground, the second a share of the mean half-width of the photos' own intervals; the two
are independent, so the half-width is the root of the sum of their squares.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from wheatear.area import NORMAL_95, Interval
from wheatear.photo_names import common_folder, way
from wheatear.tables import Row

FOLDERS = "folders.csv"
FOLDERS_HEADER = (
    "folder", "photos", "heads", "heads_per_photo", "heads_per_photo_low", "heads_per_photo_high",
    "area_m2", "heads_per_m2", "heads_per_m2_low", "heads_per_m2_high",
)  # fmt: skip
SHARED = 0.6  # of a photo's half-width: with it 95 of 100 means of unseen fields were held (docs/results.md)
T_95 = (12.706, 4.303, 3.182, 2.776)  # Student's, of 1 to 4 degrees of freedom; of more by a series


@dataclass
class Sums:
    """Over the photos of one place: heads, of how much they are (1 a photo, or its ground), and products of both.

    margin: half of the widths of the photos' intervals in heads, added up; nan where one has none.
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
        """Heads to one of it."""
        return self.heads / self.of

    def interval(self, shared: float = SHARED) -> Interval | None:
        """What the place's own ratio lies between; None of one photo, or where the detector's error is not known."""
        if self.photos < 2 or math.isnan(self.margin):
            return None
        ratio = self.ratio()
        squares = self.heads_squared - 2 * ratio * self.heads_of + ratio**2 * self.of_squared
        error = math.sqrt(max(0.0, squares) * self.photos / (self.photos - 1)) / self.of
        half = math.hypot(student_95(self.photos - 1) * error, shared * self.margin / self.of)
        return Interval(max(0.0, ratio - half), ratio + half)


@dataclass
class Folder:
    """The photos of a folder: heads to photos, and of those that show some ground to square metres.

    known: of how many it is known how much they show, be it none.
    """

    per_photo: Sums = field(default_factory=Sums)
    per_m2: Sums = field(default_factory=Sums)
    known: int = 0

    def add(self, row: Mapping[str, str]) -> None:
        """row: one of counts.csv. ValueError where it holds no numbers."""
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
        """Heads to square metres; of nothing unless all photos have an area."""
        return self.per_m2 if self.known == self.per_photo.photos else Sums()

    def figures(self) -> list[str | float]:
        """The columns of FOLDERS_HEADER but for the first."""
        photos, heads = self.per_photo.photos, self.per_photo.heads
        area = round(self.measured.of, 4) or ""
        return [photos, heads, *_three(self.per_photo), area, *_three(self.measured)]


def student_95(freedom: int) -> float:
    """Standard errors to each side that hold a mean in 95 of 100 samples, by their degrees of freedom (1 or more).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, which is within 0.003 here.
    """
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = NORMAL_95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def by_folder(rows: Iterable[Mapping[str, str]], places: Mapping[str, Path]) -> dict[str, Folder]:
    """Rows of counts.csv by folder, in the rows' order. places: the photos' files by the rows' names.

    A folder is called by its way from the folder that holds all of them, a single one by its name; that of a row
    without a place by the row's own name.
    """
    holders = {name: Path(os.path.abspath(path)).parent for name, path in places.items()}
    names = _short_names(set(holders.values()))
    folders: dict[str, Folder] = defaultdict(Folder)
    for row in rows:
        holder = holders.get(row["image"])
        folders[str(PurePath(row["image"]).parent) if holder is None else names[holder]].add(row)
    return dict(folders)


def folder_rows(folders: Mapping[str, Folder]) -> list[Row]:
    """Those of folders.csv."""
    return [[name, *folder.figures()] for name, folder in folders.items()]


def _short_names(holders: set[Path]) -> dict[Path, str]:
    if len(holders) < 2:
        return {holder: holder.name or str(holder) for holder in holders}
    common = common_folder(map(str, holders))
    return {holder: way(str(holder), common) for holder in holders}


def _three(sums: Sums) -> list[str | float]:
    """The ratio and the ends of its interval; "" for what is not known."""
    if not sums.of:
        return ["", "", ""]
    ends = sums.interval()
    return [round(sums.ratio(), 2), *(["", ""] if ends is None else (round(end, 2) for end in ends))]
