"""How much a detector gains from a few labelled photos of a field that it was not trained on.

    python bench/adapt.py DIR --model base.onnx --sessions Arvalis_4 Usask_1 [--photos 5 20] [--recipe adapt]
                          [--labels CSV] [--precision bf16-mixed] [--out runs/adapt]

MODEL must have been trained without these sessions (`wheatear data split --hold-out`). Half of each session's field
photos, drawn with a seed, are used for evaluation; the model is fine-tuned on some tiles of the other half, with
`wheatear train --recipe RECIPE --weights MODEL`, into OUT/SESSION-PHOTOS. Finished runs are kept: the same command
continues where it was stopped. Detections are computed with torch and evaluated against DIR's own labels and those of
--labels: the Kaggle metric and AP50 at one threshold, the count at another. These two thresholds are first the
model's, which the runs keep, and then those that do best on the photos fine-tuned on. The latter can also be chosen
without any training.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from levers import TRAIN, found_by, run_command
from script import run_script
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.evaluation import Thresholds, best_threshold, evaluate
from wheatear.train.from_onnx import exported_network
from wheatear.train.run_card import load_run

SEED = 1


def halves(samples: Sequence[Sample], session: str) -> tuple[list[str], list[str]]:
    """Return the names of a session's photos to evaluate on, and of those to train on, in random order."""
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
    """Train on some photos in a separate process, unless that is already done."""
    sides = dict.fromkeys(some, "train") | dict.fromkeys(judges, "val")
    images = run.with_suffix(".csv")
    write_images_csv([replace(sample, split=sides.get(sample.name, "test")) for sample in samples], images)
    command = [*TRAIN, given.folder, "--recipe", given.recipe, "--weights", given.model, "--images", images]
    command += ["--out", run, "--precision", given.precision, "--resume"]
    run_command(command)


def rows(
    name: str,
    find: Callable[[Path], Detections],
    usual: Thresholds,
    learned: Sequence[Sample],
    truths: Sequence[Sequence[Sample]],
) -> str:
    """Two rows of the table, with each labelling: at the usual thresholds, and at those of the training photos."""
    seen = {sample.path.name: find(sample.path) for sample in learned}
    found = {sample.path.name: find(sample.path) for sample in truths[0]}
    own = best_threshold([clean(sample) for sample in learned], seen)
    lines = []
    for whose, at in (("the model's", usual), ("those photos'", own)):
        figures = []
        for truth in truths:
            boxes = evaluate(truth, found, at.kaggle).overall
            counts = evaluate(truth, found, at.count).overall.count
            figures.append(f"{boxes.kaggle:.3f} | {boxes.ap50:.3f} | {counts.mae:.2f} | {counts.bias:+.2f}")
        thresholds = f"{whose}: {at.kaggle:.2f}, {at.count:.2f}"
        lines.append(f"| {name} | {thresholds} | {' | '.join(figures)} |")
    return "\n".join(lines)


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
    usual = Thresholds(card.score_threshold, card.threshold_to_count())
    found_before = cache(partial(found_by, before))
    print(
        "| session | photos that judge | learned from | thresholds |"
        + " Kaggle | AP50 | count MAE | bias |" * len(labellings)
    )
    print("|---|---|---|---|" + "---|---|---|---|" * len(labellings))
    for session in given.sessions:
        judges, rest = halves(samples, session)
        truths = [[sample for sample in each if sample.name in judges] for each in labellings]
        for photos in given.photos:
            run = given.out / f"{session}-{photos}"
            some = rest[:photos]
            learned = [sample for sample in samples if sample.name in some]
            adapted(samples, some, judges, run, given)
            found_after = partial(found_by, load_run(run))
            for find, number in ((found_before, f"none of {len(some)}"), (found_after, f"{len(some)}")):
                name = f"{session} | {len(judges)} | {number}"
                print(rows(name, find, usual, learned, truths), flush=True)


if __name__ == "__main__":
    run_script(main)
