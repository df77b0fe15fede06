"""Tiles are cut from made-up photos, mixed, and put together again."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wheatear.data.field_photos import (
    FINE_DETAIL,
    MIN_SCORE,
    Edges,
    find_seams,
    group_tiles,
    with_field_photos,
)
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample

SHARED = Path(__file__).parents[2] / "shared"
LENGTH = 1024  # of the edges that meet; the other edges are kept short, so that the photos are small
STRIP = 12


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A photo (H, W, 3) uint8 whose neighbouring pixels are alike: noise of several scales."""
    picture = np.zeros((height, width))
    for scale in (1, 4, 16, 64):
        coarse = rng.normal(size=(height // scale + 2, width // scale + 2))
        picture += coarse.repeat(scale, 0).repeat(scale, 1)[:height, :width] * scale**0.5
    for axis in (0, 1):
        picture = (picture + np.roll(picture, 1, axis) + np.roll(picture, -1, axis)) / 3
    grey = np.interp(picture, (picture.min(), picture.max()), (0, 255)).astype(np.uint8)
    return np.stack([grey, grey // 2 + 60, 255 - grey], axis=2)


def save(folder: Path, name: str, image: np.ndarray, **known: str) -> Sample:
    path = folder / f"{name}.png"
    Image.fromarray(image).save(path)
    return Sample(path, np.zeros((0, 4), np.float32), image.shape[1], image.shape[0], **known)


def cut(folder: Path, name: str, seed: int, tiles: int = 3) -> list[Sample]:
    """Tiles name0, name1, … of one photo, from left to right."""
    picture = texture(np.random.default_rng(seed), LENGTH, STRIP * tiles)
    return [save(folder, f"{name}{k}", picture[:, k * STRIP : (k + 1) * STRIP]) for k in range(tiles)]


def test_tiles_side_by_side_are_found(tmp_path: Path) -> None:
    a, b = cut(tmp_path, "a", seed=1), cut(tmp_path, "b", seed=2, tiles=2)
    assert group_tiles([b[1], a[2], a[0], b[0], a[1]]) == ["b0", "a0", "a0", "b0", "a0"]


def test_tiles_one_above_the_other_are_found(tmp_path: Path) -> None:
    picture = texture(np.random.default_rng(3), LENGTH, 2 * STRIP).transpose(1, 0, 2)
    tiles = [save(tmp_path, "above", picture[:STRIP]), save(tmp_path, "below", picture[STRIP:])]
    tiles += [save(tmp_path, "c", texture(np.random.default_rng(4), STRIP, LENGTH))]
    assert group_tiles(tiles) == ["above", "above", "c"]


def test_names_of_field_photos_as_given_or_else_by_the_edges(tmp_path: Path) -> None:
    a, b = cut(tmp_path, "a", seed=1), cut(tmp_path, "b", seed=2, tiles=1)
    assert [tile.photo for tile in with_field_photos([a[2], b[0], a[0], a[1]])] == ["a0", "b0", "a0", "a0"]
    given = [replace(tile, photo=photo) for tile, photo in zip(a, "xyy", strict=True)]
    assert with_field_photos(given) == given
    assert with_field_photos([]) == []


def test_no_tiles_and_one_tile(tmp_path: Path) -> None:
    assert group_tiles([]) == []
    assert group_tiles(cut(tmp_path, "a", seed=1, tiles=1)) == ["a0"]


def test_a_gap_between_tiles_keeps_them_apart(tmp_path: Path) -> None:
    tiles = cut(tmp_path, "a", seed=1, tiles=12)
    assert group_tiles([tiles[0], tiles[6]]) == ["a0", "a6"]


def test_sessions_are_never_mixed(tmp_path: Path) -> None:
    first, second, third = cut(tmp_path, "a", seed=1)
    others = [replace(first, session="x"), replace(second, session="y")]
    assert group_tiles(others) == ["a0", "a1"]
    bridge = [replace(first, session="x"), second, replace(third, session="y")]
    groups = group_tiles(bridge)
    assert groups[0] != groups[2]
    assert groups[1] in (groups[0], groups[2])


def test_sources_stand_in_where_no_session_is_known(tmp_path: Path) -> None:
    first, second, third = cut(tmp_path, "a", seed=1)
    mixed = [replace(first, source="x"), replace(second, source="y"), third]
    assert group_tiles(mixed)[0] != group_tiles(mixed)[1]
    same_session = [replace(tile, session="s") for tile in mixed]
    assert group_tiles(same_session) == ["a0"] * 3


def test_a_photo_that_cannot_be_read_is_told_unless_its_field_photo_is_known(tmp_path: Path) -> None:
    first, second, third = cut(tmp_path, "a", seed=1)
    unread: list[Path] = []
    for tile in (first, third):
        tile.path.write_bytes(b"no photo")
    given = [replace(first, photo="x"), replace(second, photo="x"), third]
    assert group_tiles(given, unread) == ["x", "x", "a2"]
    assert unread == [third.path]


def test_a_photo_stored_twice_is_one_photo(tmp_path: Path) -> None:
    (tile,) = cut(tmp_path, "a", seed=1, tiles=1)
    twin = save(tmp_path, "z", np.asarray(Image.open(tile.path)))
    assert group_tiles([twin, tile]) == ["a0", "a0"]


def test_photos_framed_in_one_grey_are_not_one_photo(tmp_path: Path) -> None:
    tiles = []
    for seed in (1, 2):
        picture = np.full((LENGTH, STRIP, 3), 255, np.uint8)
        picture[3:-3, 3:-3] = texture(np.random.default_rng(seed), LENGTH - 6, STRIP - 6)
        tiles.append(save(tmp_path, f"framed{seed}", picture))
    assert group_tiles(tiles) == ["framed1", "framed2"]


def test_an_unreadable_photo_is_alone(tmp_path: Path) -> None:
    tiles = cut(tmp_path, "a", seed=1)
    tiles[2].path.write_bytes(tiles[2].path.read_bytes()[:200])
    assert group_tiles(tiles) == ["a0", "a0", "a2"]


def test_tiles_of_other_sizes_are_not_compared(tmp_path: Path) -> None:
    first, second = cut(tmp_path, "a", seed=1, tiles=2)
    shorter = save(tmp_path, "short", np.asarray(Image.open(second.path))[:-1])
    dot = save(tmp_path, "dot", np.zeros((1, 1, 3), np.uint8))
    assert group_tiles([first, shorter, dot]) == ["a0", "short", "dot"]


def test_short_edges_do_not_meet_by_chance(tmp_path: Path) -> None:
    tiles = [save(tmp_path, f"t{k}", texture(np.random.default_rng(k), 32, 32)) for k in range(30)]
    assert len(set(group_tiles(tiles))) == 30


def test_given_photos_stay_together(tmp_path: Path) -> None:
    a, b = cut(tmp_path, "a", seed=1, tiles=2), cut(tmp_path, "b", seed=2, tiles=2)
    known = [replace(a[0], photo="7"), a[1], replace(b[0], photo="7"), b[1]]
    assert group_tiles(known) == ["7"] * 4
    assert group_tiles([a[0], replace(a[1], photo="field")]) == ["field"] * 2


def test_one_name_in_two_sessions_is_one_photo(tmp_path: Path) -> None:
    """Of whoever names tiles of two sessions alike, none is on both sides of a split."""
    tiles = cut(tmp_path, "a", seed=1, tiles=2) + cut(tmp_path, "b", seed=2, tiles=2)
    known = [replace(tile, photo="north", session=f"s{k % 2}") for k, tile in enumerate(tiles)]
    assert group_tiles(known) == ["north"] * 4


def slow_score(end: np.ndarray, start: np.ndarray) -> float:
    """Mean of the correlations of two edges and of their fine detail, one number at a time."""

    def detail(edge: np.ndarray) -> np.ndarray:
        half, n = FINE_DETAIL // 2, len(edge)
        near = [[edge[min(max(j, 0), n - 1)] for j in range(i - half, i + half + 1)] for i in range(n)]
        return np.array([edge[i] - np.mean(near[i]) for i in range(n)])

    return float((np.corrcoef(end, start)[0, 1] + np.corrcoef(detail(end), detail(start))[0, 1]) / 2)


def test_scores_agree_with_the_slow_way() -> None:
    rng = np.random.default_rng(5)
    noise = [rng.normal(100, 30, LENGTH).astype(np.float32) for _ in range(4)]
    border = rng.normal(100, 30, LENGTH).astype(np.float32)
    near = border + rng.normal(0, 25, LENGTH).astype(np.float32)
    tiles = [Edges(noise[0], border, noise[1], noise[2]), Edges(near, noise[3], noise[1], noise[0])]
    (seam,) = find_seams(tiles)
    assert (seam.first, seam.second) == (0, 1)
    assert seam.score == pytest.approx(slow_score(border, near), abs=1e-4)


def test_a_worse_fit_than_the_limit_is_no_seam() -> None:
    rng = np.random.default_rng(6)
    border, other = rng.normal(100, 30, (2, LENGTH)).astype(np.float32)
    flat = np.zeros(LENGTH, np.float32)
    for share, met in ((MIN_SCORE + 0.1, True), (MIN_SCORE - 0.1, False)):
        mixed = (share * border + (1 - share**2) ** 0.5 * other).astype(np.float32)
        assert (
            bool(find_seams([Edges(flat, border, flat, flat), Edges(mixed, flat, flat, flat), None])) == met
        )


def test_edges_of_one_grey_fit_nothing() -> None:
    """The mean of 1,000 times 123⅓ differs from it by a rounding of float32."""
    grey = np.full(1000, 123 + 1 / 3, np.float32)
    assert find_seams([Edges(grey, grey, grey, grey)] * 2) == []


def test_of_two_tiles_that_fit_one_edge_the_better_has_it() -> None:
    rng = np.random.default_rng(7)
    border = rng.normal(100, 30, LENGTH).astype(np.float32)
    near = border + rng.normal(0, 20, LENGTH).astype(np.float32)
    flat = np.zeros(LENGTH, np.float32)
    worse, better = (Edges(flat, edge, flat, flat) for edge in (near, border))
    start = Edges(border, flat, flat, flat)
    assert [seam[1:] for seam in find_seams([worse, start])] == [(0, 1, False)]
    assert [seam[1:] for seam in find_seams([worse, better, start])] == [(1, 2, False)]


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(6)),
    sessions=st.lists(st.sampled_from(["", "x", "y"]), min_size=6, max_size=6),
)
def test_groups_do_not_depend_on_the_order(
    tiles_of_two: Sequence[Sample], order: list[int], sessions: list[str]
) -> None:
    samples = [replace(tile, session=session) for tile, session in zip(tiles_of_two, sessions, strict=True)]
    groups = group_tiles(samples)
    assert group_tiles([samples[k] for k in order]) == [groups[k] for k in order]
    for (one, first), (two, second) in itertools.combinations(zip(samples, groups, strict=True), 2):
        assert first != second or not one.session or not two.session or one.session == two.session


@pytest.fixture(scope="module")
def tiles_of_two(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("tiles")
    return cut(folder, "a", seed=1) + cut(folder, "b", seed=2)


def pairs(groups: Sequence[str]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in itertools.combinations(range(len(groups)), 2) if groups[i] == groups[j]}


def test_finds_the_photos_of_the_real_tiles() -> None:
    """On a part of them, to be quick; their sessions are hidden from the grouping."""
    folder = SHARED / "gwd"
    if not folder.is_dir():
        pytest.skip("needs the Kaggle photos in ../shared/gwd")
    part = ("Arvalis_4", "Arvalis_6")
    samples = [sample for sample in read_dataset(folder) if sample.session in part]
    truth = pairs([sample.photo for sample in samples])
    found = pairs(group_tiles([replace(sample, photo="", session="", source="") for sample in samples]))
    assert len(found & truth) >= 0.98 * len(truth)
    assert len(found & truth) >= 0.98 * len(found)
    assert all(samples[i].session == samples[j].session for i, j in found)
