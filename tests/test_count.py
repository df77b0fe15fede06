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
from wheatear.count import Count, count_command, count_photos
from wheatear.detections import HEADER, Detections
from wheatear.detector import Detector, load
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.photo_names import Photo, name_photos

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


def counted(out: Path) -> dict[str, int]:
    header, *rows = table(out / "counts.csv")
    assert header == ["image", "heads"]
    return {name: int(heads) for name, heads in rows}


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
    assert sorted(path.name for path in out.iterdir()) == ["counts.csv", "detections.csv"]


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

    def __init__(self, bad: int, error: BaseException) -> None:
        self.calls, self.bad, self.error = 0, bad, error

    def detect(self, image: np.ndarray, threshold: float | None) -> Detections:
        self.calls += 1
        if self.calls > self.bad:
            raise self.error
        return Detections(np.array([[0, 0, 10, 10]]), np.array([0.5]), *image.shape[:2])


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
    assert table(tmp_path / "counts.csv.part") == [["image", "heads"], ["a.png", "2"], ["b.jpg", "0"]]
    counts.close()
    assert counted(tmp_path) == {"a.png": 2, "b.jpg": 0}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_done_survives_an_interrupt(photos, tmp_path, error):
    with pytest.raises(type(error)):
        list(count_photos(Failing(2, error), three(photos), tmp_path))
    assert counted(tmp_path) == {"a.png": 1, "b.jpg": 1}
    assert [row[0] for row in table(tmp_path / "detections.csv")] == ["image", "a.png", "b.jpg"]


def test_ctrl_c_ends_with_a_line(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "detect", Failing(1, KeyboardInterrupt()).detect)
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 130
    assert lines_of(result) == [f"wheatear: stopped; the photos done so far are in {tmp_path / 'out'}"]
    assert counted(tmp_path / "out") == {"a.png": 1}


def test_a_picture_too_long_for_jpeg(model, tmp_path):
    Image.new("L", (65_501, 1)).save(tmp_path / "long.png")
    photos = name_photos([tmp_path / "long.png"], tmp_path / "none")
    [failed] = count_photos(load(model), photos, tmp_path)
    assert "count it with --no-pictures" in failed.error
    [done] = count_photos(load(model), photos, tmp_path, pictures=False)
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
