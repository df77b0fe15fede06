"""Every format into every other and back; what each refuses; what other programs read of it."""

import errno
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from wheatear.cli_data import Format, app
from wheatear.data.check import check
from wheatear.data.formats import FORMATS, read_dataset, write_dataset
from wheatear.data.sample import Sample
from wheatear.errors import InputError

WIDTH, HEIGHT = 61, 43  # no power of two, so that YOLO's shares are never exact
NAMES = ("a.png", "b b.PNG", "ährę.v2.png", "d.png")

coordinates = st.floats(-20, 80, width=32)
words = st.text("abc_1 <&é,\"'", max_size=6).map(str.strip)


@st.composite
def drawn_sample(draw: st.DrawFn, name: str) -> tuple[str, np.ndarray, dict[str, str]]:
    corners = draw(st.lists(st.tuples(*[coordinates] * 4), max_size=4))
    known = {key: draw(words) for key in ("source", "session", "photo")}
    split = draw(st.sampled_from(["train", "val", "test", ""]))
    return name, np.array(corners, np.float32).reshape(-1, 4), known | {"split": split}


drawn_samples = st.lists(st.sampled_from(NAMES), unique=True, min_size=1).flatmap(
    lambda names: st.tuples(*map(drawn_sample, sorted(names, key=lambda name: Path(name).stem)))
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in NAMES:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    return folder


def fields(sample: Sample) -> tuple[str, int, int, str, str, str, str]:
    place = (sample.source, sample.session, sample.photo, sample.split)
    return (sample.path.name, sample.width, sample.height, *place)


def same(read: list[Sample], written: list[Sample]) -> None:
    assert [fields(sample) for sample in read] == [fields(sample) for sample in written]
    for one, other in zip(read, written, strict=True):
        assert one.boxes.shape == other.boxes.shape
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


@settings(max_examples=25, deadline=None)
@given(drawn=drawn_samples, way=st.permutations(sorted(FORMATS)))
def test_all_formats_one_after_the_other_lose_nothing(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, drawn: tuple, way: list[str]
) -> None:
    samples = [Sample(photos / name, boxes, WIDTH, HEIGHT, **known) for name, boxes, known in drawn]
    folder, read = tmp_path_factory.mktemp("way"), samples
    for name in way:
        write_dataset(read, folder / name, name, link=True)
        read = read_dataset(folder / name)
        same(read, samples)


@pytest.mark.parametrize("to", sorted(FORMATS))
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_photos_whose_accents_are_written_apart_are_found(
    photos: Path, tmp_path: Path, to: str, form: str
) -> None:
    """As after a Mac or its archive had the photos but not their labels, or the other way round."""
    box = np.array([[1, 2, 30, 40]], np.float32)
    sample = Sample(photos / "ährę.v2.png", box, WIDTH, HEIGHT, split="val")
    write_dataset([sample], tmp_path, to)
    (photo,) = (file for file in tmp_path.rglob("*.png"))
    photo.rename(photo.with_name(unicodedata.normalize(form, photo.name)))
    (read,) = read_dataset(tmp_path)
    assert (read.name, read.split) == (sample.name, "val")
    np.testing.assert_allclose(read.boxes, box, atol=0.01)


@pytest.mark.parametrize("to", ["coco", "voc"])
def test_pictures_of_one_name_that_nobody_labelled_are_in_nobodys_way(
    samples: list[Sample], tmp_path: Path, to: str
) -> None:
    """Such as the plots of a training's stages, into a folder in the data set."""
    write_dataset(samples, tmp_path, to)
    for stage in ("joint", "blend"):
        (tmp_path / "runs" / stage).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "runs" / stage / "history.png")
    same(read_dataset(tmp_path), samples)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "runs" / "a.png")
    with pytest.raises(InputError, match=r"a\.png and .*a\.png share a name; rename one"):
        read_dataset(tmp_path)


