"""How much of their error in the edges of boxes detectors share: what none of them can foresee, or labels have wrong.

    python bench/shared_error.py DIR --models small medium … [--tta NAME] [--split val] [--images FILE]

Of the heads that all models find (IoU 0.5), the four edges' distances from the label, in parts of the head's side (the
root of its area). What two networks that were trained apart have in common is either noise of the labels, which no
network will ever foresee, or what both failed to learn; only the rest is left to average away, by views or by more
networks. A second table has the mean distances of each session, of all models together: where a session's labels lie
beside their heads, all models are off to the same side.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from wheatear.boxes import area
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.detector import Detector, load
from wheatear.matching import match

EDGES = ("left", "top", "right", "bottom")


def edge_errors(detector: Detector, sample: Sample) -> np.ndarray:
    """(G, 4) detected less labelled xyxy, in sides of each of a photo's G heads; nan for heads that are not found."""
    heads = detector.detect(sample.path)
    (taken,) = match(sample.boxes, heads, np.array([0.5])).taken
    hit = taken >= 0
    side = np.sqrt(area(sample.boxes))
    errors = np.full((len(sample.boxes), 4), np.nan)
    errors[taken[hit]] = (heads.boxes[hit] - sample.boxes[taken[hit]]) / side[taken[hit], None]
    return errors


def by_model(detectors: Sequence[Detector], samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Errors of M detectors on the G heads that each of them finds, (M, G, 4), and the heads' sessions, (G,)."""
    rows = [
        np.stack([edge_errors(detector, sample) for detector in detectors])
        for sample in track(samples, "Detecting", transient=True)
    ]
    sessions = np.repeat([s.session_or_source for s in samples], [len(s.boxes) for s in samples])
    errors = np.concatenate(rows, axis=1)
    found = ~np.isnan(errors).any(axis=(0, 2))
    return errors[:, found], sessions[found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME|FILE")
    parser.add_argument("--tta", default="once")
    parser.add_argument("--split")
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    chosen = photos_of(read_dataset(given.folder, images=given.images), given.split, given.folder)
    samples = [clean(sample) for sample in chosen]
    errors, sessions = by_model([load(model, tta=given.tta) for model in given.models], samples)
    heads = sum(len(sample.boxes) for sample in samples)
    print(f"{len(samples)} photos, {heads:,} heads, {errors.shape[1]:,} of them found by all")
    print(f"| model | {' | '.join(EDGES)} | standard deviation | correlation with each model |")
    print("|---" * 7 + "|")
    correlation = np.atleast_2d(np.corrcoef(errors.reshape(len(errors), -1)))
    for model, mine, row in zip(given.models, errors, correlation, strict=True):
        shifts = " | ".join(f"{shift:+.3f}" for shift in mine.mean(axis=0))
        print(f"| {model} | {shifts} | {mine.std():.3f} | {', '.join(f'{c:.2f}' for c in row)} |")
    print(f"\n| session | heads | {' | '.join(EDGES)} |")
    print("|---" * 6 + "|")
    for session in np.unique(sessions):
        mine = errors[:, sessions == session]
        shifts = " | ".join(f"{shift:+.3f}" for shift in mine.mean(axis=(0, 1)))
        print(f"| {session} | {mine.shape[1]} | {shifts} |")


if __name__ == "__main__":
    main()
