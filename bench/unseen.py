"""What a detector is worth on new fields: each group of sessions is evaluated with a training that left it out.

    python bench/unseen.py DIR [--groups bench/unseen.toml] [--labels CSV] [--backbone FILE] [--precision bf16-mixed]
                           [--int8] [--tta VIEWS] [--told] [--out runs/unseen]

The groups file names a recipe, the changes to it, and the sessions that each training leaves out. There is one
`wheatear train` run per group, in OUT/GROUP, from ImageNet weights, which are downloaded or read from the file
--backbone. Photos of the group's sources whose session is unknown are left out too. Finished runs are kept: the same
command continues where it was stopped. The detectors are evaluated in float32 or, like the shipped ones, in 8 bits
(--int8), with VIEWS. With --told the detector is given the size of the heads in each session, the median of its
labels, as a grower could measure it. Both score thresholds are chosen as for a shipped detector: on the val photos of
the known sessions, by DIR's own labels. At these thresholds the photos of the group are evaluated against each
labelling. Four tables are printed:

1. Each session. "counted" is the number of heads found, divided by the number labelled. "within" is the share of
   photos whose labelled number lies in the interval that `wheatear count` would give.
2. The count MAE of known and unseen photos if the threshold for counts is lower or higher, by the same amount in each
   group. The last line says how many times as wide the interval must be to contain 95 of 100 numbers, for known and
   for unseen photos; for unseen ones this is a card's interval_factor.
3. Means over several photos of a session, as `wheatear count` reports them for a folder: the share of random samples
   whose interval contains the mean of the session's labels. The interval is computed from the differences between
   photos alone, with the share of the detector's error that `folders` uses, and with all of that error; the error is
   scaled by the factor for unseen photos. "half" is the median half-width of the second interval, as a share of the
   mean.
4. Photos counted by hand (`--by-hand`, here by their labels): this many photos of a session, drawn at random, choose
   the threshold for its other photos. For those, it has the count MAE, the relative error of their sum (the mean over
   sessions), and the share of numbers that lie in the interval of the detector's own threshold, scaled by the factor
   for unseen photos.

Tables 3 and 4 leave out numbers of photos for which a session is too small.
"""

import argparse
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from levers import TRAIN, WHEATEAR, run_command, shortened, write_recipe
from script import refuse_unknown, run_script
from wheatear import Detections, Detector, load
from wheatear.by_hand import threshold_for
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.evaluation import Thresholds, best_threshold, evaluate
from wheatear.folders import SHARED, Sums
from wheatear.interval import CountingError
from wheatear.train.opening import head_px
from wheatear.train.recipe import validated
from wheatear.train.recipe_changes import changed

FIELDS = (3, 5, 10)  # photos per field
BY_HAND = (0, 1, 2, 3, 5, 10)  # photos per field
DRAWS = 200  # random samples of each session's photos
SHIFTS = np.arange(-10, 16, 2) / 100  # added to the threshold for counts
Found = dict[str, Detections]


@dataclass(frozen=True)
class Judged:
    """A group's detector at its thresholds, with what it found in the known val photos and in those of the group.

    floor: lowest score. error: of its counts on known photos. known, unseen: the photos with each labelling.
    """

    at: Thresholds
    floor: float
    error: CountingError
    known: list[list[Sample]]
    unseen: list[list[Sample]]
    found: Found


def without(samples: Sequence[Sample], sessions: Sequence[str]) -> list[Sample]:
    """Return the samples, with those that may belong to the sessions moved to test."""
    sources = {sample.source for sample in samples if sample.session in sessions}
    unseen = [s.session in sessions or (not s.session and s.source in sources) for s in samples]
    return [replace(s, split="test") if out else s for s, out in zip(samples, unseen, strict=True)]


def divided(folder: Path, groups: Mapping[str, Sequence[str]], file: Path) -> list[Sample]:
    """Read and divide a data set. Raises InputError for a session in the file of groups that it lacks.

    Its photos may be there under another name, and would be trained on.
    """
    samples = read_dataset(folder)
    named = [name for group in groups.values() for name in group]
    refuse_unknown(f"{file}: sessions of {folder}", named, {sample.session for sample in samples} - {""})
    return split(samples)


