"""Geometry of boxes against cases worked by hand and slow, obvious versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import wheatear.boxes
from wheatear.boxes import area, clip, iou, nms

EMPTY = np.zeros((0, 4), np.float32)


def boxes_of(corners: np.ndarray) -> np.ndarray:
    """Upright boxes of whole pixels from (N, 4) numbers: xmin, ymin, width, height."""
    return np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]]).astype(np.float32)


whole_boxes = hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 9)).map(
    boxes_of
)


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    """By counting pixels."""
    pixels = [
        {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}
        for box in (a, b)
    ]
    union = len(pixels[0] | pixels[1])
    return len(pixels[0] & pixels[1]) / union if union else 0.0


def slow_nms(boxes: np.ndarray, scores: np.ndarray, iou_thresh: float, sources: np.ndarray) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        others = [j for j in kept if sources[j] != sources[i]]
        if all(np.float32(slow_iou(boxes[i], boxes[j])) <= np.float32(iou_thresh) for j in others):
            kept.append(i)
    return kept


def test_area_by_hand():
    boxes = np.array([[0, 0, 2, 3], [1.5, 1, 2, 2], [5, 5, 5, 9], [4, 4, 1, 1]], np.float32)
    assert area(boxes).tolist() == [6, 0.5, 0, 0]


def test_iou_by_hand():
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 5]], np.float32)
    assert iou(a, b)[0] == pytest.approx([1, 1 / 3, 0, 0.5])


def test_boxes_of_no_area_overlap_nothing():
    point = np.array([[3, 3, 3, 3]], np.float32)
    assert iou(point, point).tolist() == [[0]]


def test_shapes_and_types_without_boxes():
    one = np.ones((1, 4), np.float32)
    assert iou(EMPTY, one).shape == (0, 1)
    assert iou(one, EMPTY).shape == (1, 0)
    assert area(EMPTY).shape == (0,)
    assert clip(EMPTY, 5, 5).shape == (0, 4)
    kept = nms(EMPTY, np.zeros(0, np.float32), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64
    assert iou(one, one).dtype == area(one).dtype == clip(one, 5, 5).dtype == np.float32


def test_clip_by_hand():
    boxes = np.array([[-5, -5, 5, 5], [8, 2, 30, 40], [50, 50, 60, 60]], np.float32)
    assert clip(boxes, height=20, width=10).tolist() == [[0, 0, 5, 5], [8, 2, 10, 20], [10, 20, 10, 20]]


def test_nms_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 9]], np.float32)
    scores = np.array([0.8, 0.9, 0.1, 0.7], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [1, 0, 2]  # 0 overlaps 1 by exactly 0.5 and stays
    assert nms(boxes, scores, 0.49).tolist() == [1, 2]


def test_of_equal_scores_the_earlier_box_wins():
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    assert nms(boxes, np.array([0.5, 0.5, 0.5], np.float32), 0.5).tolist() == [0]


@settings(deadline=None)
@given(whole_boxes, whole_boxes)
def test_iou_counts_pixels(a, b):
    expected = np.array([[slow_iou(one, other) for other in b] for one in a], np.float32)
    assert iou(a, b) == pytest.approx(expected.reshape(len(a), len(b)))


@settings(deadline=None)
@given(
    whole_boxes,
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.sampled_from([1, 7, wheatear.boxes.PAIRS]),
    st.randoms(use_true_random=False),
)
def test_nms_is_the_slow_one(boxes, iou_thresh, pairs_at_a_time, random):
    scores = np.array([random.choice([0.1, 0.5, 0.9]) for _ in boxes], np.float32)
    each, some = np.arange(len(boxes)), np.array([random.choice([0, 1]) for _ in boxes], int)
    with pytest.MonkeyPatch.context() as parts:
        parts.setattr(wheatear.boxes, "PAIRS", pairs_at_a_time)
        assert nms(boxes, scores, iou_thresh).tolist() == slow_nms(boxes, scores, iou_thresh, each)
        assert nms(boxes, scores, iou_thresh, some).tolist() == slow_nms(boxes, scores, iou_thresh, some)


def test_an_overlap_of_exactly_the_threshold_stays_in_single_precision():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 4]], np.float32)  # 0.4 of float32 is more than 0.4
    assert nms(boxes, np.array([0.9, 0.8], np.float32), 0.4).tolist() == [0, 1]
