"""Heads at seams: labelled tiles stitched back into their field photos, then counted as a whole and in tiles.

    python bench/seams.py DIR [--split val] [--model small] [--threshold SCORE] [--out seams.csv]

Tiles of one field photo are placed side by side where their edges match (wheatear.data.field_photos.find_seams). Places
in the rectangle that have no tile stay black. There are four counts of each stitched photo:
  whole     one run of the detector over the photo: the reference
  tiled     as `wheatear count` does it: overlapping windows, each head once
  unmerged  the sum over the same windows: a head in an overlap counts twice or more
  apart     the sum over the original tiles: a head on a seam is in two halves, each of which is counted or lost
The number of proposals of a run grows with its area, so "whole" has as many per head as the windows have.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from script import run_script
from wheatear import Detector, load
from wheatear.data.field_photos import Seam, find_seams, read_edges
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.images import open_photo
from wheatear.tiles import tiles

Places = dict[int, tuple[int, int]]  # row and column of each tile, by its index in the samples


@dataclass(frozen=True)
class Counts:
    photo: str
    tiles: int
    whole: int
    tiled: int
    unmerged: int
    apart: int


def placed(seams: Sequence[Seam], number: int) -> list[Places]:
    """Arrange the tiles that seams join, in rows and columns from 0. Better seams win over any that contradict them."""
    group: list[Places] = [{tile: (0, 0)} for tile in range(number)]
    for seam in sorted(seams, reverse=True):
        one, other = group[seam.first], group[seam.second]
        (row, column), (from_row, from_column) = one[seam.first], other[seam.second]
        down, right = row + seam.below - from_row, column + (not seam.below) - from_column
        moved = {tile: (r + down, c + right) for tile, (r, c) in other.items()}
        if one is other or set(moved.values()) & set(one.values()):
            continue
        one |= moved
        for tile in moved:
            group[tile] = one
    distinct = {id(each): each for each in group if len(each) > 1}
    return [_from_zero(each) for each in distinct.values()]


def _from_zero(places: Places) -> Places:
    top, left = np.array(list(places.values())).min(0)
    return {tile: (int(row - top), int(column - left)) for tile, (row, column) in places.items()}


def stitch(samples: Sequence[Sample], places: Places) -> np.ndarray:
    """Return one photo (rows × H, columns × W, 3) made of tiles that are all H × W."""
    images = {tile: open_photo(samples[tile].path) for tile in places}
    height, width = next(iter(images.values())).shape[:2]
    rows, columns = np.array(list(places.values())).max(0) + 1
    photo = np.zeros((rows * height, columns * width, 3), np.uint8)
    for tile, (row, column) in places.items():
        photo[row * height : (row + 1) * height, column * width : (column + 1) * width] = images[tile]
    return photo


def count(detector: Detector, samples: Sequence[Sample], places: Places, threshold: float) -> Counts:
    photo = stitch(samples, places)
    parts = [photo[w.top : w.bottom, w.left : w.right] for w, _ in tiles(*photo.shape[:2])]
    return Counts(
        photo=samples[min(places)].photo,
        tiles=len(places),
        whole=len(detector.run(photo, threshold)),
        tiled=len(detector.detect(photo, threshold)),
        unmerged=sum(len(detector.run(part, threshold)) for part in parts),
        apart=sum(len(detector.detect(samples[tile].path, threshold)) for tile in places),
    )


def stitched_photos(samples: Sequence[Sample]) -> list[tuple[list[Sample], Places]]:
    """Return the tiles of each field photo, with the places of those that fit together."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.photo].append(sample)
    return [
        (members, places)
        for members in groups.values()
        if len(members) > 1
        for places in placed(find_seams(read_edges([m.path for m in members])), len(members))
    ]


def show(counts: Sequence[Counts]) -> None:
    whole = np.array([each.whole for each in counts])
    number = sum(each.tiles for each in counts)
    print(f"{len(counts)} stitched photos of {number} tiles; at most {whole.max()} heads in a run over one")
    for name in ("whole", "tiled", "unmerged", "apart"):
        own = np.array([getattr(each, name) for each in counts])
        share = f"{100 * (own.sum() / whole.sum() - 1):+6.2f} % of whole" if whole.any() else ""
        off = np.abs(own - whole).mean()
        print(f"{name:<9} {own.sum():6} heads  {share}  {off:5.2f} heads off a photo, on average")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="small")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    samples = photos_of(read_dataset(given.folder), given.split, given.folder)
    detector = load(given.model)
    threshold = detector.card.threshold_to_count() if given.threshold is None else given.threshold
    counts = [count(detector, *each, threshold) for each in stitched_photos(samples)]
    if not counts:
        raise SystemExit(
            f"{given.folder}: no two photos to be judged are tiles of one field photo, side by side"
        )
    show(counts)
    if given.out:
        with given.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(Counts)])
            writer.writerows(astuple(each) for each in counts)


if __name__ == "__main__":
    run_script(main)