def trained(name: str, recipe: dict[str, Any], samples: Sequence[Sample], given: argparse.Namespace) -> Path:
    """Train a group's detector in a separate process unless it is trained already; return the exported file."""
    file, images = given.out / f"{name}.toml", given.out / f"{name}.csv"
    start = dict[str, Any]()
    if given.backbone:
        start = {"backbone.weights": str(given.backbone)}
    elif recipe["backbone"].get("stride_in_1x1"):
        start = {"backbone.stride_in_1x1": False}  # as in torchvision's weights
    own = changed(recipe, {"name": name} | start)
    validated(own, name)
    write_recipe(own, file)
    write_images_csv(samples, images)
    run = given.out / name
    command = [*TRAIN, given.folder, "--recipe", file, "--images", images, "--out", run, "--resume"]
    command += ["--precision", given.precision]
    command += ["--labels", given.labels, "--both"] if given.labels else []
    run_command(command)
    return exported(run, given.folder, given.int8)


def file_name(name: str, int8: bool) -> str:
    """Return the file name of a detector, in float32 or in 8 bits."""
    return f"{name}-int8.onnx" if int8 else f"{name}.onnx"


def exported(run: Path, folder: Path, int8: bool) -> Path:
    """Return a run's exported detector, beside its folder; export it if it, or its card, is not there."""
    model = run.with_name(file_name(run.name, int8))
    if not (model.exists() and model.with_suffix(".json").exists()):
        run_command([*WHEATEAR, "export", run, "--out", model, *(["--int8", folder] if int8 else [])])
    return model


def judge(
    detector: Detector,
    name: str,
    sessions: Sequence[str],
    labellings: Sequence[Sequence[Sample]],
    told: bool = False,
) -> Judged:
    """Run the detector on the photos (the group's are in test), and choose the thresholds with the first labelling.

    told: whether the detector is given the size of the heads in each unseen session.
    """
    known = [[sample for sample in each if sample.split == "val"] for each in labellings]
    unseen = [[sample for sample in each if sample.session in sessions] for each in labellings]
    sizes = dict[str, float]()
    if told:
        sizes = {session: head_px([s for s in unseen[0] if s.session == session]) for session in sessions}
    floor = detector.card.score_floor
    found = {
        sample.path.name: detector.detect(sample.path, floor, sizes.get(sample.session))
        for sample in track([*known[0], *unseen[0]], name, console=Console(stderr=True), transient=True)
    }
    of_known = chosen(known[0], found)
    at = best_threshold(known[0], of_known)
    val = evaluate(known[0], of_known, at.count).overall
    error = CountingError(val.count.rmse, val.heads / val.photos)
    return Judged(at, floor, error, known, unseen, found)


def chosen(photos: Sequence[Sample], found: Found) -> Found:
    """Return what was found in some photos."""
    return {sample.path.name: found[sample.path.name] for sample in photos}


def numbers(judged: Judged, photos: Sequence[Sample], shift: float = 0.0) -> list[tuple[int, int]]:
    """Return the heads found in each photo, at the group's threshold for counts plus the shift, and those labelled."""
    at = judged.at.count + shift
    return [(len(judged.found[s.path.name].above(at)), len(s.boxes)) for s in photos]


@dataclass(frozen=True)
class Line:
    """Figures of some photos by one labelling: fractions of 1, except count_mae, which is in heads."""

    kaggle: float
    ap50: float
    count_mae: float
    counted: float
    within: float

    def cells(self) -> str:
        return f"{self.kaggle:.3f} | {self.ap50:.3f} | {self.count_mae:.2f} | {self.counted:.2f} | {self.within:.2f}"


HEADER = " Kaggle | AP50 | count MAE | counted | within |"


