"""Detections in COCO's results format, judged as a CSV of them is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from one_line import complaint_of
from wheatear.cli import app
from wheatear.data.coco_results import names_of_ids, names_of_numbers, read_results
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.data.splits import write_images_csv
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.exports import write_coco

runner = CliRunner()


def result(image_id: int | str, bbox: list[float], score: float, category_id: int = 1) -> dict[str, object]:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


@pytest.fixture
def coco_dir(field_dir: Path, tmp_path: Path) -> Path:
    write_dataset(read_dataset(field_dir), tmp_path / "coco", "coco", link=True)
    return tmp_path / "coco"


def test_ids_are_photos_and_boxes_are_corners_and_sides(tmp_path: Path) -> None:
    content = [result(7, [10, 20, 30, 5], 0.25), result("b", [0, 0, 1, 1], 1), result("7", [1, 2, 3, 4], 0.5)]
    found = read_results(written(tmp_path / "r.json", content), {"7": "a"})
    assert {name: each.boxes.tolist() for name, each in found.items()} == {
        "a": [[1, 2, 4, 6], [10, 20, 40, 25]],  # best first
        "b": [[0, 0, 1, 1]],
    }
    assert found["a"].scores.tolist() == [0.5, 0.25]
    assert read_results(written(tmp_path / "none.json", []), {}) == {}


def test_what_a_count_exports_is_read_back(tmp_path: Path) -> None:
    heads = Detections([[10, 20, 40, 25]], [0.5], height=100, width=100)
    write_coco(tmp_path / "c.json", [("sub/a.jpg", heads)])
    [(name, found)] = read_results(tmp_path / "c.json", {"1": "another"}).items()
    assert (name, found.boxes.tolist(), found.scores.tolist()) == ("sub/a.jpg", heads.boxes.tolist(), [0.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "write COCO's results format"),
        ([{"image_id": 1, "bbox": [0, 0, 1, 1]}], "0.score: Field required"),
        ([result(1, [0, 0, -1, 1], 0.5)], "0.bbox.2: Input should be greater than or equal to 0"),
        ([result(1, [0, 0, 1, 1], 1.5)], "0.score: Input should be less than or equal to 1"),
        ([result(1, [0, 0, 1, 1], 1, 1), result(1, [0, 0, 1, 1], 1, 2)], "2 classes of boxes"),
    ],
)
def test_what_is_none_is_named(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path / "r.json", content)
    with pytest.raises(InputError) as raised:
        read_results(path, {})
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "missing.json", {})


@pytest.mark.parametrize("layout", ["coco", "kaggle"])
def test_perfect_results_are_perfect(field_dir: Path, coco_dir: Path, tmp_path: Path, layout: str) -> None:
    """Ids are those of a data set in COCO's layout, and names in any other."""
    folder = coco_dir if layout == "coco" else field_dir
    samples = read_dataset(folder)
    ids = {name: number for number, name in names_of_ids(folder, {s.name for s in samples}).items()}
    content = [
        result(int(ids[sample.name]) if ids else sample.name, [xmin, ymin, xmax - xmin, ymax - ymin], 1)
        for sample in samples
        for xmin, ymin, xmax, ymax in sample.boxes.tolist()
    ]
    path = written(tmp_path / "r.json", content)
    command = ["evaluate", folder, "--detections", path, "--split", "all", "--out", tmp_path / "out"]
    done = runner.invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["at_score_threshold"]["overall"]["kaggle"] == 1


@pytest.mark.parametrize("name", ["007", "70"])
def test_a_name_that_is_a_number_is_found_without_its_zeros(
    field_dir: Path, tmp_path: Path, name: str
) -> None:
    """As Ultralytics writes it."""
    photo = read_dataset(field_dir)[0]
    place = tmp_path / "field" / f"{name}{photo.path.suffix}"
    place.parent.mkdir()
    place.symlink_to(photo.path)
    write_dataset([replace(photo, path=place)], tmp_path / "kaggle", "kaggle")
    path = written(tmp_path / "r.json", [result(int(name), [0, 0, 9, 9], 1)])
    command = ["evaluate", tmp_path / "kaggle", "--detections", path, "--out", tmp_path / "out"]
    done = runner.invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    assert (
        json.loads((tmp_path / "out" / "evaluation.json").read_text())["at_score_threshold"]["overall"][
            "found"
        ]
        == 1
    )


def test_numbers_of_several_names_are_nobodys() -> None:
    assert names_of_numbers(["07", "007", "8", "9a", "½"]) == {"8": "8"}


def test_results_of_other_splits_are_left_out(coco_dir: Path, tmp_path: Path) -> None:
    samples = read_dataset(coco_dir)
    images = tmp_path / "images.csv"
    write_images_csv([replace(s, split="train" if i else "val") for i, s in enumerate(samples)], images)
    path = written(tmp_path / "r.json", [result(number, [0, 0, 9, 9], 1) for number in (1, 2)])
    command = ["evaluate", coco_dir, "--images", images, "--detections", path, "--out", tmp_path / "out"]
    done = runner.invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["at_score_threshold"]["overall"]["photos"] == 1


def test_photos_that_are_not_there_are_named(coco_dir: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "r.json", [result(99, [0, 0, 1, 1], 1)])
    command = ["evaluate", coco_dir, "--detections", path, "--split", "all", "--out", tmp_path / "out"]
    message = complaint_of(runner.invoke(app, list(map(str, command))))
    assert message.startswith(f"{path}: detections of '99': ")


def test_an_id_of_two_photos(coco_dir: Path) -> None:
    """As each split counts its own."""
    whole = coco_dir / "annotations" / "instances_all.json"
    content = json.loads(whole.read_text())
    for split, image in zip(("train", "val"), content["images"], strict=False):
        written(
            coco_dir / "annotations" / f"instances_{split}.json",
            {"images": [image | {"id": 1}], "annotations": []},
        )
    whole.unlink()
    first, second = (Path(image["file_name"]).stem for image in content["images"][:2])
    assert names_of_ids(coco_dir, {first}) == {"1": first}
    assert names_of_ids(coco_dir, {second}) == {"1": second}
    with pytest.raises(InputError, match=f"the id 1 is that of {first} and of {second}; judge one split"):
        names_of_ids(coco_dir, {first, second})
