"""`wheatear count --by-hand`: the threshold that suits photos whose heads somebody counted."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from count_runs import count, counted, draw, lines_of, table
from serving import write_three_heads
from tiny_model import write_judged_model
from wheatear import load
from wheatear.by_hand import ByHand, fit_threshold, read_by_hand, threshold_for
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.photo_names import Photo, name_photos


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Its own threshold is 0.5."""
    (tmp_path / "model").mkdir()
    return write_judged_model(tmp_path / "model", rmse=0.5)


@pytest.fixture
def detector(model: Path) -> Detector:
    return load(model)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Four with heads of scores 0.8, 0.55 and 0.2, two of them of one name."""
    for place in ("p/a.png", "p/b.png", "p/east/c.png", "p/west/c.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_three_heads(tmp_path / place)
    return name_photos([tmp_path / "p"])


def by_hand(tmp_path: Path, *rows: str, header: str = "image,heads") -> Path:
    file = tmp_path / "hand.csv"
    file.write_text("\n".join([header, *rows, ""]))
    return file


def test_photos_go_by_their_names_or_their_files(photos, tmp_path):
    file = by_hand(tmp_path, "5,p/east/c.png,x", "0,a.png,", header="heads,image,note")
    assert {photo.name: heads for photo, heads in read_by_hand(file, photos).items()} == {
        "east/c.png": 5,
        "a.png": 0,
    }


@pytest.mark.parametrize("mark", [";", "\t"])
def test_what_spreadsheets_and_people_write(photos, tmp_path, mark):
    """Semicolons or tabs for commas, a name in other capitals, or without its ending."""
    lines = ["image,heads", "A.PNG,3", "b,2", "EAST/c,7"]
    file = tmp_path / "hand.csv"
    file.write_text("\n".join(line.replace(",", mark) for line in lines))
    assert {photo.name: heads for photo, heads in read_by_hand(file, photos).items()} == {
        "a.png": 3,
        "b.png": 2,
        "east/c.png": 7,
    }
    with pytest.raises(InputError, match="line 2: 'C': several photos have that name"):
        read_by_hand(by_hand(tmp_path, "C,3"), photos)


@pytest.mark.parametrize(
    "lines",
    [
        ["Image,Heads", "a.png,3", "b.png,2"],
        ["sep=,", "image, heads", "a.png,3", "b.png,2", ",", ""],
        ["sep=;", "image;heads", "a.png;3,0", "b.png;2,00"],
        ["image,heads", "a.png,3.0", "p\\b.png,2"],
        ["image,heads", " a.png , 3", "b.png,2", "east/c.png,", "no photo,"],
        ["image;heads;seen by, on", "a.png;3;me, today", "b.png;2;"],
    ],
)
def test_what_else_spreadsheets_write(photos, tmp_path, lines):
    file = tmp_path / "hand.csv"
    file.write_text("\n".join(lines))
    assert {photo.name: heads for photo, heads in read_by_hand(file, photos).items()} == {
        "a.png": 3,
        "b.png": 2,
    }


def test_lines_are_told_as_an_editor_numbers_them(photos, tmp_path):
    file = tmp_path / "hand.csv"
    file.write_text("sep=;\nimage;heads\na.png;3\n;\nd.png;4\n")
    with pytest.raises(InputError, match=r"line 5: 'd\.png': is no photo"):
        read_by_hand(file, photos)


def test_accents_are_the_same_however_they_are_written(tmp_path):
    """A Mac writes letter and accent apart."""
    photo = tmp_path / unicodedata.normalize("NFD", "süd.png")
    photo.touch()
    file = by_hand(tmp_path, unicodedata.normalize("NFC", "süd.png,4"))
    assert list(read_by_hand(file, name_photos([photo])).values()) == [4]


def test_photos_that_were_not_checked_in_the_page_are_left_out(photos, tmp_path):
    header = "image,heads,checked"
    file = by_hand(tmp_path, "a.png,5,yes", "b.png,7,no", header=header)
    assert {photo.name: heads for photo, heads in read_by_hand(file, photos).items()} == {"a.png": 5}
    with pytest.raises(InputError, match="no photo is checked and has heads in it"):
        read_by_hand(by_hand(tmp_path, "b.png,7,no", header=header), photos)


def test_two_columns_of_heads_are_refused(photos, tmp_path):
    for second in ("heads", "Heads"):
        file = by_hand(tmp_path, "a.png,5,9", header=f"image,heads,{second}")
        with pytest.raises(InputError, match="several columns 'heads'; keep one"):
            read_by_hand(file, photos)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["d.png,3"], "line 2: 'd.png': is no photo of those given"),
        (["a.png,3", "c.png,3"], "line 3: 'c.png': several photos have that name"),
        (["a.png,3", "p/a.png,3"], "line 3: 'p/a.png' is there twice; keep one row"),
        (["north/c.png,3"], "line 2: 'north/c.png': is no photo of those given"),
        (["x/a.png,3"], "line 2: 'x/a.png': is no photo of those given"),
        (["a.png,99999999999999999999999"], "is no number of heads"),
        (["a.png,three"], "line 2: 'three' is no number of heads"),
        (["a.png,"], "no photo is checked and has heads in it"),
        (["a.png,-3"], "line 2: '-3' is no number of heads"),
        (["a.png,3.5"], "line 2: '3.5' is no number of heads"),
        (["a.png,1.000"], "line 2: '1.000' is no number of heads"),  # of a thousand, or of one
        (["a.png"], "line 2: not as many values as columns"),
        ([], "has no rows"),
    ],
)
def test_rows_that_cannot_be_meant(photos, tmp_path, rows, problem):
    with pytest.raises(InputError) as caught:
        read_by_hand(by_hand(tmp_path, *rows), photos)
    assert problem in str(caught.value)


def test_other_columns(photos, tmp_path):
    with pytest.raises(InputError, match="line 1: no column heads; it has image, number"):
        read_by_hand(by_hand(tmp_path, "a.png,3", header="image,number"), photos)


@pytest.mark.parametrize(
    ("heads", "number", "threshold"),
    [
        (1, 1, 0.52),  # a third of the way to 0.55, the nearest at which one head a photo is found
        (1, 4, 0.53),  # two thirds of the way
        (2, 4, 0.5),  # its own is right
        (3, 2, 0.35),  # half-way to 0.2
        (9, 2, 0.35),  # never so many: the highest of the best
    ],
)
def test_the_threshold_is_drawn_to_the_detectors_own(detector, photos, heads, number, threshold):
    fit = fit_threshold(detector, dict.fromkeys(photos[:number], heads))
    assert fit.threshold == threshold
    assert (fit.photos, fit.heads, fit.found) == (number, number * heads, 2 * number)
    assert fit.found_now == 2 * number


def test_halves_go_up():
    """Half-way from 0.62 to 0.63 is 0.63, here and in the page."""
    scores = np.array([0.9] * 5 + [0.6255] * 5, np.float32)
    assert threshold_for(scores, 5, 2, own=0.62, floor=0.02) == 0.63


@pytest.mark.parametrize(
    ("heads", "found", "off"), [(100, 115, False), (100, 84, True), (20, 10, False), (20, 31, True)]
)
def test_a_count_is_still_off_by_more_than_15_percent_and_2_heads_a_photo(heads, found, off):
    assert ByHand(0.5, 5, heads, heads, found).is_still_off() == off


def test_the_command(model, photos, tmp_path):
    draw(tmp_path / "p" / "d.png", [(0, 0)])
    file = by_hand(tmp_path, "a.png,3", *(f"{photo.name},2" for photo in photos[1:]))
    result = count(model, tmp_path / "out", tmp_path / "p", "--by-hand", file)
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {file}: 9 heads in 4 photos; 8 are found at 0.5, which stays"]
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["threshold"] == 0.5
    assert counted(tmp_path / "out") == {photo.name: 2 for photo in photos} | {"d.png": 1}
    ends = {row[0]: row[2:4] for row in table(tmp_path / "out" / "counts.csv")}
    assert ends["d.png"] == ["0.0", "2.0"]  # by the error at the detector's own threshold


def test_counts_that_are_still_far_off_have_no_intervals(model, photos, tmp_path):
    file = by_hand(tmp_path, *(f"{photo.name},6" for photo in photos))
    result = count(model, tmp_path / "out", tmp_path / "p", "--by-hand", file)
    taken, off = lines_of(result)
    assert taken.endswith("24 heads in 4 photos; 8 are found at 0.5, 8 at 0.3, which is taken")
    assert off.startswith(f"wheatear: {file}: that is still 16 below them, so there are no intervals; ")
    _, *rows = table(tmp_path / "out" / "counts.csv")
    assert {tuple(row[2:4]) for row in rows} == {("", "")}


def test_numbers_are_not_written_over(model, photos, tmp_path):
    out = tmp_path / "out"
    count(model, out, tmp_path / "p")
    (out / "counts.csv").write_text("image,heads\na.png,3\n")
    result = count(model, out, tmp_path / "p", "--by-hand", out / "counts.csv")
    said = f"wheatear: {out / 'counts.csv'}: would be written over; name another folder for --out"
    assert (result.exit_code, lines_of(result)) == (1, [said])


def test_a_run_goes_on_with_what_it_began_with(model, photos, tmp_path):
    same, other = by_hand(tmp_path, "a.png,1"), tmp_path / "other.csv"
    other.write_text("image,heads\na.png,3\n")
    assert count(model, tmp_path / "out", tmp_path / "p", "--by-hand", same).exit_code == 0
    assert count(model, tmp_path / "out", tmp_path / "p", "--by-hand", same, "--resume").exit_code == 0
    refused = count(model, tmp_path / "out", tmp_path / "p", "--by-hand", other, "--resume")
    assert refused.exit_code == 1
    assert "--by-hand was hand.csv, now other.csv" in refused.stderr
    found = count(model, tmp_path / "out", tmp_path / "p", "--threshold", "0.51", "--resume")
    assert "--by-hand was hand.csv, now not given" in found.stderr  # without it there would be no intervals
    same.write_text("image,heads\na.png,3\n")
    refused = count(model, tmp_path / "out", tmp_path / "p", "--by-hand", same, "--resume")
    assert "settings.json: the threshold fitted to hand.csv was " in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--threshold", "0.4"], "--threshold and --by-hand: give one of the two"),
        (["--resume"], "hand.csv, line 2: 'z.png': is no photo"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(model, photos, tmp_path, arguments, problem):
    file = by_hand(tmp_path, "z.png,1")
    result = count(model, tmp_path / "out", tmp_path / "p", "--by-hand", file, *arguments)
    assert result.exit_code == 1
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
