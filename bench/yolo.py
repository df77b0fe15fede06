"""Ultralytics' YOLO on the same photos: trained with its defaults for some hours, and evaluated as ours are.

    python bench/yolo.py DIR --weights yolo11n.pt [--hours 1.6] [--side 640] [--labels CSV] [--out runs/yolo]

Needs `pip install ultralytics`. WEIGHTS is a file, or a name that the library downloads. All settings are its defaults
(batches of 16, 640 px unless --side is given), except at most 500 boxes per photo, the hours of training (which its
learning rate schedule follows), the cores (all of them; it would leave one idle), and that val does not select the
weights: those of the last epoch are evaluated. It trains on the photos in DIR's split train, from OUT/photos, a copy in
YOLO's layout. A finished training is kept: the same command evaluates it again. One that was stopped starts from the
beginning.

The table has the Kaggle metric, ADA, AP50 and AP50:95 at the threshold that is best for the Kaggle metric, and the
count MAE at the threshold that is best for it, by DIR's labels; then the same by those of --labels at these thresholds.
Detections have a score above 0.02 and passed its own NMS at an IoU of 0.7, or a stricter one. "augment" is its own
test-time augmentation. The detections are saved in OUT/found-0.7.csv and so on, for `wheatear evaluate --detections`
and bench/shared_error.py.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from script import run_script
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split
from wheatear.detections import Detections, write_csv
from wheatear.evaluation import SCORE_THRESHOLDS, best_threshold, evaluate

try:
    from ultralytics import YOLO
    from ultralytics.utils import torch_utils
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}; `pip install ultralytics`") from None

BATCH = 16
SEED = 0
IOUS = (0.7, 0.6, 0.5)  # its own default, and stricter ones


def train(samples: Sequence[Sample], given: argparse.Namespace) -> Path:
    """Train in OUT/run, unless a finished training is there; return the file of the last epoch's weights."""
    weights: Path = given.out / "run" / "weights" / "last.pt"
    photos, done = given.out / "photos", given.out / "done"
    if not done.exists():
        if photos.exists():
            shutil.rmtree(photos)  # left by a training that was stopped
        write_dataset([clean(sample) for sample in samples if sample.split], photos, "yolo", link=True)
        YOLO(given.weights).train(
            data=str((photos / "data.yaml").resolve()),
            imgsz=given.side,
            time=given.hours,
            batch=BATCH,
            val=False,
            plots=False,
            seed=SEED,
            project=str(given.out.resolve()),
            name="run",
            exist_ok=True,
        )
        done.touch()
    return weights


def found_by(
    network: YOLO, side: int, iou: float, augment: bool, photos: Sequence[Sample]
) -> dict[str, Detections]:
    """Return what it finds in the photos, in pixels."""
    found = dict[str, Detections]()
    for sample in photos:
        boxes = network.predict(
            str(sample.path), imgsz=side, conf=float(SCORE_THRESHOLDS[0]), iou=iou, augment=augment, max_det=500,
            verbose=False,
        )[0].boxes.cpu()  # fmt: skip
        found[sample.path.name] = Detections(
            np.asarray(boxes.xyxy, np.float64).reshape(-1, 4), np.asarray(boxes.conf, np.float64)
        )
    return found


def cells(photos: Sequence[Sample], found: dict[str, Detections], kaggle: float, count: float) -> str:
    """Return the figures at two thresholds, for the boxes and for the count."""
    boxes, counts = evaluate(photos, found, kaggle).overall, evaluate(photos, found, count).overall.count
    return f"{boxes.kaggle:.3f} | {boxes.ada:.3f} | {boxes.ap50:.3f} | {boxes.ap50_95:.3f} | {counts.mae:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--hours", type=float, default=1.6)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/yolo"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    samples = split(read_dataset(given.folder))
    labellings = [samples] + ([read_dataset(given.folder, given.labels)] if given.labels else [])
    val = {sample.name for sample in samples if sample.split == "val"}
    truths = [[sample for sample in each if sample.name in val] for each in labellings]
    torch_utils.NUM_THREADS = os.cpu_count()
    network = YOLO(train(samples, given))
    header = " Kaggle | ADA | AP50 | AP50:95 | count MAE |" * len(truths)
    print(f"| NMS | thresholds |{header}\n|---|---|{'---|' * 5 * len(truths)}")
    for augment in (False, True):
        for iou in IOUS:
            found = found_by(network, given.side, iou, augment, truths[0])
            write_csv(given.out / f"found-{iou}{'-augment' if augment else ''}.csv", found.items())
            at = best_threshold(truths[0], found)
            figures = " | ".join(cells(truth, found, at.kaggle, at.count) for truth in truths)
            name = f"{iou}{', augment' if augment else ''}"
            print(f"| {name} | {at.kaggle:.2f}, {at.count:.2f} | {figures} |", flush=True)


if __name__ == "__main__":
    run_script(main)
