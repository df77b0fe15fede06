"""Detections: the heads found in one photo, their conversion to other formats, and their CSV."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from wheatear.csv_files import open_table, require, write_table
from wheatear.errors import InputError

if TYPE_CHECKING:
    import pandas
    import supervision

# (a, b, c, d, e, f), from a pixel to the map: x = a * column + b * row + c, y = d * column + e * row + f.
Transform = Sequence[float]
PIXELS: Transform = (1, 0, 0, 0, 1, 0)

HEADER = ("image", "xmin", "ymin", "xmax", "ymax", "score")


@dataclass(frozen=True, eq=False)
class Detections:
    """The heads found in one photo, best first.

    boxes:  (N, 4) float32 xyxy pixels of the photo as given, half-open; (0, 4) if nothing was found.
    scores: (N,) float32, descending.
    height, width: size of the photo in pixels; 0 if unknown, as in detections read from a CSV.

    Boxes and scores may be given in any order and numeric type; they are sorted and converted. ValueError if
    the shapes do not match or a number is not finite. The caller must ensure that each box has its smaller
    corner first and each score lies in 0..1.
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
        """The heads at a slice, index array or bool mask, still best first. TypeError for a single index."""
        if not isinstance(index, slice) and np.ndim(index) == 0:
            raise TypeError("a single head is no Detections; take a slice, or walk over .boxes and .scores")
        return Detections(self.boxes[index], self.scores[index], self.height, self.width)

    def above(self, threshold: float) -> "Detections":
        """The heads with score >= threshold."""
        return self[self.scores >= np.float32(threshold)]

    def to_csv(self, path: str | Path, image: str) -> None:
        """Write a CSV with the columns HEADER, which read_csv can read; without heads, the header alone.

        image: the photo's name, for the first column.
        """
        write_csv(path, [(image, self)])

    def to_coco(self, image_id: int = 1, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO results, one dict per head with bbox [x, y, width, height]: for json.dump or COCO's loadRes."""
        corners = self.boxes.astype(np.float64)
        corners[:, 2:] -= corners[:, :2]
        ids = {"image_id": image_id, "category_id": category_id}
        return [
            ids | {"bbox": xywh, "score": score}
            for xywh, score in zip(corners.tolist(), self.scores.tolist(), strict=True)
        ]

    def to_geojson(self, transform: Transform = PIXELS) -> dict[str, Any]:
        """A GeoJSON FeatureCollection with a closed polygon and a score for each head.

        transform: (a, b, c, d, e, f) from pixels to map coordinates, x = a * column + b * row + c and
        y = d * column + e * row + f, such as rasterio's `dataset.transform`. By default the coordinates are
        pixels. ValueError for fewer than six numbers.
        """
        a, b, c, d, e, f = tuple(transform)[:6]
        features = []
        for (xmin, ymin, xmax, ymax), score in zip(self.boxes.tolist(), self.scores.tolist(), strict=True):
            # Counter-clockwise on a map with north up, as RFC 7946 (3.1.6) requires.
            corners = ((xmin, ymin), (xmin, ymax), (xmax, ymax), (xmax, ymin), (xmin, ymin))
            ring = [[a * x + b * y + c, d * x + e * y + f] for x, y in corners]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            features.append({"type": "Feature", "geometry": geometry, "properties": {"score": score}})
        return {"type": "FeatureCollection", "features": features}

    def to_pandas(self) -> "pandas.DataFrame":
        """A DataFrame, one row per head: xmin, ymin, xmax, ymax, score (float32). InputError without pandas."""
        values = np.column_stack([self.boxes, self.scores])
        return _installed("pandas").DataFrame(values, columns=list(HEADER[1:]))

    def to_supervision(self) -> "supervision.Detections":
        """The heads as supervision.Detections, all of class 0. InputError without supervision."""
        return _installed("supervision").Detections(
            xyxy=self.boxes.copy(), confidence=self.scores.copy(), class_id=np.zeros(len(self), np.int64)
        )


def rows(image_name: str, detections: Detections) -> list[list[str | float]]:
    """Rows for a CSV with HEADER: coordinates to 0.01 pixel, scores to 0.0001; [] without detections."""
    corners = detections.boxes.astype(np.float64).round(2).tolist()
    scores = detections.scores.astype(np.float64).round(4).tolist()
    return [[image_name, *box, score] for box, score in zip(corners, scores, strict=True)]


def write_csv(path: str | Path, found: Iterable[tuple[str, Detections]]) -> None:
    """Write the detections of many photos, with their names, as one CSV with HEADER; whole or not at all."""
    heads = (row for name, detections in found for row in rows(name, detections))
    write_table(Path(path), chain([HEADER], heads))


def read_csv(path: Path | str) -> dict[str, Detections]:
    """Detections by image name, from a CSV with the columns HEADER (in any order and case, others ignored).

    Accepted are the forms of a CSV that `csv_files.open_table` accepts, as spreadsheets write them; a header
    alone gives an empty dict. Photo sizes are unknown, so height and width are 0.
    InputError for a file that cannot be read, is not UTF-8, lacks a column or has it twice, and, with the
    line number, for a row that is not a name and a box of some area with a score in 0..1.
    """
    path = Path(path)
    members: dict[str, list[int]] = {}
    numbers, lines = array("d"), array("q")  # a million rows as lists would need half a gigabyte
    with open_table(path, lower=True, compose=False) as (header, table):
        require(path, header, *HEADER)
        name_column, *number_columns = map(header.index, HEADER)
        for line, fields in table:
            try:
                numbers.extend([float(fields[column]) for column in number_columns])
                name = fields[name_column]
            except (ValueError, IndexError) as error:
                raise _not_a_row(path, line, fields) from error
            if not name:
                raise _not_a_row(path, line, fields)
            members.setdefault(name, []).append(len(lines))
            lines.append(line)
    with np.errstate(over="ignore"):  # 1e39 becomes inf, which _refuse_bad_rows names
        values = np.array(numbers).reshape(-1, 5).astype(np.float32)
    _refuse_bad_rows(path, values, lines)
    return {name: Detections(values[index, :4], values[index, 4]) for name, index in members.items()}


def _installed(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed; install it with `pip install {name}`") from None


def _not_a_row(path: Path, line: int, fields: list[str]) -> InputError:
    given, wanted = ",".join(fields), ",".join(HEADER)
    return InputError(f"{path}, line {line}: {given!r} is not a name and five numbers; write {wanted}")


def _refuse_bad_rows(path: Path, values: np.ndarray, lines: Sequence[int]) -> None:
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
