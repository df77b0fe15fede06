"""`wheatear data denoise`: labelled boxes moved towards what a detector finds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import wheatear.cli_data
from count_runs import draw
from one_line import complaint_of
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import write_images_csv
from wheatear.denoise import denoised
from wheatear.detections import Detections

CELL = [0, 0, 30, 20]  # the first of the grid that the tiny detector sees a photo as


def denoise(*arguments: object) -> Any:
    return CliRunner().invoke(
        wheatear.cli_data.app, ["denoise", *map(str, arguments)], catch_exceptions=False
    )


def labelled(boxes: list[list[float]], path: Path = Path("a.png"), split: str = "") -> Sample:
    return Sample(path, np.array(boxes, np.float32).reshape(-1, 4), 120, 80, split=split)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three photos, the last in val; the detector finds the head of each in CELL."""
    samples = [
        labelled([[4, 0, 34, 20], [60, 40, 90, 60]], draw(tmp_path / "a.png", [(0, 0)]), "train"),
        labelled([], draw(tmp_path / "b.png", [(0, 0)]), "train"),
        labelled([[4, 0, 34, 20]], draw(tmp_path / "c.png", [(0, 0)]), "val"),
    ]
    write_dataset(samples, tmp_path / "set", "kaggle", False)
    return tmp_path / "set"


# one photo


@pytest.mark.parametrize(("keep", "box"), [(0, CELL), (0.25, [2, 1, 32, 21]), (1, [8, 4, 38, 24])])
def test_a_label_moves_its_share_of_the_way(keep, box):
    sample = labelled([[8, 4, 38, 24], [60, 40, 90, 60]])
    heads = Detections(np.array([CELL]), np.array([0.9]))
    # The detection and the label share 22 × 16 of 30 × 20 pixels: an IoU of 0.415.
    moved, count = denoised(sample, heads, keep)
    np.testing.assert_allclose(moved.boxes, [box, [60, 40, 90, 60]])
    assert count == 1
    assert sample.boxes[0].tolist() == [8, 4, 38, 24]  # as it was


def test_one_detection_moves_one_label_and_the_surest_comes_first():
    sample = labelled([[0, 0, 30, 22], [0, 0, 30, 18]])
    heads = Detections(np.array([[0, 0, 30, 21], [0, 0, 30, 10]]), np.array([0.9, 0.3]))
    moved, count = denoised(sample, heads, 0)
    np.testing.assert_allclose(moved.boxes, [[0, 0, 30, 21], [0, 0, 30, 10]])
    assert count == 2


def test_what_is_not_matched_stays():
    sample = labelled([[10, 5, 40, 25]])  # an IoU of 0.33 with CELL
    moved, count = denoised(sample, Detections(np.array([CELL]), np.array([0.9])), 0)
    assert (moved.boxes.tolist(), count) == ([[10, 5, 40, 25]], 0)
    for nothing in (replace(sample, boxes=np.zeros((0, 4), np.float32)), sample):
        moved, count = denoised(nothing, Detections(np.zeros((0, 4)), np.zeros(0)), 0)
        assert (moved.boxes.tolist(), count) == (nothing.boxes.tolist(), 0)


# the command


def test_train_photos_are_denoised_and_val_keeps_its_labels(folder, model, tmp_path):
    out = tmp_path / "denoised.csv"
    result = denoise(folder, "--out", out, "--model", model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == f"2 photos with 2 heads written to {out}; 1 of these moved by 75% of the way to what was found\n"
    )
    assert "c," not in out.read_text()
    again = {sample.name: sample.boxes.tolist() for sample in read_dataset(folder, out)}
    assert again == {"a": [[1, 0, 31, 20], [60, 40, 90, 60]], "b": [], "c": [[4, 0, 34, 20]]}


def test_options_reach_the_boxes(folder, model, tmp_path):
    other, split, out = tmp_path / "other.csv", tmp_path / "split.csv", tmp_path / "denoised.csv"
    other.write_text('image_id,bbox\nc,"[8, 0, 30, 20]"\n')
    write_images_csv(
        [replace(s, split="train" if s.name == "c" else "val") for s in read_dataset(folder)], split
    )
    options = ["--out", out, "--model", model, "--labels", other, "--images", split, "--keep", 0.5]
    assert denoise(folder, *options).exit_code == 0
    assert read_dataset(folder, out)[2].boxes.tolist() == [[4, 0, 34, 20]]
    assert denoise(folder, *options, "--min-score", 1, "--tta", "flips").exit_code == 0
    assert read_dataset(folder, out)[2].boxes.tolist() == [[4, 0, 34, 20]]


def test_all_photos_are_denoised_where_they_are_not_divided(folder, model, tmp_path):
    (folder / "images.csv").unlink()
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model)
    assert result.stdout.startswith("3 photos with 3 heads")


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


def test_a_folder_without_photos_to_learn_from(folder, model, tmp_path):
    split = tmp_path / "split.csv"
    write_images_csv([replace(sample, split="val") for sample in read_dataset(folder)], split)
    result = denoise(folder, "--out", tmp_path / "out.csv", "--model", model, "--images", split)
    assert "no photo is in the split 'train'; there are: val" in complaint_of(result)
