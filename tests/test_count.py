import os
import re
import zlib

import pytest
from PIL import ExifTags, Image

from count_runs import count, counted, draw, lines_of, table
from tiny_model import red_cells
from wheatear.cli_count_run import in_common
from wheatear.count import COUNTS_HEADER
from wheatear.detections import HEADER
from wheatear.detector import Detector
from wheatear.head_size import HeadSize
from wheatear.images import open_photo


def test_a_folder_is_counted(model, photos, tmp_path):
    out = tmp_path / "new" / "out"
    result = count(model, out, photos)
    assert result.exit_code == 0
    assert lines_of(result) == []
    assert counted(out) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}
    assert table(out / "detections.csv") == [
        list(HEADER),
        ["a.png", "0.0", "0.0", "30.0", "20.0", "1.0"],
        ["a.png", "90.0", "60.0", "120.0", "80.0", "1.0"],
        ["sub/c.tif", "60.0", "20.0", "90.0", "40.0", "1.0"],
    ]
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == [
        "annotated/a.jpg",
        "annotated/b.jpg",
        "annotated/sub/c.jpg",
        "counts.csv",
        "detections.csv",
        "folders.csv",
        "settings.json",
    ]
    assert open_photo(out / "annotated" / "a.jpg").shape == (80, 120, 3)


def test_the_summary(model, photos, tmp_path):
    shown = count(model, tmp_path / "out", photos).stdout
    for row in (
        r"a\.png +2",
        r"b\.jpg +0",
        r"sub/c\.tif +1",
        r"Total of 3 photos +3",
        r"sub: mean of 1 photo +1\.0",
    ):
        assert re.search(row, shown), row
    assert "more in counts.csv" not in shown


def test_a_sum_of_photos_that_have_no_ground_in_part_has_no_density(model, tmp_path):
    draw(tmp_path / "photos" / "a.jpg", [(0, 0)])
    with Image.open(draw(tmp_path / "photos" / "b.jpg", [(0, 0)])) as image:
        exif = Image.Exif()
        exif[ExifTags.IFD.Exif] = {ExifTags.Base.FocalLengthIn35mmFilm: 28}
        image.save(tmp_path / "photos" / "b.jpg", exif=exif)
    shown = count(model, tmp_path / "out", tmp_path / "photos", "--height", "2").stdout
    assert re.search(r"b\.jpg +1 +\d", shown)
    assert re.search(r"Total of 2 photos +2 *$", shown, re.MULTILINE)


def test_photos_that_were_resized_are_said_together(model, tmp_path, monkeypatch):
    sizes = iter((300.0, 310.5, None))
    monkeypatch.setattr(Detector, "measure_heads", lambda self, _: HeadSize(next(sizes), self.card.head_px))
    for name in "abc":
        draw(tmp_path / "photos" / f"{name}.png", [(0, 0)])
    result = count(model, tmp_path / "out", tmp_path / "photos", "--head-px", "auto", "--no-pictures")
    assert lines_of(result)[1:] == [
        "wheatear: resized, as their heads seem to call for it: 2 photos",
    ]
    resized = [row[COUNTS_HEADER.index("resized_by")] for row in table(tmp_path / "out" / "counts.csv")[1:]]
    assert resized == ["300.0", "310.5", ""]


def test_lines_that_differ_in_numbers_are_one():
    assert in_common(["is 3 of 5 px", "is 4.5 of 5 px"]) == "is … of 5 px"
    assert in_common(["alike 7"]) == "alike 7"


def test_a_warning_that_many_photos_have_is_said_twice(model, tmp_path):
    for name in "abc":
        draw(tmp_path / "photos" / f"{name}.png", [(0, 0)])
    result = count(model, tmp_path / "out", tmp_path / "photos", "--height", "2", "--no-pictures")
    first, rest = lines_of(result)
    assert first.startswith("wheatear: a.png: its EXIF does not tell focal length")
    assert rest.startswith("wheatear: 2 more photos, named in counts.csv: its EXIF does not tell")


@pytest.mark.parametrize("asked", [True, False])
def test_a_frame_over_photos_that_lie_either_way_is_said(model, tmp_path, asked):
    for name, size in (("a", (120, 80)), ("b", (80, 120)), ("c", (80, 120)), ("d", (60, 90))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", size, "white").save(tmp_path / "photos" / f"{name}.png")
    options = ["--frame", "1.2"] if asked else []
    said = lines_of(count(model, tmp_path / "out", tmp_path / "photos", *options))
    line = (
        "wheatear: photos of 80 × 120 px: 2 upright, 1 on their side; "
        "--frame is the width of each as it lies: use --gsd, or count them separately"
    )
    assert said == [line] * asked


def test_the_summary_of_many_photos_is_short(model, tmp_path):
    for number in range(23):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, 0)])
    shown = count(model, tmp_path / "out", tmp_path / "photos", "--no-pictures").stdout
    assert "19.png" in shown
    assert "20.png" not in shown
    assert "3 more in counts.csv" in shown
    assert re.search(r"Total of 23 photos +23", shown)


