"""How many heads the region proposals cover: recall against the number of proposals per photo.

    python bench/proposals.py DIR --run RUN [--split val] [--images FILE]

RUN is a finished run, joint or in three stages. The RPN gives its 1,000 best regions per photo, however many the
recipe keeps. A head is covered by the first n if one of them has at least the given IoU with it. The RoI head misses
heads that are not covered, unless it moves a region that overlaps less onto them. Boxes are cleaned as for training.
About 1 s per photo.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from script import run_script
from wheatear.boxes import iou
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import photos_of
from wheatear.images import open_photo
from wheatear.train.dataset import to_tensor
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.rescale import rescale, scaled_side, to_photo
from wheatear.train.run_card import load_run

NUMBERS = (10, 20, 50, 100, 150, 200, 300, 500, 700, 1000)
IOUS = (0.5, 0.7)
PRE_NMS = 4000  # per level, so that the NMS leaves enough


def widened(model: FasterRCNN) -> FasterRCNN:
    """Return the model, with its RPN set to give as many proposals as are evaluated."""
    settings = model.rpn.proposal_settings
    model.rpn.proposal_settings = replace(settings, pre_nms_top_n=PRE_NMS, post_nms_top_n=max(NUMBERS))
    return model


@torch.inference_mode()
def proposals(model: FasterRCNN, sample: Sample) -> np.ndarray:
    """Return (R, 4) xyxy pixels of the photo, the highest scores first."""
    image, scale = to_tensor(open_photo(sample.path)), model.recipe.image_size
    height, width = image.shape[2:]
    size = scaled_side(height, scale), scaled_side(width, scale)
    ((boxes, _),) = model.propose(model.features(rescale(image, scale)), size)
    return to_photo(boxes, height, width, scale).float().numpy()


def first_covering(regions: np.ndarray, heads: np.ndarray, least: float) -> np.ndarray:
    """For each of (G, 4) heads, the index of the first of (R, 4) regions with at least this IoU, or R: (G,)."""
    covered = np.concatenate([iou(regions, heads) >= least, np.ones((1, len(heads)), bool)])
    return covered.argmax(0)


def recall(model: FasterRCNN, samples: Sequence[Sample]) -> tuple[np.ndarray, float]:
    """Return the share of heads covered by the first n regions, (IOUS, NUMBERS), and the mean regions per photo."""
    places: list[list[np.ndarray]] = [[] for _ in IOUS]
    given = []
    for sample in track(samples, "proposals", console=Console(stderr=True), transient=True):
        regions = proposals(model, sample)
        given.append(len(regions))
        for each, least in zip(places, IOUS, strict=True):
            first = first_covering(regions, sample.boxes, least)
            each.append(np.where(first < len(regions), first, max(NUMBERS)))
    firsts = [np.concatenate(each) for each in places]
    return np.array([[(first < n).mean() for n in NUMBERS] for first in firsts]), float(np.mean(given))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    chosen = photos_of(read_dataset(given.folder, images=given.images), given.split, given.folder)
    samples = [clean(sample) for sample in chosen]
    model = widened(load_run(given.run))
    shares, regions = recall(model, samples)
    heads = sum(len(sample.boxes) for sample in samples)
    print(f"{len(samples)} photos, {heads:,} heads; {regions:.0f} proposals a photo, 1,000 at most")
    print("| proposals | " + " | ".join(f"recall at IoU {least}" for least in IOUS) + " |")
    print("|---" * (1 + len(IOUS)) + "|")
    for n, row in zip(NUMBERS, shares.T, strict=True):
        print(f"| {n} | " + " | ".join(f"{share:.3f}" for share in row) + " |")


if __name__ == "__main__":
    run_script(main)
