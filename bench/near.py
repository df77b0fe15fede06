"""Close-up photos of a few heads: parts of photos, enlarged as if the camera had been held closer.

    python bench/near.py DIR [--split val] [--model small] [--parts 60] [--seed 0]

The photos are taken in an order drawn with the seed. A square of 256, 384 or 512 pixels is drawn from each. If it
shows 1 to 10 heads (half of a box or more), it is enlarged to 2048 or 4096 pixels, alternately, until there are
--parts of them. Photos without heads are enlarged as a whole, to twice their size. The heads are counted at the
card's threshold, in three ways:
  as it is  the photo as given
  told      with `--head-px`: the median of the boxes, in pixels of the enlarged photo
  auto      with `--head-px auto`, as `wheatear count` does by default with photos of this size
"measured" is the number of photos that auto measured, "an octave off" the number of these where it was wrong by a
factor of two or more.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from scales import resized
from script import run_script
from wheatear import Detector, load
from wheatear.boxes import area, clip, sizes
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.images import open_photo
from wheatear.pixels import InMemory

SIDES, ENLARGED = (256, 384, 512), (2048, 4096)  # pixels
GROUPS = {"no heads": range(1), "1 to 3 heads": range(1, 4), "4 to 10 heads": range(4, 11)}


@dataclass(frozen=True)
class Near:
    """image (S, S, 3) uint8; the number of heads in it, and their median size in its pixels, 0 if there are none."""

    image: np.ndarray
    heads: int
    px: float


@dataclass(frozen=True)
class Counted:
    """Heads in a photo, and as counted in each way; px: the head size given as `told`; measured: that found by auto."""

    heads: int
    as_it_is: int
    told: int
    auto: int
    px: float
    measured: float | None


def parts(samples: Sequence[Sample], number: int, seed: int) -> Iterator[Near]:
    """Yield the photos that have no heads, then `number` parts with heads."""
    draw = np.random.default_rng(seed)
    for sample in samples:
        if not len(sample.boxes):
            yield Near(resized(open_photo(sample.path), 2), 0, 0.0)
    found = 0
    for i in draw.permutation(len(samples)):
        sample = samples[i]
        side = int(draw.choice(SIDES))
        left, top = (int(draw.integers(max(1, length - side))) for length in (sample.width, sample.height))
        shown = sample.boxes - np.array([left, top] * 2)
        boxes = shown[area(clip(shown, side, side)) >= area(shown) / 2]
        if 1 <= len(boxes) <= 10:
            factor = ENLARGED[found % 2] / side
            image = open_photo(sample.path)[top : top + side, left : left + side]
            yield Near(resized(image, factor), len(boxes), float(np.median(sizes(boxes))) * factor)
            found += 1
        if found == number:
            return


def counted(detector: Detector, photo: Near) -> Counted:
    at = detector.card.threshold_to_count()
    measured = detector.measure_heads(InMemory(photo.image))
    as_it_is = len(detector.detect(photo.image, at))
    sizes = (photo.px or None, measured.to_resize)
    told, auto = (as_it_is if px is None else len(detector.detect(photo.image, at, px)) for px in sizes)
    return Counted(photo.heads, as_it_is, told, auto, photo.px, measured.px)


def row(name: str, group: Sequence[Counted]) -> str:
    """A row of the table."""
    maes = [np.mean([abs(getattr(c, way) - c.heads) for c in group]) for way in ("as_it_is", "told", "auto")]
    sizes = [(c.px, c.measured) for c in group if c.measured]
    off = sum(abs(log2(measured / px)) >= 1 for px, measured in sizes if px)
    cells = " | ".join(f"{mae:.2f}" for mae in maes)
    return f"| {name} | {len(group)} | {cells} | {len(sizes)} | {off} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default=None)
    parser.add_argument("--model", default="small")
    parser.add_argument("--parts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    detector = load(given.model)
    samples = photos_of(read_dataset(given.folder), given.split, given.folder)
    photos = track(
        parts(samples, given.parts, given.seed), "photos", console=Console(stderr=True), transient=True
    )
    every = [counted(detector, photo) for photo in photos]
    print("| photos with | photos | count MAE as it is | told | auto | measured | an octave off |")
    print("|---|---|---|---|---|---|---|")
    for name, heads in GROUPS.items():
        group = [c for c in every if c.heads in heads]
        if group:
            print(row(name, group))


if __name__ == "__main__":
    run_script(main)
