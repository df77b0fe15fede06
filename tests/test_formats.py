"""Both layouts by hand, what is refused and how, and the real data sets."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wheatear.data.formats import names_empty_photos, read_dataset, read_labels, write_dataset
from wheatear.data.labels import decimal
from wheatear.errors import InputError

SHARED = Path(__file__).parents[2] / "shared"
KAGGLE_HEADER = "image_id,width,height,bbox,source\n"


def write_photo(path: Path, width: int = 60, height: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    write_photo(tmp_path / "train" / "a.jpg")
    write_photo(tmp_path / "train" / "b.PNG", 30, 50)
    write_photo(tmp_path / "train" / "empty.jpg")
    (tmp_path / "train.csv").write_text(
        KAGGLE_HEADER + 'b,30,50,"[1.0, 2.0, 3.0, 4.0]",ethz_1\n'
        'a,60,40,"[0, 0, 10.5, 20]",usask_1\n'
        'b,30,50,"[5, 6, 70, 8]",ethz_1\n'
    )
    return tmp_path


@pytest.fixture
def gwhd(tmp_path: Path) -> Path:
    for name in ("p.png", "q.png", "not_labelled.png"):
        write_photo(tmp_path / "images" / name)
    (tmp_path / "competition_train.csv").write_text(
        "image_name,BoxesString,domain\np.png,1 2 3 4;5 6 7.5 8,Rres_1\nq.png,no_box,Arvalis_5\n"
    )
    return tmp_path


def test_reads_kaggles_layout(kaggle: Path) -> None:
    a, b, empty = read_dataset(kaggle)
    assert (a.name, b.name, empty.name) == ("a", "b", "empty")
    np.testing.assert_array_equal(a.boxes, [[0, 0, 10.5, 20]])
    np.testing.assert_array_equal(b.boxes, [[1, 2, 4, 6], [5, 6, 75, 14]])  # not clipped
    np.testing.assert_array_equal(b.rows, [2, 4])
    assert (b.width, b.height, b.source, b.session, b.split) == (30, 50, "ethz_1", "", "")
    assert b.boxes.dtype == np.float32
    assert empty.boxes.shape == (0, 4)
    assert empty.boxes.dtype == np.float32
    assert empty.rows.shape == (0,)


def test_reads_gwhds_layout_and_leaves_out_photos_without_a_line(gwhd: Path) -> None:
    p, q = read_dataset(gwhd)
    np.testing.assert_array_equal(p.boxes, [[1, 2, 3, 4], [5, 6, 7.5, 8]])
    np.testing.assert_array_equal(p.rows, [2, 2])
    assert (p.session, p.source, p.split) == ("Rres_1", "", "")
    assert q.boxes.shape == (0, 4)
    assert q.session == "Arvalis_5"


def test_gwhds_label_files_are_its_split(gwhd: Path) -> None:
    (gwhd / "competition_val.csv").write_text(
        "image_name,BoxesString,domain\nnot_labelled.png,no_box,Usask_1\n"
    )
    assert {sample.name: sample.split for sample in read_dataset(gwhd)} == {
        "p": "train",
        "q": "train",
        "not_labelled": "val",
    }


def test_a_photo_in_two_of_gwhds_label_files_is_refused(gwhd: Path) -> None:
    (gwhd / "competition_val.csv").write_text("image_name,BoxesString,domain\nq.png,1 2 3 4,Usask_1\n")
    with pytest.raises(
        InputError, match=r"competition_val.csv, line 2: q is in another file too; keep one line"
    ):
        read_dataset(gwhd)


def test_no_photos_give_no_samples(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train.csv").write_text(KAGGLE_HEADER)
    assert read_dataset(tmp_path) == []


def test_images_csv_fills_in_what_it_knows(kaggle: Path) -> None:
    (kaggle / "images.csv").write_text(
        "image_id,split,session,photo,source\na,val,Usask_1,12,other\nempty,,,,rres_1\n"
    )
    a, b, empty = read_dataset(kaggle)
    assert (a.split, a.session, a.photo, a.source) == ("val", "Usask_1", "12", "other")
    assert (b.split, b.session, b.photo) == ("", "", "")
    assert empty.source == "rres_1"


def test_images_csv_needs_no_column_but_image_id(kaggle: Path) -> None:
    (kaggle / "images.csv").write_text("image_id\na\n")
    assert len(read_dataset(kaggle)) == 3


def test_a_submission_replaces_the_boxes_too(kaggle: Path, tmp_path: Path) -> None:
    labels = tmp_path / "submission.csv"
    labels.write_text("image_id,PredictionString\na,0.9 1 1 2 2 0.5 3 3 1 1\nb,\n")
    a, b, _ = read_dataset(kaggle, labels)
    assert a.boxes.tolist() == [[1, 1, 3, 3], [3, 3, 4, 4]]
    assert a.rows.tolist() == [2, 2]
    assert len(b.boxes) == 0
    labels.write_text("image_id,PredictionString\na,0.9 1 1 2\n")
    with pytest.raises(
        InputError, match=r"submission.csv, line 2: '1 1 2' is no box; write it as 'score xmin"
    ):
        read_dataset(kaggle, labels)


def test_labels_replace_the_boxes_of_the_photos_they_name(kaggle: Path, tmp_path: Path) -> None:
    labels = tmp_path / "relabelled.csv"
    labels.write_text('image_id,bbox\na,"[1, 1, 2, 2]"\nempty,"[3, 3, 1, 1]"\n')
    a, b, empty = read_dataset(kaggle, labels)
    np.testing.assert_array_equal(a.boxes, [[1, 1, 3, 3]])
    np.testing.assert_array_equal(a.rows, [2])
    np.testing.assert_array_equal(b.rows, [2, 4])
    assert (len(empty.boxes), a.source) == (1, "usask_1")


def test_an_unreadable_photo_has_no_size(kaggle: Path) -> None:
    (kaggle / "train" / "a.jpg").write_bytes(b"")
    a = read_dataset(kaggle)[0]
    assert (a.width, a.height, len(a.boxes)) == (0, 0, 1)


def test_duplicate_rows_are_kept(kaggle: Path) -> None:
    with (kaggle / "train.csv").open("a") as file:
        file.write('a,60,40,"[0, 0, 10.5, 20]",usask_1\n')
    np.testing.assert_array_equal(read_dataset(kaggle)[0].rows, [3, 5])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('a,60,40,"[1, 2, 3]",s', r"train.csv, line 2: '1  2  3' is no box"),
        ('a,60,40,"[1, 2, 3, x]",s', "line 2: .* is no box"),
        ('a,60,40,"[1, 2, 3, nan]",s', "line 2: .* is no box"),
        ('a,60,40,"[1, 2, 1e999, 4]",s', "line 2: .* is no box"),
        ('a,60,40,"[1, 2, 1e30, 4]",s', "line 2: .* is no box"),
        ("a,60,40,,s", "line 2: '' is no box"),
        ('a,60,40,"[1, 2, 3, 4]"', "line 2: not as many values as columns"),
        ('a,60,40,"[1, 2, 3, 4]",s,more', "line 2: not as many values as columns"),
        ('z,60,40,"[1, 2, 3, 4]",s', r"no photo for z \(line 2\); add or unlist"),
    ],
)
def test_a_bad_row_is_named(kaggle: Path, row: str, message: str) -> None:
    (kaggle / "train.csv").write_text(KAGGLE_HEADER + row + "\n")
    with pytest.raises(InputError, match=message) as error:
        read_dataset(kaggle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("boxes", ["", "1 2 3", "1 2 3 4;", "1,2,3,4", "nobox"])
def test_a_bad_box_string_is_named(gwhd: Path, boxes: str) -> None:
    (gwhd / "competition_train.csv").write_text(f'image_name,BoxesString,domain\np.png,"{boxes}",Rres_1\n')
    with pytest.raises(InputError, match=r"competition_train.csv, line 2: .* is no box"):
        read_dataset(gwhd)


def test_missing_photos_are_listed_in_short(kaggle: Path) -> None:
    rows = "".join(f'z{k},1,1,"[0, 0, 1, 1]",s\n' for k in range(5))
    (kaggle / "train.csv").write_text(KAGGLE_HEADER + rows)
    with pytest.raises(InputError, match=r"z0 \(line 2\), z1 \(line 3\), z2 \(line 4\) and 2 more"):
        read_dataset(kaggle)


def test_a_path_out_of_the_folder_names_no_photo(gwhd: Path) -> None:
    write_photo(gwhd / "secret.png")
    (gwhd / "competition_train.csv").write_text("image_name,BoxesString,domain\n../secret.png,no_box,x\n")
    with pytest.raises(InputError, match="no photo for secret"):
        read_dataset(gwhd)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.csv", "image_id,source\na,s\n", "train.csv, line 1: no column bbox; it has image_id, source"),
        ("train.csv", "", "line 1: no column image_id, bbox; it has none"),
        ("train.csv", "image_id,bbox,bbox\n", "train.csv, line 1: several columns 'bbox'; keep one"),
        (
            "train.csv",
            "image_id,bbox,source,source\n",
            "train.csv, line 1: several columns 'source'; keep one",
        ),
        ("images.csv", "image_id,split,split\n", "images.csv, line 1: several columns 'split'; keep one"),
        ("images.csv", "photo\n1\n", "images.csv, line 1: no column image_id"),
        ("images.csv", "image_id,split\na,both\n", "images.csv, line 2: no split 'both'"),
        ("images.csv", "image_id\na\na\n", "images.csv, line 3: a is on line 2 already"),
        ("images.csv", "image_id\nz\n", r"images.csv: no photo for z \(line 2\)"),
    ],
)
def test_a_bad_table_is_named(kaggle: Path, file: str, text: str, message: str) -> None:
    (kaggle / file).write_text(text)
    with pytest.raises(InputError, match=message):
        read_dataset(kaggle)


def test_a_file_that_is_no_csv_is_named(kaggle: Path) -> None:
    (kaggle / "train.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"train.csv: not in UTF-8; save it as 'CSV UTF-8'"):
        read_dataset(kaggle)


def test_spreadsheets_mark_at_the_start_is_no_part_of_the_header(kaggle: Path) -> None:
    text = (kaggle / "train.csv").read_text()
    (kaggle / "train.csv").write_text(text, encoding="utf-8-sig")
    assert len(read_dataset(kaggle)[1].boxes) == 2


def test_other_layouts_are_refused(tmp_path: Path, kaggle: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="no labels here"):
        read_dataset(tmp_path / "other")
    (tmp_path / "other" / "train.csv").write_text(KAGGLE_HEADER)
    with pytest.raises(InputError, match=r"no such folder; the photos that train.csv names belong there"):
        read_dataset(tmp_path / "other")
    with pytest.raises(InputError, match=r"nowhere.csv: no such file"):
        read_dataset(kaggle, tmp_path / "nowhere.csv")


def test_a_name_in_two_lines_is_refused(kaggle: Path) -> None:
    (kaggle / "train" / "empty.jpg").rename(kaggle / "train" / "two\nlines.jpg")
    with pytest.raises(
        InputError, match=r"^'[^\n]*two\\nlines\.jpg': has a line break in its name; rename it$"
    ):
        read_dataset(kaggle)


def test_a_name_that_is_not_in_utf8_is_refused(kaggle: Path) -> None:
    try:
        (kaggle / "train" / "empty.jpg").rename(kaggle / "train" / os.fsdecode(b"caf\xe9.jpg"))
    except OSError:
        pytest.skip("this disk has names in UTF-8 alone")
    with pytest.raises(InputError, match=r"caf\\udce9\.jpg': its name is not in UTF-8; rename it$"):
        read_dataset(kaggle)


def test_two_photos_of_one_name_are_refused(kaggle: Path) -> None:
    write_photo(kaggle / "train" / "a.png")
    with pytest.raises(InputError, match=r"a.jpg and .*a.png share a name"):
        read_dataset(kaggle)


numbers = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=st.lists(st.tuples(st.sampled_from(["a", "b", "empty"]), *[numbers] * 4), max_size=8))
def test_every_row_comes_back_in_order(
    kaggle: Path, boxes: list[tuple[str, float, float, float, float]]
) -> None:
    rows = "".join(f'{name},1,1,"{[x, y, w, h]}",s\n' for name, x, y, w, h in boxes)
    (kaggle / "train.csv").write_text(KAGGLE_HEADER + rows)
    for sample in read_dataset(kaggle):
        mine = [(line, box) for line, (name, *box) in enumerate(boxes, start=2) if name == sample.name]
        expected = [[x, y, x + w, y + h] for _, (x, y, w, h) in mine]
        np.testing.assert_array_equal(sample.boxes, np.array(expected, np.float32).reshape(-1, 4))
        assert sample.rows.tolist() == [line for line, _ in mine]


def test_reads_the_real_kaggle_photos() -> None:
    folder = SHARED / "gwd"
    if not folder.is_dir():
        pytest.skip("needs the Kaggle photos in ../shared/gwd")
    samples = read_dataset(folder)
    assert len(samples) == 1260
    assert sum(len(sample.boxes) for sample in samples) == 56_688
    assert sum(len(sample.boxes) == 0 for sample in samples) == 10
    assert sum(sample.split == "val" for sample in samples) == 164
    assert {(sample.width, sample.height) for sample in samples} == {(1024, 1024)}
    relabelled = read_dataset(folder, folder / "train_relabelled_2021.csv")
    assert sum(len(sample.boxes) == 0 for sample in relabelled) == 10  # 31 keep their first boxes


def test_reads_the_real_gwhd_photos() -> None:
    folder = SHARED / "gwhd2021"
    if not folder.is_dir():
        pytest.skip("needs the GWHD 2021 photos in ../shared/gwhd2021")
    samples = read_dataset(folder)
    assert [len(sample.boxes) for sample in samples] == [43, 39, 9, 0]
    assert [sample.session for sample in samples] == ["Arvalis_1", "Rres_1", "Arvalis_5", "Arvalis_5"]


def test_a_photo_twice_in_a_file_of_a_line_a_photo_is_refused(gwhd: Path, tmp_path: Path) -> None:
    with (gwhd / "competition_train.csv").open("a") as file:
        file.write("p.png,no_box,Rres_1\n")
    with pytest.raises(
        InputError, match=r"competition_train\.csv, line 4: p\.png is on line 2 already; keep one"
    ):
        read_dataset(gwhd)
    text = (gwhd / "competition_train.csv").read_text().replace("p.png,no_box", "p.png,1 2 3 4;5 6 7.5 8")
    (gwhd / "competition_train.csv").write_text(text)
    assert [len(sample.boxes) for sample in read_dataset(gwhd)] == [2, 0]
    submission = tmp_path / "submission.csv"
    submission.write_text("image_id,PredictionString\na,1 0 0 5 5\na,1 0 0 5 5\n")
    with pytest.raises(InputError, match=r"submission\.csv, line 3: a is on line 2 already"):
        read_labels(submission, {"a"})


def test_which_files_name_photos_without_heads(gwhd: Path, kaggle: Path, tmp_path: Path) -> None:
    submission = tmp_path / "submission.csv"
    submission.write_text("image_id,PredictionString\na,\n")
    assert names_empty_photos(gwhd / "competition_train.csv")
    assert names_empty_photos(submission)
    assert not names_empty_photos(kaggle / "train.csv")


def test_a_file_that_is_to_divide_the_photos_needs_the_column(kaggle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("image_id,Split\na,val\n")
    with pytest.raises(InputError, match=r"other\.csv, line 1: no column split; it has image_id, Split"):
        read_dataset(kaggle, images=other)


@pytest.mark.parametrize("to", ["kaggle", "coco", "voc"])
def test_the_size_that_labels_name_is_kept_beside_the_photos(kaggle: Path, tmp_path: Path, to: str) -> None:
    write_dataset(read_dataset(kaggle), tmp_path / "out", to)
    a, b, _ = read_dataset(tmp_path / "out")
    assert (a.labelled_size, b.labelled_size) == ((60, 40), (30, 50))
    assert not a.is_of_another_size()
    write_photo(a.path, 40, 60)
    assert read_dataset(tmp_path / "out")[0].is_of_another_size()


@pytest.mark.parametrize("to", ["kaggle", "gwhd", "coco", "yolo", "voc"])
def test_coordinates_are_kept_to_a_thousandth_of_a_pixel(kaggle: Path, tmp_path: Path, to: str) -> None:
    (kaggle / "train.csv").write_text(KAGGLE_HEADER + 'a,60,40,"[1.125, 2.001, 3.375, 4.002]",s\n')
    write_dataset(read_dataset(kaggle), tmp_path / "out", to)
    boxes = next(sample.boxes for sample in read_dataset(tmp_path / "out") if sample.name == "a")
    np.testing.assert_allclose(boxes, [[1.125, 2.001, 4.5, 6.003]], atol=6e-4)


def test_nothing_is_written_as_less_than_nothing() -> None:
    assert [decimal(number) for number in (-0.0, -0.0004, -0.0006, 2.0)] == ["0", "0", "-0.001", "2"]


def test_a_coordinate_far_below_zero_is_no_box(kaggle: Path) -> None:
    (kaggle / "train.csv").write_text(KAGGLE_HEADER + 'a,60,40,"[-1e30, 2, 3, 4]",s\n')
    with pytest.raises(InputError, match=r"line 2: .* is no box"):
        read_dataset(kaggle)


def test_images_csv_goes_before_what_the_format_says(gwhd: Path) -> None:
    write_photo(gwhd / "images" / "r.png")
    (gwhd / "competition_val.csv").write_text("image_name,BoxesString,domain\nr.png,no_box,Rres_1\n")
    (gwhd / "images.csv").write_text("image_id,split,session\np,val,Rres_2\nr,train,\n")
    p, q, r = read_dataset(gwhd)
    assert (p.split, q.split, r.split) == ("val", "train", "train")
    assert (p.session, q.session, r.session) == ("Rres_2", "Arvalis_5", "Rres_1")
