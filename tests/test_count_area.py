from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from count_runs import count, draw, lines_of, table
from tiny_model import write_tiny_model
from wheatear.detections import Detections
from wheatear.ground import odd_size
from wheatear.head_size import HeadSize


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


def test_densities_of_photos_counted_before_have_a_heading(model, photos, tmp_path):
    count(model, tmp_path / "out", photos, "--gsd", "10")
    again = count(model, tmp_path / "out", photos, "--gsd", "10", "--resume")
    assert "mean of 2 photos" in again.stdout
    assert "Heads/m²" in again.stdout


def test_the_interval_is_that_of_the_card(photos, tmp_path):
    overall = {"photos": 10, "heads": 20, "count": {"rmse": 0.5}}
    measured = {"score_threshold": 0.4, "overall": overall}
    model = write_tiny_model(tmp_path, figures={"val": {"at_score_threshold": measured}})
    assert count(model, tmp_path / "out", photos, "--gsd", "10").exit_code == 0
    found = figures_of(tmp_path / "out", "a.png")
    assert [found[name] for name in ("heads_low", "heads_high")] == ["1.0", "3.0"]
    assert float(found["heads_per_m2_high"]) == pytest.approx(2.98 / 0.96, abs=0.01)


@pytest.mark.parametrize("options", [("--threshold", "0.5"), ("--tta", "flips")])
def test_an_interval_is_given_only_where_it_was_measured(photos, tmp_path, options):
    measured = {"score_threshold": 0.4, "overall": {"photos": 10, "heads": 20, "count": {"rmse": 0.5}}}
    model = write_tiny_model(tmp_path, figures={"val": {"at_score_threshold": measured}})
    assert count(model, tmp_path / "out", photos, *options).exit_code == 0
    found = figures_of(tmp_path / "out", "a.png")
    assert (found["heads"], found["heads_low"], found["heads_high"]) == ("2", "", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gsd", "0"], "--gsd 0: not a length; give a number above 0, at most 10,000"),
        (["--gsd", "0,0"], "--gsd 0: not a length; give a number above 0, at most 10,000"),
        (["--frame", "-1"], "--frame -1: not a length; give a number above 0, at most 10,000"),
        (["--height", "nan"], "--height nan: not a length; give a number above 0, at most 10,000"),
        (
            ["--gsd", "1", "--frame", "2"],
            "--gsd and --frame: give one of them, they may contradict each other",
        ),
        (
            ["--head-px", "0"],
            "--head-px 0: not a size; give the pixels across a typical head, 4 to 10,000, or auto",
        ),
        (
            ["--head-px", "big"],
            "--head-px big: not a size; give the pixels across a typical head, 4 to 10,000, or auto",
        ),
        (["--gsd", "1e300"], "--gsd 1e+300: not a length; give a number above 0, at most 10,000"),
        (
            ["--head-px", "0.01"],
            "--head-px 0.01: not a size; give the pixels across a typical head, 4 to 10,000, or auto",
        ),
        (["--cell", "0"], "--cell 0: not a length; give metres above 0"),
        (["--cell", "inf"], "--cell inf: not a length; give metres above 0"),
    ],
)
def test_bad_numbers_are_one_line(model, photos, tmp_path, options, message):
    result = count(model, tmp_path / "out", photos, *options)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {message}"]
    assert not (tmp_path / "out").exists()


def test_a_comma_of_thousands_is_no_number(model, photos, tmp_path):
    """It would be one of a fraction."""
    result = count(model, tmp_path / "out", photos, "--gsd", "1,000")
    assert result.exit_code == 2
    assert "'1,000' is not a number, such as 1.2" in result.stderr
    assert count(model, tmp_path / "out", photos, "--gsd", "0,375").exit_code == 0


def test_a_photo_without_exif_has_no_area(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos / "a.png", "--height", "2")
    warning = "its EXIF does not tell focal length and sensor, so no area; give --gsd or --frame"
    assert lines_of(result) == [f"wheatear: a.png: {warning}"]
    assert figures_of(tmp_path / "out", "a.png")["warnings"] == warning


@pytest.mark.parametrize(("gsd", "says"), [("0.01", "0.245"), ("1", ""), ("400", "9,798")])
def test_a_scale_that_no_wheat_has_is_doubted(model, tmp_path, gsd, says):
    """Cells of 30 × 20 px, the root of whose area is 24.5."""
    draw(tmp_path / "a.png", [(row, column) for row in range(3) for column in range(4)])
    count(model, tmp_path / "out", tmp_path / "a.png", "--gsd", gsd)
    units = "--gsd is in millimetres, --frame and --height in metres"
    warning = f"heads would be {says} mm long; is the scale right? {units}"
    _, *doubts = figures_of(tmp_path / "out", "a.png")["warnings"].split(
        "; heads would"
    )  # first their size in pixels
    assert [f"heads would{doubt}" for doubt in doubts] == ([warning] if says else [])


@pytest.mark.parametrize(("bits", "is_dark"), [(10, True), (12, True), (14, True), (16, False)])
def test_a_photo_that_is_almost_black_is_doubted(model, tmp_path, bits, is_dark):
    bright = np.full((80, 120), 2**bits - 1, np.uint16)
    Image.fromarray(bright).save(tmp_path / "a.tif")
    count(model, tmp_path / "out", tmp_path / "a.tif")
    warnings = figures_of(tmp_path / "out", "a.tif")["warnings"]
    assert warnings == (
        "is almost black; if its file has 10 or 12 bits, save it as 8-bit RGB" if is_dark else ""
    )


@pytest.mark.parametrize(
    ("side", "sought", "says"),
    [
        (60, 60.0, ""),
        (90, 60.0, ""),
        (100, 60.0, "heads are 100 px, far from the 60 px looked for; try --head-px auto"),
        (35, 60.0, "heads are 35 px, far from the 60 px looked for; try --head-px auto"),
        (100, 110.0, ""),
        (60, 110.0, "heads are 60 px, far from the 110 px looked for; try --head-px auto"),
    ],
)
def test_heads_of_another_size_than_was_looked_for_are_doubted(side, sought, says):
    heads = Detections([[0, 0, side, side]] * 10, [0.9] * 10)
    assert odd_size(heads, sought, None) == (says or None)
    assert odd_size(heads[:9], sought, None) is None


def test_what_the_detector_measured_is_not_its_own_proof():
    heads = Detections([[0, 0, 100, 100]] * 10, [0.9] * 10)
    says = odd_size(heads, 60.0, HeadSize(60.0, 75.0))
    assert says == "heads are 100 px, far from the 60 px looked for; measure some by hand and give --head-px"
    assert odd_size(heads, 75.0, HeadSize(80.0, 75.0)) is None
