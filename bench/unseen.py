"""What a detector is worth on fields that it has never seen: each group of sessions, found by a training without it.

    python bench/unseen.py DIR [--groups bench/unseen.toml] [--labels CSV] [--backbone FILE] [--precision bf16-mixed]
                           [--int8] [--tta VIEWS] [--told] [--out runs/unseen]

The file of the groups names a recipe, what is changed of it, and the sessions that each training does without: one
`wheatear train` a group, in OUT/GROUP, from ImageNet's weights, which are downloaded or taken from the file --backbone.
Photos of the group's sources whose session is unknown are left out, too. Finished runs are kept: the same command goes
on where it was stopped. They are judged in float32 or, as shipped detectors compute, in 8 bits (--int8), with VIEWS.
--told tells the detector how large the heads of each session are, the median of its labels, as a grower could measure.
Both score thresholds are chosen as for a detector that is shipped, on the val photos of the sessions that are known, by
DIR's own labels; the photos of the group are judged at them by each labelling. "counted" is the number of heads found,
of that of the labels; "within" the share of photos whose number lies in the interval that `wheatear count` would give.
The second table is the count MAE of the known and of the unseen photos at other thresholds than that, as much lower or
higher for each group; its last line says how many times as wide that interval must be to hold 95 of 100 numbers, of
known and of unseen photos, which is a card's interval_factor. The third is of means over some photos of a session, as
`wheatear count` takes those of a folder: the share of random samples whose interval holds the mean of the session's
labels, by how photos differ alone, with what `folders` takes for the detector's error, as wide as unseen photos want
it, and with all of that; and the median half of the second, of the mean. The fourth is of photos counted by hand
(`--by-hand`, here by their labels): so many of a session, drawn at random, choose the threshold for the others of it;
their count MAE, how far their sum is off, of it, in the mean of the sessions, and the share of numbers that lie in the
interval of the detector's own threshold, as wide as unseen photos want it.
"""

import argparse
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from levers import TRAIN, WHEATEAR, run_command, shortened, write_recipe
from wheatear import Detections, Detector, load
from wheatear.area import CountingError
from wheatear.by_hand import threshold_for
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.evaluation import Thresholds, best_threshold, evaluate
from wheatear.folders import SHARED, Sums
from wheatear.train.opening import head_px
from wheatear.train.recipe import validated
from wheatear.train.recipe_changes import changed

FIELDS = (3, 5, 10)  # photos of a field
BY_HAND = (0, 1, 2, 3, 5, 10)  # photos of a field
DRAWS = 200  # samples of a session's photos
SHIFTS = np.arange(-10, 16, 2) / 100  # of the threshold for counts
Found = dict[str, Detections]


@dataclass(frozen=True)
class Judged:
    """A group's detector at its thresholds, with what it found in known val photos and in those of the group.

    floor: of its scores. error: that of its counts on the known ones. known and unseen: the photos by each labelling.
    """

    at: Thresholds
    floor: float
    error: CountingError
    known: list[list[Sample]]
    unseen: list[list[Sample]]
    found: Found


def without(samples: Sequence[Sample], sessions: Sequence[str]) -> list[Sample]:
    """The samples with those in test that may be of the sessions."""
    sources = {sample.source for sample in samples if sample.session in sessions}
    unseen = [s.session in sessions or (not s.session and s.source in sources) for s in samples]
    return [replace(s, split="test") if out else s for s, out in zip(samples, unseen, strict=True)]


def trained(name: str, recipe: dict[str, Any], samples: Sequence[Sample], given: argparse.Namespace) -> Path:
    """Train a group's detector in a process of its own, or find it trained; the file that it is exported to."""
    file, images = given.out / f"{name}.toml", given.out / f"{name}.csv"
    start = dict[str, Any]()
    if given.backbone:
        start = {"backbone.weights": str(given.backbone)}
    elif recipe["backbone"].get("stride_in_1x1"):
        start = {"backbone.stride_in_1x1": False}  # as torchvision's weights
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
    """That of a detector, in float32 or in 8 bits."""
    return f"{name}-int8.onnx" if int8 else f"{name}.onnx"


def exported(run: Path, folder: Path, int8: bool) -> Path:
    """A run's detector beside its folder, written or found there."""
    model = run.with_name(file_name(run.name, int8))
    if not model.exists():
        run_command([*WHEATEAR, "export", run, "--out", model, *(["--int8", folder] if int8 else [])])
    return model


