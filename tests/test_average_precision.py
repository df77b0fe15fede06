"""AP by hand, and against faster-coco-eval called directly."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from wheatear.average_precision import average_precision
from wheatear.detections import Detections


def found(*boxes_and_scores: list[float]) -> Detections:
    values = np.array(boxes_and_scores, np.float64).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4])


def test_average_precision_by_hand():
    # In order of score a hit, a miss, a hit: recall to 1/2 at precision 1, then to 1 at precision 2/3; of
    # COCO's 101 recall points 0 to 0.50 are 51. The last overlaps by 0.8: a hit at 0.50 to 0.80 (7 of 10).
    boxes = [np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32), np.zeros((0, 4), np.float32)]
    detections = [found([0, 0, 10, 10, 0.9], [50, 50, 60, 58, 0.3]), found([0, 0, 9, 9, 0.6])]
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert average_precision(boxes, detections) == pytest.approx((both, (7 * both + 3 * one) / 10))


def test_average_precision_is_that_of_coco():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 80, (30, 2))
    boxes = np.hstack([corners, corners + rng.integers(8, 20, (30, 2))]).astype(np.float32)
    guesses = boxes + rng.integers(-2, 3, boxes.shape)
    scores = rng.random(30)
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "head"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": float(w * h)}
            | {"bbox": [float(x), float(y), float(w), float(h)]}
            for i, (x, y, w, h) in enumerate(np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]))
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "score": float(np.float32(score))}
        | {"bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]}
        for (x1, y1, x2, y2), score in zip(guesses, scores, strict=True)
    ]
    coco = COCO(truth)
    direct = COCOeval_faster(coco, coco.loadRes(results), "bbox")
    direct.evaluate()
    direct.accumulate()
    direct.summarize()
    ap, ap50 = direct.stats[:2]
    assert 0.1 < ap < ap50 < 1
    assert average_precision([boxes], [Detections(guesses, scores)]) == pytest.approx((ap50, ap))


def test_average_precision_has_no_limit_of_100_detections():
    places = np.arange(700) * 10.0
    boxes = np.stack([places, places, places + 9, places + 9], axis=1).astype(np.float32)
    assert average_precision([boxes], [Detections(boxes, np.linspace(1, 0.1, 700))]) == (1, 1)


def test_heads_of_any_size_count():
    boxes = np.array([[0, 0, 3, 3], [0, 0, 50, 50], [0, 0, 4000, 4000]], np.float32)
    assert average_precision([boxes], [Detections(boxes, np.array([0.9, 0.8, 0.7]))]) == (1, 1)
    assert average_precision([boxes], [Detections(boxes[:1], np.array([0.9]))])[0] == pytest.approx(34 / 101)


def test_no_heads_and_no_detections():
    head, nothing = np.array([[0, 0, 5, 5]], np.float32), np.zeros((0, 4), np.float32)
    one, none = found([0, 0, 5, 5, 0.9]), found()
    assert average_precision([nothing], [one]) == average_precision([nothing], [none]) == (None, None)
    assert average_precision([head], [none]) == (0, 0)
    assert average_precision([head, nothing], [one, none]) == (1, 1)


def test_a_head_without_area_is_missed_whatever_its_corners() -> None:
    found = [Detections(np.array([[20.0, 20, 50, 50]]), np.array([0.9]))]
    for other in ([90, 90, 90, 120], [90, 90, 60, 120], [90, 90, 60, 60]):
        ap50, _ = average_precision([np.array([[20, 20, 50, 50], other], np.float32)], found)
        assert ap50 == pytest.approx(51 / 101)
