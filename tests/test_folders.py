"""The photos of a folder together: folders.csv, and what the screen and the page show of it."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from count_runs import count, draw, lines_of, table
from tiny_model import write_judged_model
from wheatear.folders import FOLDERS_HEADER, Sums, by_folder, student_95
from wheatear.photo_names import name_photos

HEADS, AREAS, MARGINS = [40, 52, 31, 60], [1.0, 1.2, 0.9, 1.1], [6.0, 6.5, 6.0, 7.0]


def sums_of(heads: list[int], areas: list[float], margins: list[float]) -> Sums:
    sums = Sums()
    for photo in zip(heads, areas, margins, strict=True):
        sums.add(*photo)
    return sums


def row(image: str, heads: int, high: float | str = "", area: float | str = "") -> dict[str, str]:
    return {"image": image, "heads": str(heads), "heads_high": str(high), "area_m2": str(area)}


# Of any table of Student's distribution, 0.975.
@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (2, 4.303), (4, 2.776), (5, 2.571), (9, 2.262), (29, 2.045), (1000, 1.962)],
)
def test_students_quantiles(freedom: int, quantile: float) -> None:
    assert student_95(freedom) == pytest.approx(quantile, abs=0.004)


def test_photos_alone_have_students_interval_of_their_mean() -> None:
    """Where the detector does not err."""
    sums = sums_of(HEADS, [1] * 4, [0] * 4)
    half = 3.182 * np.std(HEADS, ddof=1) / 2
    assert sums.ratio() == np.mean(HEADS)
    assert sums.interval() == pytest.approx((np.mean(HEADS) - half, np.mean(HEADS) + half))


def test_a_ratio_lies_within_what_its_residuals_say() -> None:
    sums = sums_of(HEADS, AREAS, [0] * 4)
    heads, areas = np.array(HEADS), np.array(AREAS)
    ratio = heads.sum() / areas.sum()
    error = np.sqrt(((heads - ratio * areas) ** 2).sum() / 3) / 2 / areas.mean()
    assert sums.ratio() == pytest.approx(ratio)
    assert sums.interval() == pytest.approx((ratio - 3.182 * error, ratio + 3.182 * error))


def test_the_detectors_error_is_not_averaged_out() -> None:
    few, many = (sums_of([40] * n, [2.0] * n, [6.0] * n) for n in (2, 50))
    assert few.interval(1) == many.interval(1) == pytest.approx((17, 23))
    assert few.interval() == many.interval() == pytest.approx((18.2, 21.8))


def test_both_together() -> None:
    low, high = sums_of(HEADS, [1] * 4, MARGINS).interval() or (0, 0)
    students = 3.182 * np.std(HEADS, ddof=1) / 2
    assert (high - low) / 2 == pytest.approx(np.hypot(students, 0.6 * np.mean(MARGINS)))


def test_nothing_is_less_than_no_head() -> None:
    assert sums_of([0, 3], [1, 1], [2, 2]).interval()[0] == 0


@pytest.mark.parametrize("sums", [sums_of([40], [1], [6]), sums_of([40, 50], [1, 1], [6, float("nan")])])
def test_one_photo_and_an_unknown_error_have_no_interval(sums: Sums) -> None:
    assert sums.interval() is None


def test_folders_are_those_of_the_files(tmp_path: Path) -> None:
    """Though two folders that are given leave no folder in a photo's name."""
    for place in ("a/one.png", "a/two.png", "b/c/three.png"):
        draw(tmp_path / place, [])
    photos = name_photos([tmp_path / "a", tmp_path / "b" / "c"])
    assert [photo.name for photo in photos] == ["one.png", "two.png", "three.png"]
    folders = by_folder(
        [row(photo.name, 1) for photo in photos], {photo.name: photo.path for photo in photos}
    )
    assert {name: folder.per_photo.photos for name, folder in folders.items()} == {"a": 2, "b/c": 1}
    (name,) = by_folder([row("one.png", 1)], {photos[0].name: photos[0].path})
    assert name == "a"


@pytest.mark.parametrize(("inner", "names"), [("north", {"field", "north"}), ("field", {".", "field"})])
def test_photos_beside_a_folder_are_of_the_folder_that_holds_both(tmp_path, inner, names):
    places = {"a.png": tmp_path / "field" / "a.png", "b.png": tmp_path / "field" / inner / "b.png"}
    assert by_folder([row(name, 1) for name in places], places).keys() == names


def test_a_photo_of_an_earlier_run_elsewhere_goes_by_its_name() -> None:
    folders = by_folder([row("plot 1/a.jpg", 3), row("b.jpg", 4)], {"b.jpg": Path("f/b.jpg")})
    assert {name: folder.per_photo.heads for name, folder in folders.items()} == {"plot 1": 3, "f": 4}


