"""Weighted box fusion against a case worked by hand, an obvious version, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from wheatear.boxes import nms, weighted_box_fusion

Views = tuple[list[np.ndarray], list[np.ndarray]]


@st.composite
def views(draw: st.DrawFn, most: int = 4) -> Views:
    """Boxes and scores of some views of one photo: heads that each view sees a little elsewhere, or not at all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number, heads = draw(st.integers(1, most)), draw(st.integers(0, 12))
    corners = rng.uniform(0, 100, (heads, 2))
    sides = rng.uniform(10, 40, (heads, 2))
    boxes = []
    for _ in range(number):
        seen = rng.random(heads) < 0.8
        jitter = rng.uniform(-4, 4, (heads, 4))
        boxes.append((np.hstack([corners, corners + sides]) + jitter)[seen].astype(np.float32))
    scores = [rng.uniform(0.02, 1, len(view)).astype(np.float32) for view in boxes]
    return boxes, scores


def test_by_hand():
    # Two views. Of the first head they see [0, 0, 10, 10] at 0.9 and [0, 0, 10, 8] at 0.3 (IoU 0.8): fused with weights
    # 3 : 1. The second head is seen once, so that its score is halved.
    boxes = [np.array([[50, 50, 60, 60], [0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 8]], np.float32)]
    scores = [np.array([0.8, 0.9], np.float32), np.array([0.3], np.float32)]
    fused, certainty = weighted_box_fusion(boxes, scores, 0.5)
    np.testing.assert_allclose(fused, [[0, 0, 10, 9.5], [50, 50, 60, 60]])
    np.testing.assert_allclose(certainty, [0.6, 0.4])
    assert fused.dtype == certainty.dtype == np.float32


def test_an_overlap_of_just_the_threshold_is_another_head():
    boxes = [np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 5]], np.float32)]
    scores = [np.ones(1, np.float32)] * 2
    assert len(weighted_box_fusion(boxes, scores, 0.5)[0]) == 2
    assert len(weighted_box_fusion(boxes, scores, 0.49)[0]) == 1


def test_a_box_joins_the_fused_box_that_it_overlaps_most():
    boxes = [np.array([[0, 0, 10, 10], [4, 0, 14, 10]], np.float32), np.array([[3, 0, 13, 10]], np.float32)]
    scores = [np.array([0.9, 0.8], np.float32), np.array([0.8], np.float32)]
    fused, _ = weighted_box_fusion(boxes, scores, 0.5)
    np.testing.assert_allclose(fused, [[3.5, 0, 13.5, 10], [0, 0, 10, 10]])


def test_more_boxes_than_views_are_no_surer_than_their_mean():
    boxes = [np.array([[0, 0, 10, 10]] * 3, np.float32), np.zeros((0, 4), np.float32)]
    scores = [np.array([0.9, 0.6, 0.3], np.float32), np.zeros(0, np.float32)]
    assert weighted_box_fusion(boxes, scores, 0.5)[1] == pytest.approx([0.6])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_without_boxes(number):
    fused, scores = weighted_box_fusion([np.zeros((0, 4), np.float32)] * number, [np.zeros(0)] * number, 0.5)
    assert fused.shape == (0, 4)
    assert scores.shape == (0,)
    assert fused.dtype == scores.dtype == np.float32


def test_boxes_of_no_area_and_of_no_score():
    boxes = [np.array([[3, 3, 3, 3], [5, 5, 9, 9]], np.float32)] * 2
    scores = [np.array([0.5, 0], np.float32)] * 2
    fused, certainty = weighted_box_fusion(boxes, scores, 0.5)
    assert fused.tolist() == [[3, 3, 3, 3], [3, 3, 3, 3], [5, 5, 9, 9]]
    assert certainty.tolist() == [0.25, 0.25, 0]


@settings(deadline=None, max_examples=40)
@given(views(), st.sampled_from([0.3, 0.55, 0.7]))
def test_it_is_the_slow_one(given_views, iou_thresh):
    fused, certainty = weighted_box_fusion(*given_views, iou_thresh)
    expected = oracles.weighted_box_fusion(
        *[[view.tolist() for view in each] for each in given_views], iou_thresh
    )
    np.testing.assert_allclose(fused, np.reshape([box for box, _ in expected], (-1, 4)), atol=1e-3)
    np.testing.assert_allclose(certainty, [score for _, score in expected], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(views(), st.randoms(use_true_random=False))
def test_the_order_of_the_views_does_not_matter(given_views, random):
    turned = list(zip(*given_views, strict=True))
    random.shuffle(turned)
    boxes, scores = zip(*turned, strict=True)
    for one, other in zip(
        weighted_box_fusion(*given_views, 0.5), weighted_box_fusion(boxes, scores, 0.5), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(views(most=1))
def test_one_view_without_doubles_stays_as_it_is(given_views):
    ([boxes], [scores]) = given_views
    kept = nms(boxes, scores, 0.5)
    fused, certainty = weighted_box_fusion([boxes[kept]], [scores[kept]], 0.5)
    np.testing.assert_array_equal(fused, boxes[kept])
    np.testing.assert_array_equal(certainty, scores[kept])


@settings(deadline=None, max_examples=40)
@given(views())
def test_views_that_agree_are_as_one(given_views):
    boxes, scores = given_views[0][0], given_views[1][0]
    kept = nms(boxes, scores, 0.5)
    fused, certainty = weighted_box_fusion([boxes[kept]] * 8, [scores[kept]] * 8, 0.5)
    np.testing.assert_allclose(fused, boxes[kept], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(certainty, scores[kept], rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(views(), st.sampled_from([0.0, 0.55]))
def test_fused_boxes_stay_within_the_hull(given_views, iou_thresh):
    together = np.concatenate(given_views[0])
    fused, certainty = weighted_box_fusion(*given_views, iou_thresh)
    assert len(fused) <= len(together)
    assert (certainty > 0).all()
    assert (np.diff(certainty) <= 0).all()
    if len(together):
        assert (fused >= together.min(axis=0)).all()
        assert (fused <= together.max(axis=0)).all()


def test_of_equal_scores_the_earlier_box_comes_first():
    """Enough boxes, of three scores, for a sort that is not stable to mix them up."""
    lefts = np.arange(60, dtype=np.float32)[:, None] * 10
    view = np.hstack([lefts, lefts * 0, lefts + 8, lefts * 0 + 8])
    scores = np.tile(np.array([0.5, 0.9, 0.7], np.float32), 20)
    fused, _ = weighted_box_fusion([view, view], [scores, scores], 0.5)
    np.testing.assert_array_equal(fused, view[np.argsort(-scores, kind="stable")])
