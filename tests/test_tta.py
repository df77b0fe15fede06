"""Test-time augmentation: what is found lies where it is in the photo, and counts for as much as views see it."""

from functools import partial
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_tiles import as_set, colour_of, draw, find_colours
from tiny_model import red_cells, write_judged_model, write_tiny_model
from wheatear.cli_options import TTA
from wheatear.count import counting_error_of
from wheatear.detections import Detections
from wheatear.detector import Card, Detector, load
from wheatear.errors import InputError
from wheatear.head_size import NEAR_SCALES, SCALES
from wheatear.interval import CountingError
from wheatear.pixels import InMemory
from wheatear.tiles import detect_in_tiles
from wheatear.tta import FLIPS, ONCE, TURNS, VIEWS, Augmentation, View, run_views

HEADS = [(3, 5, 20, 12), (30, 1, 40, 30), (60, 20, 75, 38)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("model")


def augmented(tta: str, run=find_colours, score_threshold: float = 0.0):
    return partial(run_views, run, VIEWS[tta], score_threshold)


def test_the_views_that_there_are():
    assert [ONCE, *VIEWS] == [each.value for each in TTA]
    assert get_args(Augmentation) == tuple(VIEWS)
    numbers = {"mix": 2, "flips": 4, "turns": 8, "scales": 6}
    assert {name: len(views) for name, views in VIEWS.items()} == numbers
    for views in VIEWS.values():
        assert views[0] == View()  # as it is
        assert len(set(views)) == len(views)


def test_turns_are_the_eight_ways_to_lay_a_square():
    seen = []

    def look(image: np.ndarray) -> Detections:
        seen.append(image[..., 0].tolist())
        return Detections(np.zeros((0, 4)), np.zeros(0))

    square = np.arange(9, dtype=np.uint8).reshape(3, 3)
    run_views(look, TURNS, 0.0, np.repeat(square[..., None], 3, axis=2))
    turned = [np.rot90(each, k).tolist() for each in (square, square[::-1]) for k in range(4)]
    assert sorted(seen) == sorted(turned)


@pytest.mark.parametrize("tta", ["flips", "turns"])
def test_heads_lie_where_they_are_in_the_photo(tta):
    image = draw(HEADS, 40, 90)
    plain, found = find_colours(image), augmented(tta)(image)
    assert as_set(found) == set(HEADS)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5)
    assert (found.height, found.width) == (40, 90)


def find_bright(image: np.ndarray) -> Detections:
    """The extent of what is brighter than half, which resizing hardly moves."""
    rows, columns = np.nonzero(image[..., 2] > 127)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return Detections(np.array([box]), np.ones(1), *image.shape[:2])


@pytest.mark.parametrize("tta", ["mix", "scales"])
@pytest.mark.parametrize("size", [(41, 97), (96, 40)])
def test_resized_views_are_brought_back(tta, size):
    found = augmented(tta, find_bright)(draw([(12, 8, 30, 37)], *size))
    np.testing.assert_allclose(found.boxes, [(12, 8, 30, 37)], atol=0.7)
    assert found.scores == pytest.approx([1])


def mark_in_the_corner(image: np.ndarray) -> Detections:
    """A detector that sees the marked pixel only where it lies in the upper left corner."""
    marked = image[0, 0, 2] == 255
    return Detections(np.array([[0, 0, 10, 10]]), np.array([0.8]), *image.shape[:2])[: int(marked)]


def test_what_few_views_see_is_less_sure():
    image = np.zeros((40, 90, 3), np.uint8)
    image[0, 0] = colour_of(0)
    for tta, seen in {"flips": 1 / 4, "turns": 2 / 8}.items():
        found = augmented(tta, mark_in_the_corner)(image)
        assert found.boxes.tolist() == [[0, 0, 10, 10]]
        assert found.scores == pytest.approx([0.8 * seen])
    assert len(augmented("flips", mark_in_the_corner, 0.2)(image)) == 1
    assert len(augmented("flips", mark_in_the_corner, 0.21)(image)) == 0


def test_no_heads_and_the_smallest_photo():
    for shape in [(1, 1), (1, 50), (30, 2)]:
        found = augmented("scales")(np.zeros((*shape, 3), np.uint8))
        assert found.boxes.shape == (0, 4)
        assert (found.height, found.width) == shape


@settings(deadline=None, max_examples=5)
@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 60)), max_size=6))
def test_in_windows_every_head_is_counted_once(corners):
    heads = [
        (160 * i + x % 60, y, 160 * i + x % 60 + 90, y + 60) for i, (x, y) in enumerate(corners, start=4)
    ]
    image = draw(heads, 130, 2000)
    assert as_set(detect_in_tiles(augmented("flips"), InMemory(image))) == set(heads)


# the detector


