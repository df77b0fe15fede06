"""Detections: the heads found in one photo, and their CSV."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from wheatear.errors import InputError

HEADER = ("image", "xmin", "ymin", "xmax", "ymax", "score")


@dataclass(frozen=True, eq=False)
class Detections:
    """The heads found in one photo, best first.

    boxes:  (N, 4) float32 xyxy pixels of the photo as given, half-open; (0, 4) where nothing was found.
    scores: (N,) float32, descending.
    height, width: pixels of the photo; 0 where unknown, as in detections read from a CSV.

    They may be given in any order and of any float type. ValueError where the shapes do not fit or a
    number is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32)
        scores = np.asarray(self.scores, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ValueError(f"need boxes (N, 4) and scores (N,), got {boxes.shape} and {scores.shape}")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("boxes and scores must be finite")
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "boxes", boxes[order])
        object.__setattr__(self, "scores", scores[order])

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: slice | np.ndarray) -> "Detections":
        """Those at a slice, an array of indices or a bool mask; still best first."""
        return Detections(self.boxes[index], self.scores[index], self.height, self.width)

    def above(self, threshold: float) -> "Detections":
        """Those with score >= threshold."""
        return self[self.scores >= np.float32(threshold)]


def rows(image_name: str, detections: Detections) -> list[list[str | float]]:
    """Lines for a CSV with HEADER: coordinates to 0.01 pixel, scores to 0.0001. No detections, no lines."""
    corners = detections.boxes.astype(np.float64).round(2).tolist()
    scores = detections.scores.astype(np.float64).round(4).tolist()
    return [[image_name, *box, score] for box, score in zip(corners, scores, strict=True)]


def read_csv(path: Path | str) -> dict[str, Detections]:
    """Detections by image name as written, from a CSV with the columns of HEADER (any order, others ignored).

    A byte-order mark, Windows line ends and blank lines are accepted; a header alone gives an empty dict.
    Photo sizes are unknown, so height and width are 0.
    InputError with file and line for a row that is not a box with a score in 0..1.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, values, lines = _parse(path, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a CSV of detections") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8; save it as CSV UTF-8") from error
    _refuse_bad_rows(path, values, lines)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        members.setdefault(name, []).append(row)
    return {name: Detections(values[index, :4], values[index, 4]) for name, index in members.items()}


def _parse(path: Path, file: TextIO) -> tuple[list[str], np.ndarray, list[int]]:
    """Names, (N, 5) float32 corners and score, and the line number of each row."""
    reader = csv.reader(file)
    name_column, *number_columns = _columns(path, next(reader, []))
    names: list[str] = []
    numbers: list[list[float]] = []
    lines: list[int] = []
    for fields in reader:
        if not fields:
            continue
        try:
            numbers.append([float(fields[column]) for column in number_columns])
            names.append(fields[name_column])
        except (ValueError, IndexError) as error:
            raise _not_a_row(path, reader.line_num, fields) from error
        if not names[-1]:
            raise _not_a_row(path, reader.line_num, fields)
        lines.append(reader.line_num)
    with np.errstate(over="ignore"):  # 1e39 becomes inf, which _refuse_bad_rows names
        values = np.array(numbers, np.float64).reshape(-1, 5).astype(np.float32)
    return names, values, lines


def _columns(path: Path, header: list[str]) -> list[int]:
    """Where the columns of HEADER are."""
    found = [title.strip().lower() for title in header]
    missing = [title for title in HEADER if title not in found]
    if missing:
        wanted = ",".join(HEADER)
        raise InputError(f"{path}, line 1: no column {', '.join(missing)}; the header must be {wanted}")
    return [found.index(title) for title in HEADER]


def _not_a_row(path: Path, line: int, fields: list[str]) -> InputError:
    given, wanted = ",".join(fields), ",".join(HEADER)
    return InputError(f"{path}, line {line}: {given!r} is not a name and five numbers; write {wanted}")


def _refuse_bad_rows(path: Path, values: np.ndarray, lines: list[int]) -> None:
    """InputError for the first row that is not a box of some area with a score in 0..1."""
    finite = np.isfinite(values).all(axis=1)
    upright = (values[:, 2] > values[:, 0]) & (values[:, 3] > values[:, 1])
    scored = (values[:, 4] >= 0) & (values[:, 4] <= 1)
    bad = np.flatnonzero(~(finite & upright & scored))
    if not len(bad):
        return
    row = bad[0]
    if not finite[row]:
        problem = "a number is not finite; write plain numbers"
    elif not upright[row]:
        problem = "xmax <= xmin or ymax <= ymin; write corners, not width and height"
    else:
        problem = f"score {values[row, 4]:g} is outside 0..1; write scores between 0 and 1"
    raise InputError(f"{path}, line {lines[row]}: {problem}")
