"""YOLO's layout, as defined by Ultralytics: a text file per photo, "class x y width height" as fractions of the photo.

    DIR/images/<split>/<name>.jpg  and  DIR/labels/<split>/<name>.txt     as written here, with DIR/data.yaml
    DIR/<split>/images/<name>.jpg  and  DIR/<split>/labels/<name>.txt     as Roboflow writes them

x and y are the centre of the box. A photo without a text file, or with an empty one, has no heads. A sixth
number, the score of a detection, is ignored.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath

from wheatear.data.labels import (
    HEAD,
    SPLIT_NAMES,
    Box,
    Labelled,
    Labels,
    by_name,
    linked,
    parse_box,
    photos_below,
    refuse_classes,
    refuse_missing,
    shown,
    split_of,
)
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.files import whole, whole_folder
from wheatear.images import photo_size
from wheatear.words import composed

PHOTOS, TEXTS = "images", "labels"
UNDIVIDED = "all"
NOT_LABELS = ("classes.txt", "notes.txt")  # what Label Studio and LabelImg put beside the labels
FORM = "class x y width height"
FAR = 10  # sides of a photo: no fraction is that large, and pixels are larger


def is_here(folder: Path) -> bool:
    return any((place / TEXTS).is_dir() for place in (folder, *map(folder.joinpath, SPLIT_NAMES)))


def read(folder: Path) -> Labelled:
    photos = by_name(
        photo for photo in photos_below(folder) if PHOTOS in photo.relative_to(folder).parts[:-1]
    )
    there = sorted(_texts(folder))
    found = {composed(str(text.with_suffix(".txt"))): text for text in there}
    texts = {name: _text_path(photo, folder) for name, photo in photos.items()}
    texts = {name: found.get(composed(str(text)), text) for name, text in texts.items()}
    orphans = sorted(str(text.relative_to(folder)) for text in {*there} - {*texts.values()})
    refuse_missing(str(folder), dict.fromkeys(orphans, 0), ())
    classes: set[str] = set()
    labels = {name: _read_one(photo, texts[name], folder, classes) for name, photo in photos.items()}
    refuse_classes(folder, classes)
    return Labelled(photos, labels)


def place(sample: Sample) -> PurePath:
    """The path of the photo, relative to the folder."""
    return PurePath(PHOTOS, sample.split or UNDIVIDED, sample.path.name)


def write(samples: Sequence[Sample], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # All of them or none: a photo whose text file is missing has no heads.
    with whole_folder(folder / TEXTS) as texts:
        for sample in samples:
            path = texts / (sample.split or UNDIVIDED) / f"{sample.path.stem}.txt"
            path.parent.mkdir(exist_ok=True)
            text = "".join(f"{line(box, sample.width, sample.height)}\n" for box in sample.boxes.tolist())
            path.write_text(text, encoding="utf-8")
    with whole(folder / "data.yaml") as part:
        part.write_text(_yaml({sample.split for sample in samples}), encoding="utf-8")


def line(box: Sequence[float], width: int, height: int) -> str:
    """The line for a box in xyxy pixels of a photo of width x height; eight decimals resolve 0.001 px of 100,000 px."""
    xmin, ymin, xmax, ymax = box
    middle = (xmin + xmax) / 2 / width, (ymin + ymax) / 2 / height
    sides = (xmax - xmin) / width, (ymax - ymin) / height
    return " ".join(["0", *(f"{share:.8f}" for share in middle + sides)])


def _text_path(photo: Path, folder: Path) -> Path:
    """Ultralytics' rule: the last folder named "images" in the path becomes "labels"."""
    parts = list(photo.relative_to(folder).parts)
    last = len(parts) - 1 - parts[::-1].index(PHOTOS, 1)
    parts[last] = TEXTS
    return folder.joinpath(*parts).with_suffix(".txt")


def _texts(folder: Path) -> list[Path]:
    """The text files that have labels."""
    places = [folder / TEXTS, *(folder / split / TEXTS for split in SPLIT_NAMES)]
    texts = (text for place in [*places, *linked(places)] for text in place.rglob("*.[tT][xX][tT]"))
    return [text for text in shown(texts, folder) if text.name.lower() not in NOT_LABELS]


def _read_one(photo: Path, text: Path, folder: Path, classes: set[str]) -> Labels:
    labels = Labels(split=split_of(photo.relative_to(folder)))
    try:
        lines = text.read_text(encoding="utf-8-sig").splitlines() if text.is_file() else []
    except UnicodeDecodeError:
        raise InputError(f"{text}: not a text in UTF-8; write lines of {FORM!r}") from None
    rows = [(number, words) for number, line in enumerate(lines, start=1) if (words := line.split())]
    try:
        width, height = photo_size(photo) if rows else (0, 0)
    except InputError:  # `check` reports it; without its size there are no pixels
        return labels
    for number, (kind, *words) in rows:
        shares = words[:4] if len(words) == 5 else words
        where = f"{text.relative_to(folder)}, line {number}"
        x, y, w, h = parse_box(shares, where, FORM)
        if max(map(abs, (x, y, w, h))) > FAR:
            raise InputError(
                f"{where}: {' '.join(shares)}: fractions of the photo's sides are 0 to 1; are these pixels?"
            )
        labels.boxes.append(_corners((x * width, y * height, w * width, h * height)))
        labels.rows.append(number)
        classes.add(f"class {kind}")
    return labels


def _corners(box: Box) -> Box:
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _yaml(splits: set[str]) -> str:
    """The file that Ultralytics trains from. Without `path` it looks beside data.yaml; it needs train and val."""
    folders = [f"{split}: {PHOTOS}/{split}" for split in ("train", "val", "test") if split in splits]
    undivided = [f"# not divided: {PHOTOS}/{UNDIVIDED}"] if "" in splits else []
    return "\n".join([*folders, *undivided, "names:", f"  0: {HEAD}", ""])