@given(
    cells=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    tta=st.sampled_from(list(VIEWS)),
    height=st.integers(5, 12).map(lambda cell: 8 * cell),
    width=st.integers(5, 12).map(lambda cell: 8 * cell),
)
@settings(deadline=None, max_examples=30)
def test_a_detector_finds_the_same_with_and_without(folder, cells, tta, height, width):
    model = write_tiny_model(folder)
    photo = red_cells(sorted(cells), height, width)
    plain, found = load(model, 1).detect(photo), load(model, 1, tta).detect(photo)
    assert len(found) == len(plain) == len(cells)
    order, other = np.lexsort(np.round(plain.boxes).T), np.lexsort(np.round(found.boxes).T)
    np.testing.assert_allclose(found.boxes[other], plain.boxes[order], atol=1)
    assert found.scores == pytest.approx(np.ones(len(cells)))


def test_the_size_of_heads_is_estimated_by_single_runs(folder, monkeypatch):
    runs = []
    detector = load(write_tiny_model(folder), 1, "scales")
    monkeypatch.setattr(
        detector, "run", lambda image, score_threshold: runs.append(score_threshold) or find_colours(image)
    )
    detector.measure_heads(InMemory(draw([], 90, 90)))
    # The photo fits into every window. Heads too unsure to be returned count as evidence.
    assert runs == [detector.card.score_floor] * len((*NEAR_SCALES, *SCALES))


def test_an_unknown_tta_is_refused(folder):
    with pytest.raises(
        ValueError, match="tta must be None or one of once, mix, flips, turns, scales, got 'all'"
    ):
        load(write_tiny_model(folder), tta="all")


def test_a_card_may_say_how_its_detector_sees_a_photo(folder):
    model = write_tiny_model(folder, "usual", usual_tta="flips", tta={"flips": {"score_threshold": 0.3}})
    loaded = {tta: load(model, tta=tta) for tta in (None, "once", "flips", "turns")}
    assert [each.tta for each in loaded.values()] == ["flips", None, "flips", "turns"]
    assert [each.card.score_threshold for each in loaded.values()] == [0.3, 0.4, 0.3, 0.4]
    assert load(write_tiny_model(folder), tta="once").tta is None
    views = {"mix": {"score_threshold": 0.3, "interval_factor": 1.5}, "turns": {"score_threshold": 0.3}}
    model = write_tiny_model(folder, "wide", interval_factor=1.2, tta=views)
    assert [load(model, tta=tta).card.interval_factor for tta in ("once", "mix", "turns")] == [1.2, 1.5, 1.2]
    with pytest.raises(InputError, match=r"odd\.json, usual_tta: .*'flips', 'turns' or 'scales'"):
        load(write_tiny_model(folder, "odd", usual_tta="all"))


def test_thresholds_and_figures_of_the_card():
    flips = {"score_threshold": 0.3, "count_threshold": 0.2, "figures": {"val": {"made": "up"}}}
    turns = {"score_threshold": 0.25}
    card = Card.model_validate(
        {"format": 1, "name": "c", "score_threshold": 0.5, "count_threshold": 0.4, "figures": {"val": {}}}
        | {"tta": {"flips": flips, "turns": turns}}
    )
    cards = [Detector(None, card, tta).card for tta in (None, "flips", "turns", "scales")]
    assert [each.score_threshold for each in cards] == [0.5, 0.3, 0.25, 0.5]
    assert [each.threshold_to_count() for each in cards] == [0.4, 0.2, 0.25, 0.4]
    assert [each.figures for each in cards] == [{"val": {}}, {"val": {"made": "up"}}, {}, {"val": {}}]
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_counts_have_no_error_where_it_was_not_measured_with_these_views(folder):
    model = write_judged_model(folder, rmse=0.5)
    errors = [counting_error_of(load(model, tta=tta), 0.5) for tta in (None, "flips")]
    assert errors == [CountingError(0.5, 4), None]


@pytest.mark.parametrize("tta", ["mix", "scales"])
def test_up_stays_up_where_a_detector_may_know_it(tta):
    assert not any(view.upside_down or view.transposed for view in VIEWS[tta])


def test_mix_shows_no_head_smaller_than_it_is():
    """The heads that are missed on fields new to a detector are the small ones."""
    assert VIEWS["mix"] == (View(), View(mirrored=True, scale=1.2))


def test_a_view_may_be_less_sure_than_the_threshold(folder, monkeypatch):
    """What counts is the mean over the views, here of a head in the middle third of each."""
    detector, scores = load(write_tiny_model(folder), 1, "mix"), iter([0.9, 0.3])

    def run(image: np.ndarray, score_threshold: float) -> Detections:
        side = len(image)
        found = Detections(np.array([[side, side, 2 * side, 2 * side]]) / 3, [next(scores)], side, side)
        return found.above(score_threshold)

    monkeypatch.setattr(detector, "run", run)
    assert detector.detect(np.zeros((30, 30, 3), np.uint8), 0.5).scores == pytest.approx([0.6])


@pytest.mark.parametrize(("length", "number"), [(54, 2), (56, 1)])
def test_boxes_from_two_views_are_of_one_head_above_an_iou_of_055(length, number):
    views = iter([100, length])
    found = run_views(
        lambda image: Detections([[0, 0, next(views), 10]], [0.9]), (View(), View()), 0.0, draw([], 10, 100)
    )
    assert len(found) == number


def test_flips_alone_keep_the_photos_sides():
    assert not any(view.transposed for view in FLIPS)
    assert {view.scale for view in TURNS} == {1.0}
