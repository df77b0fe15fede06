"""What a few labelled photos of one's own field bring to a detector that has not seen it.

    python bench/adapt.py DIR --model base.onnx --sessions Arvalis_4 Usask_1 [--photos 5 20] [--recipe adapt]
                          [--labels CSV] [--precision bf16-mixed] [--out runs/adapt]

MODEL must have learned without these sessions (`wheatear data split --hold-out`). Of each session's field photos one
half, drawn with a seed, judges; of the tiles of the other half some are learned from, by `wheatear train --recipe
RECIPE --weights MODEL` in OUT/SESSION-PHOTOS. Finished runs are kept: the same command goes on where it was stopped.
Judged by torch, by DIR's own labels and those of --labels: the Kaggle metric and the count MAE at the model's two
thresholds, which the runs keep.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from levers import TRAIN
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.detector import Card
from wheatear.errors import InputError
from wheatear.evaluation import evaluate
from wheatear.images import open_photo
from wheatear.train.export import found_by_torch, load_run
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network

SEED = 1


def halves(samples: Sequence[Sample], session: str) -> tuple[list[str], list[str]]:
    """The names of a session's photos that judge, and those of the photos to learn from, in a random order."""
    own = [sample for sample in samples if sample.session == session]
    fields = sorted({sample.photo for sample in own})
    if len(fields) < 2:
        raise InputError(f"--sessions {session}: has {len(fields)} field photos, and one judges the other")
    luck = random.Random(SEED)
    luck.shuffle(fields)
    judges = set(fields[::2])
    rest = [sample.name for sample in own if sample.photo not in judges]
    luck.shuffle(rest)
    return [sample.name for sample in own if sample.photo in judges], rest


def adapted(
    samples: Sequence[Sample], some: list[str], judges: list[str], run: Path, given: argparse.Namespace
) -> None:
    """Train on some photos, in a process of its own, or find it done."""
    sides = dict.fromkeys(some, "train") | dict.fromkeys(judges, "val")
    images = run.with_suffix(".csv")
    write_images_csv([replace(sample, split=sides.get(sample.name, "test")) for sample in samples], images)
    command = [*TRAIN, given.folder, "--recipe", given.recipe, "--weights", given.model, "--images", images]
    command += ["--out", run, "--precision", given.precision, "--resume"]
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def row(name: str, photos: int, model: FasterRCNN, card: Card, truths: Sequence[Sequence[Sample]]) -> str:
    """A line of the table: the figures by each labelling of the same photos."""
    found = {s.path.name: found_by_torch(model, open_photo(s.path)) for s in truths[0]}
    figures = []
    for truth in truths:
        boxes = evaluate(truth, found, card.score_threshold).overall
        counts = evaluate(truth, found, card.threshold_to_count()).overall
        figures.append(
            f"{boxes.kaggle:.3f} | {boxes.ap50:.3f} | {counts.count.mae:.2f} | {counts.count.bias:+.2f}"
        )
    return f"| {name} | {len(truths[0])} | {photos or 'none'} | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sessions", nargs="+", required=True)
    parser.add_argument("--photos", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--recipe", default="adapt")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    samples = split(read_dataset(given.folder))
    labellings = [samples] + ([read_dataset(given.folder, given.labels)] if given.labels else [])
    before, card = exported_network(given.model)
    print(
        "| session | photos that judge | learned from |"
        + " Kaggle | AP50 | count MAE | bias |" * len(labellings)
    )
    print("|---|---|---|" + "---|---|---|---|" * len(labellings))
    for session in given.sessions:
        judges, rest = halves(samples, session)
        truths = [[sample for sample in each if sample.name in judges] for each in labellings]
        print(row(session, 0, before, card, truths), flush=True)
        for photos in given.photos:
            run = given.out / f"{session}-{photos}"
            adapted(samples, rest[:photos], judges, run, given)
            print(row(session, min(photos, len(rest)), load_run(run), card, truths), flush=True)


if __name__ == "__main__":
    main()