@pytest.fixture
def samples(photos: Path) -> list[Sample]:
    """One photo with two heads, one of which leaves it, one without, and one undivided."""
    boxes = np.array([[0, 0, WIDTH, HEIGHT], [10.25, 20.5, 70, 30]], np.float32)
    return [
        Sample(photos / "a.png", boxes, WIDTH, HEIGHT, "ethz_1", "Ethz_1", "7", "train"),
        Sample(photos / "b b.PNG", np.zeros((0, 4), np.float32), WIDTH, HEIGHT, split="val"),
        Sample(photos / "d.png", boxes[:1], WIDTH, HEIGHT),
    ]


def test_kaggle_by_hand(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "kaggle")
    assert (tmp_path / "train.csv").read_text() == (
        "image_id,width,height,bbox,source\n"
        'a,61,43,"[0, 0, 61, 43]",ethz_1\na,61,43,"[10.25, 20.5, 59.75, 9.5]",ethz_1\nd,61,43,"[0, 0, 61, 43]",\n'
    )
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["a.png", "b b.PNG", "d.png"]


def test_gwhd_by_hand(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "gwhd")
    header = "image_name,BoxesString,domain\n"
    texts = {path.name: path.read_text() for path in tmp_path.glob("competition_*.csv")}
    assert texts == {
        "competition_train.csv": header + "a.png,0 0 61 43;10.25 20.5 70 30,Ethz_1\n",
        "competition_val.csv": header + "b b.PNG,no_box,\n",
        "competition_all.csv": header + "d.png,0 0 61 43,\n",
    }


def test_yolo_by_hand(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "yolo")
    first, second = (tmp_path / "labels" / "train" / "a.txt").read_text().splitlines()
    assert first == "0 0.50000000 0.50000000 1.00000000 1.00000000"
    assert [float(word) for word in second.split()] == pytest.approx(
        [0, 40.125 / 61, 25.25 / 43, 59.75 / 61, 9.5 / 43], abs=1e-8
    )
    assert (tmp_path / "labels" / "val" / "b b.txt").read_text() == ""
    assert (tmp_path / "images" / "all" / "d.png").is_file()
    yaml = "train: images/train\nval: images/val\n# not divided: images/all\nnames:\n  0: wheat head\n"
    assert (tmp_path / "data.yaml").read_text() == yaml


def test_voc_counts_pixels_from_1_and_includes_the_last(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "voc")
    text = "".join((tmp_path / "Annotations" / "a.xml").read_text(encoding="utf-8").split())
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>61</xmax><ymax>43</ymax>" in text
    assert "<xmin>11.25</xmin><ymin>21.5</ymin><xmax>70</xmax><ymax>30</ymax>" in text
    assert "<database>ethz_1</database>" in text
    assert (tmp_path / "ImageSets" / "Main" / "val.txt").read_text() == "b b\n"


