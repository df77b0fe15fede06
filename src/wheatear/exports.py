"""Write the heads of many photos in the formats of other programs, photo by photo.

`open_coco`, `open_yolo`, `open_voc` and `open_submission` are context managers that give a function to call
with each photo's name and Detections, so that one run can write several formats; `write_coco` and so on take
an iterable of these pairs. Memory does not grow with the number of heads. A file, or the folder of files,
gets its name at the end, once complete. COCO, YOLO and VOC need the size of each photo, so Detections without
a size raise InputError.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, count
from pathlib import Path, PurePath
from tempfile import TemporaryFile

from wheatear.data import coco, voc, yolo
from wheatear.data.labels import decimal
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.files import whole, whole_folder

Add = Callable[[str, Detections], None]
Found = Iterable[tuple[str, Detections]]


@contextmanager
def open_coco(path: str | Path) -> Iterator[Add]:
    """One JSON file of images, annotations with scores, and categories, as read by COCO() and labelling programs."""
    images: list[dict[str, object]] = []
    numbers = count(1)
    with whole(Path(path)) as part, part.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(coco.CATEGORIES)},\n"annotations": [')

        def add(name: str, detections: Detections) -> None:
            _require_size(name, detections)
            images.append(coco.image(len(images) + 1, name, detections.width, detections.height))
            for box, score in _heads(detections):
                number = next(numbers)
                head = coco.annotation(number, len(images), box) | {"score": round(score, 4)}
                file.write(f"{',' if number > 1 else ''}\n{json.dumps(head)}")

        yield add
        file.write(f'\n],\n"images": {json.dumps(images)}}}\n')


@contextmanager
def open_yolo(folder: str | Path) -> Iterator[Add]:
    """One FOLDER/<name>.txt per photo, one line per head, the score last, like the predictions of Ultralytics."""
    with whole_folder(Path(folder)) as part:
        place = _places(part, ".txt")

        def add(name: str, detections: Detections) -> None:
            _require_size(name, detections)
            size = detections.width, detections.height
            lines = [f"{yolo.line(box, *size)} {score:.4f}\n" for box, score in _heads(detections)]
            place(name).write_text("".join(lines), encoding="utf-8")

        yield add


@contextmanager
def open_voc(folder: str | Path) -> Iterator[Add]:
    """One FOLDER/<name>.xml per photo, with a <score> in each object."""
    with whole_folder(Path(folder)) as part:
        place = _places(part, ".xml")

        def add(name: str, detections: Detections) -> None:
            _require_size(name, detections)
            size = detections.width, detections.height
            text = os.fsencode(PurePath(name).name).decode(errors="replace")  # XML cannot contain other bytes
            content = voc.document(text, detections.boxes.tolist(), size, scores=detections.scores.tolist())
            place(name).write_bytes(content)

        yield add


@contextmanager
def open_submission(path: str | Path) -> Iterator[Add]:
    """Kaggle's submission.csv: image_id, PredictionString "score xmin ymin width height …", empty without heads.

    An image_id is the name of the file without folder and extension, or the whole name of every photo if two
    would have the same.
    """
    names: list[str] = []
    with whole(Path(path)) as part, TemporaryFile("w+", dir=part.parent, encoding="utf-8") as found:

        def add(name: str, detections: Detections) -> None:
            heads = [
                [f"{one['score']:.4f}", *map(decimal, one["bbox"])] for one in detections.to_coco()
            ]  # COCO's xywh is Kaggle's too
            names.append(name)
            found.write(" ".join(word for head in heads for word in head) + "\n")

        yield add
        found.seek(0)
        with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image_id", "PredictionString"))
            writer.writerows(zip(_image_ids(names), map(str.strip, found), strict=True))


# The formats by name, and the file or folder of each in the folder of a run.
EXPORTS: dict[str, tuple[str, Callable[[Path], AbstractContextManager[Add]]]] = {
    "coco": ("detections.coco.json", open_coco),
    "yolo": ("yolo", open_yolo),
    "voc": ("voc", open_voc),
    "kaggle": ("submission.csv", open_submission),
}


def open_export(name: str, out: Path) -> AbstractContextManager[Add]:
    """Open one of EXPORTS in its place in the folder `out`, which must exist."""
    place, opened = EXPORTS[name]
    return opened(out / place)


def write_coco(path: str | Path, found: Found) -> None:
    """Write an iterable of (photo name, Detections) to one COCO JSON file; see open_coco."""
    _write(open_coco(path), found)


def write_yolo(folder: str | Path, found: Found) -> None:
    """Write an iterable of (photo name, Detections) to a folder of YOLO text files; see open_yolo."""
    _write(open_yolo(folder), found)


def write_voc(folder: str | Path, found: Found) -> None:
    """Write an iterable of (photo name, Detections) to a folder of VOC XML files; see open_voc."""
    _write(open_voc(folder), found)


def write_submission(path: str | Path, found: Found) -> None:
    """Write an iterable of (photo name, Detections) to a Kaggle submission.csv; see open_submission."""
    _write(open_submission(path), found)


def _write(opened: AbstractContextManager[Add], found: Found) -> None:
    with opened as add:
        for name, detections in found:
            add(name, detections)


def _heads(detections: Detections) -> Iterator[tuple[list[float], float]]:
    return zip(detections.boxes.tolist(), detections.scores.tolist(), strict=True)


def _require_size(name: str, detections: Detections) -> None:
    if not detections.width or not detections.height:
        raise InputError(f"{name}: the photo's size is not known; give Detections with height and width")


def _image_ids(names: list[str]) -> Iterator[str]:
    stems, taken = [PurePath(name).stem for name in names], set[str]()
    for name in stems if len(set(stems)) == len(stems) else names:
        yield _take(name, name, taken)


def _places(folder: Path, suffix: str) -> Callable[[str], Path]:
    """Where each photo's file goes: a.txt for a.jpg, and a.png.txt for a.png if it comes later."""
    taken: set[str] = set()

    def place(name: str) -> Path:
        pure = PurePath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise InputError(f"{name}: its file would lie outside {folder}; name it from a folder on")
        path = folder / f"{_take(str(pure.with_suffix('')), name, taken, str.casefold)}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    return place


def _take(short: str, name: str, taken: set[str], key: Callable[[str], str] = str) -> str:
    """The first of the short name, the whole name, and that with a number whose key is not taken; it is taken then."""
    names = chain((short, name), (f"{name}_{number}" for number in count(2)))
    free = next(each for each in names if key(each) not in taken)
    taken.add(key(free))
    return free
