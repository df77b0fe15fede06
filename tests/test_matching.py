"""Greedy matching, by hand; tests/test_evaluation.py holds it against a slow version."""

import numpy as np
import pytest

from wheatear.detections import Detections
from wheatear.evaluation import KAGGLE_IOUS
from wheatear.matching import match, tally


def found(*boxes_and_scores: list[float]) -> Detections:
    values = np.array(boxes_and_scores, np.float64).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4])


@pytest.mark.parametrize("percent", [50, 55, 60, 65, 70, 75])
def test_an_overlap_of_exactly_the_threshold_is_a_hit(percent):
    boxes = np.array([[0, 0, 100, 7]], np.float32)
    exact, below = found([0, 0, percent, 7, 1]), found([0, 0, percent - 0.01, 7, 1])
    threshold = np.array([percent / 100])
    assert match(boxes, exact, threshold).hits.tolist() == [[0, 1]]
    assert match(boxes, below, threshold).hits.tolist() == [[0, 0]]


def test_the_better_score_chooses_first_and_takes_its_best_head():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], np.float32)
    # The better detection overlaps both heads and takes the second, which leaves the first to the other.
    apart = found([1.5, 0, 11.5, 10, 0.9], [0, 0, 10, 10, 0.8])
    assert match(boxes, apart, KAGGLE_IOUS[:1]).hits.tolist() == [[0, 1, 2]]
    # Two detections of one head: one is a hit, whichever fits better.
    double = found([0, 0, 10, 6, 0.9], [0, 0, 10, 10, 0.8])
    assert match(boxes[:1], double, KAGGLE_IOUS[:1]).hits.tolist() == [[0, 1, 1]]


def test_tally_counts_what_reaches_the_score():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    detections = found([0, 0, 10, 10, 0.9], [80, 80, 90, 90, 0.6], [50, 50, 60, 60, 0.3])
    photos = [match(boxes, detections, KAGGLE_IOUS[:1]), match(boxes[:0], detections[:0], KAGGLE_IOUS[:1])]
    for score, counted, hits, accuracy in [
        (0.91, 0, 0, 0),
        (0.9, 1, 1, 1 / 2),
        (0.6, 2, 1, 1 / 3),
        (0.3, 3, 2, 2 / 3),
    ]:
        counts = tally(photos, score)
        assert counts.heads.tolist() == [2, 0]
        assert counts.found.tolist() == [counted, 0]
        assert counts.hits.tolist() == [[hits, 0]]
        assert counts.accuracy()[0] == pytest.approx([accuracy, 1])
        assert counts.of(np.array([1])).accuracy().tolist() == [[1]]


def test_taken_names_the_head_of_each_hit():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], np.float32)
    three = found([1.5, 0, 11.5, 10, 0.9], [50, 50, 60, 60, 0.85], [0, 0, 10, 10, 0.8])
    matches = match(boxes, three, KAGGLE_IOUS[:2])
    assert matches.taken.tolist() == [[1, -1, 0], [1, -1, 0]]
    assert matches.hits.tolist() == [[0, 1, 1, 2], [0, 1, 1, 2]]


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_heads_of_any_type_are_matched_alike(kind):
    """An overlap of exactly 11/20 reaches 0.55."""
    detections = Detections(np.array([[0, 0, 11, 10]]), np.ones(1))
    assert match(np.array([[0, 0, 20, 10]], kind), detections, np.array([0.55])).hits.tolist() == [[0, 1]]
