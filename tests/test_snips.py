"""Snips: where they are cut, which are kept, and which are held out."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wheatear.data.field_photos import with_field_photos
from wheatear.data.sample import Sample
from wheatear.data.synth import draw_field
from wheatear.train.recipe import CNNStage
from wheatear.train.snips import (
    Snip,
    all_snips,
    background_corners,
    choose,
    cut,
    head_corners,
    hold_out,
    hold_out_photos,
    near_corners,
    with_hard_negatives,
)

SIZE = 32
RUN = {"batch_size": 8, "epochs": 1, "optimizer": "adam", "lr": [[0, 1e-3]]}
STAGE = CNNStage(stage="cnn", snip_size=SIZE, max_per_class=100, val_fraction=0.3, **RUN)
NONE = np.zeros((0, 4), np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def boxes(*corners: list[float]) -> np.ndarray:
    return np.array(corners, np.float32)


def photo(name: str, group: str = "", side: int = 64, heads: np.ndarray = NONE) -> Sample:
    return Sample(Path(f"{name}.png"), heads, side, side, photo=group)


# where they are cut


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ([40, 50, 60, 70], [34, 44]),  # centre (50, 60), less half of 32
        ([0, 0, 32, 32], [0, 0]),  # just inside the upper left corner
        ([68, 48, 100, 80], [68, 48]),  # just inside the lower right one
        ([0, 20, 31, 40], [0, 14]),  # the centre lies between two pixels: -0.5 is rounded to 0
        ([-2, 20, 30, 40], None),  # out on the left
        ([20, -2, 40, 30], None),  # above
        ([70, 20, 102, 40], None),  # on the right
        ([20, 50, 40, 82], None),  # below
    ],
)
def test_snips_are_centred_on_heads_and_dropped_where_they_leave_the_photo(box, corner):
    expected = [] if corner is None else [corner]
    assert head_corners(boxes(box), 100, 80, SIZE).tolist() == expected


def test_snips_of_no_heads():
    assert head_corners(NONE, 100, 80, SIZE).shape == (0, 2)


def test_one_head_may_have_a_snip_and_the_next_none():
    assert head_corners(boxes([0, 0, 8, 8], [40, 40, 48, 48]), 100, 80, SIZE).tolist() == [[28, 28]]


def test_the_grid_covers_the_photo_without_its_rest():
    found = background_corners(NONE, 100, 70, SIZE).tolist()
    assert found == [[0, 0], [32, 0], [64, 0], [0, 32], [32, 32], [64, 32]]
    assert background_corners(NONE, 32, 32, SIZE).tolist() == [[0, 0]]
    assert background_corners(NONE, 31, 100, SIZE).tolist() == []


@pytest.mark.parametrize(
    ("box", "empty"),
    [
        ([31.5, 10, 33, 20], [[0, 32], [32, 32]]),  # over the line between the two upper windows
        ([32, 10, 40, 32], [[0, 0], [0, 32], [32, 32]]),  # up to the line but not over it
        ([10, 10, 50, 50], []),
        ([64, 0, 100, 64], [[0, 0], [32, 0], [0, 32], [32, 32]]),  # beyond the grid
    ],
)
def test_windows_that_touch_a_head_are_no_background(box, empty):
    assert background_corners(boxes(box), 70, 70, SIZE).tolist() == empty


edges = st.integers(0, 400).map(lambda quarter: quarter / 4)
spans = st.tuples(edges, edges).map(sorted).filter(lambda span: span[0] < span[1])
some_boxes = st.lists(
    st.tuples(spans, spans).map(lambda xy: [xy[0][0], xy[1][0], xy[0][1], xy[1][1]]), max_size=5
)


@given(heads=some_boxes, width=st.integers(1, 100), height=st.integers(1, 100), size=st.integers(1, 40))
def test_background_windows_are_those_of_the_slow_search(heads, width, height, size):
    expected = []
    for top in range(0, height, size):
        for left in range(0, width, size):
            inside = left + size <= width and top + size <= height
            touched = any(
                min(x2, left + size) > max(x1, left) and min(y2, top + size) > max(y1, top)
                for x1, y1, x2, y2 in heads
            )
            if inside and not touched:
                expected.append([left, top])
    corners = background_corners(np.array(heads, np.float32).reshape(-1, 4), width, height, size)
    assert corners.tolist() == expected


@given(heads=some_boxes, width=st.integers(1, 100), height=st.integers(1, 100), size=st.integers(1, 40))
def test_head_snips_are_those_of_the_slow_search(heads, width, height, size):
    corners = [(round((x1 + x2 - size) / 2), round((y1 + y2 - size) / 2)) for x1, y1, x2, y2 in heads]
    expected = [[x, y] for x, y in corners if 0 <= x <= width - size and 0 <= y <= height - size]
    found = head_corners(np.array(heads, np.float32).reshape(-1, 4), width, height, size)
    assert found.tolist() == expected


def test_windows_are_in_pixels_of_the_scaled_photo():
    samples = [photo("none"), photo("one", heads=boxes([20, 20, 44, 44]))]
    found = all_snips(samples, image_size=2048, size=64)  # twice as large: the head is at 40 to 88
    assert found[:4] == [Snip(0, x, y, 0) for y in (0, 64) for x in (0, 64)]
    assert found[4:] == [Snip(1, 32, 32, 1)]


# which are kept


def many(heads: int, backgrounds: int) -> list[Snip]:
    labels = [1] * heads + [0] * backgrounds
    return [Snip(i % 7, i, i // 2, label) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("heads", "backgrounds", "cap", "each"),
    [(9, 5, 100, 5), (5, 9, 100, 5), (9, 8, 3, 3), (0, 9, 100, 0), (7, 7, 7, 7)],
)
def test_classes_are_balanced_and_capped(heads, backgrounds, cap, each):
    found = many(heads, backgrounds)
    kept = choose(found, cap, rng())
    assert Counter(w.label for w in kept) == Counter({0: each, 1: each}) - Counter()
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(found)


def test_snips_are_kept_at_random_and_the_seed_says_which():
    found = many(20, 20)
    assert choose(found, 5, rng(0)) == choose(found, 5, rng(0))
    draws = [choose(found, 5, rng(seed)) for seed in range(60)]
    assert set().union(*draws) == set(found)  # none is always left out
    assert len({tuple(draw) for draw in draws}) == 60


def test_snips_are_kept_photo_by_photo():
    kept = choose(many(20, 20), 15, rng())
    assert [w.photo for w in kept] == sorted(w.photo for w in kept)


# which are held out


def groups_of(sizes: list[int]) -> list[Sample]:
    return [photo(f"{group}-{i}", str(group)) for group, size in enumerate(sizes) for i in range(size)]


@given(sizes=st.lists(st.integers(1, 6), max_size=12), fraction=st.floats(0, 1), seed=st.integers(0, 99))
def test_no_field_photo_is_on_both_sides(sizes, fraction, seed):
    samples = groups_of(sizes)
    held = hold_out_photos(samples, fraction, rng(seed))
    assert held.shape == (len(samples),)
    sides = {
        group: {bool(h) for s, h in zip(samples, held, strict=True) if s.photo == group}
        for group in "0123456789"
    }
    assert all(len(side) <= 1 for side in sides.values())
    if samples and fraction > 0:  # enough, and not a field photo more than needed
        assert held.sum() >= fraction * len(samples)
        assert held.sum() - max(sizes) < fraction * len(samples)


def test_photos_of_no_known_field_photo_are_held_out_one_by_one():
    samples = with_field_photos([photo(str(i)) for i in range(10)])
    assert hold_out_photos(samples, 0.2, rng()).sum() == 2
    assert len({hold_out_photos(samples, 0.2, rng(seed)).tobytes() for seed in range(20)}) > 5


def test_tiles_of_no_known_field_photo_are_told_by_their_edges(tmp_path):
    """As of a data set whose own layout divides it."""
    for number in range(3):
        image = draw_field(rng(number), 1024)[0]
        for side, tile in (("left", image[:, :512]), ("right", image[:, 512:])):
            Image.fromarray(tile).save(tmp_path / f"{number} {side}.png")
    samples = [Sample(file, NONE, 512, 1024, split="train") for file in sorted(tmp_path.iterdir())]
    held = hold_out_photos(with_field_photos(samples), 0.3, rng())
    assert held[::2].tolist() == held[1::2].tolist()
    assert held.sum() == 2


def test_snips_are_held_out_by_photo():
    samples = groups_of([2] * 5)
    kept = [Snip(i % 10, i, 0, 0) for i in range(50)]
    held = hold_out(kept, samples, STAGE, rng())
    sides = {(samples[w.photo].photo, bool(val)) for w, val in zip(kept, held, strict=True)}
    assert len(sides) == 5
    assert held.sum() == 20  # 2 of 5 field photos are the first that reach 0.3


def test_snips_are_held_out_one_by_one_as_in_the_notes():
    samples = groups_of([2] * 5)
    kept = [Snip(i % 10, i, 0, 0) for i in range(50)]
    held = hold_out(kept, samples, STAGE.model_copy(update={"val_by": "snip"}), rng())
    assert held.sum() == 15
    assert len({(w.photo, bool(val)) for w, val in zip(kept, held, strict=True)}) > 10


def test_snips_for_which_the_disk_has_no_room(tmp_path, monkeypatch):
    bytes_of_one = 3 * SIZE**2
    free = shutil.disk_usage(tmp_path)._replace(free=2 * bytes_of_one - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(OSError, match="No space") as raised:
        cut([Snip(0, 0, 0, 0), Snip(0, 8, 8, 1)], [photo("one")], 64, SIZE, tmp_path / "snips.npy")
    assert raised.value.filename == str(tmp_path / "snips.npy")
    assert not any(tmp_path.iterdir())


# hard negatives


def slow_near(heads: np.ndarray, side: int, size: int) -> set[tuple[int, int]]:
    """By counting pixels."""
    shown = np.zeros((side, side), bool)
    for x1, y1, x2, y2 in heads.astype(int):
        shown[y1:y2, x1:x2] = True
    quarter, found = size // 4, set()
    for y in range(0, side - size + 1, size // 2):
        for x in range(0, side - size + 1, size // 2):
            window = shown[y : y + size, x : x + size]
            if window.any() and not window[quarter:-quarter, quarter:-quarter].any():
                found.add((x, y))
    return found


@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 30), st.integers(1, 30)), max_size=6
    )
)
def test_hard_negatives_have_heads_near_their_border_alone(heads):
    corners = np.array([[x, y, min(x + w, 96), min(y + h, 96)] for x, y, w, h in heads], np.float32)
    found = near_corners(corners.reshape(-1, 4), 96, 96, SIZE)
    assert {tuple(corner) for corner in found.tolist()} == slow_near(corners.reshape(-1, 4), 96, SIZE)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_backgrounds_to_train_on_is_hard(share):
    """Each photo has a head, and three windows beside it; the last field photo is for validation."""
    samples = [photo(str(i), str(i // 2), 128, boxes([2, 60, 6, 66])) for i in range(10)]
    kept = [Snip(i % 10, i, 200, label) for i in range(25) for label in (0, 1)]
    held = np.array([w.photo >= 8 for w in kept])
    stage = STAGE.model_copy(update={"hard_negatives": share})
    mixed, still_held = with_hard_negatives(kept, held, samples, stage, 1024, rng())
    hard = [w for w in mixed if w.y != 200]
    easy = sum(w.label == 0 and not is_held for w, is_held in zip(kept, held.tolist(), strict=True))
    assert len(hard) == round(share * easy)
    assert {w.label for w in hard} <= {0}
    assert {w.photo for w in hard} <= set(range(8))  # no field photo is on both sides
    assert Counter(w.label for w in mixed) == Counter(w.label for w in kept)
    assert [w.photo for w in mixed] == sorted(w.photo for w in mixed)
    before = {w for w, is_held in zip(kept, held.tolist(), strict=True) if is_held}
    assert {w for w, is_held in zip(mixed, still_held.tolist(), strict=True) if is_held} == before


def test_there_may_be_fewer_hard_negatives_than_asked_for():
    samples = [photo("a"), photo("b", heads=boxes([0, 0, 4, 4]))]
    kept = [Snip(0, i, 200, 0) for i in range(9)]
    stage = STAGE.model_copy(update={"hard_negatives": 1.0})
    mixed, _ = with_hard_negatives(kept, np.zeros(9, bool), samples, stage, 1024, rng())
    assert sum(w.photo == 1 for w in mixed) == len(near_corners(samples[1].boxes, 64, 64, SIZE)) == 1
    assert len(mixed) == 9