def test_what_failed_is_not_said_to_be_in_the_table(model, tmp_path):
    for number in range(23):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, 0)])
    for number in (3, 21, 22):
        (tmp_path / "photos" / f"{number:02}.png").write_text("no photo")
    shown = count(model, tmp_path / "out", tmp_path / "photos", "--no-pictures").stdout
    assert "1 more in counts.csv" in shown
    assert "2 more not counted" in shown


def test_numbers_that_warnings_share_are_shown():
    lines = ["10 of 12 bits, 8.5 mm", "10 of 12 bits, 1,250 mm", "10 of 12 bits, 9 mm"]
    assert in_common(lines) == "10 of 12 bits, … mm"
    assert in_common(lines[:1]) == lines[0]
    assert in_common(["no number"] * 2) == "no number"


def test_without_pictures(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos, "--no-pictures").exit_code == 0
    assert not (out / "annotated").exists()


def test_the_threshold_is_the_callers(model, tmp_path):
    photo = red_cells([(0, 0)])
    photo[photo[..., 0] == 255] = (51, 0, 0)  # a score of 0.2, below the card's 0.4
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert count(model, tmp_path / "out", tmp_path / "a.png").exit_code == 0
    assert counted(tmp_path / "out") == {"a.png": 0}
    assert count(model, tmp_path / "out", tmp_path / "a.png", "--threshold", "0.2").exit_code == 0
    assert counted(tmp_path / "out") == {"a.png": 1}


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "high"])
def test_a_threshold_outside_0_to_1_is_a_usage_error(model, photos, tmp_path, threshold):
    result = count(model, tmp_path / "out", photos, "--threshold", threshold)
    assert result.exit_code == 2
    assert "--threshold" in result.stderr
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named_and_the_others_done(model, photos, tmp_path):
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("not an image")
    whole = (photos / "b.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0\0\0\0IDAT"
    (photos / "bomb.png").write_bytes(bomb)
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 1
    said = lines_of(result)
    assert [line.split(": ")[:2] for line in said] == [
        ["wheatear", str(photos / name)] for name in ("bomb.png", "cut.jpg", "empty.jpg", "text.png")
    ]
    whats_wrong = ("more than 178,956,970 pixels", "cut short", "0 bytes", "not an image")
    for reason, line in zip(whats_wrong, said, strict=True):
        assert reason in line
    assert counted(tmp_path / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}
    assert re.search(r"empty\.jpg +not counted", result.stdout)
    assert "Total of 3 photos" in result.stdout


def test_bad_files_alone_leave_tables_without_rows(model, tmp_path):
    (tmp_path / "empty.jpg").touch()
    result = count(model, tmp_path / "out", tmp_path / "empty.jpg")
    assert result.exit_code == 1
    assert counted(tmp_path / "out") == {}
    assert "Total of 0 photos" in result.stdout
    assert "ean of" not in result.stdout


@pytest.mark.parametrize("given_paths", [["."], ["missing.jpg"], ["missing.jpg", "."]])
def test_no_photos_found(model, tmp_path, monkeypatch, given_paths):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    result = count(model, tmp_path / "out", *given_paths)
    assert result.exit_code == 2
    wrong = "no such file or folder: missing.jpg" if "missing.jpg" in given_paths else "no photos found in ."
    assert lines_of(result) == [f"wheatear: {wrong}; give JPEG, PNG, TIFF or WebP files"]
    assert not (tmp_path / "out").exists()


def test_one_missing_file_among_others(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos / "a.png", tmp_path / "missing.jpg")
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {tmp_path / 'missing.jpg'}: no such file; check the name"]
    assert counted(tmp_path / "out") == {"a.png": 2}


def test_a_bad_model_is_one_line(photos, tmp_path):
    result = count(tmp_path / "missing.onnx", tmp_path / "out", photos)
    assert result.exit_code == 1
    assert len(lines_of(result)) == 1
    assert "missing.onnx: no such model" in result.stderr


def test_out_that_is_a_file_is_one_line(model, photos, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {tmp_path / 'out'}: is a file; name a folder for the results"]
    assert (tmp_path / "out").read_text() == "mine"


def test_a_second_run_into_the_photos_folder_counts_no_pictures(model, photos):
    for out in (photos, photos / "results"):
        for _ in range(2):
            assert count(model, out, photos, "--threshold", "0").exit_code == 0
            assert "annotated/a.jpg" not in counted(out)
    assert counted(photos / "results").keys() >= {"a.png", "b.jpg", "sub/c.tif"}


def test_odd_names_come_back_from_the_tables(model, tmp_path):
    names = ["[red] b.png", "a, b.png", os.fsdecode(b"f\xfcr.png"), "ähre.png"]
    for name in names:
        draw(tmp_path / "photos" / name, [(0, 0)])
    result = count(model, tmp_path / "out", tmp_path / "photos")
    assert result.exit_code == 0
    assert counted(tmp_path / "out") == dict.fromkeys(names, 1)
    assert "[red] b.png" in result.stdout