def test_a_square_metre_needs_the_area_of_every_photo() -> None:
    whole, part = (
        by_folder([row("f/a.jpg", 30, 36, 1.5), row("f/b.jpg", 50, 58, area)], {})["f"].figures()
        for area in (2.5, "")
    )
    assert whole[:3] == part[:3] == [2, 80, 40]
    assert whole[5:7] == [4, 20]
    assert part[5:] == ["", "", "", ""]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The tiny detector, whose error is known."""
    return write_judged_model(tmp_path, rmse=0.5)


def test_the_command(measured: Path, tmp_path: Path) -> None:
    for place, heads in (("p/a/1.png", 2), ("p/a/2.png", 4), ("p/b/1.png", 3)):
        draw(tmp_path / place, [(0, column) for column in range(heads)])
    result = count(measured, tmp_path / "out", tmp_path / "p", "--frame", "0.3", "--report")
    assert (result.exit_code, lines_of(result)) == (0, [])
    header, first, second = table(tmp_path / "out" / "folders.csv")
    assert header == list(FOLDERS_HEADER)
    half = np.hypot(12.706 * 1, 0.6 * 0.98)  # a standard error of 1, and 1.96 × 0.5; to 0.1 in counts.csv
    assert first[:4] == ["a", "2", "6", "3.0"]
    assert [float(end) for end in first[4:6]] == pytest.approx([0, 3 + half], abs=0.01)
    assert first[6:8] == ["0.12", "50.0"]
    assert second == ["b", "1", "3", "3.0", "", "", "0.06", "50.0", "", ""]
    assert re.search(r"a: mean of 2 photos +3\.0 \(0\.0 – 15\.7\) +50 \(0 – 262\)", result.stdout)
    assert re.search(r"b: mean of 1 photo +3\.0 +50", result.stdout)
    assert "<h2>Folders</h2>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_resumed_run_has_the_photos_of_before(measured: Path, tmp_path: Path) -> None:
    draw(tmp_path / "p" / "1.png", [(0, 0)])
    assert count(measured, tmp_path / "out", tmp_path / "p").exit_code == 0
    draw(tmp_path / "p" / "2.png", [(0, 0), (0, 1)])
    result = count(measured, tmp_path / "out", tmp_path / "p", "--resume")
    assert table(tmp_path / "out" / "folders.csv")[1][:4] == ["p", "2", "3", "1.5"]
    assert re.search(r"Mean of 2 photos +1\.5 \(", result.stdout)


def test_many_folders_are_a_short_list(measured: Path, tmp_path: Path) -> None:
    for number in range(22):
        draw(tmp_path / "p" / f"{number:02}" / "1.png", [])
    shown = count(measured, tmp_path / "out", tmp_path / "p", "--no-pictures").stdout
    assert "19: mean of 1 photo" in shown
    assert "20: mean" not in shown
    assert "2 more folders in folders.csv" in shown


def test_counts_that_are_none_are_named(measured: Path, tmp_path: Path) -> None:
    draw(tmp_path / "p" / "1.png", [(0, 0)])
    assert count(measured, tmp_path / "out", tmp_path / "p").exit_code == 0
    counts = tmp_path / "out" / "counts.csv"
    with counts.open(newline="") as file:
        header, first = csv.reader(file)
    counts.write_text("\n".join([",".join(header), ",".join([first[0], "many", *first[2:]]), ""]))
    result = count(measured, tmp_path / "out", tmp_path / "p", "--resume")
    assert result.exit_code == 1
    (line,) = [line for line in lines_of(result) if "counts.csv" in line]
    assert "many" in line


def test_a_photo_that_has_gone_stays_in_its_folder_though_that_is_linked(
    measured: Path, tmp_path: Path
) -> None:
    for place in ("a/1.png", "a/2.png", "b/3.png"):
        draw(tmp_path / "disk" / "p" / place, [(0, 0)])
    (tmp_path / "home").mkdir()
    photos = tmp_path / "home" / "p"
    photos.symlink_to(tmp_path / "disk" / "p")
    assert count(measured, tmp_path / "out", photos).exit_code == 0
    (photos / "a" / "1.png").unlink()
    assert count(measured, tmp_path / "out", photos, "--resume").exit_code == 0
    assert [row[:2] for row in table(tmp_path / "out" / "folders.csv")[1:]] == [["a", "2"], ["b", "1"]]


def test_a_photo_that_has_gone_stays_in_its_folder_whose_name_is_not_utf_8(
    measured: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "R\udcfcben"  # as on an old disk of Windows
    for name in ("1.png", "2.png"):
        draw(photos / name, [(0, 0)])
    assert count(measured, tmp_path / "out", photos).exit_code == 0
    (photos / "1.png").unlink()
    assert count(measured, tmp_path / "out", photos, "--resume").exit_code == 0
    assert [row[:2] for row in table(tmp_path / "out" / "folders.csv")[1:]] == [[photos.name, "2"]]


@pytest.mark.parametrize("linked", ["out", "p"])
def test_folders_counted_one_after_the_other_have_their_names_behind_a_link(
    measured: Path, tmp_path: Path, linked: str
) -> None:
    (tmp_path / "disk" / "deep" / linked).mkdir(parents=True)
    (tmp_path / linked).symlink_to(tmp_path / "disk" / "deep" / linked)
    for place in ("a/1.png", "b/2.png"):
        draw(tmp_path / "p" / place, [(0, 0)])
    assert count(measured, tmp_path / "out", tmp_path / "p" / "a").exit_code == 0
    assert count(measured, tmp_path / "out", tmp_path / "p" / "b", "--resume").exit_code == 0
    assert [row[:2] for row in table(tmp_path / "out" / "folders.csv")[1:]] == [["a", "1"], ["b", "1"]]