def line(photos: Sequence[Sample], judged: Judged) -> Line:
    """Return the figures of some photos at a group's thresholds."""
    found = chosen(photos, judged.found)
    boxes = evaluate(photos, found, judged.at.kaggle).overall
    counts = evaluate(photos, found, judged.at.count).overall
    intervals = [(judged.error.around(heads), labelled) for heads, labelled in numbers(judged, photos)]
    within = [each.low <= labelled <= each.high for each, labelled in intervals]
    return Line(
        boxes.kaggle, boxes.ap50 or 0.0, counts.count.mae, counts.found / counts.heads, float(np.mean(within))
    )


def by_session(judged: Sequence[Judged]) -> Iterator[tuple[Judged, list[list[Sample]]]]:
    """Yield the unseen photos of each session with each labelling, and the detector that was trained without them."""
    for each in judged:
        for session in sorted({sample.session for sample in each.unseen[0]}):
            yield each, [[s for s in labelling if s.session == session] for labelling in each.unseen]


def rows(judged: Sequence[Judged]) -> list[str]:
    """Return a row of the table for each session, and one for all: means over photos."""
    lines, photos, heads = [], list[int](), list[int]()
    figures: list[list[Line]] = []
    for each, own in by_session(judged):
        photos.append(len(own[0]))
        heads.append(sum(len(sample.boxes) for sample in own[0]))
        figures.append([line(labelling, each) for labelling in own])
        at = f"{each.at.kaggle:.2f}, {each.at.count:.2f}"
        cells = " | ".join(one.cells() for one in figures[-1])
        lines.append(f"| {own[0][0].session} | {photos[-1]} | {heads[-1]} | {at} | {cells} |")
    means = [
        Line(*np.average([astuple(one) for one in labelling], axis=0, weights=photos))
        for labelling in zip(*figures, strict=True)
    ]
    cells = " | ".join(one.cells() for one in means)
    return [*lines, f"| all, mean of the photos | {sum(photos)} | {sum(heads)} | | {cells} |"]


def widening(judged: Sequence[Judged], photos: str, labelling: int) -> float:
    """Return how many times as wide intervals must be to contain 95 of 100 numbers of all groups' photos."""
    shares = [
        abs(heads - labelled) / (each.error.around(heads).high - heads)
        for each in judged
        for heads, labelled in numbers(each, getattr(each, photos)[labelling])
    ]
    return float(np.quantile(shares, 0.95))


def count_mae(judged: Sequence[Judged], shift: float, photos: str, labelling: int) -> float:
    """Return the count MAE over all groups' photos ("known" or "unseen"), at the count threshold plus the shift."""
    errors = [
        abs(heads - labelled)
        for each in judged
        for heads, labelled in numbers(each, getattr(each, photos)[labelling], shift)
    ]
    return float(np.mean(errors))


def possible(judged: Sequence[Judged], numbers: Sequence[int]) -> list[int]:
    """Return the numbers of photos that can be drawn from each unseen session and leave others."""
    fewest = min(len(photos[0]) for _, photos in by_session(judged))
    return [number for number in numbers if number < fewest]


def means(
    judged: Sequence[Judged], labelling: int, size: int, factor: float, shared: float
) -> tuple[float, float]:
    """Draw DRAWS samples of `size` photos from each unseen session. Return the share of samples whose interval contains
    the mean of the session's labels, and the median half-width of the intervals as a share of the mean.

    factor: multiplies the detector's error. shared: the share of that error common to the photos of a field.
    """
    draw, held, halves = np.random.default_rng(0), list[bool](), list[float]()
    for each, photos in by_session(judged):
        own = numbers(each, photos[labelling])
        labelled = np.mean([heads for _, heads in own])
        for _ in range(DRAWS):
            sums = Sums()
            for heads, _ in (own[i] for i in draw.choice(len(own), size, replace=False)):
                sums.add(heads, 1, factor * (each.error.around(heads).high - heads))
            interval = sums.interval(shared)
            assert interval is not None
            held.append(bool(interval.low <= labelled <= interval.high))
            halves.append((interval.high - sums.ratio()) / sums.ratio())
    return float(np.mean(held)), float(np.median(halves))


