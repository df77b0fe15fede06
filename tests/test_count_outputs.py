"""`wheatear count --format … --report`: what is made of the tables when all photos are counted."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import wheatear.exports
from count_runs import count, counted, draw, lines_of, table
from html_checks import check_page
from test_resume import Failing
from wheatear.cli_count import Format
from wheatear.count import COUNTS_HEADER
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.detector import Detector
from wheatear.exports import EXPORTS

PLACES = [place for place, _ in EXPORTS.values()]
ALL = [word for name in EXPORTS for word in ("--format", name)]
# What photos() has: by name, the boxes in a photo of 120 × 80 pixels.
HEADS = {"a": [[0, 0, 30, 20], [90, 60, 120, 80]], "b": [], "c": [[60, 20, 90, 40]]}
NAMES = ["my field ä.png", "noch einmal/my field ä.png", "[1] #2, 50 %.jpg", os.fsdecode(b"f\xfcr.png")]


def read_as(name: str, out: Path, photos: Path, folder: Path) -> list[Sample]:
    """The photos with the heads that OUT has of them in a format, as our reader of that format sees them."""
    place = EXPORTS[name][0]
    labels = None
    if name == "kaggle":  # as other labels of a folder of photos
        (folder / "train").mkdir(parents=True)
        for photo in photos.rglob("*.*"):
            shutil.copy(photo, folder / "train")
        (folder / "train.csv").write_text("image_id,bbox\n")
        labels = out / place
    elif name == "coco":
        shutil.copytree(photos, folder / "images")
        shutil.copy(out / place, folder)
    else:
        shutil.copytree(photos, folder / "images")
        shutil.copytree(out / place, folder / ("labels" if name == "yolo" else "Annotations"))
    return read_dataset(folder, labels)


def test_the_formats_are_those_of_the_exports():
    assert [each.value for each in Format] == list(EXPORTS)


@pytest.mark.parametrize("name", EXPORTS)
def test_what_is_counted_is_read_again(model, photos, tmp_path, name):
    out = tmp_path / "out"
    assert count(model, out, photos, "--format", name).exit_code == 0
    samples = read_as(name, out, photos, tmp_path / "folder")
    assert [sample.name for sample in samples] == list(HEADS)
    for sample, boxes in zip(samples, HEADS.values(), strict=True):
        assert (sample.width, sample.height) == (120, 80)
        np.testing.assert_allclose(sample.boxes, np.reshape(boxes, (-1, 4)), atol=0.01)


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_nothing(model, tmp_path, jobs):
    for number in range(9):
        draw(tmp_path / "photos" / f"{number}.png", [(0, column) for column in range(number % 4)])
    assert count(model, tmp_path / "out", tmp_path / "photos", *ALL, "--jobs", jobs).exit_code == 0
    found = json.loads((tmp_path / "out" / "detections.coco.json").read_text())
    assert [image["file_name"] for image in found["images"]] == [f"{number}.png" for number in range(9)]
    heads = [one["image_id"] - 1 for one in found["annotations"]]
    assert heads == [number for number in range(9) for _ in range(number % 4)]


def test_a_resumed_run_has_the_photos_that_were_done_before(model, photos, tmp_path, monkeypatch):
    draw(photos / "d.png", [(0, 0)])
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert count(model, whole, photos, *ALL).exit_code == 0
    with monkeypatch.context() as patch:
        detect, calls = Detector.detect, iter([True, True])

        def stop_after_two(*arguments: object) -> object:
            if not next(calls, False):
                raise KeyboardInterrupt
            return detect(*arguments)

        patch.setattr(Detector, "detect", stop_after_two)
        assert count(model, out, photos, *ALL).exit_code == 130
    assert not any((out / place).exists() for place in PLACES)
    assert count(model, out, photos, *ALL, "--resume").exit_code == 0
    for path in whole.rglob("*.*"):
        assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def test_a_finished_run_is_asked_for_more_without_counting_again(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    monkeypatch.setattr(Detector, "detect", Failing(0, AssertionError("counted again")).detect)
    assert count(model, out, photos, "--resume", *ALL, "--report").exit_code == 0
    assert all((out / place).exists() for place in [*PLACES, "report.html"])


def test_photos_added_later_join_the_others(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos, "--format", "yolo").exit_code == 0
    draw(photos / "new.png", [(0, 0)])
    assert count(model, out, photos, "--format", "yolo", "--resume").exit_code == 0
    texts = sorted(path.relative_to(out / "yolo").as_posix() for path in (out / "yolo").rglob("*.*"))
    assert texts == ["a.txt", "b.txt", "new.txt", "sub/c.txt"]
    assert not list(out.glob("*.part"))


def test_files_of_an_earlier_run_are_not_mixed_with_new_ones(model, photos, tmp_path):
    (tmp_path / "out" / "voc").mkdir(parents=True)
    (tmp_path / "out" / "voc" / "mine.xml").write_text("mine")
    result = count(model, tmp_path / "out", photos, "--format", "voc")
    assert result.exit_code == 1
    place = tmp_path / "out" / "voc"
    assert lines_of(result) == [
        f"wheatear: {place}: holds files already; move it away, or name another folder for --out"
    ]
    assert (place / "mine.xml").read_text() == "mine"
    assert not (tmp_path / "out" / "settings.json").exists()


def test_an_unknown_format_is_a_usage_error(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos, "--format", "csv")
    assert result.exit_code == 2
    assert "--format" in result.stderr
    assert "coco" in result.stderr
    assert not (tmp_path / "out").exists()


def test_odd_names_in_all_formats_and_the_page(model, tmp_path):
    for name in NAMES:
        draw(tmp_path / "photos" / name, [(0, 0)])
    out = tmp_path / "ein Ordner é"
    assert count(model, out, tmp_path / "photos", *ALL, "--report").exit_code == 0
    images = json.loads((out / "detections.coco.json").read_text())["images"]
    assert sorted(image["file_name"] for image in images) == sorted(NAMES)
    for name in NAMES:
        assert len((out / "yolo" / name).with_suffix(".txt").read_text().splitlines()) == 1
        assert (out / "voc" / name).with_suffix(".xml").exists()
    ids = {row[0] for row in table(out / "submission.csv")[1:]}
    assert ids == set(NAMES)  # whole, as two are alike without folder and extension
    page = check_page(out / "report.html")
    assert page.count("<img src=") == len(NAMES)
    assert 'data-file="annotated/%5B1%5D%20%232%2C%2050%20%25.jpg"' in page


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize("name", ["detections.coco.json", "submission.csv", "report.html"])
def test_a_full_disk_loses_no_count(model, photos, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{name}.part").symlink_to("/dev/full")
    result = count(model, out, photos, *ALL, "--report")
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {out / name}: No space left on device; make room on that disk"]
    assert not (out / name).exists()
    assert sum(counted(out).values()) == 3
    assert count(model, out, photos, *ALL, "--report", "--resume").exit_code == 0
    assert all((out / place).exists() for place in [*PLACES, "report.html"])


def test_a_folder_that_a_full_disk_cuts_short_is_not_left(model, photos, tmp_path, monkeypatch):
    written = wheatear.exports.yolo.line
    lines = iter([True, True])

    def full(*arguments: object) -> str:
        if not next(lines, False):
            raise OSError(28, "No space left on device")
        return written(*arguments)

    monkeypatch.setattr(wheatear.exports.yolo, "line", full)
    result = count(model, tmp_path / "out", photos, "--format", "yolo")
    assert lines_of(result) == [
        f"wheatear: {tmp_path / 'out' / 'yolo'}: No space left on device; make room on that disk"
    ]
    assert not list((tmp_path / "out").glob("yolo*"))
    assert sum(counted(tmp_path / "out").values()) == 3


def test_tables_that_do_not_fit_each_other(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    heads = out / "detections.csv"
    heads.write_text(heads.read_text().replace("sub/c.tif", "sub/d.tif"))
    result = count(model, out, photos, "--resume", "--format", "coco")
    assert result.exit_code == 1
    wrong = "its rows are not the heads of sub/c.tif in counts.csv; count again without --resume"
    assert [line for line in lines_of(result) if "before" not in line] == [f"wheatear: {heads}: {wrong}"]
    assert not (out / "detections.coco.json").exists()


def test_the_page(model, photos, tmp_path):
    (photos / "broken.jpg").write_text("no photo")
    out = tmp_path / "out"
    result = count(model, out, photos, "--report", "--gsd", "10")
    assert result.exit_code == 1
    page = check_page(out / "report.html")
    assert "<strong>3 heads</strong> in 3 photos" in page
    assert "On 2.88 m², that is <strong>1.04 heads per m²</strong>" in page
    assert "1 photo could not be counted" in page
    assert re.search(r"broken\.jpg: is not an image", page)
    assert page.count("<img src=") == 3
    assert 'data-file="annotated/sub/c.jpg"' in page
    assert re.findall(r'aria-label="Histogram of (.*?)"', page) == ["heads", "heads per m²"]
    assert re.search(r"ground, mm a pixel</td><td>10\.0<", page)
    assert "across a photo" not in page  # it was not asked for
    assert "Detector <strong>tiny</strong>" in page


def test_the_page_says_what_was_left_out(model, photos, tmp_path):
    for name in ("a.HEIC", "b.heic", "c.dng"):
        (photos / name).write_bytes(b"raw")
    assert count(model, tmp_path / "out", photos, "--report").exit_code == 0
    page = check_page(tmp_path / "out" / "report.html")
    left_out = "<p>Left out, as they are of kinds that are not read (.heic, .dng): 3; save them as JPEG.</p>"
    assert left_out in page


def test_the_page_without_pictures(model, photos, tmp_path):
    assert count(model, tmp_path / "out", photos, "--report", "--no-pictures").exit_code == 0
    page = check_page(tmp_path / "out" / "report.html")
    assert "<img src=" not in page
    assert "sub/c.tif" in page


def test_the_page_has_no_pictures_of_an_earlier_count(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    assert count(model, out, photos, "--threshold", "1", "--report", "--no-pictures").exit_code == 0
    assert "<img src=" not in check_page(out / "report.html")
    other = tmp_path / "other"
    assert count(model, other, photos / "a.png").exit_code == 0
    assert count(model, other, photos / "a.png", "--resume", "--report", "--no-pictures").exit_code == 0
    assert check_page(other / "report.html").count("<img src=") == 1


def test_nothing_counted_is_files_that_say_so(model, tmp_path):
    (tmp_path / "empty.jpg").touch()
    out = tmp_path / "out"
    result = count(model, out, tmp_path / "empty.jpg", "--report", *ALL)
    assert result.exit_code == 1
    page = check_page(out / "report.html")
    assert "No photo was counted." in page
    assert "empty.jpg: is empty (0 bytes)" in page
    assert json.loads((out / "detections.coco.json").read_text())["images"] == []
    assert (out / "submission.csv").read_text() == "image_id,PredictionString\n"
    assert list((out / "yolo").iterdir()) == list((out / "voc").iterdir()) == []


def test_an_empty_folder_leaves_no_files(model, tmp_path):
    (tmp_path / "photos").mkdir()
    result = count(model, tmp_path / "out", tmp_path / "photos", "--report", *ALL)
    assert result.exit_code == 2
    assert len(lines_of(result)) == 1
    assert not (tmp_path / "out").exists()


def test_pictures_and_maps_of_other_photos_are_said_to_be_there(model, photos, tmp_path):
    out = tmp_path / "out"
    draw(photos / "b_heads.png", [])
    assert lines_of(count(model, out, photos)) == []
    (out / "maps").mkdir()
    for name in ("a_heads.geojson", "b_heads.gpkg"):
        (out / "maps" / name).touch()
    assert lines_of(count(model, out, photos)) == []  # they are drawn anew
    for options in ([photos / "sub"], [photos, "--no-pictures"]):
        (line,) = lines_of(count(model, out, *options))
        left = "annotated, maps" if options == [photos / "sub"] else "annotated"
        assert line == f"wheatear: {out}: still has {left} of an earlier run"


def test_a_resumed_run_says_what_will_lack_its_photos(model, photos, tmp_path):
    out = tmp_path / "out"
    assert lines_of(count(model, out, photos, "--report")) == []
    told = f"wheatear: {out}: report.html will lack the photos counted now"
    assert told not in lines_of(count(model, out, photos, "--resume"))
    draw(photos / "new.png", [])
    assert told in lines_of(count(model, out, photos, "--resume"))


def test_what_an_earlier_run_left_is_said_to_be_there(model, photos, tmp_path):
    out = tmp_path / "out"
    formats = ("--report", "--format", "coco", "--format", "kaggle")
    assert lines_of(count(model, out, photos, *formats, "--format", "yolo")) == []
    again = count(model, out, photos, "--format", "kaggle")
    assert lines_of(again) == [
        f"wheatear: {out}: still has detections.coco.json, report.html, yolo of an earlier run"
    ]
    shutil.rmtree(out / "yolo")
    assert lines_of(count(model, out, photos, *formats)) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("counts.csv", []),
        ("settings.json", []),
        ("annotated/a.jpg", []),
        ("annotated/a.jpg", ["--resume"]),
        ("submission.csv", ["--format", "kaggle"]),
        ("report.html", ["--report"]),
        ("maps/a.gpkg", []),
    ],
)
def test_files_of_ones_own_are_not_written_over(model, photos, name, options):
    own = photos / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("image;heads\na.png;31\n")
    result = count(model, photos, photos / "a.png", *options)
    assert result.exit_code == 1
    assert "is there already, and no count's tables; name another folder for --out" in result.stderr
    assert own.read_text() == "image;heads\na.png;31\n"


@pytest.mark.parametrize("options", [[], ["--resume"]])
@pytest.mark.parametrize("table", ["image,heads,notes\na.png,2,lodged\n", "image;heads\na.png;2\n"])
def test_a_table_that_got_other_columns_is_not_written_over(model, photos, tmp_path, table, options):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    (out / "counts.csv").write_text(table)
    again = count(model, out, photos, *options)
    assert again.exit_code == 1
    [said] = lines_of(again)
    assert "other columns than" in said
    assert said.endswith("name another folder for --out")
    assert (out / "counts.csv").read_text() == table


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_what_the_page_saved_is_not_written_over(model, photos, options):
    """Beside the settings of a run, too."""
    assert count(model, photos, photos / "a.png").exit_code == 0
    saved = ",".join(COUNTS_HEADER) + ",removed,added,checked\n"
    (photos / "counts.csv").write_text(saved)
    result = count(model, photos, photos / "a.png", *options)
    assert result.exit_code == 1
    assert "counts.csv: was saved by the page in a browser, and may hold work by hand" in result.stderr
    assert (photos / "counts.csv").read_text() == saved


def test_files_of_ones_own_that_are_not_written_over_are_no_matter(model, photos):
    for name in (
        "annotated/a.jpg",
        "annotated/.DS_Store",
        "maps/site.pdf",
        "report.html",
        "plots.csv",
        "submission.csv",
    ):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("mine")
    assert count(model, photos, photos / "a.png", "--no-pictures").exit_code == 0
