"""`wheatear data denoise`: labelled boxes moved towards what a detector finds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import wheatear.cli_data
from count_runs import draw
from one_line import complaint_of
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import write_images_csv
from wheatear.denoise import denoised
from wheatear.detections import Detections

# The first of the grid that the tiny detector sees a photo as, and another.
CELL, OTHER = [0, 0, 30, 20], [60, 40, 90, 60]


def denoise(*arguments: object) -> Any:
    return CliRunner().invoke(
        wheatear.cli_data.app, ["denoise", *map(str, arguments)], catch_exceptions=False
    )


def labelled(boxes: list[list[float]], path: Path = Path("a.png"), split: str = "") -> Sample:
    return Sample(path, np.array(boxes, np.float32).reshape(-1, 4), 120, 80, split=split)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three photos, the last in val; the detector finds heads in CELL and OTHER."""
    cells = [(0, 0), (2, 2)]
    samples = [
        labelled([[4, 0, 34, 20], OTHER, [0, 60, 30, 80]], draw(tmp_path / "a.png", cells), "train"),
        labelled([], draw(tmp_path / "b.png", cells), "train"),
        labelled([[4, 0, 34, 20]], draw(tmp_path / "c.png", cells), "val"),
    ]
    write_dataset(samples, tmp_path / "set", "kaggle", False)
    return tmp_path / "set"


# one photo


@pytest.mark.parametrize(
    ("keep", "first", "second"),
    [(0, 4, 4), (0.25, 5, 3), (1, 8, 0)],
)
def test_a_label_loses_what_is_its_own(keep, first, second):
    """Two labels, 8 px to the right of what is found and right upon it: 4 px are what they have in common."""
    sample = labelled([[8, 0, 38, 20], OTHER, [0, 60, 30, 80]])
    heads = Detections(np.array([CELL, OTHER]), np.array([0.9, 0.8]))
    moved, count = denoised(sample, heads, keep)
    expected = [[first, 0, 30 + first, 20], [60 + second, 40, 90 + second, 60], [0, 60, 30, 80]]
    np.testing.assert_allclose(moved.boxes, expected, atol=1e-5)
    assert count == (0 if keep == 1 else 2)
    assert sample.boxes[0].tolist() == [8, 0, 38, 20]  # as it was


def test_what_labels_have_in_common_is_a_share_of_each_head():
    """Of a small head and one twice as long, labelled a tenth of a side to the right: nothing is noise."""
    heads = Detections(np.array([[0, 0, 20, 20], [60, 20, 100, 60]]), np.array([0.9, 0.8]))
    sample = labelled([[2, 0, 22, 20], [64, 20, 104, 60]])
    moved, _ = denoised(sample, heads, 0)
    np.testing.assert_allclose(moved.boxes, sample.boxes, atol=1e-5)


@pytest.mark.parametrize(("shift", "moved"), [(12, 1), (14, 0)])
def test_a_label_is_moved_from_an_iou_of_04_on(shift, moved):
    """Of boxes 30 px wide, 12 px apart, it is 18 / 42 = 0.43; 14 px apart 0.36."""
    sample, heads = labelled([[shift, 0, 30 + shift, 20]]), Detections(np.array([CELL]), np.array([0.9]))
    assert denoised(sample, heads, 0)[1] == moved


def test_one_detection_moves_one_label_and_the_surest_comes_first():
    sample = labelled([[0, 0, 30, 22], [0, 0, 30, 20]])
    heads = Detections(np.array([[0, 0, 30, 21.5]]), np.array([0.9]))
    moved, count = denoised(sample, heads, 0)
    assert count == 1
    assert moved.boxes[1].tolist() == [0, 0, 30, 20]


def test_what_is_not_matched_stays():
    sample = labelled([[10, 5, 40, 25]])  # an IoU of 0.33 with CELL
    moved, count = denoised(sample, Detections(np.array([CELL]), np.array([0.9])), 0)
    assert (moved.boxes.tolist(), count) == ([[10, 5, 40, 25]], 0)
    for nothing in (replace(sample, boxes=np.zeros((0, 4), np.float32)), sample):
        moved, count = denoised(nothing, Detections(np.zeros((0, 4)), np.zeros(0)), 0)
        assert (moved.boxes.tolist(), count) == (nothing.boxes.tolist(), 0)


# the command


