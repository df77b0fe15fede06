from pathlib import Path

import pytest

from count_runs import count, lines_of, table
from tiny_model import write_tiny_model


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
        (["--head-px", "0"], "--head-px 0: not a size; give the pixels across a typical head, or auto"),
        (["--head-px", "big"], "--head-px big: not a size; give the pixels across a typical head, or auto"),
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