def judge(
    detector: Detector,
    name: str,
    sessions: Sequence[str],
    labellings: Sequence[Sequence[Sample]],
    told: bool = False,
) -> Judged:
    """Look at the photos, in which the group's are in test, and choose the thresholds by the first labelling.

    told: whether the detector is told the size of each unseen session's heads.
    """
    known = [[sample for sample in each if sample.split == "val"] for each in labellings]
    unseen = [[sample for sample in each if sample.session in sessions] for each in labellings]
    sizes = dict[str, float]()
    if told:
        sizes = {session: head_px([s for s in unseen[0] if s.session == session]) for session in sessions}
    floor = detector.card.score_floor
    found = {
        sample.path.name: detector.detect(sample.path, floor, sizes.get(sample.session))
        for sample in track([*known[0], *unseen[0]], name, transient=True)
    }
    of_known = chosen(known[0], found)
    at = best_threshold(known[0], of_known)
    val = evaluate(known[0], of_known, at.count).overall
    error = CountingError(val.count.rmse, val.heads / val.photos)
    return Judged(at, floor, error, known, unseen, found)


def chosen(photos: Sequence[Sample], found: Found) -> Found:
    """What was found in some photos."""
    return {sample.path.name: found[sample.path.name] for sample in photos}


def numbers(judged: Judged, photos: Sequence[Sample], shift: float = 0.0) -> list[tuple[int, int]]:
    """The heads found in each photo, at the group's threshold for counts and the shift, and those labelled."""
    at = judged.at.count + shift
    return [(len(judged.found[s.path.name].above(at)), len(s.boxes)) for s in photos]


@dataclass(frozen=True)
class Line:
    """Figures of some photos by one labelling: shares of 1, but for count_mae, in heads."""

    kaggle: float
    ap50: float
    count_mae: float
    counted: float
    within: float

    def cells(self) -> str:
        return f"{self.kaggle:.3f} | {self.ap50:.3f} | {self.count_mae:.2f} | {self.counted:.2f} | {self.within:.2f}"


HEADER = " Kaggle | AP50 | count MAE | counted | within |"


def line(photos: Sequence[Sample], judged: Judged) -> Line:
    """The figures of some photos at a group's thresholds."""
    found = chosen(photos, judged.found)
    boxes = evaluate(photos, found, judged.at.kaggle).overall
    counts = evaluate(photos, found, judged.at.count).overall
    intervals = [(judged.error.around(heads), labelled) for heads, labelled in numbers(judged, photos)]
    within = [each.low <= labelled <= each.high for each, labelled in intervals]
    return Line(
        boxes.kaggle, boxes.ap50 or 0.0, counts.count.mae, counts.found / counts.heads, float(np.mean(within))
    )


def by_session(judged: Sequence[Judged]) -> Iterator[tuple[Judged, list[list[Sample]]]]:
    """The unseen photos of each session by each labelling, with the detector that has not seen them."""
    for each in judged:
        for session in sorted({sample.session for sample in each.unseen[0]}):
            yield each, [[s for s in labelling if s.session == session] for labelling in each.unseen]


def rows(judged: Sequence[Judged]) -> list[str]:
    """A line of the table for each session, and one for all: means over photos."""
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
    """How many times as wide intervals must be to hold 95 of 100 numbers of all groups' photos."""
    shares = [
        abs(heads - labelled) / (each.error.around(heads).high - heads)
        for each in judged
        for heads, labelled in numbers(each, getattr(each, photos)[labelling])
    ]
    return float(np.quantile(shares, 0.95))


def count_mae(judged: Sequence[Judged], shift: float, photos: str, labelling: int) -> float:
    """The count MAE over all groups' photos ("known" or "unseen"), each at its threshold for counts and the shift."""
    errors = [
        abs(heads - labelled)
        for each in judged
        for heads, labelled in numbers(each, getattr(each, photos)[labelling], shift)
    ]
    return float(np.mean(errors))


def means(
    judged: Sequence[Judged], labelling: int, size: int, factor: float, shared: float
) -> tuple[float, float]:
    """Over samples of so many photos, DRAWS of each unseen session: the share of their means' intervals that hold the
    mean of the session's labels, and the median half of the intervals, of the mean.

    factor: of the detector's error, of which photos of a field share so much.
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
    """DRAWS times so many photos of each unseen session give the threshold for its others: their count MAE, in the
    mean of the photos, how far their sum is off, of it, in the mean of the sessions, and the share of their numbers
    that lie in their intervals. factor: of the detector's error."""
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
    recipe, judged = shortened(content), list[Judged]()
    for name, sessions in content["groups"].items():
        samples = without(split(read_dataset(given.folder)), sessions)
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
    for size in FIELDS:
        cells = []
        for i in range(number):
            alone, usual, whole = (means(judged, i, size, factor, shared) for shared in (0, SHARED, 1))
            cells += [f"{held:.2f}" for held, _ in (alone, usual, whole)] + [f"{usual[1]:.2f}"]
        print(f"| {size} | {' | '.join(cells)} |")
    print("\n| counted by hand |" + " count MAE | sum off by | within |" * number)
    print("|---|" + "---|---|---|" * number)
    for photos in BY_HAND:
        figures = [by_hand(judged, i, photos, factor) for i in range(number)]
        cells = [f"{mae:.2f} | {off:.3f} | {held:.2f}" for mae, off, held in figures]
        print(f"| {photos} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
