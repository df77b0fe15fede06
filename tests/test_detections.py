"""Detections and their CSV: order, selection, what is read and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheatear.detections import HEADER, Detections, read_csv, rows
from wheatear.errors import InputError

TITLES = ",".join(HEADER)
EMPTY = Detections(np.zeros((0, 4)), np.zeros(0), 20, 30)


def three() -> Detections:
    boxes = [[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]]
    return Detections(np.array(boxes), np.array([0.5, 0.9, 0.5]), height=20, width=30)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "found.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_best_first_as_single_precision():
    assert three().scores.tolist() == pytest.approx([0.9, 0.5, 0.5])
    assert three().boxes[:, 2].tolist() == [2, 1, 3]
    assert three().boxes.dtype == three().scores.dtype == np.float32


def test_many_equal_scores_stay_in_the_order_given():
    scores = np.tile([0.5, 0.9, 0.7], 20)
    boxes = np.arange(60)[:, None] + [0, 0, 1, 1]
    assert Detections(boxes, scores).boxes[:, 0].tolist() == sorted(range(60), key=lambda i: (-scores[i], i))


@pytest.mark.parametrize(
    "index", [slice(1, None), np.array([2, 1]), np.array([False, True, True])], ids=["slice", "int", "bool"]
)
def test_selection_stays_in_order_and_keeps_the_size(index):
    selected = three()[index]
    assert len(selected) == 2
    assert sorted(selected.boxes[:, 2].tolist()) == [1, 3]
    assert (selected.height, selected.width) == (20, 30)


def test_above_holds_the_threshold_itself():
    assert [len(three().above(at)) for at in (0, 0.5, 0.500001, 0.9, 0.91)] == [3, 3, 1, 1, 0]


def test_no_detections():
    assert len(EMPTY) == len(EMPTY.above(0.5)) == len(EMPTY[:3]) == 0
    assert rows("a.jpg", EMPTY) == []


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [(np.zeros((2, 4)), np.zeros(3)), (np.zeros((2, 5)), np.zeros(2)), (np.zeros(4), np.zeros(1)), ([], [])],
)
def test_shapes_that_do_not_fit(boxes, scores):
    with pytest.raises(ValueError, match="need boxes"):
        Detections(boxes, scores)


def test_numbers_that_are_not_finite():
    with pytest.raises(ValueError, match="finite"):
        Detections(np.array([[0, 0, 1, np.nan]]), np.array([0.5]))
    with pytest.raises(ValueError, match="finite"):
        Detections(np.array([[0, 0, 1, 1]]), np.array([np.inf]))


def test_rows_are_rounded():
    one = Detections(np.array([[1.004, 2.006, 33.333, 44]]), np.array([0.123456]))
    assert rows("a.jpg", one) == [["a.jpg", 1.0, 2.01, 33.33, 44.0, 0.1235]]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 99999)] * 2, *[st.integers(1, 9999)] * 2, st.integers(0, 10000))))
def test_written_and_read_again(tmp_path_factory, numbers):
    values = np.array(numbers, np.float64).reshape(-1, 5)
    corners = np.hstack([values[:, :2], values[:, :2] + values[:, 2:4]]) / 100
    written = Detections(corners, values[:, 4] / 10000)
    path = tmp_path_factory.getbasetemp() / "again.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows("a, b.jpg", written)])
    read = read_csv(path).get("a, b.jpg", EMPTY)
    assert read.boxes.tolist() == written.boxes.tolist()
    assert read.scores.tolist() == written.scores.tolist()


def test_photos_keep_their_names_and_own_rows(tmp_path):
    found = read_csv(write(tmp_path, TITLES, "b,0,0,1,1,0.5", "a.jpg,0,0,2,2,1", "b,0,0,3,3,0.7"))
    assert list(found) == ["b", "a.jpg"]
    assert found["b"].boxes[:, 2].tolist() == [3, 1]
    assert (found["b"].height, found["b"].width) == (0, 0)


def test_columns_in_any_order_and_others_ignored(tmp_path):
    found = read_csv(write(tmp_path, "score,label,YMAX, xmax ,ymin,xmin,image", "0.5,head,4,3,2,1,a"))
    assert found["a"].boxes.tolist() == [[1, 2, 3, 4]]


def test_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{TITLES}\r\na,1,2,3,4,0.5\r\n\r\n".encode())
    assert read_csv(path)["a"].boxes.tolist() == [[1, 2, 3, 4]]


def test_what_spreadsheets_write(tmp_path):
    path = tmp_path / "saved again.csv"
    lines = ["Image;xmin;ymin;xmax;ymax;score", "a, b;1;2;3;4;0.5", ";;;;;"]
    for first in ([], ["sep=;"]):
        path.write_text("\r\n".join([*first, *lines]), "utf-8-sig", newline="")
        assert read_csv(path)["a, b"].boxes.tolist() == [[1, 2, 3, 4]]
    path.write_text("\n".join(["sep=;", *lines, "a;1;2;three;4;0.5"]))
    with pytest.raises(InputError, match=r"line 5: .* is not a name and five numbers"):
        read_csv(path)


def test_a_header_alone_is_no_detections(tmp_path):
    assert read_csv(write(tmp_path, TITLES)) == {}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,1,2,three,4,0.5", "not a name and five numbers"),
        ("a,1,2,3,4", "not a name and five numbers"),
        ("a,1,2,3,4,", "not a name and five numbers"),
        (",1,2,3,4,0.5", "not a name and five numbers"),
        ("a,5,2,3,4,0.5", "xmax <= xmin or ymax <= ymin"),
        ("a,1,4,3,4,0.5", "xmax <= xmin or ymax <= ymin"),
        ("a,1,2,3,4,1.01", "score 1.01 is outside 0..1"),
        ("a,1,2,3,4,-0.5", "score -0.5 is outside 0..1"),
        ("a,1,2,3,4,nan", "not finite"),
        ("a,nan,2,3,4,0.5", "not finite"),
        ("a,1,2,1e39,4,0.5", "not finite"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, problem):
    path = write(tmp_path, TITLES, "a,1,2,3,4,0.5", "", row, "a,1,2,3,4,0.5")
    with pytest.raises(InputError) as caught:
        read_csv(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 4: ")
    assert problem in message
    assert "\n" not in message


@pytest.mark.parametrize("lines", [["image,xmin,ymin,xmax,score", "a,1,2,3,0.5"], [""]], ids=["five", "none"])
def test_a_missing_column_is_named(tmp_path, lines):
    with pytest.raises(InputError, match=r"found\.csv, line 1: no column .*ymax"):
        read_csv(write(tmp_path, *lines))


def test_files_that_are_not_a_csv(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path)
    path = tmp_path / "picture.csv"
    path.write_bytes(b"\xff\xd8\xff\xe0 a picture")
    with pytest.raises(InputError, match="not in UTF-8"):
        read_csv(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="line 1: no column"):
        read_csv(path)


def test_a_single_head_is_no_detections():
    heads = Detections(np.array([[0, 0, 1, 1]]), np.array([0.5]))
    for index in (0, np.int64(0)):
        with pytest.raises(TypeError, match="take a slice, or walk over"):
            heads[index]
    with pytest.raises(TypeError, match="walk over"):
        list(heads)


def test_a_box_without_area_is_named(tmp_path):
    with pytest.raises(InputError, match="line 2: xmax <= xmin or ymax <= ymin"):
        read_csv(write(tmp_path, TITLES, "a,3,2,3,4,0.5"))
