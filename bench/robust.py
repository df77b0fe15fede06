"""Photos from other cameras, in other light and from another side: val photos, changed in one way at a time.

    python bench/robust.py DIR [--split val] [--labels CSV] [--model small] [--tta VIEWS] [--every 1]

Each change is one that happens in practice and that no option corrects: a shaking hand, dusk, a phone that compresses.
Lengths are in pixels of the photo, noise in levels of 0..255, drawn with a seed. Boxes are rotated with their photo.
The Kaggle metric and the count MAE are given at the card's two thresholds. "counted" is the number of heads found,
divided by the number found in the unchanged photos.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.progress import track

from script import run_script
from wheatear import Detections, Detector, load
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.evaluation import Metrics, evaluate
from wheatear.images import open_photo
from wheatear.train.augment import Picture, add_noise, blur, compress, shake, turn

Change = Callable[[Image.Image], Image.Image]
SEED = 0


def as_in_training(change: Callable[..., np.ndarray], *values: float) -> Change:
    """A change that is also used in training (`wheatear.train.augment`), with these values."""
    return lambda photo: Image.fromarray(change(np.asarray(photo), *values))


def noisy(deviation: float) -> Change:
    """Gaussian noise, independent in each channel and pixel."""
    return lambda photo: Image.fromarray(add_noise(np.asarray(photo), deviation, np.random.default_rng(SEED)))


def times(red: float, green: float, blue: float) -> Change:
    """Each channel multiplied by a factor, clipped at white."""
    return lambda photo: _image(np.asarray(photo) * np.array([red, green, blue]))


def shaded(factor: float) -> Change:
    """The left half darkened by a factor, as by the shadow of the photographer."""

    def change(photo: Image.Image) -> Image.Image:
        levels = np.array(photo, np.float64)
        levels[:, : photo.width // 2] *= factor
        return _image(levels)

    return change


CHANGES: dict[str, Change] = {
    "none": lambda photo: photo,
    "JPEG of quality 30": as_in_training(compress, 30),
    "JPEG of quality 10": as_in_training(compress, 10),
    "out of focus by 1.5": as_in_training(blur, 1.5),
    "out of focus by 3": as_in_training(blur, 3),
    "shaken by 6": as_in_training(shake, 6, 0.0),  # horizontally; boxes stay, at the middle of the motion
    "shaken by 14": as_in_training(shake, 14, 0.0),
    "sharpened twice": lambda photo: ImageEnhance.Sharpness(photo).enhance(3),
    "noise of 10": noisy(10),
    "noise of 25": noisy(25),
    "0.5 as bright": times(0.5, 0.5, 0.5),
    "0.25 as bright": times(0.25, 0.25, 0.25),
    "1.6 as bright": times(1.6, 1.6, 1.6),
    "0.4 of the contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(0.4),
    "warm: 0.6 of the blue": times(1, 1, 0.6),
    "cold: 0.6 of the red": times(0.6, 1, 1),
    "grey": lambda photo: photo.convert("L").convert("RGB"),
    "half in shade, 0.4 as bright": shaded(0.4),
}
TURNS = {"turned by 90°": 1, "turned by 180°": 2, "turned by 270°": 3}  # anticlockwise


def _image(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


def measure(detector: Detector, samples: list[Sample], name: str) -> tuple[Metrics, Metrics]:
    """Evaluate photos with one of CHANGES or TURNS, at the threshold for boxes and at the one for counts."""
    found, truth, card = dict[str, Detections](), list[Sample](), detector.card
    for sample in track(samples, name, console=Console(stderr=True), transient=True):
        photo = Picture(open_photo(sample.path), sample.boxes)
        if name in CHANGES:
            photo = Picture(np.asarray(CHANGES[name](Image.fromarray(photo.image))), photo.boxes)
        else:
            photo = turn(photo, TURNS[name], flip=False)
        truth.append(replace(sample, boxes=photo.boxes))
        found[sample.path.name] = detector.detect(photo.image, card.score_floor)
    boxes, counts = card.score_threshold, card.threshold_to_count()
    return evaluate(truth, found, boxes).overall, evaluate(truth, found, counts).overall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default=None)
    parser.add_argument("--labels", type=Path, default=None)
    parser.add_argument("--model", default="small")
    parser.add_argument("--tta", default=None)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    detector = load(given.model, tta=given.tta)
    samples = photos_of(read_dataset(given.folder, given.labels), given.split, given.folder)[:: given.every]
    print(f"{len(samples)} photos, {sum(len(s.boxes) for s in samples):,} heads\n")
    print("| change | Kaggle | AP50 | count MAE | counted |\n|---|---|---|---|---|")
    unchanged = 0
    for name in (*CHANGES, *TURNS):
        boxes, counts = measure(detector, samples, name)
        unchanged = unchanged or counts.found
        print(
            f"| {name} | {boxes.kaggle:.3f} | {boxes.ap50:.3f} | {counts.count.mae:.2f} "
            f"| {counts.found / unchanged:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    run_script(main)