def test_voc_is_read_again_whatever_the_names(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a\x0c.png").symlink_to(photos / "a.png")
    box = np.array([[1, 2, 30, 40]], np.float32)
    sample = Sample(tmp_path / "a\x0c.png", box, WIDTH, HEIGHT, source="field\x0b1", split="val")
    other = Sample(photos / "d.png", box, WIDTH, HEIGHT, split="train")
    write_dataset([sample, other], tmp_path / "voc", "voc")
    same(read_dataset(tmp_path / "voc"), [sample, other])
    (tmp_path / "voc" / "images.csv").unlink()
    assert [each.split for each in read_dataset(tmp_path / "voc")] == ["val", "train"]


@pytest.mark.parametrize("depth", ["*", "*/*"])
@pytest.mark.parametrize("to", sorted(FORMATS))
def test_folders_of_photos_and_labels_may_be_links(
    samples: list[Sample], tmp_path: Path, to: str, depth: str
) -> None:
    """As to another disk; in YOLO those of a split, too."""
    write_dataset(samples, tmp_path / "field", to)
    for number, folder in enumerate(sorted((tmp_path / "field").glob(depth))):
        if folder.is_dir():
            folder.rename(tmp_path / str(number))
            folder.symlink_to(tmp_path / str(number))
    same(read_dataset(tmp_path / "field"), samples)


@pytest.mark.parametrize("to", ["coco", "yolo", "voc"])
def test_what_links_lead_to_is_found_once(samples: list[Sample], tmp_path: Path, to: str) -> None:
    """As `ln -s` leaves them if it is given twice, or where a folder is one of several versions beside it."""
    field, other = tmp_path / "field", tmp_path / "other"
    write_dataset(samples, field, to)
    other.mkdir()
    Image.new("RGB", (9, 9)).save(other / "a.png")
    for folder in [each for each in field.iterdir() if each.is_dir()]:
        (folder / "again").symlink_to(folder)
        (folder / ".hidden").symlink_to(other)
    same(read_dataset(field), samples)
    for folder in [each for each in field.iterdir() if each.is_dir()]:
        folder.rename(field / f"{folder.name}_2")
        folder.symlink_to(f"{folder.name}_2")
    same(read_dataset(field), samples)


def test_voc_beside_the_photos_of_a_linked_folder(samples: list[Sample], tmp_path: Path) -> None:
    for sample, split in zip(samples, ("train", "valid", "test"), strict=True):
        write_dataset([sample], tmp_path / split, "voc")
        (tmp_path / "field").mkdir(exist_ok=True)
        (tmp_path / "field" / split).symlink_to(tmp_path / split)
    assert [sample.path.name for sample in read_dataset(tmp_path / "field")] == [
        sample.path.name for sample in samples
    ]


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_labels_may_end_in_capitals_as_photos_may(samples: list[Sample], tmp_path: Path, to: str) -> None:
    write_dataset(samples, tmp_path, to)
    if to == "yolo":
        (tmp_path / "labels" / "CLASSES.TXT").write_text("wheat head\n")
    (file,) = (*tmp_path.rglob("a.txt"), *tmp_path.rglob("a.xml"))
    file.rename(file.with_suffix(file.suffix.upper()))
    same(read_dataset(tmp_path), samples)


def test_a_second_text_file_of_a_photo_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "yolo")
    (file,) = tmp_path.rglob("a.txt")
    file.with_suffix(".TXT").touch()
    with pytest.raises(InputError, match=r"no photo for .*a\.TXT;"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_what_a_mac_hides_beside_every_file_is_no_label(
    samples: list[Sample], tmp_path: Path, to: str
) -> None:
    write_dataset(samples, tmp_path / ".data", to)
    for file in [each for each in (tmp_path / ".data").rglob("*") if each.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\x05\x16\x07")
    same(read_dataset(tmp_path / ".data"), samples)


def test_coco_is_read_by_faster_coco_eval(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "coco")
    coco = COCO(str(tmp_path / "annotations" / "instances_train.json"))
    assert [one["bbox"] for one in coco.loadAnns(coco.getAnnIds())] == [
        [0, 0, 61, 43],
        [10.25, 20.5, 59.75, 9.5],
    ]
    empty = COCO(str(tmp_path / "annotations" / "instances_val.json"))
    assert (len(empty.getImgIds()), empty.getAnnIds()) == (1, [])


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_supervision_reads_the_same_boxes(name: str, samples: list[Sample], tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write_dataset(samples, tmp_path, name)
    if name == "coco":
        file = tmp_path / "annotations" / "instances_train.json"
        read = supervision.DetectionDataset.from_coco(str(tmp_path / "images"), str(file))
    elif name == "yolo":
        folders = [str(tmp_path / kind / "train") for kind in ("images", "labels")]
        read = supervision.DetectionDataset.from_yolo(*folders, str(tmp_path / "data.yaml"))
    else:
        folders = [str(tmp_path / kind) for kind in ("JPEGImages", "Annotations")]
        read = supervision.DetectionDataset.from_pascal_voc(*folders)
    (found,) = [each.xyxy for path, each in read.annotations.items() if Path(path).name == "a.png"]
    np.testing.assert_allclose(found, samples[0].boxes, atol=0.01)


def test_ultralytics_reads_the_same_boxes(samples: list[Sample], tmp_path: Path) -> None:
    data = pytest.importorskip("ultralytics.data")
    utils = pytest.importorskip("ultralytics.data.utils")
    write_dataset(samples, tmp_path, "yolo")
    described = utils.check_det_dataset(str(tmp_path / "data.yaml"), autodownload=False)
    read = {
        Path(label["im_file"]).name: label
        for split in ("train", "val")
        for label in data.YOLODataset(img_path=described[split], data=described, augment=False).labels
    }
    assert described["names"] == {0: "wheat head"}
    assert sorted(read) == ["a.png", "b b.PNG"]
    assert len(read["b b.PNG"]["bboxes"]) == 0
    height, width = read["a.png"]["shape"]
    centre, size = np.split(read["a.png"]["bboxes"] * [width, height, width, height], 2, axis=1)
    np.testing.assert_allclose(np.hstack([centre - size / 2, centre + size / 2]), samples[0].boxes, atol=0.01)


def test_a_lone_split_divides_nothing_unless_images_csv_says_so(
    samples: list[Sample], tmp_path: Path
) -> None:
    write_dataset(samples[:1], tmp_path, "yolo")
    assert [sample.split for sample in read_dataset(tmp_path)] == ["train"]
    (tmp_path / "images.csv").unlink()
    assert [sample.split for sample in read_dataset(tmp_path)] == [""]


def test_no_photos_give_a_folder_without_any(tmp_path: Path) -> None:
    for name in ("kaggle", "gwhd", "coco", "yolo"):  # VOC has nothing to show then
        write_dataset([], tmp_path / name, name)
        assert read_dataset(tmp_path / name) == []


def test_photos_are_copied_or_linked(samples: list[Sample], tmp_path: Path) -> None:
    for link in (False, True):
        write_dataset(samples, tmp_path / str(link), "gwhd", link)
        photo = tmp_path / str(link) / "images" / "a.png"
        assert photo.is_symlink() == link
        assert photo.read_bytes() == samples[0].path.read_bytes()


def test_what_cannot_be_written_is_refused_before_anything_is(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    bad = Sample(tmp_path / "bad.png", np.zeros((0, 4), np.float32), 0, 0)
    with pytest.raises(InputError, match=r"bad.png: is empty"):
        write_dataset([*samples, bad], tmp_path / "new", "coco")
    twin = Sample(tmp_path / "a.jpg", np.zeros((0, 4), np.float32), 9, 9)
    with pytest.raises(InputError, match=r"a.jpg: shares its name with .*a.png"):
        write_dataset([*samples, twin], tmp_path / "new", "coco")
    with pytest.raises(ValueError, match="to must be one of kaggle, gwhd, coco, yolo, voc, got 'YOLO'"):
        write_dataset(samples, tmp_path / "new", "YOLO")
    with pytest.raises(ValueError, match="split must be train, val, test or '', got 'valid'"):
        write_dataset([replace(samples[0], split="valid")], tmp_path / "new", "yolo")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="is there already; name a new or an empty folder"):
        write_dataset(samples, tmp_path, "coco")


def write_all(folder: Path, photos: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "images").mkdir()
    for name in ("a.png", "d.png"):
        (folder / "images" / name).symlink_to(photos / name)


VOC_HEAD = "<object><name>head</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>6</ymax></bndbox></object>"
IMAGES = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "sub/d.png"}]


def coco_text(*boxes: list[object], images: list[dict[str, object]] = IMAGES, image_id: int = 1) -> str:
    keys = ("id", "category_id", "bbox")
    annotations = [dict(zip(keys, one, strict=True)) | {"image_id": image_id} for one in boxes]
    return json.dumps({"images": images, "annotations": annotations, "categories": []})


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("annotations/x.json", "{", r"x.json, the whole file: Invalid JSON"),
        ("annotations/x.json", "{}", r"x.json, images: Field required"),
        ("annotations/x.json", coco_text([1, 1, [1, 2, 3]]), r"x.json, annotations.0.bbox.3: Field required"),
        ("annotations/x.json", coco_text([1, 1, [1, 2, 3, "x"]]), r"annotations.0.bbox.3: Input should be"),
        ("annotations/x.json", coco_text([1, 1, [1, 2, 1e300, 4]]), r"annotations.0.bbox.2: Input should be"),
        (
            "annotations/x.json",
            coco_text([1, 1, [1, 2, 3, 4]]).replace('"bbox"', '"iscrowd": 1, "bbox"'),
            "annotations.0: iscrowd is set",
        ),
        (
            "annotations/x.json",
            coco_text([1, 1, [1, 2, 3, 4]], image_id=3),
            "annotations.0: no image has the id 3",
        ),
        ("annotations/x.json", coco_text(images=IMAGES + IMAGES[:1]), "the image id 1 is there 2 times"),
        (
            "annotations/x.json",
            coco_text(images=[*IMAGES, {"id": 3, "file_name": "a.jpg"}]),
            "a is there 2 times",
        ),
        (
            "annotations/x.json",
            coco_text(images=[{"id": 1, "file_name": "z.png"}]),
            "x.json: no photo for z;",
        ),
        (
            "annotations/x.json",
            coco_text([1, 1, [0] * 4], [2, 7, [0] * 4]),
            "2 classes of boxes .category_id 1, c",
        ),
        (
            "annotations/x.json",
            coco_text([1, 1, [0] * 4], [2, 7, [0] * 4]).replace(
                "[]}", '[{"id": 1, "name": "head"}, {"id": 7, "name": "leaf"}]}'
            ),
            "2 classes of boxes .head, leaf.",
        ),
        ("labels/a.txt", "0 0.5 0.5 0.1\n", r"labels/a.txt, line 1: '0.5 0.5 0.1' is no box"),
        ("labels/a.txt", "0 332 332 20 20\n", r"labels/a.txt, line 1: 332 332 20 20: .* are these pixels\?"),
        ("labels/a.txt", "0 .5 .5 .1 .1\n\n0 0.5 0.5 0.1 nan\n", r"labels/a.txt, line 3: .* is no box"),
        (
            "labels/a.txt",
            "0 .5 .5 .1 .1 .9 .1\n",
            "line 1: .* is no box; write it as 'class x y width height'",
        ),
        ("labels/a.txt", "0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n", "2 classes of boxes .class 0, class 1.; keep"),
        ("labels/z.txt", "", "no photo for labels/z.txt; add or unlist"),
        ("Annotations/a.xml", "<annotation>", r"a.xml: not an XML file"),
        ("Annotations/a.xml", "<annotation><object/></annotation>", r"a.xml, object 1: .* is no box"),
        (
            "Annotations/a.xml",
            '<?xml version="1.0" encoding="utf-99"?><annotation/>',
            r"a.xml: not an XML file",
        ),
        ("Annotations/z.xml", "<annotation/>", "no photo for z;"),
        ("Annotations/a.xml", "<metadata/>", "a.xml: begins with <metadata>, not with VOC's <annotation>"),
    ],
)
def test_what_breaks_a_format_is_named(
    file: str, text: str, message: str, photos: Path, tmp_path: Path
) -> None:
    write_all(tmp_path, photos, {file: text})
    with pytest.raises(InputError, match=message) as error:
        read_dataset(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["annotations/x.json", "labels/a.txt", "Annotations/a.xml"])
