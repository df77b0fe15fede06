"""Pascal VOC's layout: one XML file per photo.

    DIR/Annotations/<name>.xml, DIR/JPEGImages/<name>.jpg, DIR/ImageSets/Main/<split>.txt     as written here
    DIR/**/<name>.xml                                                beside the photos, as LabelImg writes it
    DIR/<split>/<name>.xml                                           beside the photos, as Roboflow writes it

The VOC2012 development kit counts pixels from 1 and includes the last, so our half-open box (0, 0, 10, 10) is
its (1, 1, 10, 10); Detectron2 and supervision read it the same way. A photo without an XML file is
unlabelled.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from xml.etree import ElementTree

from wheatear.data.labels import (
    HEAD,
    PHOTO_FOLDERS,
    SPLIT_NAMES,
    Box,
    Labelled,
    Labels,
    by_name,
    decimal,
    linked,
    parse_box,
    parse_size,
    photos_below,
    refuse_classes,
    refuse_missing,
    shown,
    split_of,
    without_counts,
)
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.files import whole
from wheatear.images import each_file_once
from wheatear.words import composed

PHOTOS, XMLS, SETS = "JPEGImages", "Annotations", PurePath("ImageSets", "Main")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # characters that XML 1.0 does not allow
PAM_WITHIN = 1000  # bytes from the start, within which such a file has its root element


def is_here(folder: Path) -> bool:
    return bool(_xml_files(folder))


def read(folder: Path) -> Labelled:
    files = by_name(_xml_files(folder))
    photos = by_name(photos_below(folder), files)
    refuse_missing(str(folder), dict.fromkeys(files, 0), photos)
    splits = _read_splits(folder) or {name: split_of(photos[name].relative_to(folder)) for name in files}
    classes: set[str] = set()
    labels = {name: _read_one(file, splits.get(name, ""), classes) for name, file in files.items()}
    refuse_classes(folder, classes)
    return Labelled(photos, labels)


def place(sample: Sample) -> PurePath:
    """The path of the photo, relative to the folder."""
    return PurePath(PHOTOS, sample.path.name)


def write(samples: Sequence[Sample], folder: Path) -> None:
    for name in (PHOTOS, XMLS, SETS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        boxes = sample.boxes.tolist()
        content = document(sample.path.name, boxes, (sample.width, sample.height), sample.source)
        with whole(folder / XMLS / f"{sample.path.stem}.xml") as part:
            part.write_bytes(content)
    for split in sorted({sample.split for sample in samples} - {""}):
        with whole(folder / SETS / f"{split}.txt") as part:
            names = [f"{sample.path.stem}\n" for sample in samples if sample.split == split]
            part.write_text("".join(names), encoding="utf-8")


def document(
    file_name: str,
    boxes: Sequence[Sequence[float]],
    size: tuple[int, int],
    source: str = "",
    scores: Sequence[float] = (),
) -> bytes:
    """The XML of one photo of (width, height); boxes in xyxy pixels. Scores, if given, are added as <score>.

    Characters that XML cannot contain become U+FFFD.
    """
    root = ElementTree.Element("annotation")
    _add(root, "filename", file_name)
    _add(_add(root, "source"), "database", source)
    extent = _add(root, "size")
    for key, pixels in zip(("width", "height", "depth"), (*size, 3), strict=True):
        _add(extent, key, str(pixels))
    for number, (xmin, ymin, xmax, ymax) in enumerate(boxes):
        one = _add(root, "object")
        _add(one, "name", HEAD)
        bounds = _add(one, "bndbox")
        for key, value in zip(CORNERS, (xmin + 1, ymin + 1, xmax, ymax), strict=True):
            _add(bounds, key, decimal(value))
        if scores:
            _add(one, "score", f"{scores[number]:.4f}")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
    return child


def _xml_files(folder: Path) -> list[Path]:
    """All XML files except hidden ones, those that GIS programs write beside a photo, and those of a count."""
    # A link may lead to another folder of the data set.
    places = [*linked([folder / name for name in (XMLS, *PHOTO_FOLDERS)]), folder]
    files = (file for place in places for file in place.rglob("*.[xX][mM][lL]"))
    found = each_file_once(shown(files, folder))
    return sorted(without_counts((file for file in found if not _is_of_gdal(file)), folder))


def _is_of_gdal(file: Path) -> bool:
    """Whether it holds a photo's statistics or coordinates (GDAL's PAM), not the labels of a photo x.aux.jpg."""
    if not file.name.lower().endswith(".aux.xml"):
        return False
    with file.open("rb") as opened:
        return b"<PAMDataset" in opened.read(PAM_WITHIN)


def _read_one(file: Path, split: str, classes: set[str]) -> Labels:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: from a bad encoding
        raise InputError(f"{file}: not an XML file ({error}); write it again") from None
    size = parse_size(root.findtext("size/width", ""), root.findtext("size/height", ""))
    labels = Labels(source=root.findtext("source/database", ""), split=split, size=size)
    for number, one in enumerate(root.iter("object"), start=1):
        labels.boxes.append(_box(one, f"{file}, object {number}"))
        labels.rows.append(number)
        classes.add(one.findtext("name", "without a name"))
    if root.tag != "annotation" and not labels.boxes:  # a camera's or a map's; it says nothing about heads
        raise InputError(f"{file}: begins with <{root.tag}>, not with VOC's <annotation>; take it out")
    return labels


def _box(one: ElementTree.Element, place: str) -> Box:
    words = [one.findtext(f"bndbox/{key}", "") for key in CORNERS]
    xmin, ymin, xmax, ymax = parse_box(words, place, "bndbox with xmin, ymin, xmax, ymax")
    return xmin - 1, ymin - 1, xmax, ymax


def _read_splits(folder: Path) -> dict[str, str]:
    """The split of each photo, from ImageSets/Main/train.txt and so on; VOC's trainval.txt and others are ignored."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        file = folder / SETS / f"{split}.txt"
        if file.is_file():
            # A name may contain what splitlines, too, takes for the end of a line, as a form feed.
            names = composed(file.read_text("utf-8-sig", "replace")).split("\n")
            splits |= dict.fromkeys(names, SPLIT_NAMES[split])
    return splits
