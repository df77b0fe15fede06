"""Anchors fitted to boxes: against the obvious version, by hand, and where there is little to fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheatear.boxes import iou
from wheatear.data.anchor_fit import best_iou, box_sides, fit_anchors, sides_iou
from wheatear.data.sample import Sample

lengths = st.integers(1, 60)
some_sides = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=25).map(lambda s: np.array(s, float))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def centred(sides: np.ndarray) -> np.ndarray:
    return np.concatenate([-sides, sides], 1) / 2


@settings(deadline=None, max_examples=50)
@given(some_sides, some_sides)
def test_the_iou_of_sides_is_that_of_boxes_with_a_common_middle(sides, anchors):
    np.testing.assert_allclose(sides_iou(sides, anchors), iou(centred(sides), centred(anchors)), rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(some_sides, st.integers(1, 5))
def test_as_many_anchors_as_asked_for_where_boxes_differ_the_smallest_first(sides, k):
    anchors = fit_anchors(sides, k, rng())
    assert len(anchors) == min(k, len({tuple(side) for side in sides}))
    assert (np.diff(anchors.prod(1)) >= 0).all()


def test_every_anchor_is_the_mean_of_the_boxes_nearest_to_it():
    sides = rng().uniform(10, 100, (300, 2))
    anchors = fit_anchors(sides, 6, rng())
    nearest = sides_iou(sides, anchors).argmax(1)
    np.testing.assert_allclose(anchors, [sides[nearest == i].mean(0) for i in range(6)])


def test_worked_by_hand():
    """Two flat boxes and two tall ones: one anchor each, their means."""
    sides = np.array([[40, 10], [44, 10], [10, 60], [10, 70]])
    anchors = fit_anchors(sides, 2, rng())
    assert anchors.tolist() == [[42, 10], [10, 65]]
    np.testing.assert_allclose(best_iou(sides, anchors), [40 / 42, 42 / 44, 60 / 65, 65 / 70])


def test_clusters_far_apart_are_found():
    middles = np.array([[20, 20], [40, 80], [160, 160], [300, 100]])
    sides = np.repeat(middles, 50, 0) + rng().uniform(-1, 1, (200, 2))
    np.testing.assert_allclose(fit_anchors(sides, 4, rng()), middles[middles.prod(1).argsort()], atol=0.5)


def test_fewer_different_boxes_than_anchors_are_the_anchors():
    assert fit_anchors(np.array([[9, 9], [3, 4], [9, 9]]), 5, rng()).tolist() == [[3, 4], [9, 9]]


def test_no_boxes_give_no_anchors():
    none = np.zeros((0, 2))
    assert fit_anchors(none, 9, rng()).shape == (0, 2)
    assert best_iou(none, np.ones((3, 2))).shape == (0,)
    assert best_iou(np.ones((2, 2)), none).tolist() == [0, 0]


def test_the_same_generator_fits_the_same_anchors():
    sides = rng().uniform(10, 100, (300, 2))
    assert (fit_anchors(sides, 6, rng()) == fit_anchors(sides, 6, rng())).all()


@pytest.mark.parametrize(("split", "number"), [("train", 2), ("", 2), ("val", 0), ("test", 0)])
def test_boxes_are_those_that_a_training_would_see(split, number):
    boxes = np.array([[0, 0, 20, 10], [0, 0, 30, 30], [5, 5, 5, 5]], np.float32)
    sides = box_sides([Sample(Path("a.jpg"), boxes, 100, 100, split=split)])
    assert sides.tolist() == [[20, 10], [30, 30]][:number]
    assert box_sides([]).shape == (0, 2)