def test_bytes_that_are_no_text_are_named(file: str, photos: Path, tmp_path: Path) -> None:
    write_all(tmp_path, photos, {file: ""})
    (tmp_path / file).write_bytes(b"\xff\xfe\x00\xff")
    with pytest.raises(InputError, match=rf"{Path(file).name}.*: .*; write"):
        read_dataset(tmp_path)


def test_a_photo_in_two_coco_files_is_refused(photos: Path, tmp_path: Path) -> None:
    write_all(tmp_path, photos, {"annotations/a.json": coco_text(), "annotations/b.json": coco_text()})
    with pytest.raises(InputError, match=r"b.json: a is in another label file too"):
        read_dataset(tmp_path)


def test_the_coco_that_a_count_writes_is_read_again(photos: Path, tmp_path: Path) -> None:
    """Its name, detections.coco.json, is that of both layouts; an editor may mark it, and ids may be huge."""
    text = "\ufeff" + coco_text([2**70, 1, [1, 2, 3, 4]])
    write_all(tmp_path, photos, {"annotations/detections.coco.json": text})
    a, _ = read_dataset(tmp_path)
    assert a.boxes.tolist() == [[1, 2, 4, 6]]
    assert a.rows.tolist() == [0]


def test_more_boxes_than_a_csv_has_characters_for_by_itself(tmp_path: Path) -> None:
    boxes = np.tile(np.array([[1000, 1000, 1100, 1100]], np.float32), (8000, 1))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    write_dataset([Sample(tmp_path / "a.png", boxes, 64, 64)], tmp_path / "new", "gwhd")
    (again,) = read_dataset(tmp_path / "new")
    assert len(again.boxes) == 8000


