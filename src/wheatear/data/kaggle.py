"""The layout of Kaggle's Global Wheat Detection competition of 2020: one line per head.

    DIR/train.csv           image_id, width, height, bbox "[xmin, ymin, width, height]", source
    DIR/train/<image_id>.jpg

A photo without a line has no heads. Only the columns image_id and bbox are required. A submission can be read
too, as other labels for the photos: image_id, PredictionString "score xmin ymin width height …", one line per
photo.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from wheatear.csv_files import Table, read_table, require, write_table
from wheatear.data.labels import (
    Labelled,
    Labels,
    decimal,
    parse_box,
    parse_size,
    photos_in,
    refuse_missing,
    refuse_second,
)
from wheatear.data.sample import Sample

KAGGLE_CSV = "train.csv"
PREDICTIONS = "PredictionString"
PHOTOS = "train"


def is_here(folder: Path) -> bool:
    return (folder / KAGGLE_CSV).is_file()


def read(folder: Path) -> Labelled:
    photos = photos_in(folder / PHOTOS, KAGGLE_CSV)
    header, table = read_table(folder / KAGGLE_CSV)
    labels = parse(folder / KAGGLE_CSV, header, table)
    refuse_missing(str(folder / KAGGLE_CSV), {name: each.line for name, each in labels.items()}, photos)
    return Labelled(photos, {name: Labels() for name in photos} | labels)


def parse(file: Path, header: Sequence[str], table: Table) -> dict[str, Labels]:
    """Labels by image_id, for the photos that have a line."""
    if PREDICTIONS in header:
        return _parse_submission(file, header, table)
    require(file, header, "image_id", "bbox", optional=["width", "height", "source"])
    labels: dict[str, Labels] = {}
    for line, row in table:
        name = row["image_id"]
        if name not in labels:
            size = parse_size(row.get("width", ""), row.get("height", ""))
            labels[name] = Labels(line, source=row.get("source", ""), size=size)
        words = row["bbox"].strip().removeprefix("[").removesuffix("]").split(",")
        x, y, width, height = parse_box(words, f"{file}, line {line}", "[xmin, ymin, width, height]")
        labels[name].boxes.append((x, y, x + width, y + height))
        labels[name].rows.append(line)
    return labels


def _parse_submission(file: Path, header: Sequence[str], table: Table) -> dict[str, Labels]:
    """The same from a submission, without its scores; InputError for a photo on two lines."""
    require(file, header, "image_id", PREDICTIONS)
    labels: dict[str, Labels] = {}
    for line, row in table:
        mine = labels.setdefault(row["image_id"], Labels(line))
        refuse_second(file, line, row["image_id"], mine.line)
        words = row[PREDICTIONS].split()
        for start in range(0, len(words), 5):
            box = words[start + 1 : start + 5]
            x, y, width, height = parse_box(box, f"{file}, line {line}", "score xmin ymin width height")
            mine.boxes.append((x, y, x + width, y + height))
            mine.rows.append(line)
    return labels


def place(sample: Sample) -> PurePath:
    """The path of the photo, relative to the folder."""
    return PurePath(PHOTOS, sample.path.name)


def write(samples: Sequence[Sample], folder: Path) -> None:
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    write_labels(samples, folder / KAGGLE_CSV)


def write_labels(samples: Sequence[Sample], file: Path) -> None:
    """Write the csv only."""
    header = ("image_id", "width", "height", "bbox", "source")
    write_table(file, [header, *(row for sample in samples for row in _rows(sample))])


def _rows(sample: Sample) -> Iterator[Sequence[object]]:
    for xmin, ymin, xmax, ymax in sample.boxes.tolist():
        box = ", ".join(map(decimal, (xmin, ymin, xmax - xmin, ymax - ymin)))
        yield sample.name, sample.width, sample.height, f"[{box}]", sample.source