def by_hand(
    judged: Sequence[Judged], labelling: int, number: int, factor: float
) -> tuple[float, float, float]:
    """Choose the threshold from `number` photos of each unseen session, drawn DRAWS times, and apply it to the others.
    Return their count MAE (mean over photos), the relative error of their sum (mean over sessions) and the share of
    numbers that lie in their intervals. factor: multiplies the detector's error."""
    draw = np.random.default_rng(0)
    maes, offs, within, weights = list[float](), list[float](), list[float](), list[int]()
    for each, labellings in by_session(judged):
        photos = labellings[labelling]
        labelled = np.array([len(sample.boxes) for sample in photos])
        looks = [each.found[sample.path.name] for sample in photos]
        error = replace(each.error, interval_factor=factor)
        for _ in range(DRAWS if number else 1):
            order = draw.permutation(len(photos))
            counted, others = order[:number], order[number:]
            at = each.at.count
            if number:
                known = np.concatenate([looks[i].scores for i in counted])
                at = threshold_for(known, int(labelled[counted].sum()), number, at, each.floor)
            found = np.array([len(looks[i].above(at)) for i in others])
            intervals = [error.around(heads) for heads in found]
            truth = labelled[others]
            maes.append(float(abs(found - truth).mean()))
            offs.append(float(abs(found.sum() / truth.sum() - 1)))
            within.append(
                float(np.mean([i.low <= t <= i.high for i, t in zip(intervals, truth, strict=True)]))
            )
            weights.append(len(others) * (1 if number else DRAWS))
    averages = (np.average(maes, weights=weights), np.mean(offs), np.average(within, weights=weights))
    mae, off, held = map(float, averages)
    return mae, off, held


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=Path, default=Path(__file__).with_name("unseen.toml"))
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--tta", default=None)
    parser.add_argument("--told", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/unseen"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    content = tomllib.loads(given.groups.read_text("utf-8"))
    photos = divided(given.folder, content["groups"], given.groups)
    recipe, judged = shortened(content), list[Judged]()
    for name, sessions in content["groups"].items():
        samples = without(photos, sessions)
        model = trained(name, recipe, samples, given)
        labellings = [samples]
        if given.labels:
            labellings.append(read_dataset(given.folder, given.labels, images=given.out / f"{name}.csv"))
        judged.append(judge(load(model, tta=given.tta), name, sessions, labellings, given.told))
    number = len(judged[0].known)
    print("| session | photos | heads | thresholds |" + HEADER * number)
    print("|---|---|---|---|" + "---|---|---|---|---|" * number)
    print("\n".join(rows(judged)))
    print("\n| threshold for counts |" + " known photos | unseen photos |" * number)
    print("|---|" + "---|---|" * number)
    for shift in SHIFTS:
        cells = [
            f"{count_mae(judged, shift, photos, i):.2f}"
            for i in range(number)
            for photos in ("known", "unseen")
        ]
        print(f"| {shift:+.2f} | {' | '.join(cells)} |")
    cells = [f"{widening(judged, photos, i):.2f}" for i in range(number) for photos in ("known", "unseen")]
    print(f"| width of the interval | {' | '.join(cells)} |")
    factor = max(1.0, *(widening(judged, "unseen", i) for i in range(number)))
    columns = " differences alone | and the detector's error | all of it | half |"
    print("\n| photos of a field |" + columns * number)
    print("|---|" + "---|---|---|---|" * number)
    for size in possible(judged, FIELDS):
        cells = []
        for i in range(number):
            alone, usual, whole = (means(judged, i, size, factor, shared) for shared in (0, SHARED, 1))
            cells += [f"{held:.2f}" for held, _ in (alone, usual, whole)] + [f"{usual[1]:.2f}"]
        print(f"| {size} | {' | '.join(cells)} |")
    print("\n| counted by hand |" + " count MAE | sum off by | within |" * number)
    print("|---|" + "---|---|---|" * number)
    for photos in possible(judged, BY_HAND):
        figures = [by_hand(judged, i, photos, factor) for i in range(number)]
        cells = [f"{mae:.2f} | {off:.3f} | {held:.2f}" for mae, off, held in figures]
        print(f"| {photos} | {' | '.join(cells)} |")


if __name__ == "__main__":
    run_script(main)
