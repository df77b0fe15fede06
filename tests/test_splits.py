"""No field photo on two sides, shares kept, nothing given changed."""

import csv
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import (
    divided_as,
    hold_out,
    read_splits,
    split,
    usual_split,
    write_images_csv,
    write_split,
)
from wheatear.errors import InputError


def tile(name: str, photo: str, session: str = "", side: str = "") -> Sample:
    return Sample(Path(f"{name}.jpg"), np.zeros((0, 4), np.float32), 9, 9, "s", session, photo, side)


@st.composite
def data_sets(draw: st.DrawFn) -> list[Sample]:
    sizes = draw(st.lists(st.integers(1, 5), max_size=20))
    samples = []
    for photo, size in enumerate(sizes):
        session = draw(st.sampled_from(["", "x", "y"]))
        sides = st.sampled_from(["", "", "train", "val", "test"])
        samples += [tile(f"{photo}-{k}", str(photo), session, draw(sides)) for k in range(size)]
    return samples


@settings(max_examples=50, deadline=None)
@given(samples=data_sets(), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_given_sides_stay_and_no_other_photo_is_divided(
    samples: list[Sample], fraction: float, seed: int
) -> None:
    divided = split(samples, fraction, seed)
    assert [sample.name for sample in divided] == [sample.name for sample in samples]
    for before, after in zip(samples, divided, strict=True):
        assert after.split in ("train", "val", "test")
        assert before.split in ("", after.split)
    for _, tiles in itertools.groupby(zip(samples, divided, strict=True), key=lambda pair: pair[1].photo):
        befores, afters = zip(*tiles, strict=True)
        given_sides = {before.split for before in befores} - {""}
        assert {after.split for after in afters} == given_sides or len(given_sides) != 1
        assert given_sides or len({after.split for after in afters}) == 1


@settings(max_examples=50, deadline=None)
@given(samples=data_sets(), seed=st.integers(0, 9), order=st.randoms(use_true_random=False))
def test_the_order_has_no_influence(samples: list[Sample], seed: int, order) -> None:  # type: ignore[no-untyped-def]
    sides = {sample.name: sample.split for sample in split(samples, 0.3, seed)}
    order.shuffle(samples)
    assert {sample.name: sample.split for sample in split(samples, 0.3, seed)} == sides


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), fraction=st.sampled_from([0.1, 0.2, 0.5]))
def test_each_session_and_size_gets_its_share(seed: int, fraction: float) -> None:
    samples = [
        tile(f"{session}{photo}-{k}", f"{session}{photo}", session)
        for session, photos in (("x", 100), ("y", 20))
        for photo in range(photos)
        for k in range(1 + photo % 2)
    ]
    val = [sample for sample in split(samples, fraction, seed) if sample.split == "val"]
    for session, photos in (("x", 100), ("y", 20)):
        chosen = Counter(sample.photo for sample in val if sample.session == session)
        for tiles in (1, 2):
            count = sum(number == tiles for number in chosen.values())
            assert abs(count - fraction * photos / 2) <= 1


def test_another_seed_draws_other_photos() -> None:
    samples = [tile(str(k), str(k)) for k in range(100)]
    draws = [tuple(sample.split for sample in split(samples, 0.13, seed)) for seed in range(20)]
    assert len(set(draws)) == 20
    assert draws[0] == tuple(sample.split for sample in split(samples, 0.13))
    assert all(side.count("val") == 13 for side in draws)


def test_every_photo_is_drawn_equally_often() -> None:
    """Many-tiled photos must not crowd into one side: 10 photos, val 0.2, so each is val in 2 of 10 draws."""
    samples = [tile(f"{photo}-{k}", str(photo)) for photo in range(10) for k in range(1 + photo)]
    draws = 1000
    val = Counter(
        sample.photo
        for seed in range(draws)
        for sample in split(samples, 0.2, seed)
        if sample.name.endswith("-0") and sample.split == "val"
    )
    # Three and a half standard deviations of a binomial with p = 0.2.
    assert all(abs(val[str(photo)] - 0.2 * draws) < 45 for photo in range(10))


def test_small_data_sets_have_photos_on_both_sides() -> None:
    assert split([]) == []
    assert [sample.split for sample in split([tile("a", "0")], 0.9)] == ["train"]
    for fraction in (0.01, 0.99):
        assert {sample.split for sample in split([tile("a", "0"), tile("b", "1")], fraction)} == {
            "train",
            "val",
        }


def test_a_photo_added_to_train_alone_goes_to_val() -> None:
    given = [tile("a", "a", side="train"), tile("b", "b")]
    assert [sample.split for sample in split(given)] == ["train", "val"]
    assert [sample.split for sample in split([*given, tile("c", "c", side="val")])] == [
        "train",
        "train",
        "val",
    ]
    assert [sample.split for sample in split(given[:1])] == ["train"]


def test_a_half_given_photo_is_completed_as_it_was_begun() -> None:
    samples = [
        tile("a", "0", side="val"),
        tile("b", "0"),
        tile("c", "1", side="train"),
        tile("d", "1", side="val"),
    ]
    samples += [tile("e", "1")]
    assert [sample.split for sample in split(samples)] == ["val", "val", "train", "val", "train"]
    # What is trained on already is seen.
    divided = [tile("a", "0", side="test"), tile("b", "0", side="train"), tile("c", "0")]
    assert [sample.split for sample in split(divided)] == ["test", "train", "train"]


