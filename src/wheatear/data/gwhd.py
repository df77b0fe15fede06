"""The layout of GWHD 2021, the Global Wheat Head Dataset: one line per photo.

    DIR/competition_*.csv   image_name, BoxesString "xmin ymin xmax ymax;…" or "no_box", domain
    DIR/images/<image_name>

Each split has its own label file: competition_train.csv, competition_val.csv and so on. A photo without a
line is unlabelled.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath

from wheatear.csv_files import Table, read_table, require, write_table
from wheatear.data.labels import (
    SPLIT_NAMES,
    Labelled,
    Labels,
    decimal,
    parse_box,
    photos_in,
    refuse_missing,
    refuse_second,
)
from wheatear.data.sample import Sample
from wheatear.errors import InputError

FILES = "competition_*.csv"
PHOTOS = "images"
BOXES = "BoxesString"
COLUMNS = ("image_name", BOXES, "domain")
NO_BOX = "no_box"
UNDIVIDED = "all"


def is_here(folder: Path) -> bool:
    return any(folder.glob(FILES))


def read(folder: Path) -> Labelled:
    files = sorted(folder.glob(FILES))
    found = Labelled(photos_in(folder / PHOTOS, files[0].name), {})
    for file in files:
        header, table = read_table(file)
        labels = parse(file, header, table)
        refuse_missing(str(file), {name: each.line for name, each in labels.items()}, found.photos)
        for name in labels.keys() & found.labels.keys():
            raise InputError(
                f"{file}, line {labels[name].line}: {name} is in another file too; keep one line"
            )
        for each in labels.values():
            each.split = SPLIT_NAMES.get(file.stem.removeprefix("competition_"), "")
        found.labels.update(labels)
    return found


def parse(file: Path, header: Sequence[str], table: Table) -> dict[str, Labels]:
    """Labels by image_name without its extension; a repeated line counts once.

    InputError for a photo on two lines that differ in their boxes.
    """
    require(file, header, *COLUMNS)
    found: dict[str, Labels] = {}
    texts: dict[str, str] = {}
    for line, row in table:
        name, text = Path(row["image_name"]).stem, row[BOXES].strip()
        labels = found.setdefault(name, Labels(line, session=row["domain"]))
        if texts.setdefault(name, text) != text:
            refuse_second(file, line, row["image_name"], labels.line)
        if text == NO_BOX or labels.line != line:
            continue
        place = f"{file}, line {line}"
        boxes = [parse_box(box.split(), place, "xmin ymin xmax ymax") for box in text.split(";")]
        labels.boxes += boxes
        labels.rows += [line] * len(boxes)
    return found


def place(sample: Sample) -> PurePath:
    """The path of the photo, relative to the folder."""
    return PurePath(PHOTOS, sample.path.name)


def write(samples: Sequence[Sample], folder: Path) -> None:
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    for split in sorted({sample.split for sample in samples} or {""}):
        chosen = [sample for sample in samples if sample.split == split]
        write_labels(chosen, folder / f"competition_{split or UNDIVIDED}.csv")


def write_labels(samples: Sequence[Sample], file: Path) -> None:
    """Write a single csv for all splits."""
    write_table(file, [COLUMNS, *map(_row, samples)])


def _row(sample: Sample) -> tuple[str, str, str]:
    boxes = ";".join(" ".join(map(decimal, box)) for box in sample.boxes.tolist())
    return sample.path.name, boxes or NO_BOX, sample.session