def test_roboflows_layouts(photos: Path, tmp_path: Path) -> None:
    """DIR/<split>/… with the photos beside the labels, and "valid" for val."""
    for split, name in (("train", "a.png"), ("valid", "d.png")):
        for place in (f"yolo/{split}/images", f"coco/{split}", f"voc/{split}"):
            (tmp_path / place).mkdir(parents=True)
            (tmp_path / place / name).symlink_to(photos / name)
        text = coco_text([5, 1, [1, 2, 3, 4]], images=[{"id": 1, "file_name": name}])
        (tmp_path / "coco" / split / "_annotations.coco.json").write_text(text)
        (tmp_path / "voc" / split / name.replace("png", "xml")).write_text(
            f"<annotation>{VOC_HEAD}</annotation>"
        )
        (tmp_path / "yolo" / split / "labels").mkdir()
        (tmp_path / "yolo" / split / "labels" / name.replace("png", "txt")).write_text("0 .5 .5 1 1")
    for kind, box in (("coco", [1, 2, 4, 6]), ("voc", [1, 2, 4, 6]), ("yolo", [0, 0, WIDTH, HEIGHT])):
        a, d = read_dataset(tmp_path / kind)
        assert (a.split, d.split) == ("train", "val")
        np.testing.assert_allclose([a.boxes[0], d.boxes[0]], [box, box])


