"""The drawn field: seeded, boxes exact, Kaggle's layout, heads of natural number and size."""

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wheatear.data import synth
from wheatear.data.synth import MIN_VISIBLE, draw_dataset, draw_field, paint_field, visible_boxes
from wheatear.data.synth_heads import Pose, draw_head
from wheatear.errors import InputError

SUN = np.array([0.6, 0.0, 0.8])
COLOURS = (np.array([40.0, 60.0, 30.0]), np.array([220.0, 225.0, 150.0]))


def boxes_by_hand(seen: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """The slow, obvious version: look at each head's pixels alone."""
    boxes = []
    for number, area in enumerate(areas, 1):
        spots = np.argwhere(seen == number)
        if len(spots) and len(spots) >= MIN_VISIBLE * area:
            (top, left), (bottom, right) = spots.min(0) // 2, spots.max(0) // 2 + 1
            boxes.append((left, top, right, bottom))
    return np.array(boxes, np.float32).reshape(-1, 4)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def flat_head(**changes: float) -> tuple[np.ndarray, np.ndarray]:
    """Body mask and grey picture of a head lying flat along x, 200 px long."""
    pose = {"length": 200.0, "width": 60.0, "angle": 0.0, "pitch": 0.0, "roll": 0.0, "curve": 0.0} | changes
    head = draw_head(np.random.default_rng(0), Pose(**pose), COLOURS, SUN)
    return head.body, head.rgb.mean(2)


def extent(body: np.ndarray) -> tuple[int, int]:
    """Width and height of what a mask holds."""
    return int(np.ptp(np.flatnonzero(body.any(0)))) + 1, int(np.ptp(np.flatnonzero(body.any(1)))) + 1


def test_same_seed_same_photo() -> None:
    first, again, other = (draw_field(np.random.default_rng(s), 128) for s in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(64, 256))
def test_boxes_lie_in_the_photo_and_bound_what_is_seen(seed: int, size: int) -> None:
    image, seen, areas = paint_field(np.random.default_rng(seed), size)
    boxes = visible_boxes(seen, areas)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert boxes.dtype == np.float32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    np.testing.assert_array_equal(boxes, boxes_by_hand(seen, areas))


def test_boxes_worked_by_hand() -> None:
    seen = np.zeros((20, 20), np.uint8)
    seen[3:8, 4:12] = 1  # canvas columns 4-11, rows 3-7: photo columns 2-5, rows 1-3
    seen[10:12, 19] = 2  # 2 of 8 pixels, just enough
    seen[15, 15] = 3  # 1 of 5 pixels, too few; head 4 is not seen at all
    boxes = visible_boxes(seen, np.array([40, 8, 5, 30]))
    np.testing.assert_array_equal(boxes, [[2, 1, 6, 4], [9, 5, 10, 6]])


def test_photo_without_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "EMPTY_SHARE", 1.0)
    image, boxes = draw_field(np.random.default_rng(0), 128)
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert image.std() > 5  # leaves and soil all the same


def test_labelled_heads_are_brighter_than_the_crop_between() -> None:
    image, seen, _ = paint_field(np.random.default_rng(2), 256)
    heads = seen.reshape(256, 2, 256, 2).all((1, 3))
    assert image[heads].mean() > 1.3 * image[~heads].mean()


def test_flat_head_has_its_length_and_width() -> None:
    along, across = extent(flat_head()[0])
    assert 190 < along < 240  # the last florets stand out past the rachis
    assert 45 < across < 80


def test_head_turned_by_a_quarter_swaps_its_sides() -> None:
    upright = extent(flat_head(angle=np.pi / 2)[0])
    assert upright == pytest.approx(extent(flat_head()[0])[::-1], abs=2)


def test_raised_head_looks_shorter() -> None:
    assert extent(flat_head(pitch=1.0)[0])[0] < 0.75 * extent(flat_head()[0])[0]


def test_head_is_lit_from_the_sun_side() -> None:
    body, grey = flat_head(angle=np.pi / 2)  # the sun stands to the right
    middle = body.shape[1] // 2
    assert grey[:, middle:][body[:, middle:]].mean() > 1.1 * grey[:, :middle][body[:, :middle]].mean()


