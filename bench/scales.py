"""Photos whose heads are far from the trained size: val photos resized to half and to twice their size.

    python bench/scales.py DIR [--split val] [--model small] [--every 4] [--factors 0.5 2]

Each photo and its boxes are resized by a factor, and the heads are detected in three ways:
  as it is  the photo as given
  told      with `--head-px`: the trained size times the factor, as a user would give it after measuring a few heads
  auto      with `--head-px auto`: the size that the detector itself estimates for each photo
The Kaggle metric and the count MAE are given at the card's two thresholds. `--every 4` uses every fourth photo.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from script import run_script
from wheatear import Detections, Detector, load
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.evaluation import evaluate
from wheatear.images import open_photo
from wheatear.pixels import InMemory

WAYS = ("as it is", "told", "auto")


def resized(photo: np.ndarray, factor: float) -> np.ndarray:
    """Return a photo, (H, W, 3) uint8, resized by a factor."""
    height, width = (round(side * factor) for side in photo.shape[:2])
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))


def head_size(detector: Detector, way: str, factor: float) -> Callable[[np.ndarray], float | None]:
    """Return a function that gives the head_px to use for a photo."""
    if way == "auto":
        return lambda photo: detector.measure_heads(InMemory(photo)).to_resize
    return lambda _: detector.card.head_px * factor if way == "told" else None


def measure(detector: Detector, samples: list[Sample], way: str, factor: float) -> tuple[float, float]:
    """Return the Kaggle metric and the count MAE."""
    size, found = head_size(detector, way, factor), dict[str, Detections]()
    truth = [replace(s, boxes=s.boxes * np.float32(factor)) for s in samples]
    for sample in track(samples, f"{factor:g} {way}", console=Console(stderr=True), transient=True):
        photo = resized(open_photo(sample.path), factor)
        found[sample.path.name] = detector.detect(photo, detector.card.score_floor, size(photo))
    card = detector.card
    return (
        evaluate(truth, found, card.score_threshold).overall.kaggle,
        evaluate(truth, found, card.threshold_to_count()).overall.count.mae,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default=None)
    parser.add_argument("--model", default="small")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 2.0])
    given = parser.parse_args()
    detector = load(given.model)
    samples = photos_of(read_dataset(given.folder), given.split, given.folder)[:: given.every]
    print(f"{len(samples)} photos, {sum(len(s.boxes) for s in samples):,} heads")
    print("| factor | way | Kaggle | count MAE |\n|---|---|---|---|")
    for factor in (1.0, *given.factors):
        for way in WAYS if factor != 1 else ("as it is", "auto"):
            kaggle, mae = measure(detector, samples, way, factor)
            print(f"| {factor:g} | {way} | {kaggle:.3f} | {mae:.2f} |", flush=True)


if __name__ == "__main__":
    run_script(main)