def test_the_data_sets_own_labels_are_never_overwritten(folder, model, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text((folder / "train.csv").read_text())
    for options in (("--out", folder / "train.csv"), ("--out", other, "--labels", other)):
        before = Path(options[1]).read_text()
        result = denoise(folder, *options, "--model", model)
        assert result.exit_code == 1
        assert result.stderr.strip().endswith("may be the data set's own; name another file for --out")
        assert Path(options[1]).read_text() == before


@pytest.mark.parametrize("name", ["train.csv", "competition_denoised.csv", "images.csv"])
def test_no_file_is_written_that_the_data_set_would_be_read_from(folder, model, name):
    own = folder.with_name("coco")
    write_dataset([replace(sample, split="") for sample in read_dataset(folder)], own, "coco")
    result = denoise(own, "--out", own / name, "--model", model)
    assert complaint_of(result) == (
        f"{own / name}: would be read as the data set's own; name another file for --out"
    )
    assert denoise(own, "--out", own / "denoised.csv", "--model", model).exit_code == 0
    assert len(read_dataset(own, own / "denoised.csv")) == 3


def test_train_photos_are_denoised_and_val_keeps_its_labels(folder, model, tmp_path):
    out = tmp_path / "denoised.csv"
    result = denoise(folder, "--out", out, "--model", model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"2 photos with 3 heads written to {out}; 2 of these moved, 25% kept of what is their own; and 1 photo with "
        "labels as they were\n"
    )
    assert "c," in out.read_text()  # so that the csv can be the data set's own
    again = {sample.name: sample.boxes.tolist() for sample in read_dataset(folder, out)}
    assert again == {
        "a": [[2.5, 0, 32.5, 20], [61.5, 40, 91.5, 60], [0, 60, 30, 80]],
        "b": [],
        "c": [[4, 0, 34, 20]],
    }


def test_options_reach_the_boxes(folder, model, tmp_path):
    other, split, out = tmp_path / "other.csv", tmp_path / "split.csv", tmp_path / "denoised.csv"
    other.write_text('image_id,bbox\nc,"[8, 0, 30, 20]"\nc,"[60, 40, 30, 20]"\n')
    write_images_csv(
        [replace(s, split="train" if s.name == "c" else "val") for s in read_dataset(folder)], split
    )
    options = ["--out", out, "--model", model, "--labels", other, "--images", split, "--keep", 0.5]
    assert denoise(folder, *options).exit_code == 0
    assert read_dataset(folder, out)[2].boxes.tolist() == [[6, 0, 36, 20], [62, 40, 92, 60]]
    draw(folder / "train" / "c.png", [(0, 0)])
    assert "1 of these moved, 50%" in denoise(folder, *options, "--tta", "flips").stdout


@pytest.mark.parametrize(("options", "moved"), [([], 1), (["--min-score", 0.31], 0)])
def test_only_what_is_sure_enough_moves_a_label(folder, model, tmp_path, options, moved):
    Image.new("RGB", (120, 80), (77, 0, 0)).save(folder / "train" / "a.png")  # 16 cells of score 0.302
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model, *options)
    assert f"; {3 * moved} of these moved" in result.stdout


def test_all_photos_are_denoised_where_they_are_not_divided(folder, model, tmp_path):
    (folder / "images.csv").unlink()
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model)
    assert result.stdout.startswith("3 photos with 4 heads")


def test_a_photo_that_cannot_be_read_is_named_and_left_out(folder, model, tmp_path):
    (folder / "train" / "a.png").write_bytes(b"no photo")
    out = tmp_path / "out.csv"
    result = denoise(folder, "--out", out, "--model", model)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"wheatear: {folder / 'train' / 'a.png'}: is not an image")
    assert result.stdout.startswith("1 photo with 0 heads")
    (folder / "train" / "b.png").write_bytes(b"no photo")
    out.unlink()
    result = denoise(folder, "--out", out, "--model", model)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "wheatear: none of the photos can be read; nothing is written"
    assert not out.exists()


def test_labels_of_a_photo_of_another_size_are_told_of(folder, model, tmp_path):
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace("a,120,80", "a,240,160"))
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model)
    assert result.exit_code == 0
    assert result.stderr == (
        "wheatear: photos of another size than their labels say, whose boxes may lie elsewhere: 1; see "
        "`wheatear data check`\n"
    )


def test_a_folder_without_photos_to_learn_from(folder, model, tmp_path):
    split = tmp_path / "split.csv"
    write_images_csv([replace(sample, split="val") for sample in read_dataset(folder)], split)
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model, "--images", split)
    assert "no photo is in the split 'train'; there are: val" in complaint_of(result)


def test_a_folder_without_any_photos(model, tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train.csv").write_text("image_id,bbox\n")
    result = denoise(tmp_path / "set", "--out", tmp_path / "out.csv", "--model", model)
    assert complaint_of(result) == (
        f"{tmp_path / 'set'}: has no labelled photos; add some, or name another folder"
    )


def test_the_place_for_the_labels_is_made_before_the_work(folder, model, tmp_path):
    out = tmp_path / "new" / "denoised.csv"
    assert denoise(folder, "--out", out, "--model", model).exit_code == 0
    assert out.exists()
    (folder / "train" / "a.png").write_bytes(b"no photo")  # would be named first
    result = denoise(folder, "--out", tmp_path / "new", "--model", model)
    assert complaint_of(result) == f"{tmp_path / 'new'}: is a folder; name a file"


def test_photos_that_other_labels_empty_stay_so(folder, model, tmp_path):
    other, out = tmp_path / "other.csv", tmp_path / "denoised.csv"
    other.write_text("image_id,PredictionString\na,\n")
    assert denoise(folder, "--out", out, "--model", model, "--labels", other).exit_code == 0
    again = {sample.name: len(sample.boxes) for sample in read_dataset(folder, out)}
    assert again == {"a": 0, "b": 0, "c": 1}


def test_a_side_is_that_of_what_is_found():
    """Found 20 px long and labelled 24 and 16: what the labels have in common is nothing."""
    heads = Detections(np.array([[0, 0, 20, 20], [60, 20, 80, 40]]), np.array([0.9, 0.8]))
    moved, _ = denoised(labelled([[0, 0, 24, 20], [60, 20, 76, 40]]), heads, 0)
    np.testing.assert_allclose(moved.boxes, heads.boxes, atol=1e-5)
