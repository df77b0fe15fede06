"""Read labelled photos, in Kaggle's layout or GWHD 2021's, into Samples.

Kaggle, a line a head, photos in DIR/train/<image_id>.jpg:
    DIR/train.csv           image_id, bbox "[xmin, ymin, width, height]", source
GWHD 2021, a line a photo, photos in DIR/images/<image_name>:
    DIR/competition_*.csv   image_name, BoxesString "xmin ymin xmax ymax;…" or "no_box", domain
Either may have what `wheatear data split` writes:
    DIR/images.csv          image_id, source, session, photo, split

The reader takes the labels as they are: boxes outside the photo and duplicate rows are for `check` to name.
"""

import csv
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import PHOTO_SUFFIXES, photo_size

Box = tuple[float, float, float, float]
Table = list[tuple[int, dict[str, str]]]

KAGGLE_CSV = "train.csv"
IMAGES_CSV = "images.csv"
SPLITS = ("train", "val", "test", "")

# A message names this many of the photos that are missing: enough to see the pattern, still one line.
NAMED_AT_MOST = 3


@dataclass
class _Record:
    """What the label files say about one photo; `line` is where it is first named."""

    line: int = 0
    source: str = ""
    session: str = ""
    split: str = ""
    boxes: list[Box] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def read_dataset(folder: str | Path, labels: str | Path | None = None) -> list[Sample]:
    """Read every labelled photo of a folder, sorted by name.

    labels: another csv in either format, whose boxes take the place of the folder's own for the photos it
    names; the others keep theirs, as a relabelling often covers only a part.
    A photo that no line of a Kaggle csv names has no heads: its boxes are (0, 4). A photo that no line of a
    GWHD csv names is not labelled, and left out. Width and height are 0 where the photo cannot be read.

    Raises InputError, naming file and line, where the layout is neither, a column is missing, a box cannot be
    parsed, or a line names a photo that is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files, photo_folder = _find_layout(folder)
    photos = _index_photos(photo_folder)
    records = {name: _Record() for name in photos} if files[0].name == KAGGLE_CSV else {}
    for file in files:
        records |= _read_labels(file, photos, split=_split_in_name(file) if len(files) > 1 else "")
    if labels is not None:
        _relabel(records, _read_labels(Path(labels), photos, split=""))
    described = _read_images_csv(folder / IMAGES_CSV, photos)
    return [_to_sample(photos[name], records[name], described.get(name, {})) for name in sorted(records)]


def _find_layout(folder: Path) -> tuple[list[Path], Path]:
    """The label files and the folder of photos."""
    if (folder / KAGGLE_CSV).is_file():
        files, photos = [folder / KAGGLE_CSV], folder / "train"
    else:
        files, photos = sorted(folder.glob("competition_*.csv")), folder / "images"
    if not files:
        raise InputError(
            f"{folder}: no labels here; expected train.csv (Kaggle) or competition_*.csv (GWHD 2021)"
        )
    if not photos.is_dir():
        raise InputError(f"{photos}: no such folder; the photos that {files[0].name} names belong there")
    return files, photos


def _split_in_name(file: Path) -> str:
    """GWHD 2021 divides its photos by label files: competition_train.csv, competition_val.csv and so on."""
    split = file.stem.removeprefix("competition_")
    return split if split in SPLITS else ""


def _index_photos(folder: Path) -> dict[str, Path]:
    """Photos by the name that the label files know them by, which has no ending."""
    photos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PHOTO_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in photos:
            raise InputError(f"{folder}: {photos[path.stem].name} and {path.name} share a name; rename one")
        photos[path.stem] = path
    return photos


def _read_labels(file: Path, photos: Container[str], split: str) -> dict[str, _Record]:
    header, table = _read_table(file)
    if "BoxesString" in header:
        _require(file, header, "image_name", "BoxesString", "domain")
        records = _read_gwhd(file, table)
    else:
        _require(file, header, "image_id", "bbox")
        records = _read_kaggle(file, table)
    _refuse_missing(file, {name: record.line for name, record in records.items()}, photos)
    for record in records.values():
        record.split = split
    return records


def _read_kaggle(file: Path, table: Table) -> dict[str, _Record]:
    records: dict[str, _Record] = {}
    for line, row in table:
        name = row["image_id"]
        if name not in records:
            records[name] = _Record(line, source=row.get("source", ""))
        words = row["bbox"].strip().removeprefix("[").removesuffix("]").split(",")
        x, y, width, height = _parse_box(words, file, line, "[xmin, ymin, width, height]")
        records[name].boxes.append((x, y, x + width, y + height))
        records[name].rows.append(line)
    return records


def _read_gwhd(file: Path, table: Table) -> dict[str, _Record]:
    records: dict[str, _Record] = {}
    for line, row in table:
        record = records.setdefault(Path(row["image_name"]).stem, _Record(line, session=row["domain"]))
        text = row["BoxesString"].strip()
        if text == "no_box":
            continue
        boxes = [_parse_box(box.split(), file, line, "xmin ymin xmax ymax") for box in text.split(";")]
        record.boxes += boxes
        record.rows += [line] * len(boxes)
    return records


def _relabel(records: dict[str, _Record], labels: Mapping[str, _Record]) -> None:
    for name, new in labels.items():
        old = records.setdefault(name, new)
        old.boxes, old.rows = new.boxes, new.rows


def _parse_box(words: list[str], file: Path, line: int, form: str) -> Box:
    try:
        a, b, c, d = map(float, words)
        if math.isfinite(a + b + c + d):
            return a, b, c, d
    except ValueError:
        pass
    raise InputError(f"{file.name}, line {line}: {' '.join(words)!r} is no box; write it as {form!r}")


def _read_images_csv(file: Path, photos: Container[str]) -> dict[str, dict[str, str]]:
    """The rows of images.csv by photo; empty where there is no such file."""
    if not file.is_file():
        return {}
    header, table = _read_table(file)
    _require(file, header, "image_id")
    lines: dict[str, int] = {}
    for line, row in table:
        name, split = row["image_id"], row.get("split", "")
        if name in lines:
            raise InputError(f"{file.name}, line {line}: {name} is on line {lines[name]} already; keep one")
        if split not in SPLITS:
            raise InputError(
                f"{file.name}, line {line}: no split {split!r}; write train, val, test or nothing"
            )
        lines[name] = line
    _refuse_missing(file, lines, photos)
    return {row["image_id"]: row for _, row in table}


def _read_table(file: Path) -> tuple[list[str], Table]:
    """The column names of a csv, and its rows as (line number, value by column)."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            header = list(reader.fieldnames or [])
            table = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file.name}: not a csv in UTF-8 ({error})") from None
    for line, row in table:
        if None in row or None in row.values():  # csv's marks for values too many and too few
            raise InputError(f"{file.name}, line {line}: not as many values as columns")
    return header, table


def _require(file: Path, header: list[str], *columns: str) -> None:
    if missing := [column for column in columns if column not in header]:
        raise InputError(
            f"{file.name}, line 1: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}"
        )


def _refuse_missing(file: Path, lines: Mapping[str, int], photos: Container[str]) -> None:
    missing = [f"{name} (line {line})" for name, line in lines.items() if name not in photos]
    if missing:
        more = f" and {len(missing) - NAMED_AT_MOST} more" if len(missing) > NAMED_AT_MOST else ""
        raise InputError(
            f"{file.name}: no photo for {', '.join(missing[:NAMED_AT_MOST])}{more}; add or unlist them"
        )


def _to_sample(path: Path, record: _Record, described: Mapping[str, str]) -> Sample:
    try:
        width, height = photo_size(path)
    except InputError:
        width, height = 0, 0
    return Sample(
        path=path,
        boxes=np.array(record.boxes, np.float32).reshape(-1, 4),
        width=width,
        height=height,
        source=record.source or described.get("source", ""),
        session=described.get("session") or record.session,
        photo=described.get("photo", ""),
        split=described.get("split") or record.split,
        rows=np.array(record.rows, np.int64),
    )
