"""COCO's average precision, computed with faster-coco-eval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from wheatear.detections import Detections


def average_precision(
    boxes: Sequence[np.ndarray], detections: Sequence[Detections]
) -> tuple[float, float] | tuple[None, None]:
    """AP50 and AP50:95 in 0..1 for photos with heads (G, 4) and all their detections, whatever their score.

    COCO's definition (101 recall points, IoU 0.50:0.05:0.95, all sizes) without its limit of 100 detections
    per photo, which a dense photo of wheat exceeds. (None, None) if there are no heads; 0 if there are heads
    but no detections.
    """
    if not any(len(heads) for heads in boxes):
        return None, None
    if not any(len(found) for found in detections):
        return 0.0, 0.0
    truth = COCO(_dataset(boxes))
    results = [one for photo, found in enumerate(detections) for one in found.to_coco(photo)]
    coco_eval = COCOeval_faster(truth, truth.loadRes(results), "bbox")
    coco_eval.params.maxDets = [max(len(found) for found in detections)]
    coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0, 1e10]], ["all"]
    coco_eval.evaluate()
    coco_eval.accumulate()
    precision = coco_eval.eval["precision"][:, :, 0, 0, 0]  # (IoU, recall) for the only class, area and limit
    return float(precision[0].mean()), float(precision.mean())


def _dataset(boxes: Sequence[np.ndarray]) -> dict[str, Any]:
    annotations = [
        {"image_id": photo, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for photo, heads in enumerate(boxes)
        for box in _xywh(heads)
    ]
    return {
        "images": [{"id": photo} for photo in range(len(boxes))],
        "annotations": [{"id": row, **one} for row, one in enumerate(annotations, start=1)],
        "categories": [{"id": 1, "name": "wheat head"}],
    }


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    """Boxes (G, 4) in COCO's form; an inverted box gets sides of 0, as a box without area is still a head."""
    corners = boxes.astype(np.float64)
    corners[:, 2:] = (corners[:, 2:] - corners[:, :2]).clip(min=0)
    return corners.tolist()
