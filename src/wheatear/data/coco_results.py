"""Detections in COCO's results format (cocodataset.org, "Results Format"), as Detectron2, MMDetection and Ultralytics
write it: a list of entries with image_id, category_id, bbox [x, y, width, height] and score.

COCO's instances format with scores, as `wheatear count --format coco` writes it, is read too.
"""

from codecs import BOM_UTF8
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from wheatear.data import coco
from wheatear.data.labels import BEYOND, refuse_classes
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.words import composed

Side = Annotated[float, Field(ge=0, lt=BEYOND)]


class _Result(BaseModel):
    image_id: int | str  # 7 and "7" are the same
    category_id: int = coco.CATEGORY
    bbox: tuple[coco.Coordinate, coco.Coordinate, Side, Side]
    score: Annotated[float, Field(ge=0, le=1)]


class _Instances(BaseModel):
    images: list[coco.Image]
    annotations: list[_Result]


_FILE: TypeAdapter[list[_Result] | _Instances] = TypeAdapter(list[_Result] | _Instances)


def read_results(path: Path, names: Mapping[str, str]) -> dict[str, Detections]:
    """Detections by photo name. Photo sizes are unknown, so height and width are 0.

    names: the names of photos by their ids, from `names_of_numbers` and `names_of_ids`; any other id is taken
    as a name itself. A file in the instances format has its own names, the file_name of its images, which are
    used instead.
    Raises InputError, naming the file, if it cannot be read, is in neither format (naming the entry, too), or
    has several classes.
    """
    try:
        content = _FILE.validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of detections") from error
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}; write COCO's results format") from None
    if isinstance(content, _Instances):
        names = {str(image.id): image.file_name for image in content.images}
        content = content.annotations
    refuse_classes(path, {f"category_id {one.category_id}" for one in content})
    found = defaultdict[str, list[_Result]](list)
    for one in content:
        found[names.get(str(one.image_id), str(one.image_id))].append(one)
    return {name: _detections(some) for name, some in found.items()}


def names_of_numbers(names: Iterable[str]) -> dict[str, str]:
    """The names that are numbers by these without leading zeros, unless several have one.

    Ultralytics writes the image_id of 007.jpg as 7.
    """
    numbers = [(str(int(name)), name) for name in names if name.isdecimal()]
    times = Counter(number for number, _ in numbers)
    return {number: name for number, name in numbers if times[number] == 1}


def names_of_ids(folder: Path, chosen: Container[str]) -> dict[str, str]:
    """The names of photos (file names without extension) by their ids in a data set in COCO's layout.

    {} in any other layout. An id that two photos have, in two label files, is that of the chosen one. Raises
    InputError if both are chosen.
    """
    names: dict[str, str] = {}
    others: dict[str, str] = {}
    for each in coco.images_of(folder):
        number, name = str(each.id), composed(PurePath(each.file_name).stem)
        if name not in chosen:
            others[number] = name
        elif names.setdefault(number, name) != name:
            both = f"that of {names[number]} and of {name}"
            raise InputError(f"{folder}: the id {number} is {both}; judge one split by --split")
    return others | names


def _detections(some: list[_Result]) -> Detections:
    x, y, width, height = np.array([one.bbox for one in some]).T
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    return Detections(boxes, np.array([one.score for one in some]))


def _first(error: ValidationError) -> str:
    """Where a file is wrong, and how: the most deeply nested error, so of the format that it matches further."""
    first = max(error.errors(), key=lambda each: len(each["loc"]))
    where = ".".join(str(part) for part in first["loc"][1:]) or "the whole file"
    return f"{where}: {first['msg']}"
