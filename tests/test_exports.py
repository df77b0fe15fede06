"""What other programs are given: read again by faster-coco-eval, by our own readers, or by hand."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from faster_coco_eval import COCO

from wheatear.detections import Detections, read_csv
from wheatear.errors import InputError
from wheatear.exports import (
    EXPORTS,
    open_export,
    write_coco,
    write_submission,
    write_voc,
    write_yolo,
)

NONE = Detections(np.zeros((0, 4)), np.zeros(0), 40, 80)
TWO = Detections(np.array([[0, 0, 80, 40], [10.25, 20, 20, 30.5]]), np.array([0.25, 0.87654]), 40, 80)
FOUND = [("a.jpg", TWO), ("b/ä.png", NONE), ("c.jpg", TWO[:1])]


def test_coco_is_read_by_faster_coco_eval(tmp_path: Path) -> None:
    write_coco(tmp_path / "found.json", iter(FOUND))
    coco = COCO(str(tmp_path / "found.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [name for name, _ in FOUND]
    assert len(coco.getAnnIds(imgIds=[2])) == 0
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [one["bbox"] for one in first] == [[10.25, 20, 9.75, 10.5], [0, 0, 80, 40]]
    assert [one["score"] for one in first] == [0.8765, 0.25]
    assert coco.loadAnns(coco.getAnnIds(imgIds=[3]))[0]["id"] == 3


def test_no_photos_are_a_whole_file_too(tmp_path: Path) -> None:
    write_coco(tmp_path / "found.json", [])
    assert json.loads((tmp_path / "found.json").read_text())["images"] == []
    write_submission(tmp_path / "submission.csv", [])
    assert (tmp_path / "submission.csv").read_text() == "image_id,PredictionString\n"


def test_a_run_that_breaks_leaves_no_half_file(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, Detections]]:
        yield "a.jpg", TWO
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_coco(tmp_path / "found.json", broken())
    assert list(tmp_path.iterdir()) == []


def test_yolo_by_hand(tmp_path: Path) -> None:
    write_yolo(tmp_path, FOUND)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert lines[1] == "0 0.50000000 0.50000000 1.00000000 1.00000000 0.2500"
    assert [float(word) for word in lines[0].split()] == pytest.approx(
        [0, 15.125 / 80, 25.25 / 40, 9.75 / 80, 10.5 / 40, 0.8765]
    )
    assert (tmp_path / "b" / "ä.txt").read_text() == ""


def test_voc_by_hand(tmp_path: Path) -> None:
    write_voc(tmp_path, FOUND)
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.findtext("filename") == "a.jpg"
    assert [one.text for one in root.find("object/bndbox")] == ["11.25", "21", "20", "30.5"]
    assert root.findtext("object/score") == "0.8765"
    assert ElementTree.parse(tmp_path / "b" / "ä.xml").find("object") is None


def test_kaggles_submission(tmp_path: Path) -> None:
    write_submission(tmp_path / "submission.csv", FOUND)
    with (tmp_path / "submission.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "PredictionString"],
            ["a", "0.8765 10.25 20 9.75 10.5 0.2500 0 0 80 40"],
            ["ä", ""],
            ["c", "0.8765 10.25 20 9.75 10.5"],
        ]


def test_photos_that_differ_in_their_ending_have_files_of_their_own(tmp_path: Path) -> None:
    write_yolo(tmp_path, [("a.jpg", TWO), ("A.png", NONE)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.png.txt", "a.txt"]


@pytest.mark.parametrize(
    "names", [["0/a.png.jpg", "a.jpg", "a.png"], ["A.png.jpg", "a.jpg", "a.png", "a.tif"]]
)
def test_no_two_photos_share_a_place(tmp_path: Path, names: list[str]) -> None:
    """Not even where the whole name of one is another's without its ending."""
    write_yolo(tmp_path / "yolo", [(name, NONE) for name in names])
    write_submission(tmp_path / "submission.csv", [(name, NONE) for name in names])
    places = [path.name.casefold() for path in (tmp_path / "yolo").rglob("*.txt")]
    rows = (tmp_path / "submission.csv").read_text().splitlines()[1:]
    assert len(places) == len(rows) == len(set(rows)) == len(names)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    for name in EXPORTS:
        with open_export(name, tmp_path) as add:
            add("\udcff.jpg", TWO)
    text = ElementTree.parse(tmp_path / "voc" / "\udcff.xml").findtext("filename")
    assert text == "\ufffd.jpg"


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_a_photo_of_unknown_size_is_refused(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"a.jpg: the photo's size is not known"),
        open_export(name, tmp_path) as add,
    ):
        add("a.jpg", Detections(TWO.boxes, TWO.scores))


