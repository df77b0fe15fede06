import csv
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from tiny_model import red_cells, write_tiny_model
from wheatear.cli_count import count_command
from wheatear.count import COUNTS_HEADER, Count, Options, count_photos
from wheatear.detections import HEADER, Detections
from wheatear.detector import Card, Detector, load
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.photo_names import Photo, name_photos
from wheatear.pixels import Pixels

app = typer.Typer()
app.command()(count_command)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos with 2, 0 and 1 heads."""
    folder = tmp_path / "photos"
    for name, cells in {"a.png": [(0, 0), (3, 3)], "b.jpg": [], "sub/c.tif": [(1, 2)]}.items():
        draw(folder / name, cells)
    return folder


def draw(path: Path, cells: list[tuple[int, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(red_cells(cells)).save(path)
    return path


def count(model: Path, out: Path, *arguments: str | Path) -> Any:
    options = ["--out", out, "--model", model, *arguments]
    return CliRunner().invoke(app, list(map(str, options)), catch_exceptions=False)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def counted(out: Path, name: str = "counts.csv") -> dict[str, int]:
    header, *rows = table(out / name)
    assert header == list(COUNTS_HEADER)
    return {row[0]: int(row[1]) for row in rows}


def lines_of(result: Any) -> list[str]:
    return result.stderr.splitlines()


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
        "settings.json",
    ]
    assert open_photo(out / "annotated" / "a.jpg").shape == (80, 120, 3)


def test_the_summary(model, photos, tmp_path):
    shown = count(model, tmp_path / "out", photos).stdout
    for row in (r"a\.png +2", r"b\.jpg +0", r"sub/c\.tif +1", r"Total of 3 photos +3", r"Mean +1\.0"):
        assert re.search(row, shown), row
    assert "more in counts.csv" not in shown


def test_the_summary_of_many_photos_is_short(model, tmp_path):
    for number in range(23):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, 0)])
    shown = count(model, tmp_path / "out", tmp_path / "photos", "--no-pictures").stdout
    assert "19.png" in shown
    assert "20.png" not in shown
    assert "3 more in counts.csv" in shown
    assert re.search(r"Total of 23 photos +23", shown)


def test_without_pictures(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos, "--no-pictures").exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["counts.csv", "detections.csv", "settings.json"]


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
    assert "Mean" not in result.stdout


@pytest.mark.parametrize("given_paths", [["."], ["missing.jpg"], ["missing.jpg", "."]])
def test_no_photos_found(model, tmp_path, monkeypatch, given_paths):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    result = count(model, tmp_path / "out", *given_paths)
    assert result.exit_code == 2
    names = ", ".join(given_paths)
    assert lines_of(result) == [f"wheatear: no photos found in {names}; give JPEG, PNG, TIFF or WebP files"]
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


class Failing:
    """Finds one head in each photo until `bad` calls are done; then raises."""

    card = Card(format=1, name="failing", score_threshold=0.5)

    def __init__(self, bad: int, error: BaseException) -> None:
        self.calls, self.bad, self.error = 0, bad, error

    def detect(self, pixels: Pixels, threshold: float | None, head_px: float | None) -> Detections:
        self.calls += 1
        if self.calls > self.bad:
            raise self.error
        return Detections(np.array([[0, 0, 10, 10]]), np.array([0.5]), pixels.height, pixels.width)


def three(photos: Path) -> list[Photo]:
    return name_photos([photos], photos / "none")


def test_a_failing_model_names_the_photo(photos, tmp_path):
    failing = Failing(2, InputError("the model failed on this photo; try a smaller one"))
    counts = list(count_photos(failing, three(photos), tmp_path))
    message = f"{photos / 'sub' / 'c.tif'}: the model failed on this photo; try a smaller one"
    assert counts == [Count("a.png", 1), Count("b.jpg", 1), Count("sub/c.tif", None, message)]


def test_tables_get_their_names_when_they_are_whole(model, photos, tmp_path):
    counts = count_photos(load(model), three(photos), tmp_path)
    (tmp_path / "counts.csv").write_text("an earlier run's")
    next(counts), next(counts)
    # This is what a killed process would leave: the earlier table, and what is done beside it.
    assert (tmp_path / "counts.csv").read_text() == "an earlier run's"
    assert counted(tmp_path, "counts.csv.part") == {"a.png": 2, "b.jpg": 0}
    assert list(counts) == [Count("sub/c.tif", 1)]
    assert counted(tmp_path) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_run_goes_on_where_it_stopped(model, photos, tmp_path, error):
    for name in ("d.png", "e.png", "f.png"):
        draw(photos / name, [(0, 0)])
    todo = name_photos([photos], tmp_path / "none")
    failing = Failing(5, error)
    with pytest.raises(type(error)):
        list(count_photos(failing, todo, tmp_path))
    before = counted(tmp_path, "counts.csv.part")
    assert before == dict.fromkeys(["a.png", "b.jpg", "d.png", "e.png", "f.png"][: len(before)], 1)
    assert len(before) >= 1
    assert not list(tmp_path.glob("*.csv"))

    rest = list(count_photos(load(model), todo, tmp_path, Options(resume=True)))
    assert [count.name for count in rest] == [photo.name for photo in todo if photo.name not in before]
    assert list(counted(tmp_path)) == [photo.name for photo in todo]
    with_heads = [row[0] for row in table(tmp_path / "detections.csv")[1:]]
    assert with_heads == [name for name, heads in counted(tmp_path).items() for _ in range(heads)]
    assert not list(tmp_path.glob("*.part*"))


def test_a_row_that_a_killed_process_left_unfinished_is_done_again(model, photos, tmp_path):
    todo = three(photos)
    list(count_photos(load(model), todo, tmp_path))
    whole = {name: (tmp_path / name).read_text() for name in ("counts.csv", "detections.csv")}
    for name, text in whole.items():  # killed while writing c.tif's rows
        (tmp_path / name).unlink()
        (tmp_path / f"{name}.part").write_text(text[:-3])
    [again] = count_photos(load(model), todo, tmp_path, Options(resume=True))
    assert again.name == "sub/c.tif"
    assert whole == {name: (tmp_path / name).read_text() for name in whole}


def test_detections_of_a_photo_that_was_not_counted_are_dropped(model, photos, tmp_path):
    todo = three(photos)
    list(count_photos(load(model), todo, tmp_path))
    whole = (tmp_path / "detections.csv").read_text()
    lines = (tmp_path / "counts.csv").read_text().splitlines(keepends=True)
    (tmp_path / "counts.csv").write_text("".join(lines[:-1]))
    assert [again.name for again in count_photos(load(model), todo, tmp_path, Options(resume=True))] == [
        "sub/c.tif"
    ]
    assert (tmp_path / "detections.csv").read_text() == whole


def test_resuming_a_finished_run_counts_what_is_new(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos, "--resume").exit_code == 0
    draw(photos / "new.png", [(0, 0)])
    result = count(model, out, photos, "--resume")
    assert lines_of(result) == ["wheatear: 3 of 4 photos were counted before; going on with the others"]
    assert counted(out) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1, "new.png": 1}


def test_a_run_is_not_resumed_with_other_settings(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    result = count(model, out, photos, "--resume", "--threshold", "0.9")
    assert result.exit_code == 1
    said = f"wheatear: {out}/settings.json: threshold was 0.4, now 0.9; give the same, or leave out --resume"
    assert lines_of(result) == [said]


def test_tables_of_other_columns_are_not_resumed(model, photos, tmp_path):
    (tmp_path / "counts.csv").write_text("image,heads\na.png,2\n")
    result = count(model, tmp_path, photos, "--resume")
    assert result.exit_code == 1
    [said] = lines_of(result)
    assert said.endswith("counts.csv, line 1: other columns than this run's; count again without --resume")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize(
    "name", ["counts.csv.part", "detections.csv.part", "settings.json.part", "annotated/a.jpg.part"]
)
def test_a_full_disk_is_one_line_that_names_the_file(model, photos, tmp_path, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to("/dev/full")
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {(out / name).with_suffix('')}: No space left on device"]


def test_out_below_a_file_is_one_line(model, photos, tmp_path):
    result = count(model, photos / "a.png" / "out", photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {photos / 'a.png' / 'out'}: Not a directory"]


def test_out_that_may_not_be_written_is_one_line(model, photos, tmp_path, monkeypatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = count(model, tmp_path / "out", photos)
    assert lines_of(result) == [f"wheatear: {tmp_path / 'out'}: Permission denied"]


def test_the_same_photo_twice_is_counted_once(model, photos, tmp_path):
    photo = photos / "a.png"
    result = count(model, tmp_path / "out", photo, photos / "sub" / ".." / "a.png")
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {photos}/sub/../a.png: given twice; counted once"]
    assert counted(tmp_path / "out") == {"a.png": 2}


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_nothing_but_the_time(model, tmp_path, jobs):
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, column) for column in range(number % 4)])
    result = count(model, tmp_path / "out", tmp_path / "photos", "--jobs", jobs)
    assert result.exit_code == 0
    assert list(counted(tmp_path / "out").items()) == [(f"{n:02}.png", n % 4) for n in range(12)]


def figures_of(out: Path, name: str) -> dict[str, str]:
    header, *rows = table(out / "counts.csv")
    return next(dict(zip(header, row, strict=True)) for row in rows if row[0] == name)


@pytest.mark.parametrize(
    ("option", "number", "area"),
    [("--gsd", "10", 120 * 80 / 1e4), ("--frame", "2.4", 2.4 * 1.6)],
)
def test_heads_per_square_metre(model, photos, tmp_path, option, number, area):
    result = count(model, tmp_path / "out", photos, option, number)
    found = figures_of(tmp_path / "out", "a.png")
    assert float(found["area_m2"]) == pytest.approx(area, abs=1e-4)
    assert float(found["heads_per_m2"]) == pytest.approx(2 / area, abs=0.005)
    assert found["heads_low"] == found["warnings"] == ""
    assert "Heads/m²" in result.stdout


def test_the_interval_is_that_of_the_card(photos, tmp_path):
    overall = {"photos": 10, "heads": 20, "count": {"rmse": 0.5}}
    model = write_tiny_model(tmp_path, figures={"val": {"at_score_threshold": {"overall": overall}}})
    assert count(model, tmp_path / "out", photos, "--gsd", "10").exit_code == 0
    found = figures_of(tmp_path / "out", "a.png")
    assert [found[name] for name in ("heads_low", "heads_high")] == ["1.0", "3.0"]
    assert float(found["heads_per_m2_high"]) == pytest.approx(3 / 0.96, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gsd", "0"], "--gsd 0: not a length; give a number above 0"),
        (["--frame", "-1"], "--frame -1: not a length; give a number above 0"),
        (["--height", "nan"], "--height nan: not a length; give a number above 0"),
        (
            ["--gsd", "1", "--frame", "2"],
            "--gsd and --frame: give one of them, they may contradict each other",
        ),
        (["--head-px", "0"], "--head-px 0: not a size; give the pixels across a typical head"),
        (["--cell", "0"], "--cell 0: not a length; give metres above 0"),
    ],
)
def test_bad_numbers_are_one_line(model, photos, tmp_path, options, message):
    result = count(model, tmp_path / "out", photos, *options)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {message}"]
    assert not (tmp_path / "out").exists()


def test_a_photo_without_exif_has_no_area(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos / "a.png", "--height", "2")
    warning = "its EXIF does not tell focal length and sensor, so no area; give --gsd or --frame"
    assert lines_of(result) == [f"wheatear: a.png: {warning}"]
    assert figures_of(tmp_path / "out", "a.png")["warnings"] == warning


def test_ctrl_c_ends_with_a_line(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "detect", Failing(1, KeyboardInterrupt()).detect)
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 130
    said = f"wheatear: stopped; go on with --resume; the photos done so far are in {tmp_path / 'out'}"
    assert lines_of(result) == [said]
    assert counted(tmp_path / "out", "counts.csv.part").items() <= {"a.png": 1}.items()


def test_a_picture_too_long_for_jpeg(model, tmp_path):
    Image.new("L", (65_501, 1)).save(tmp_path / "long.png")
    photos = name_photos([tmp_path / "long.png"], tmp_path / "none")
    [failed] = count_photos(load(model), photos, tmp_path)
    assert "count it with --no-pictures" in failed.error
    [done] = count_photos(load(model), photos, tmp_path, Options(pictures=False))
    assert done.heads is not None


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(inputs: list[Path], out: Path) -> dict[str, str]:
    return {photo.name: photo.picture for photo in name_photos(inputs, out)}


def test_names_are_relative_to_the_folder_given(tmp_path):
    touch(tmp_path, "a.jpg", "sub/a.jpg", "other/b.png")
    assert named([tmp_path], tmp_path / "out") == {
        "a.jpg": "a.jpg",
        "other/b.png": "other/b.jpg",
        "sub/a.jpg": "sub/a.jpg",
    }
    assert named([tmp_path / "sub", tmp_path / "other" / "b.png"], tmp_path / "out") == {
        "a.jpg": "a.jpg",
        "b.png": "b.jpg",
    }


def test_photos_of_one_name_in_two_folders_are_told_apart(tmp_path):
    touch(tmp_path, "east/a.jpg", "west/a.jpg", "west/b.jpg")
    names = {"east/a.jpg": "east/a.jpg", "west/a.jpg": "west/a.jpg", "west/b.jpg": "west/b.jpg"}
    assert named([tmp_path / "east", tmp_path / "west"], tmp_path / "out") == names
    assert named([tmp_path / "east" / "a.jpg", tmp_path / "west"], tmp_path / "out") == names


def test_photos_that_differ_in_their_ending_have_pictures_of_their_own(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert named([tmp_path], tmp_path / "out") == {
        "a.jpg": "a.jpg.jpg",
        "a.png": "a.png.jpg",
        "b.jpg": "b.jpg.jpg",
    }


def test_relative_folders(tmp_path, monkeypatch):
    touch(tmp_path, "photos/a.jpg", "photos/out/annotated/a.jpg")
    monkeypatch.chdir(tmp_path / "photos")
    assert named([Path()], Path("out")) == {"a.jpg": "a.jpg"}
    assert named([Path("../photos")], Path("out")) == {"a.jpg": "a.jpg"}


def test_no_photos_have_no_names(tmp_path):
    assert name_photos([], tmp_path) == []
    assert name_photos([tmp_path], tmp_path / "out") == []


@given(
    st.sets(
        st.tuples(st.sampled_from(["east", "west"]), st.sampled_from(["", "sub/"]), st.sampled_from("abA")),
        min_size=1,
    ),
    st.sampled_from([".jpg", ".png"]),
)
def test_no_two_photos_share_a_name_or_a_picture(tmp_path_factory, places, suffix):
    folder = tmp_path_factory.mktemp("photos")
    touch(folder, *[f"{first}/{second}{name}{suffix}" for first, second, name in places], "east/a.tif")
    (folder / "west").mkdir(exist_ok=True)
    photos = name_photos([folder / "east", folder / "west"], folder / "out")
    assert len({photo.path for photo in photos}) == len(places) + 1
    assert len({photo.name for photo in photos}) == len(photos)
    assert len({photo.picture for photo in photos}) == len(photos)
