"""`wheatear data pseudo`, and the photos that `wheatear train --more` adds."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import wheatear.cli_data
import wheatear.cli_pseudo
from count_runs import draw
from one_line import complaint_of
from tiny_model import write_tiny_model
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.data.more import More, add_more
from wheatear.data.sample import Sample
from wheatear.detector import load
from wheatear.errors import InputError


def pseudo(*arguments: object) -> Any:
    return CliRunner().invoke(wheatear.cli_data.app, ["pseudo", *map(str, arguments)], catch_exceptions=False)


def complaint(*arguments: object) -> str:
    """The one line on stderr with which the command fails."""
    result = pseudo(*arguments)
    assert result.stdout == ""
    return complaint_of(result)


@pytest.fixture
def more(photos: Path, model: Path, tmp_path: Path) -> Path:
    """Three photos with the labels of a detector: 2, 0 and 1 heads."""
    assert pseudo(photos, "--out", tmp_path / "more", "--model", model).exit_code == 0
    return tmp_path / "more"


# the command


def test_photos_get_the_heads_that_are_found(photos, model, tmp_path):
    out = tmp_path / "out"
    result = pseudo(photos, "--out", out, "--model", model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == f"3 photos (1 without heads) with 3 heads of a score of 0.4 or more written to {out}\n"
    )
    samples = read_dataset(out)
    assert [sample.path for sample in samples] == [
        out / "train" / name for name in ("a.png", "b.jpg", "c.tif")
    ]
    for sample, given in zip(samples, ("a.png", "b.jpg", "sub/c.tif"), strict=True):
        np.testing.assert_allclose(sample.boxes, load(model).detect(photos / given).boxes, atol=0.001)
        assert (sample.width, sample.height, sample.split) == (120, 80, "train")
        assert sample.path.read_bytes() == (photos / given).read_bytes()
        assert not sample.path.is_symlink()
    assert {sample.source for sample in samples} == {"pseudo"}


def test_photos_may_be_linked(photos, model, tmp_path):
    pseudo(photos / "a.png", "--out", tmp_path / "out", "--model", model, "--link")
    assert (tmp_path / "out" / "train" / "a.png").readlink() == photos / "a.png"


def test_a_disk_without_room_for_the_photos_is_told_of_before_they_are_looked_at(
    photos, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with monkeypatch.context() as unseen:
        unseen.setattr(wheatear.cli_pseudo, "detect_in_each", lambda *arguments: pytest.fail("looked"))
        message = complaint(photos, "--out", tmp_path / "new" / "out", "--model", model)
    assert "and 0 MB are free; give --link, or name a folder on another disk" in message
    assert pseudo(photos, "--out", tmp_path / "out", "--model", model, "--link").exit_code == 0


@pytest.mark.parametrize(("options", "heads"), [([], 0), (["--min-score", "0.3"], 16)])
def test_the_lowest_score_is_the_models_or_the_callers(tmp_path, options, heads):
    model = write_tiny_model(tmp_path, score_threshold=0.31, count_threshold=0.1)
    dim = tmp_path / "dim.png"
    Image.new("RGB", (40, 40), (77, 0, 0)).save(dim)  # 16 cells of score 0.302
    assert pseudo(dim, "--out", tmp_path / "out", "--model", model, *options).exit_code == 0
    assert [len(sample.boxes) for sample in read_dataset(tmp_path / "out")] == [heads]


def test_with_tta_its_own_threshold_is_taken(photos, tmp_path):
    model = write_tiny_model(tmp_path, score_threshold=1.0, tta={"flips": {"score_threshold": 0.5}})
    result = pseudo(photos, "--out", tmp_path / "out", "--model", model, "--tta", "flips")
    assert "3 heads of a score of 0.5 or more" in result.stdout
    assert result.stderr == ""
    unchosen = pseudo(photos, "--out", tmp_path / "other", "--model", model, "--tta", "turns")
    assert "has no thresholds for --tta turns" in unchosen.stderr
    assert unchosen.stderr.endswith("or give --min-score\n")
    assert unchosen.exit_code == 0


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_done(photos, model, tmp_path):
    (photos / "bad.jpg").write_bytes(b"no photo")
    result = pseudo(photos, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"wheatear: {photos / 'bad.jpg'}: is not an image")
    assert [sample.name for sample in read_dataset(tmp_path / "out")] == ["a", "b", "c"]


def test_nothing_but_unreadable_photos(tmp_path, model):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    result = pseudo(tmp_path / "bad.jpg", "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1] == "wheatear: none of the photos can be read; nothing is written"
    assert not (tmp_path / "out").exists()


def test_a_mistyped_folder_is_said_to_be_missing(tmp_path, model):
    result = pseudo(tmp_path / "nosuch", "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    assert "no such file" in result.stderr.splitlines()[0]


def test_what_is_refused_before_anything_is_done(photos, model, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert "no photos found in" in complaint(tmp_path / "empty", "--out", out, "--model", model)
    draw(photos / "sub" / "a.jpg", [])
    assert complaint(photos, "--out", out, "--model", model).endswith("share a name; rename one")
    assert complaint(photos, "--out", photos, "--model", model).endswith("name a new or an empty folder")
    inside = photos / "labelled"
    twice = f"{inside}: lies in {photos}, which would have every photo twice; name a folder elsewhere"
    assert complaint(photos, "--out", inside, "--model", model) == twice
    assert not inside.exists()
    assert not out.exists()


def test_a_name_that_no_data_set_could_have_is_refused(photos, model, tmp_path):
    (photos / "a.png").rename(tmp_path / "a")
    result = pseudo(tmp_path / "a", "--out", tmp_path / "new", "--model", model)
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("let it end like .jpg, without a dot in front")
    assert not (tmp_path / "new").exists()


def test_pictures_that_a_count_drew_are_no_photos(photos, model, tmp_path):
    shutil.copytree(photos, photos / "counted" / "annotated")
    (photos / "counted" / "counts.csv").write_text("image,heads,heads_low\n")
    assert pseudo(photos, "--out", tmp_path / "out", "--model", model).exit_code == 0
    assert len(read_dataset(tmp_path / "out")) == 3


# more photos for the training


def test_more_photos_are_trained_on_only(more, field_dir):
    given = [replace(sample, split="val") for sample in read_dataset(field_dir)]
    together, records = add_more(given, [more])
    assert together[: len(given)] == given
    assert [(sample.name, sample.split) for sample in together[len(given) :]] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "train"),
    ]
    assert records == [More("more", photos=3, heads=3, sources=["pseudo"])]


def test_a_data_set_of_any_split_is_trained_on(field_dir, tmp_path):
    divided = [replace(sample, split="val") for sample in read_dataset(field_dir)]
    write_dataset(divided, tmp_path / "other", "yolo")
    together, [record] = add_more([], [tmp_path / "other"])
    assert {sample.split for sample in together} == {"train"}
    assert (record.photos, record.sources) == (8, ["drawn"])


def test_nothing_more():
    assert add_more([], []) == ([], [])


def test_a_photo_of_the_same_name_is_refused(more, photos, field_dir):
    given = read_dataset(field_dir)
    taken = Sample(photos / "b.png", np.zeros((0, 4), np.float32), 120, 80, split="val")
    message = f"{more / 'train' / 'b.jpg'}: has the name of {photos / 'b.png'}; rename it or take it out"
    with pytest.raises(InputError) as caught:
        add_more([*given, taken], [more])
    assert str(caught.value) == message
    with pytest.raises(InputError, match="has the name of"):
        add_more(given, [more, more])
    with pytest.raises(InputError, match="no labels here"):
        add_more(given, [photos])


def test_the_size_goes_along_as_width_and_height(more):
    assert {sample.labelled_size for sample in read_dataset(more) if len(sample.boxes)} == {(120, 80)}