@pytest.mark.parametrize("seed", [1, 2])
def test_heads_of_natural_number_and_size(seed: int) -> None:
    boxes = np.concatenate([draw_field(np.random.default_rng([seed, k]), 256)[1] for k in range(16)]) * 4
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert 25 < len(boxes) / 16 < 60
    assert 60 < np.median(side) < 90  # GWHD: 74 px at 1024 px
    assert np.percentile(side, 90) < 150


def test_dataset_reads_back_as_drawn(tmp_path: Path) -> None:
    draw_dataset(tmp_path, 3, size=128, seed=7)
    rows = rows_of(tmp_path / "train.csv")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["train", "train.csv"]
    for k in range(3):
        name = f"field_{k:05d}"
        drawn, boxes = draw_field(np.random.default_rng([7, k]), 128)
        xywh = np.array([json.loads(r["bbox"]) for r in rows if r["image_id"] == name]).reshape(-1, 4)
        np.testing.assert_array_equal(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), boxes)
        with Image.open(tmp_path / "train" / f"{name}.jpg") as photo:
            assert (
                np.abs(np.asarray(photo, float) - drawn).mean() < 12
            )  # JPEG keeps the picture, not each pixel
    assert {(r["width"], r["height"], r["source"]) for r in rows} == {("128", "128", "drawn")}


def test_larger_dataset_begins_with_the_smaller(tmp_path: Path) -> None:
    draw_dataset(tmp_path, 1, size=64, seed=3)
    before = rows_of(tmp_path / "train.csv")
    draw_dataset(tmp_path, 2, size=64, seed=3)
    assert rows_of(tmp_path / "train.csv")[: len(before)] == before


def test_dataset_of_no_photos(tmp_path: Path) -> None:
    draw_dataset(tmp_path, 0)
    assert rows_of(tmp_path / "train.csv") == []
    assert list((tmp_path / "train").iterdir()) == []


def test_broken_off_drawing_leaves_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheatear.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk gone")))
    with pytest.raises(OSError, match="disk gone"):
        draw_dataset(tmp_path, 1, size=64)
    assert not (tmp_path / "train.csv").exists()


def test_a_full_disk_leaves_no_photo_with_the_labels_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_dataset(tmp_path, 2, size=64, seed=1)
    with pytest.raises(InputError, match="63 px is too small"):
        draw_dataset(tmp_path, 2, size=63)
    assert (tmp_path / "train.csv").exists()  # nothing was drawn
    save = Image.Image.save

    def save_first(image: Image.Image, file: Path, **options: int) -> None:
        if file.stem != "field_00000":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, file, **options)

    with monkeypatch.context() as full:
        full.setattr(Image.Image, "save", save_first)
        with pytest.raises(OSError, match=r"No space left on device: .*field_00001\.jpg"):
            draw_dataset(tmp_path, 2, size=64, seed=2)
    assert not (tmp_path / "train.csv").exists()
    draw_dataset(tmp_path, 2, size=64, seed=2)
    assert rows_of(tmp_path / "train.csv")


def test_strangers_among_the_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"mine\.jpg.*empty folder"):
        draw_dataset(tmp_path, 1, size=64)
    assert not (tmp_path / "train.csv").exists()


def test_labels_of_ones_own_are_not_drawn_over(tmp_path: Path) -> None:
    draw_dataset(tmp_path, 1, size=64)
    draw_dataset(tmp_path, 2, size=64)
    own = 'image_id,bbox\nmine,"[1, 2, 30, 40]"\n'
    (tmp_path / "train.csv").write_text(own)
    with pytest.raises(InputError, match=r"train\.csv: is there already.*empty folder"):
        draw_dataset(tmp_path, 2, size=64)
    assert (tmp_path / "train.csv").read_text() == own


def test_unusable_sizes_and_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="63 px is too small"):
        draw_field(np.random.default_rng(0), 63)
    with pytest.raises(InputError, match="-1 photos"):
        draw_dataset(tmp_path, -1)


def test_shared_field_has_one_photo_without_heads(field_dir: Path, field_photo: Path) -> None:
    photos = {f.stem for f in (field_dir / "train").iterdir()}
    labelled = {r["image_id"] for r in rows_of(field_dir / "train.csv")}
    assert len(photos) == 8
    assert len(photos - labelled) == 1
    assert field_photo.stem in labelled
