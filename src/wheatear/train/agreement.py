"""Whether an exported detector finds in onnxruntime what its network finds in torch, and what 8 bits cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.detector import load
from wheatear.evaluation import sweep
from wheatear.images import open_photo
from wheatear.train.export import OneImage
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe import Recipe
from wheatear.train.run_card import trained
from wheatear.train.storage import round_weights
from wheatear.tta import ONCE

BOX_TOLERANCE, SCORE_TOLERANCE = 0.5, 1e-3  # px and score within which torch and onnxruntime agree
# Detections that may differ by more: where the IoU of two proposals is almost exactly the NMS threshold, rounding
# decides in each engine whether both are kept, and changes of a weight by a part in three million reverse it.
RARE = 1e-3  # share of all detections
ONE_TIE = 2  # of a few photos: as many as one such decision was seen to move, but at most a tenth
LOST = 0.003  # how much Kaggle metric an 8-bit detector may lose


@dataclass(frozen=True)
class Agreement:
    """The largest differences between torch and onnxruntime over some photos, in pixels and in score.

    apart: the number of detections that differ by more than the tolerances.
    """

    photos: int
    detections: int
    box: float
    score: float
    apart: int

    def holds(self) -> bool:
        """Whether the two agree, except for rare decisions that rounding reversed."""
        return self.apart <= max(RARE * self.detections, min(ONE_TIE, self.detections / 10))


@torch.inference_mode()
def found_by_torch(model: FasterRCNN, image: np.ndarray) -> Detections:
    """All detections of a network in a photo, (H, W, 3) uint8 RGB, down to its score floor."""
    boxes, scores = OneImage(model)(torch.from_numpy(image.copy()))
    return Detections(boxes.numpy(), scores.numpy(), *image.shape[:2])


def found_by_both(
    model: FasterRCNN, onnx_path: Path, samples: Sequence[Sample]
) -> Iterator[tuple[Detections, Detections]]:
    """The detections of torch and of onnxruntime in each photo, in a single run and view."""
    detector = load(onnx_path, tta=ONCE)
    for sample in samples:
        image = open_photo(sample.path)
        # In one run, as torch does: `detect` would divide a large photo into tiles.
        yield found_by_torch(model, image), detector.run(image, score_threshold=0.0)


def compare(
    source: Path, onnx_path: Path, samples: Sequence[Sample], settings: Recipe | None = None
) -> Agreement:
    """Run torch and onnxruntime on every photo and compare their detections."""
    model, _ = trained(source, settings)
    round_weights(model)
    floor = model.recipe.detection.score_floor
    gaps, detections, apart = [np.zeros((1, 2))], 0, 0
    for theirs, ours in found_by_both(model, onnx_path, samples):
        both = [gap(theirs, ours, floor), gap(ours, theirs, floor)]
        gaps += both
        detections += len(ours)
        apart += max(int((each > (BOX_TOLERANCE, SCORE_TOLERANCE)).any(1).sum()) for each in both)
    box, score = np.concatenate(gaps).max(0)
    return Agreement(len(samples), detections, float(box), float(score), apart)


@dataclass(frozen=True)
class Cost:
    """The cost of 8 bits: the Kaggle metric of torch in float32 and of the file, each at its best threshold."""

    photos: int
    torch: float
    int8: float

    def holds(self) -> bool:
        """Whether the cost is small enough."""
        return self.int8 >= self.torch - LOST


def cost(source: Path, onnx_path: Path, samples: Sequence[Sample], settings: Recipe | None = None) -> Cost:
    """Evaluate a network and its 8-bit export on labelled photos."""
    names = [sample.path.name for sample in samples]
    found = zip(*found_by_both(trained(source, settings)[0], onnx_path, samples), strict=True)
    best = [sweep(samples, dict(zip(names, each, strict=True))).kaggle.max() for each in found]
    return Cost(len(samples), *map(float, best))


def gap(one: Detections, other: Detections, score_floor: float) -> np.ndarray:
    """(N, 2): the distance of each detection of `one` from the nearest in `other`, in pixels and in score.

    Paired by distance, as rounding may swap two detections of equal score; those within SCORE_TOLERANCE of
    the floor are left out, as rounding may drop them. Infinite if `other` is empty.
    """
    one = one.above(score_floor + SCORE_TOLERANCE)
    if not len(one) or not len(other):
        return np.full((len(one), 2), np.inf)
    box = np.abs(one.boxes[:, None] - other.boxes).max(2)
    score = np.abs(one.scores[:, None] - other.scores)
    nearest = np.maximum(box / BOX_TOLERANCE, score / SCORE_TOLERANCE).argmin(1)
    rows = np.arange(len(one))
    return np.stack([box[rows, nearest], score[rows, nearest]], 1)
