"""Each kind of problem on its own, the masks beside slow ones, and the real labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from wheatear.data.check import GIANT, GIANT_SHARE, SPECK, check, clean, is_giant, is_speck
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample

SHARED = Path(__file__).parents[2] / "shared"
HEADS = [[0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10], [40, 0, 50, 10]]


def sample(folder: Path, name: str, boxes: list[list[float]], shade: int = 0, **known: str) -> Sample:
    path = folder / f"{name}.png"
    Image.new("RGB", (100, 80), (shade, 0, 0)).save(path)
    rows = np.arange(2, 2 + len(boxes))
    return Sample(path, np.array(boxes, np.float32).reshape(-1, 4), 100, 80, rows=rows, **known)


def found(*samples: Sample) -> list[tuple[str, int, str]]:
    return [(problem.photo.name, problem.row, problem.kind) for problem in check(samples).problems]


def test_good_labels_have_no_problems(tmp_path: Path) -> None:
    assert found(sample(tmp_path, "a", HEADS), sample(tmp_path, "empty", [], shade=1)) == []


@pytest.mark.parametrize(
    ("box", "kinds"),
    [
        ([95, 0, 101, 10], ["outside the photo"]),
        ([0, 75, 10, 80.5], ["outside the photo"]),
        ([-1, 0, 10, 10], ["outside the photo"]),
        ([100, 10, 110, 20], ["outside the photo", "no area"]),
        ([7, 7, 7, 9], ["no area"]),
        ([9, 9, 8, 8], ["no area"]),
        ([0, 0, 2, 2], ["speck"]),
        ([0, 0, 35, 40], ["giant"]),
        ([10, 0, 20, 10], ["duplicate row"]),
        ([97, 0, 150, 1], ["outside the photo", "speck"]),
    ],
)
def test_a_bad_box_is_named_by_photo_and_row(tmp_path: Path, box: list[float], kinds: list[str]) -> None:
    assert found(sample(tmp_path, "a", [*HEADS, box])) == [("a.png", 7, kind) for kind in kinds]


def test_sizes_are_told_in_pixels(tmp_path: Path) -> None:
    (problem,) = check([sample(tmp_path, "a", [*HEADS, [1.5, 2, 3, 5]])]).problems
    assert problem.detail == "1.5 × 3 px at (1.5, 2)"


def test_a_lone_box_over_most_of_the_photo_is_a_giant(tmp_path: Path) -> None:
    assert found(sample(tmp_path, "a", [[0, 0, 100, 50]])) == [("a.png", 2, "giant")]
    assert found(sample(tmp_path, "b", [[0, 0, 100, 40]])) == []


def test_unreadable_and_duplicate_photos(tmp_path: Path) -> None:
    a, twin, cut_short = (sample(tmp_path, name, []) for name in ("a", "twin", "cut"))
    other = sample(tmp_path, "other", [], shade=9)
    twin.path.write_bytes(twin.path.read_bytes() + b"another file, the same pixels")
    cut_short.path.write_bytes(cut_short.path.read_bytes()[:60])
    assert found(a, other, twin, cut_short) == [
        ("twin.png", 0, "duplicate photo"),
        ("cut.png", 0, "unreadable photo"),
    ]


def test_a_photo_of_other_shape_with_the_same_bytes_is_no_duplicate(tmp_path: Path) -> None:
    a, b = sample(tmp_path, "a", []), sample(tmp_path, "b", [])
    Image.new("RGB", (80, 100)).save(b.path)
    assert found(a, b) == []


def test_counts_by_hand(tmp_path: Path) -> None:
    report = check(
        [
            sample(tmp_path, "a", HEADS, shade=1, session="x", source="s"),
            sample(tmp_path, "b", [[0, 0, 20, 20]], shade=2, source="s"),
            sample(tmp_path, "c", [], shade=3, session="x"),
        ]
    )
    total = report.total
    assert (total.photos, total.photos_without_heads, total.boxes) == (3, 1, 6)
    assert (total.heads, total.sizes) == ((0, 1, 5), (10, 10, 20))
    assert [(place.name, place.photos, place.boxes) for place in report.places] == [("s", 1, 1), ("x", 2, 5)]


def test_no_samples_at_all() -> None:
    report = check([])
    assert (report.total.photos, report.total.heads, report.places, report.problems) == (0, (0, 0, 0), [], [])


def test_clean_drops_what_is_no_head_and_keeps_rows_beside_boxes(tmp_path: Path) -> None:
    bad = [[10, 0, 20, 10], [0, 0, 2, 2], [0, 0, 40, 60], [7, 7, 7, 9]]
    cleaned = clean(sample(tmp_path, "a", [*HEADS, *bad, [90, 70, 110, 90]]))
    np.testing.assert_array_equal(cleaned.boxes, [*HEADS, [90, 70, 100, 80]])
    np.testing.assert_array_equal(cleaned.rows, [2, 3, 4, 5, 6, 11])
    assert cleaned.boxes.dtype == np.float32


def test_clean_keeps_a_photo_without_heads_or_size_or_rows() -> None:
    none = np.zeros((0, 4), np.float32)
    assert clean(Sample(Path("a"), none, 100, 80)).boxes.shape == (0, 4)
    unreadable = clean(Sample(Path("a"), np.array(HEADS, np.float32), 0, 0))
    np.testing.assert_array_equal(unreadable.boxes, HEADS)
    assert unreadable.rows.shape == (0,)


sides = st.integers(-3, 130).map(float)
some_boxes = st.integers(0, 12).flatmap(lambda n: arrays(np.float32, (n, 4), elements=sides))


@settings(max_examples=50, deadline=None)
@given(boxes=some_boxes)
def test_clean_boxes_are_inside_and_single(boxes: np.ndarray) -> None:
    rows = np.arange(len(boxes))
    cleaned = clean(Sample(Path("a"), boxes, 100, 80, rows=rows))
    assert (cleaned.boxes[:, :2] >= 0).all()
    assert (cleaned.boxes[:, 2:] <= [100, 80]).all()
    assert (cleaned.boxes[:, 2:] > cleaned.boxes[:, :2]).all()
    assert len({tuple(box) for box in boxes[cleaned.rows]}) == len(cleaned.rows) == len(cleaned.boxes)
    for box, row in zip(cleaned.boxes, cleaned.rows, strict=True):
        np.testing.assert_array_equal(box, np.clip(boxes[row], 0, [100, 80, 100, 80]))


@settings(max_examples=50, deadline=None)
@given(boxes=some_boxes)
def test_masks_agree_with_slow_ones(boxes: np.ndarray) -> None:
    areas = [max(0.0, x1 - x0) * max(0.0, y1 - y0) for x0, y0, x1, y1 in boxes.tolist()]
    ordered = sorted(areas)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2 if ordered else 0
    assert is_speck(boxes).tolist() == [area < SPECK * middle for area in areas]
    assert is_giant(boxes, 100, 80).tolist() == [
        area > GIANT * middle or area > GIANT_SHARE * 8000 for area in areas
    ]
    assert is_giant(boxes, 0, 0).tolist() == [area > GIANT * middle for area in areas]


def test_finds_the_giants_and_specks_of_the_real_labels() -> None:
    folder = SHARED / "gwd"
    if not folder.is_dir():
        pytest.skip("needs the Kaggle photos in ../shared/gwd")
    samples = read_dataset(folder)
    giants = {s.name for s in samples if is_giant(s.boxes, s.width, s.height).any()}
    assert {"42e6efaaa", "2cc75e9f5"} <= giants  # 529,788 and 251,685 px²
    assert giants <= {
        "42e6efaaa",
        "2cc75e9f5",
        "41c0123cc",
        "d60e832a5",
    }  # seen by eye: several heads in one box
    specks = {s.name: int(is_speck(s.boxes).sum()) for s in samples if is_speck(s.boxes).any()}
    assert {"d0912a485", "809d816dd", "bf2027ed3", "f24698e88"} <= specks.keys()  # 2 to 14 px²
    assert sum(specks.values()) == 56
    assert sum(len(s.boxes) - len(clean(s).boxes) for s in samples) == 60


def test_labels_of_a_photo_of_another_size_are_named(tmp_path: Path) -> None:
    good, turned, large = (
        replace(sample(tmp_path, name, HEADS, shade), labelled_size=size)
        for shade, (name, size) in enumerate({"a": (100, 80), "b": (80, 100), "c": (4000, 3000)}.items())
    )
    problems = check([good, turned, large]).problems
    assert [(problem.photo.name, problem.kind) for problem in problems] == [
        ("b.png", "other size"),
        ("c.png", "other size"),
    ]
    assert problems[0].detail == "80 × 100 px by its labels, 100 × 80 px as it is (turned by its EXIF tag?)"
    assert problems[1].detail == "4000 × 3000 px by its labels, 100 × 80 px as it is"


def test_a_giant_is_judged_by_what_is_inside_the_photo(tmp_path: Path) -> None:
    assert found(sample(tmp_path, "a", [*HEADS, [90, 0, 300, 10]])) == [("a.png", 7, "outside the photo")]
