"""What `wheatear evaluate` judges: photos, and their detections by a model, a file or a second labelling."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import typer

from wheatear.boxes import area
from wheatear.cli_detecting import Looking, detect_in_each
from wheatear.cli_options import tell_other_sizes
from wheatear.data.check import in_photo
from wheatear.data.coco_results import names_of_ids, names_of_numbers, read_results
from wheatear.data.formats import IMAGES_CSV, names_empty_photos, read_dataset, read_labels
from wheatear.data.labels import Labels
from wheatear.data.sample import Sample
from wheatear.data.splits import divided_as, photos_of, read_splits
from wheatear.detections import Detections, read_csv
from wheatear.detector import Detector, is_file_name
from wheatear.errors import InputError
from wheatear.evaluation import select
from wheatear.images import photo_size
from wheatear.sized import HeadPx
from wheatear.words import photos


def labelled_photos(
    folder: Path, labels: Path | None, images: Path | None, split: str | None, model: str | None
) -> tuple[list[Sample], list[Sample]]:
    """All photos of a data set with their labels, and those of the split that is judged.

    Photos that are in no split are divided as the training of a model in a run folder divided them. The user is told of
    boxes without area there, of photos of another size than their labels say, and of photos that the model learnt from.
    """
    known = read_dataset(folder, labels, images)
    run = Path(model).parent if model and is_file_name(model) else None
    splits = splits_of_run(run) if run else {}
    if run and split != "all" and not any(sample.split for sample in known):
        known = divided_by_run(known, splits, run)
    if lost := sum(int((area(in_photo(sample)) == 0).sum()) for sample in known):
        typer.echo(
            f"wheatear: labelled boxes without area in their photo, which nothing can find: {lost:,}; "
            "see `wheatear data check`",
            err=True,
        )
    wanted = photos_of(known, split, folder)
    tell_other_sizes(wanted)
    if split != "train":
        tell_learned(wanted, splits)
    return known, wanted


def readable(samples: Sequence[Sample]) -> list[Sample]:
    """The photos whose files are photos, by their beginning; the others are named. InputError where none is left.

    Of a format whose boxes are shares of a photo's sides (YOLO) the boxes of the others are not known.
    """

    def opened(sample: Sample) -> Sample:
        if not sample.width:
            photo_size(sample.path)  # says what is wrong with the file
        return sample

    return detect_in_each(samples, opened)


def divided_by_run(samples: Sequence[Sample], splits: Mapping[str, str], run: Path) -> list[Sample]:
    """The samples as the training of a model in its run folder has divided them; as they are where it knows none.

    splits: those of the run (`splits_of_run`). InputError where it knows a part: of the others nobody has said what
    they are, and names of cameras are often alike.
    """
    images = run / IMAGES_CSV
    named, names = splits.keys(), {sample.name for sample in samples}
    there = len(named & names)
    if 0 < there < len(samples):
        mend = "give --split all to judge by all of them"
        mend += f", or --images {images} to judge by its val photos" if named <= names else ""
        raise InputError(f"{images}: names {there:,} of the {photos(len(samples))}; {mend}")
    if there:
        typer.echo(f"The photos are divided by {images}")
    return divided_as(samples, splits)


def tell_learned(samples: Sequence[Sample], splits: Mapping[str, str]) -> None:
    """Say how many of the photos have names of those that the model was trained on, by the splits of its run."""
    if learned := sum(splits.get(sample.name) == "train" for sample in samples):
        typer.echo(
            f"wheatear: {learned:,} of {photos(len(samples))} have names of photos that the model was trained on; "
            "where they are the same photos, the figures are too good",
            err=True,
        )


def splits_of_run(run: Path) -> dict[str, str]:
    """The split of each photo of a run folder, by name; empty where it is none."""
    images = run / IMAGES_CSV
    return read_splits(images) if (run / "run.json").is_file() and images.is_file() else {}


def run_model(
    detector: Detector, samples: Sequence[Sample], head_px: HeadPx
) -> tuple[list[Sample], dict[str, Detections]]:
    """The photos that could be run, and all that the detector gives for them, down to its score floor, by file name.

    head_px: as in detect_sized.
    """
    looking = Looking(detector, head_px)
    done = detect_in_each(samples, lambda sample: (sample, looking.find(sample.path, 0.0)))
    looking.tell()
    return [sample for sample, _ in done], {sample.path.name: heads for sample, heads in done}


def read_detections(
    file: Path, folder: Path, known: Sequence[Sample], chosen: Sequence[Sample]
) -> dict[str, Detections]:
    """The detections of the chosen photos from a CSV or COCO's JSON that may have those of all that are known."""
    if file.suffix.lower() == ".json":
        numbers = names_of_numbers(sample.name for sample in known)
        found = read_results(file, numbers | names_of_ids(folder, {sample.name for sample in chosen}))
    else:
        found = read_csv(file)
    try:
        return select(found, known, chosen)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def second_labelling(
    file: Path, known: Sequence[Sample], chosen: Sequence[Sample]
) -> tuple[list[Sample], dict[str, Detections]]:
    """The chosen photos that a second label file covers too, and its boxes; says how many there are."""
    other = read_labels(file, {sample.name for sample in known})
    both, found = compare(chosen, other, names_empty_photos(file))
    typer.echo(f"{len(both):,} of {photos(len(chosen))} are in both labellings; the others are left out")
    return both, found


def compare(
    samples: Sequence[Sample], other: Mapping[str, Labels], names_empty: bool
) -> tuple[list[Sample], dict[str, Detections]]:
    """The samples covered by both labellings, and the other's boxes as detections of score 1, by file name.

    other: labels by photo name, as returned by data.formats.read_labels.
    names_empty: whether the other labelling also names photos without heads (`names_empty_photos`).
    A photo that the other does not name is left out, unless it has no heads here and the other would not name
    it if it agreed, as in Kaggle's layout.
    """
    covered = [sample for sample in samples if sample.name in other or not (names_empty or len(sample.boxes))]
    return covered, {sample.path.name: _as_detections(sample, other.get(sample.name)) for sample in covered}


def _as_detections(sample: Sample, labels: Labels | None) -> Detections:
    boxes = np.array(labels.boxes if labels else [], np.float32).reshape(-1, 4)
    return Detections(boxes, np.ones(len(boxes)), sample.height, sample.width)
