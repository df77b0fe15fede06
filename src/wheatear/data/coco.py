"""COCO's layout (cocodataset.org, "Data format"): one JSON file per split, boxes as [x, y, width, height].

    DIR/annotations/instances_<split>.json  and  DIR/images/<file_name>     as written here, and by CVAT
    DIR/<split>/_annotations.coco.json      and  DIR/<split>/<file_name>    as Roboflow writes them

A photo that no file lists is unlabelled; one that is listed without a box has no heads.
"""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from wheatear.data.labels import (
    BEYOND,
    HEAD,
    SPLIT_NAMES,
    Labelled,
    Labels,
    by_name,
    parse_size,
    photos_below,
    refuse_classes,
    refuse_missing,
    shown,
    without_counts,
)
from wheatear.data.sample import Sample
from wheatear.errors import InputError, first_problem
from wheatear.files import whole
from wheatear.words import composed

PHOTOS = "images"
UNDIVIDED = "all"
CATEGORY = 1  # COCO numbers its categories from 1
CATEGORIES = [{"id": CATEGORY, "name": HEAD, "supercategory": ""}]


LARGEST_ROW = 2**63  # limit of a Sample's rows, which are int64; ids made from a UUID exceed it
Coordinate = Annotated[float, Field(gt=-BEYOND, lt=BEYOND)]  # which excludes nan, too


class Image(BaseModel):
    """An entry of `images`."""

    id: int | str
    file_name: str
    width: object = 0
    height: object = 0


class _Annotation(BaseModel):
    id: int | str = 0
    image_id: int | str
    category_id: int
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    iscrowd: int = 0


class _Category(BaseModel):
    id: int | str
    name: str = ""


class _File(BaseModel):
    images: list[Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []


def is_here(folder: Path) -> bool:
    return bool(_label_files(folder))


def read(folder: Path) -> Labelled:
    contents = {file: _parse(file) for file in _label_files(folder)}
    named = {composed(PurePath(image.file_name).stem) for each in contents.values() for image in each.images}
    found = Labelled(by_name(photos_below(folder), named), {})
    classes: set[str] = set()
    for file, content in contents.items():
        labels = _labels(file, content)
        refuse_missing(str(file), dict.fromkeys(labels, 0), found.photos)
        if twice := labels.keys() & found.labels.keys():
            raise InputError(f"{file}: {min(twice)} is in another label file too; keep it in one")
        found.labels.update(labels)
        called = {str(category.id): category.name for category in content.categories}
        used = {str(one.category_id) for one in content.annotations}
        classes |= {called.get(number) or f"category_id {number}" for number in used}
    refuse_classes(folder, classes)
    return found


def images_of(folder: Path) -> list[Image]:
    """The photos listed in a folder's label files, with their ids there; [] in other layouts."""
    return [image for file in _label_files(folder) for image in _parse(file).images]


def place(sample: Sample) -> PurePath:
    """The path of the photo, relative to the folder."""
    return PurePath(PHOTOS, sample.path.name)


def write(samples: Sequence[Sample], folder: Path) -> None:
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for split in sorted({sample.split for sample in samples} or {""}):
        chosen = [sample for sample in samples if sample.split == split]
        with whole(folder / "annotations" / f"instances_{split or UNDIVIDED}.json") as part:
            part.write_text(json.dumps(_content(chosen), ensure_ascii=False), encoding="utf-8")


def image(number: int, file_name: str, width: int, height: int) -> dict[str, Any]:
    """An entry of `images`."""
    return {"id": number, "file_name": file_name, "width": width, "height": height}


def annotation(number: int, image_number: int, box: Sequence[float]) -> dict[str, Any]:
    """An entry of `annotations` for an xyxy box, rounded to 0.001 pixel."""
    xmin, ymin, xmax, ymax = box
    xywh = [round(value, 3) for value in (xmin, ymin, xmax - xmin, ymax - ymin)]
    area = round(xywh[2] * xywh[3], 3)
    ids = {"id": number, "image_id": image_number, "category_id": CATEGORY}
    return ids | {"bbox": xywh, "area": area, "iscrowd": 0}


def _label_files(folder: Path) -> list[Path]:
    patterns = ("annotations/*.json", "*.coco.json", "*/*.coco.json")
    found = shown({file for pattern in patterns for file in folder.glob(pattern)}, folder)
    return sorted(without_counts(found, folder))


def _parse(file: Path) -> _File:
    try:
        return _File.model_validate_json(file.read_bytes().removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise InputError(f"{file}, {first_problem(error)}; write COCO's instances format") from None


def _labels(file: Path, content: _File) -> dict[str, Labels]:
    # The ids 7 and "7" are the same.
    names = {str(each.id): composed(PurePath(each.file_name).stem) for each in content.images}
    _refuse_repeats(file, "image id", [str(each.id) for each in content.images])
    _refuse_repeats(file, "file_name", names.values())
    labels = {
        names[str(each.id)]: Labels(split=_split(file), size=parse_size(str(each.width), str(each.height)))
        for each in content.images
    }
    for number, one in enumerate(content.annotations):
        if str(one.image_id) not in names:
            raise InputError(
                f"{file}, annotations.{number}: no image has the id {one.image_id}; list or drop it"
            )
        if one.iscrowd:
            raise InputError(
                f"{file}, annotations.{number}: iscrowd is set, so it frames many heads; box each, or drop it"
            )
        x, y, width, height = one.bbox
        mine = labels[names[str(one.image_id)]]
        mine.boxes.append((x, y, x + width, y + height))
        mine.rows.append(one.id if isinstance(one.id, int) and abs(one.id) < LARGEST_ROW else number)
    return labels


def _refuse_repeats(file: Path, what: str, values: Iterable[int | str]) -> None:
    value, times = max(Counter(values).items(), key=lambda item: item[1], default=("", 1))
    if times > 1:
        raise InputError(f"{file}, images: the {what} {value} is there {times} times; keep one")


def _split(file: Path) -> str:
    """The split, from names like instances_train.json, instances_train2017.json or train/_annotations.coco.json."""
    in_name = file.stem.removeprefix("instances_").rstrip("0123456789")
    return SPLIT_NAMES.get(in_name) or SPLIT_NAMES.get(file.parent.name, "")


def _content(samples: Sequence[Sample]) -> dict[str, Any]:
    heads = [(photo, box) for photo, sample in enumerate(samples, start=1) for box in sample.boxes.tolist()]
    images = [
        image(photo, sample.path.name, sample.width, sample.height)
        for photo, sample in enumerate(samples, start=1)
    ]
    annotations = [annotation(number, *head) for number, head in enumerate(heads, start=1)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}
