"""Snips: where they are cut, which are kept, which are held out, and the folder they are kept in."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny_run import divided
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.train.recipe import CNNStage
from wheatear.train.snips import (
    SnipDataset,
    Window,
    background_corners,
    choose,
    head_corners,
    hold_out,
    hold_out_photos,
    windows,
    write_snips,
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


@pytest.fixture(scope="module")
def samples(field_dir: Path) -> list[Sample]:
    return [sample for sample in divided(field_dir) if sample.split == "train"]


@pytest.fixture(scope="module")
def folder(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished snip set. For reading only."""
    folder = tmp_path_factory.mktemp("snips") / "made"
    write_snips(samples, folder, STAGE, 1024, seed=1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    found = windows(samples, image_size=2048, size=64)  # twice as large: the head is at 40 to 88
    assert found[:4] == [Window(0, x, y, 0) for y in (0, 64) for x in (0, 64)]
    assert found[4:] == [Window(1, 32, 32, 1)]


# which are kept


def many(heads: int, backgrounds: int) -> list[Window]:
    labels = [1] * heads + [0] * backgrounds
    return [Window(i % 7, i, i // 2, label) for i, label in enumerate(labels)]


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
    samples = [photo(str(i)) for i in range(10)]
    assert hold_out_photos(samples, 0.2, rng()).sum() == 2
    assert len({hold_out_photos(samples, 0.2, rng(seed)).tobytes() for seed in range(20)}) > 5


def test_snips_are_held_out_by_photo():
    samples = groups_of([2] * 5)
    kept = [Window(i % 10, i, 0, 0) for i in range(50)]
    held = hold_out(kept, samples, STAGE, rng())
    sides = {(samples[w.photo].photo, bool(val)) for w, val in zip(kept, held, strict=True)}
    assert len(sides) == 5
    assert held.sum() == 20  # 2 of 5 field photos are the first that reach 0.3


def test_snips_are_held_out_one_by_one_as_in_the_notes():
    samples = groups_of([2] * 5)
    kept = [Window(i % 10, i, 0, 0) for i in range(50)]
    held = hold_out(kept, samples, STAGE.model_copy(update={"val_by": "snip"}), rng())
    assert held.sum() == 15
    assert len({(w.photo, bool(val)) for w, val in zip(kept, held, strict=True)}) > 10


# the folder


def test_the_files_agree_with_each_other_and_with_the_counts(samples, folder):
    snips, labels, val, photos = (
        np.load(folder / f"{name}.npy") for name in ("snips", "labels", "val", "photos")
    )
    counts = json.loads((folder / "snips.json").read_text())
    every = windows(samples, 1024, SIZE)
    assert counts["heads"] == sum(w.label for w in every)
    assert counts["backgrounds"] == sum(not w.label for w in every)
    assert counts["kept"] == len(snips) == len(labels) == len(val) == len(photos) == 200
    assert counts["val"] == val.sum()
    assert snips.shape == (200, SIZE, SIZE, 3)
    assert (labels == 1).sum() == (labels == 0).sum() == STAGE.max_per_class
    assert (folder / "photos.txt").read_text().split() == [sample.name for sample in samples]
    assert 0 < val.sum() < 200
    assert not {samples[i].photo for i in photos[val]} & {samples[i].photo for i in photos[~val]}


def test_every_snip_is_a_piece_of_its_photo(samples, folder):
    snips, labels, photos = (np.load(folder / f"{name}.npy") for name in ("snips", "labels", "photos"))
    images = [open_photo(sample.path) for sample in samples]
    pieces = {
        (w.photo, w.label, images[w.photo][w.y : w.y + SIZE, w.x : w.x + SIZE].tobytes())
        for w in windows(samples, 1024, SIZE)
    }
    cut = [
        (p, lab, snip.tobytes()) for p, lab, snip in zip(photos.tolist(), labels.tolist(), snips, strict=True)
    ]
    assert set(cut) <= pieces
    assert len(set(cut)) == len(cut)


def test_a_photo_without_heads_gives_background_alone(samples, folder):
    (empty,) = (i for i, sample in enumerate(samples) if not len(sample.boxes))
    labels, photos = np.load(folder / "labels.npy"), np.load(folder / "photos.npy")
    assert (photos == empty).any()
    assert (labels[photos == empty] == 0).all()


def test_the_same_seed_gives_the_same_files(samples, folder, tmp_path):
    write_snips(samples, tmp_path / "again", STAGE, 1024, seed=1)
    write_snips(samples, tmp_path / "other", STAGE, 1024, seed=2)
    assert contents(tmp_path / "again") == contents(folder)
    assert contents(tmp_path / "other")["snips.npy"] != contents(folder)["snips.npy"]


def test_a_finished_folder_is_used_as_it_is(samples, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    gone = [replace(sample, path=Path("gone.jpg")) for sample in samples]
    counts = write_snips(gone, copy, STAGE, 1024, seed=7)
    assert counts == json.loads((folder / "snips.json").read_text())
    assert contents(copy) == contents(folder)


def test_an_unfinished_folder_is_made_anew(samples, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "snips.json").unlink()
    (copy / "snips.npy").write_bytes(b"cut sho")
    (copy / "val.npy").unlink()
    write_snips(samples, copy, STAGE, 1024, seed=1)
    assert contents(copy) == contents(folder)


@pytest.mark.parametrize(
    "heads",
    [NONE, boxes([0, 0, 64, 64]), boxes([16, 16, 48, 48])],
    ids=["no heads", "all one head", "no background"],
)
def test_too_few_snips_are_an_error(tmp_path, heads):
    samples = [photo(str(i), heads=heads) for i in range(4)]
    with pytest.raises(
        InputError, match=r"^4 photos give 0 snips of 32 px a class, too few .*; add photos"
    ) as caught:
        write_snips(samples, tmp_path / "snips", STAGE, 256, seed=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "snips" / "snips.json").exists()


def test_one_field_photo_cannot_be_on_both_sides(samples, tmp_path):
    one = [replace(sample, photo="one") for sample in samples]
    with pytest.raises(InputError, match="too few for training and validation"):
        write_snips(one, tmp_path / "snips", STAGE, 1024, seed=0)


# the dataset


def test_the_dataset_is_one_side_and_stays_on_disk(folder):
    train, val = SnipDataset(folder, val=False), SnipDataset(folder, val=True)
    for data in (train, val):
        assert isinstance(data.snips, np.memmap)
        assert not data.snips.flags.writeable
    held = np.load(folder / "val.npy")
    assert (len(train), len(val)) == ((~held).sum(), held.sum())
    snips, labels = np.load(folder / "snips.npy"), np.load(folder / "labels.npy")
    for data, side in ((train, ~held), (val, held)):
        read = [data[i] for i in range(len(data))]
        assert [label for _, label in read] == labels[side].tolist()
        assert np.array_equal(
            torch.stack([snip for snip, _ in read]).permute(0, 2, 3, 1).numpy(), snips[side]
        )


def test_a_snip_is_bytes_channels_first(folder):
    snip, label = SnipDataset(folder, val=True)[0]
    assert snip.shape == (3, SIZE, SIZE)
    assert snip.dtype == torch.uint8
    assert isinstance(label, int)
    snip.zero_()  # a copy: the file is as it was
    assert SnipDataset(folder, val=True)[0][0].any()