def test_to_csv_is_read_again(tmp_path: Path) -> None:
    TWO.to_csv(tmp_path / "heads.csv", image="a.jpg")
    np.testing.assert_array_equal(read_csv(tmp_path / "heads.csv")["a.jpg"].boxes, TWO.boxes)
    NONE.to_csv(tmp_path / "heads.csv", image="a.jpg")
    assert read_csv(tmp_path / "heads.csv") == {}


def test_to_coco_is_what_load_res_takes() -> None:
    coco = COCO({"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1, "name": "head"}]})
    results = json.loads(json.dumps(TWO.to_coco(image_id=7)))
    assert coco.loadRes(results).getAnnIds(imgIds=[7]) == [1, 2]
    assert results[0]["bbox"] == [10.25, 20, 9.75, 10.5]
    assert NONE.to_coco() == []


def test_to_geojson_in_pixels_and_on_a_map() -> None:
    feature = TWO[:1].to_geojson()["features"][0]
    assert feature["geometry"]["coordinates"] == [
        [[10.25, 20], [10.25, 30.5], [20, 30.5], [20, 20], [10.25, 20]]
    ]
    assert feature["properties"]["score"] == pytest.approx(0.87654)
    north_up = (0.5, 0, 1000, 0, -0.5, 2000, 0, 0, 1)  # nine numbers, as rasterio's Affine has
    ring = np.array(TWO[1:].to_geojson(north_up)["features"][0]["geometry"]["coordinates"][0])
    assert ring.tolist() == [[1000, 2000], [1000, 1980], [1040, 1980], [1040, 2000], [1000, 2000]]
    x, y = ring.T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # counter-clockwise
    assert NONE.to_geojson() == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_a_library_that_is_missing_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(InputError, match=f"^{name} is not installed; install it with `pip install {name}`$"):
        getattr(TWO, f"to_{name}")()


def test_to_pandas() -> None:
    pytest.importorskip("pandas")
    frame = TWO.to_pandas()
    assert list(frame.columns) == ["xmin", "ymin", "xmax", "ymax", "score"]
    np.testing.assert_array_equal(frame[["xmin", "ymin", "xmax", "ymax"]], TWO.boxes)
    assert len(NONE.to_pandas()) == 0


def test_to_supervision() -> None:
    pytest.importorskip("supervision")
    found = TWO.to_supervision()
    np.testing.assert_array_equal(found.xyxy, TWO.boxes)
    np.testing.assert_array_equal(found.confidence, TWO.scores)
    assert found.class_id.tolist() == [0, 0]
    assert len(NONE.to_supervision()) == 0


def test_geojson_by_a_skewed_transform():
    one = Detections(np.array([[10, 20, 13, 25]]), np.array([0.5]))
    [feature] = one.to_geojson((2, 0.5, 100, 0.25, -4, 1000))["features"]
    assert feature["geometry"]["coordinates"][0][:2] == [[130.0, 922.5], [132.5, 902.5]]


@pytest.mark.parametrize("name", ["/photos/a.jpg", "../a.jpg", "sub/../../a.jpg"])
@pytest.mark.parametrize("write", [write_yolo, write_voc])
def test_no_file_is_written_outside_the_folder(tmp_path: Path, write: Callable[..., None], name: str) -> None:
    """There are the labels of the photos' owner."""
    with pytest.raises(InputError, match="its file would lie outside"):
        write(tmp_path / "out", [(name, TWO)])


def test_voc_is_xml_whatever_the_name(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", [("a\x1b&<.jpg", TWO)])
    assert ElementTree.parse(tmp_path / "voc" / "a\x1b&<.xml").findtext("filename") == "a\ufffd&<.jpg"
