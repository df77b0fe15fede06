"""How much of their error in box edges detectors have in common, and what they are worth when fused.

    python bench/shared_error.py DIR --models small medium found.csv … [--tta NAME] [--labels CSV] [--split val]
                                 [--images FILE]

Models are names of shipped detectors, model files, or CSVs of detections in the photos (detections.csv of `wheatear
evaluate`, or those of bench/yolo.py). Each uses the score threshold with the best Kaggle metric.

The first table is for the heads that all models find (IoU 0.5). It has the distances of the four edges from the label,
as a fraction of the head's side (the root of its area). The error that two separately trained networks have in common
is either label noise, which no network can predict, or something that both failed to learn. Only the rest can be
averaged away, by views or by more networks. The second table has the mean distances in each session, over all models:
if the labels of a session are offset from their heads, all models are off to the same side. The third table shows what
averaging gains: the figures of each model and of each combination of two or more, fused as views are, at the best
thresholds by DIR's labels. They are evaluated against DIR's labels and, at the same thresholds, those of --labels.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from script import run_script
from wheatear.boxes import sizes, weighted_box_fusion
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.detections import Detections, read_csv
from wheatear.detector import load
from wheatear.evaluation import best_threshold, evaluate, select
from wheatear.matching import match
from wheatear.tta import FUSION_IOU

EDGES = ("left", "top", "right", "bottom")


def detections_of(
    model: str, samples: Sequence[Sample], known: Sequence[Sample], tta: str
) -> list[Detections]:
    """Return all that a detector finds in each photo, down to its score floor, or what a CSV of known photos has."""
    if model.endswith(".csv"):
        found = select(read_csv(model), known, samples)
        return [found[sample.path.name] for sample in samples]
    detector = load(model, tta=tta)
    return [
        detector.detect(s.path, score_threshold=0.0)
        for s in track(samples, model, console=Console(stderr=True), transient=True)
    ]


def edge_errors(heads: Detections, sample: Sample) -> np.ndarray:
    """(G, 4) detected minus labelled xyxy, in sides of each of a photo's G heads; nan for heads that are not found."""
    (taken,) = match(sample.boxes, heads, np.array([0.5])).taken
    hit = taken >= 0
    side = sizes(sample.boxes)
    errors = np.full((len(sample.boxes), 4), np.nan)
    errors[taken[hit]] = (heads.boxes[hit] - sample.boxes[taken[hit]]) / side[taken[hit], None]
    return errors


def by_model(
    found: Sequence[Sequence[Detections]], samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of M models on the G heads that all of them find, (M, G, 4), and the heads' sessions, (G,)."""
    rows = []
    for heads in found:
        at = best_threshold(samples, named(samples, heads)).kaggle
        rows.append(
            np.concatenate([edge_errors(h.above(at), s) for h, s in zip(heads, samples, strict=True)])
        )
    errors = np.stack(rows)
    sessions = np.repeat([s.session_or_source for s in samples], [len(s.boxes) for s in samples])
    by_all = ~np.isnan(errors).any(axis=(0, 2))
    return errors[:, by_all], sessions[by_all]


def named(samples: Sequence[Sample], heads: Sequence[Detections]) -> dict[str, Detections]:
    """Return the detections by file name."""
    return {sample.path.name: each for sample, each in zip(samples, heads, strict=True)}


def fused(found: Sequence[Sequence[Detections]]) -> list[Detections]:
    """Fuse the detections of several models in each photo, as for views; those of a single model stay as they are."""
    if len(found) == 1:
        return list(found[0])
    return [
        Detections(*weighted_box_fusion([d.boxes for d in photo], [d.scores for d in photo], FUSION_IOU))
        for photo in zip(*found, strict=True)
    ]


def cells(labellings: Sequence[Sequence[Sample]], found: dict[str, Detections]) -> str:
    """The figures by each labelling, at the thresholds that are best for boxes and for counts by the first one."""
    at = best_threshold(labellings[0], found)
    figures = [f"{at.kaggle:.2f}, {at.count:.2f}"]
    for samples in labellings:
        boxes, counts = (evaluate(samples, found, t).overall for t in (at.kaggle, at.count))
        figures += [
            f"{boxes.kaggle:.4f}", f"{boxes.ap50:.3f}", f"{boxes.ap50_95:.3f}", f"{counts.count.mae:.2f}"
        ]  # fmt: skip
    return " | ".join(figures)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME|FILE")
    parser.add_argument("--tta", default="once")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    known = read_dataset(given.folder, images=given.images)
    labellings = [[clean(sample) for sample in photos_of(known, given.split, given.folder)]]
    if given.labels:
        chosen = {sample.name for sample in labellings[0]}
        second = read_dataset(given.folder, given.labels, given.images)
        labellings.append([clean(sample) for sample in second if sample.name in chosen])
    (samples, *_) = labellings
    found = [detections_of(model, samples, known, given.tta) for model in given.models]
    errors, sessions = by_model(found, samples)
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
    print("\n| models | thresholds |" + " Kaggle | AP50 | AP50:95 | count MAE |" * len(labellings))
    print("|---|---|" + "---|---|---|---|" * len(labellings))
    for number in range(1, len(found) + 1):
        for some in combinations(range(len(found)), number):
            together = named(samples, fused([found[i] for i in some]))
            print(
                f"| {', '.join(given.models[i] for i in some)} | {cells(labellings, together)} |", flush=True
            )


if __name__ == "__main__":
    run_script(main)
