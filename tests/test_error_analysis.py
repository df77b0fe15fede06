"""Where a detector errs: by hand, and against counting anew."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.error_analysis import (
    by_density,
    by_head_size,
    precision_recall,
    worst_false_alarms,
    worst_misses,
)
from wheatear.matching import Matches, Tally, match, tally

HALF = np.array([0.5])


def photo(*boxes: list[float]) -> Sample:
    return Sample(Path("a.jpg"), np.array(boxes, np.float32).reshape(-1, 4), 100, 100)


def found(*boxes_and_scores: list[float]) -> Detections:
    values = np.array(boxes_and_scores, np.float64).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4])


def matched(samples: list[Sample], detections: list[Detections]) -> list[Matches]:
    return [match(sample.boxes, each, HALF) for sample, each in zip(samples, detections, strict=True)]


SAMPLES = [photo([0, 0, 10, 10], [20, 0, 40, 20]), photo([0, 0, 40, 40]), photo()]
FOUND = [
    found([0, 0, 10, 10, 0.9], [60, 60, 70, 70, 0.8], [21, 0, 40, 20, 0.3]),
    found([80, 80, 90, 90, 0.7], [0, 0, 40, 15, 0.7]),
    found([50, 50, 60, 60, 0.95]),
]
MATCHES = matched(SAMPLES, FOUND)


def test_precision_recall_by_hand() -> None:
    precision, recall = precision_recall(MATCHES)
    assert precision == pytest.approx([0, 1 / 2, 1 / 3, 1 / 5, 2 / 6])  # the two scores of 0.7 are one point
    assert recall == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3])


@pytest.mark.parametrize(("boxes", "heads"), [([], []), ([[0, 0, 1, 1, 0.5]], []), ([], [[0, 0, 1, 1]])])
def test_no_curve_without_heads_or_detections(boxes: list, heads: list) -> None:
    precision, recall = precision_recall(matched([photo(*heads)], [found(*boxes)]))
    assert len(precision) == len(recall) == 0


coordinates = st.integers(0, 6)
drawn_boxes = st.lists(st.tuples(coordinates, coordinates, st.integers(1, 4), st.integers(1, 4)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(photos=st.lists(st.tuples(drawn_boxes, drawn_boxes), min_size=1, max_size=3), data=st.data())
def test_each_point_of_the_curve_is_a_count_at_its_score(photos: list, data: st.DataObject) -> None:
    samples, detections = [], []
    for heads, others in photos:
        scores = data.draw(
            st.lists(st.sampled_from([0.2, 0.4, 0.6]), min_size=len(others), max_size=len(others))
        )
        samples.append(photo(*[[x, y, x + w, y + h] for x, y, w, h in heads]))
        rows = [[x, y, x + w, y + h, s] for (x, y, w, h), s in zip(others, scores, strict=True)]
        detections.append(found(*rows))
    matches = matched(samples, detections)
    used = sorted({float(score) for each in detections for score in each.scores}, reverse=True)
    points = []
    for counts in (tally(matches, score) for score in used if sum(len(s.boxes) for s in samples)):
        hits = counts.hits[0].sum()
        points.append((hits / counts.found.sum(), hits / counts.heads.sum()))
    np.testing.assert_allclose(np.stack(precision_recall(matches), axis=1), np.array(points).reshape(-1, 2))
    bins = by_head_size(samples, detections, matches, 0.4)
    counts = tally(matches, 0.4)
    assert all(each.heads for each in bins)
    assert sum(each.heads for each in bins) == counts.heads.sum()
    assert sum(each.heads * each.recall for each in bins) == pytest.approx(counts.hits[0].sum())


def test_by_head_size_by_hand() -> None:
    low, high = by_head_size(SAMPLES, FOUND, MATCHES, 0.5)
    assert [(each.low, each.high, each.heads) for each in (low, high)] == [(10, 20, 1), (20, 40, 2)]
    assert [each.recall for each in (low, high)] == [1, 0]
    assert [each.precision for each in (low, high)] == [1 / 4, 0]
    assert by_head_size(SAMPLES, FOUND, MATCHES, 0.75)[1].precision is None
    assert by_head_size(SAMPLES[2:], FOUND[2:], MATCHES[2:], 0.5) == []


def test_equal_sizes_are_one_bin() -> None:
    samples = [photo([0, 0, 10, 10], [20, 20, 30, 30])]
    (only,) = by_head_size(
        samples, [found([0, 0, 10, 10, 1])], matched(samples, [found([0, 0, 10, 10, 1])]), 0
    )
    assert (only.heads, only.recall, only.precision) == (2, 0.5, 1)


def test_by_density_by_hand() -> None:
    heads, detections = np.array([0, 0, 10, 20, 30]), np.array([1, 0, 12, 17, 30])
    bins = by_density(Tally(heads, detections, np.zeros((1, 5), np.int64)))
    assert sum(each.photos for each in bins) == 5
    assert (bins[0].photos, bins[0].mae, bins[0].bias) == (2, 0.5, 0.5)
    assert (bins[-1].high, bins[-1].photos, bins[-1].mae, bins[-1].bias) == (30, 2, 1.5, -1.5)
    assert by_density(Tally(heads[:0], detections[:0], np.zeros((1, 0), np.int64))) == []
    (only,) = by_density(Tally(heads[:2], detections[:2], np.zeros((1, 2), np.int64)))
    assert only.photos == 2


def test_worst_false_alarms_one_a_photo() -> None:
    worst = worst_false_alarms(FOUND, MATCHES, 0.5, 2)
    assert [each.photo for each in worst] == [2, 0]
    assert [each.score for each in worst] == pytest.approx([0.95, 0.8])
    assert worst[1].box.tolist() == [60, 60, 70, 70]
    assert worst_false_alarms(FOUND, MATCHES, 0.96, 2) == []


def test_worst_misses_are_the_least_suspected() -> None:
    worst = worst_misses(SAMPLES, FOUND, MATCHES, 0.5, 9)
    # The second head of the first photo was seen with a score of 0.3; that of the second photo is overlapped by
    # 0.375, which is near, with 0.7.
    assert [(each.photo, each.score) for each in worst] == [(0, None), (1, None)]
    assert worst[0].box.tolist() == [20, 0, 40, 20]
    assert worst_misses(SAMPLES, FOUND, MATCHES, 0.2, 9)[0].photo == 1
    assert len(worst_misses(SAMPLES, FOUND, MATCHES, 0.5, 1)) == 1
