"""A second labelling of a data set's photos, from another data set with the same photos under other names.

    python bench/second_labels.py DIR OTHER --out second.csv

GWHD 2021 contains photos of Kaggle's Global Wheat Detection with revised boxes and new names. Photos are compared as
thumbnails of 16 × 16 grey cells. A photo of OTHER and one of DIR are the same if each is the other's nearest
neighbour and their correlation is 0.98 or more, as for two saved copies of a photo (no two of 1,260 different photos
of the Kaggle data have more than 0.90). --out receives OTHER's boxes under DIR's names, in Kaggle's columns, for
`wheatear train DIR --labels second.csv --both`. Photos that have another size in OTHER are left out.
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from script import run_script
from wheatear.data.formats import read_dataset
from wheatear.data.kaggle import write_labels
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo

CELLS = 16
SAME = 0.98


def looks(sample: Sample) -> np.ndarray:
    """Return a thumbnail as (CELLS²,) float32 of mean 0 and length 1, or zeros if it is all one grey."""
    grey = Image.fromarray(open_photo(sample.path)).convert("L").resize((CELLS, CELLS), Image.Resampling.BOX)
    cells = np.asarray(grey, np.float32).ravel()
    cells = cells - cells.mean()
    length = float(np.linalg.norm(cells))
    return cells / length if length else cells


def pairs(one: np.ndarray, other: np.ndarray) -> list[tuple[int, int]]:
    """Return indices into (N, CELLS²) and (M, CELLS²) of rows that are each other's nearest and similar enough."""
    likeness = one @ other.T
    nearest, back = likeness.argmax(1), likeness.argmax(0)
    return [(i, int(j)) for i, j in enumerate(nearest) if back[j] == i and likeness[i, j] >= SAME]


def second_labels(samples: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    """Return the samples whose photos are also in `others`, with the boxes from there."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        one, other = (np.stack(list(threads.map(looks, some))) for some in (samples, others))
    return [
        replace(samples[i], boxes=others[j].boxes, rows=others[j].rows)
        for i, j in pairs(one, other)
        if (samples[i].width, samples[i].height) == (others[j].width, others[j].height)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("other", type=Path, metavar="OTHER")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    given = parser.parse_args()
    samples, others = read_dataset(given.folder), read_dataset(given.other)
    if not samples or not others:
        raise InputError(f"{given.other if samples else given.folder}: has no photos")
    found = second_labels(samples, others)
    write_labels(found, given.out)
    heads = sum(len(sample.boxes) for sample in found)
    print(
        f"{len(found):,} of {len(samples):,} photos are in both, with {heads:,} heads; written to {given.out}"
    )


if __name__ == "__main__":
    run_script(main)