def test_the_split_of_voc_s_own_lists_comes_before_that_of_a_folder(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "d"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / f"{name}.png").symlink_to(photos / f"{name}.png")
        (tmp_path / "train" / f"{name}.xml").write_text("<annotation/>")
    assert [sample.split for sample in read_dataset(tmp_path)] == ["", ""]  # a single one divides nothing
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("d\n")
    assert [sample.split for sample in read_dataset(tmp_path)] == ["", "test"]


def test_a_yolo_photo_without_a_text_file_has_no_heads(photos: Path, tmp_path: Path) -> None:
    write_all(tmp_path, photos, {"labels/a.txt": "0 .5 .5 1 1", "labels/classes.txt": "head"})
    assert [len(sample.boxes) for sample in read_dataset(tmp_path)] == [1, 0]


def test_a_full_disk_leaves_no_yolo_photo_without_its_heads(
    field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def write_first(path: Path, text: str, **options: str) -> int:
        if path.suffix == ".txt" and path.stem != "field_00000":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", write_first)
    with pytest.raises(OSError, match=r"No space left on device: .*labels"):
        write_dataset(read_dataset(field_dir), tmp_path / "new", "yolo")
    with pytest.raises(InputError, match="no labels here"):
        read_dataset(tmp_path / "new")


def test_the_command(field_dir: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(field_dir), str(tmp_path / "new"), "--to", "yolo"])
    assert result.exit_code == 0
    heads = sum(len(sample.boxes) for sample in read_dataset(field_dir))
    assert result.stdout == f"8 photos (1 without heads) with {heads} heads written to {tmp_path / 'new'}\n"
    same(read_dataset(tmp_path / "new"), read_dataset(field_dir))
    assert not check(read_dataset(tmp_path / "new")).problems  # no edge is a rounded share outside its photo
    again = CliRunner().invoke(app, ["convert", str(field_dir), str(tmp_path / "new"), "--to", "voc"])
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)


def test_a_folder_is_not_written_into_the_one_that_is_read(field_dir: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(field_dir), str(field_dir / "new"), "--to", "coco"])
    assert result.exit_code == 1
    assert "new: lies in " in result.stderr
    assert not (field_dir / "new").exists()


def test_the_command_offers_every_format() -> None:
    assert {each.value for each in Format} == set(FORMATS)