def test_photos_are_found_where_they_are_not_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = (
        rng.integers(0, 255, (1024, 8, 3)).repeat(2, axis=1).astype(np.uint8)
    )  # columns 2k and 2k + 1 are equal
    samples = []
    for k, (left, right) in enumerate(((0, 5), (5, 11), (11, 16))):  # the tiles meet within equal columns
        Image.fromarray(picture[:, left:right]).save(tmp_path / f"t{k}.png")
        samples.append(replace(tile(f"t{k}", ""), path=tmp_path / f"t{k}.png"))
    assert {sample.photo for sample in split(samples)} == {"t0"}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_senseless_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="give one between 0 and 1"):
        split([tile("a", "0")], fraction)


def test_what_is_written_is_read_again(field_dir: Path, tmp_path: Path) -> None:
    samples = [replace(s, photo=f"p,{k % 3}", session="ü") for k, s in enumerate(read_dataset(field_dir))]
    divided = split(samples, 0.4)
    (tmp_path / "train").symlink_to(field_dir / "train")
    (tmp_path / "train.csv").symlink_to(field_dir / "train.csv")
    write_images_csv(divided, tmp_path / "images.csv")
    again = read_dataset(tmp_path)
    for one, two in zip(divided, again, strict=True):
        assert (one.name, one.photo, one.split) == (two.name, two.photo, two.split)
        assert (one.source, one.session) == (two.source, two.session)
    assert [sample.split for sample in split(again, 0.9, seed=5)] == [sample.split for sample in divided]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.csv"
    path.write_text("old")

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv, "writer", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_images_csv([tile("a", "0")], path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=50, deadline=None)
@given(samples=data_sets(), sessions=st.sets(st.sampled_from("xy"), min_size=1))
def test_held_out_sessions_are_val_and_no_photo_is_divided(samples: list[Sample], sessions: set[str]) -> None:
    there = {sample.session_or_source for sample in samples}
    if not sessions <= there or sessions == there:
        with pytest.raises(InputError, match="--hold-out"):
            hold_out(samples, sessions)
        return
    divided = hold_out(samples, sessions)
    assert [sample.name for sample in divided] == [sample.name for sample in samples]
    assert [sample.split for sample in divided] == [
        "val" if sample.session in sessions else "train" for sample in samples
    ]


def test_a_photo_with_one_tile_of_a_held_out_session_is_held_out_whole() -> None:
    samples = [tile("a", "0", "x", "train"), tile("b", "0", "", "train"), tile("c", "1", "y", "val")]
    assert [sample.split for sample in hold_out(samples, ["x"])] == ["val", "val", "train"]


def test_a_source_can_be_held_out_where_the_session_is_unknown() -> None:
    samples = [tile("a", "0"), tile("b", "1", "y")]
    assert [sample.split for sample in hold_out(samples, ["s"])] == ["val", "train"]


def test_what_cannot_be_held_out() -> None:
    samples = [tile("a", "0", "y"), tile("b", "1", "x")]
    with pytest.raises(InputError, match=r"^--hold-out z: no such session; there are x, y$"):
        hold_out(samples, ["x", "z"])
    with pytest.raises(InputError, match="no photo is left to train on"):
        hold_out(samples, ["x", "y"])


def test_val_is_the_usual_split_where_any_photo_is_in_one() -> None:
    samples = [tile("a", "0"), tile("b", "1", side="val")]
    assert [usual_split(some) for some in (samples, samples[:1], [])] == ["val", "all", "all"]


def test_a_split_that_is_asked_for_must_be_there(field_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_dataset(field_dir, images=tmp_path / "none.csv")


def test_an_images_csv_keeps_its_other_columns_and_photos(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text("image_id,variety,split\na,Apache,\nnew,Recital,test\n")
    write_split([replace(tile("a", "0"), split="val"), replace(tile("b", "1"), split="train")], path)
    assert path.read_text().splitlines() == [
        "image_id,source,session,photo,split,variety",
        "a,s,,0,val,Apache",
        "b,s,,1,train,",
        "new,,,,test,Recital",
    ]


def test_photos_that_some_tiles_name_are_looked_for_among_the_others(tmp_path: Path) -> None:
    samples = []
    for name, shade in {"a": 10, "b": 90, "c": 170}.items():
        Image.new("RGB", (20, 20), (shade, 0, 0)).save(tmp_path / f"{name}.png")
        samples.append(replace(tile(name, "" if name == "b" else "7"), path=tmp_path / f"{name}.png"))
    assert {sample.name: sample.photo for sample in split(samples, 0.5)} == {"a": "7", "b": "b", "c": "7"}


def test_samples_are_divided_as_an_images_csv_says(tmp_path: Path) -> None:
    samples = [tile("a", "0", side="train"), tile("b", "1", side="train"), tile("c", "2")]
    write_images_csv([tile("b", "1", side="val"), tile("z", "9", side="train")], tmp_path / "images.csv")
    splits = read_splits(tmp_path / "images.csv")
    assert [(s.name, s.split) for s in divided_as(samples, splits)] == [("b", "val")]
    assert divided_as(samples[:1], splits) == samples[:1]  # it names none of them