def test_what_voc_says_beside_the_boxes(photos: Path, tmp_path: Path) -> None:
    """Without our images.csv the source and the split are those of VOC's own files; two classes are refused."""
    texts = {
        "Annotations/a.xml": f"<annotation><source><database>ethz</database></source>{VOC_HEAD}</annotation>",
        "Annotations/d.xml": "<annotation/>",
        "ImageSets/Main/train.txt": "a\n",
        "ImageSets/Main/val.txt": "d\n",
    }
    write_all(tmp_path, photos, texts)
    a, d = read_dataset(tmp_path)
    assert a.boxes.tolist() == [[1, 2, 4, 6]]
    assert (a.source, a.split, d.split) == ("ethz", "train", "val")
    (tmp_path / "Annotations" / "d.xml").write_text(
        f"<annotation>{VOC_HEAD.replace('head<', 'weed<')}</annotation>"
    )
    with pytest.raises(InputError, match=r"2 classes of boxes .head, weed.; keep"):
        read_dataset(tmp_path)


def test_a_year_in_a_coco_file_is_no_part_of_its_split(photos: Path, tmp_path: Path) -> None:
    texts = {
        "annotations/instances_train2017.json": coco_text(images=IMAGES[:1]),
        "annotations/instances_val2017.json": coco_text(images=IMAGES[1:]),
    }
    write_all(tmp_path, photos, texts)
    assert [sample.split for sample in read_dataset(tmp_path)] == ["train", "val"]


def test_a_coco_area_is_width_times_height(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "coco")
    content = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert [one["area"] for one in content["annotations"]] == [61 * 43, 59.75 * 9.5]


def test_the_last_folder_called_images_becomes_labels(tmp_path: Path) -> None:
    for place in ("labels", "images/train/images", "images/train/labels"):
        (tmp_path / place).mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "images/train/images/a.png")
    (tmp_path / "images/train/labels/a.txt").write_text("0 .5 .5 1 1\n")
    [sample] = read_dataset(tmp_path)
    assert sample.boxes.tolist() == [[0, 0, 20, 10]]


def test_a_yolo_folder_with_a_photo_that_cannot_be_read(samples: list[Sample], tmp_path: Path) -> None:
    """`check` is to name it; its boxes, which are shares of it, are not known."""
    write_dataset(samples, tmp_path, "yolo")
    broken = next((tmp_path / "images").rglob(samples[0].path.name))
    broken.write_bytes(b"no photo")
    first, *others = read_dataset(tmp_path)
    assert (first.width, len(first.boxes)) == (0, 0)
    assert len(others) == len(samples) - 1


@pytest.mark.parametrize("place", [".", "counted", "images/counted"])
@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
def test_what_a_count_wrote_into_the_folder_is_no_part_of_it(
    samples: list[Sample], tmp_path: Path, to: str, place: str
) -> None:
    write_dataset(samples, tmp_path, to)
    before = [fields(sample) for sample in read_dataset(tmp_path)]
    out = tmp_path / place
    (out / "annotated" / "images").mkdir(parents=True)
    (out / "voc").mkdir()
    (out / "counts.csv").write_text("image,heads,more\n")
    if place != ".":
        (out / "detections.coco.json").write_text("{}")
    (out / "voc" / f"{samples[0].name}.xml").write_text("<annotation/>")
    for sample in samples:
        Image.new("RGB", (9, 9)).save(out / "annotated" / "images" / f"{sample.name}.jpg")
    assert [fields(sample) for sample in read_dataset(tmp_path)] == before


def test_photos_that_a_count_lies_beside_stay(samples: list[Sample], tmp_path: Path) -> None:
    write_dataset(samples, tmp_path, "voc")
    (tmp_path / "JPEGImages" / "counts.csv").write_text("image,heads,more\n")
    assert len(read_dataset(tmp_path)) == len(samples)


def test_what_gis_programs_write_beside_a_photo_is_no_label(tmp_path: Path) -> None:
    """But the labels of a photo whose own name ends like theirs are."""
    for name in ("a.png", "b.aux.png"):
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    (tmp_path / "a.xml").write_text("<annotation/>")
    (tmp_path / "b.aux.xml").write_text(f"<annotation>{VOC_HEAD}</annotation>")
    (tmp_path / "a.png.aux.xml").write_text("<PAMDataset>\n  <Metadata/>\n</PAMDataset>\n")
    assert {sample.name: len(sample.boxes) for sample in read_dataset(tmp_path)} == {"a": 0, "b.aux": 1}
