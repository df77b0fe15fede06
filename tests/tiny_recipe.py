"""A recipe for the joint stage that trains in seconds: the notes' CNN with few filters, and a pyramid."""

from typing import Any

from wheatear.train.recipe import Recipe


def tiny_recipe(stage: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """The recipe with some of its tables, and some keys of its stage, replaced."""
    joint = {
        "stage": "joint",
        "batch_size": 3,
        "epochs": 2,
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 0.01,
        "warmup_steps": 2,
        "clip_norm": 10.0,
        "augment": {"crop": 128, "scale": [0.8, 1.25], "mosaic": 0.3, "brightness": 0.2},
    }
    common = {
        "name": "tiny",
        "seed": 0,
        "image_size": 2048,
        "backbone": {
            "name": "notes",
            "channels": [[4], [4], [8], [8], [16], [16]],
            "dropout": 0.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
        "pyramid": {"channels": 8},
        "rpn": {
            "strides": [8, 16, 32],
            "channels": 8,
            "scales": [3.0],
            "ratios": [0.5, 1.0, 2.0],
            "fg_iou_thresh": 0.6,
            "bg_iou_thresh": 0.3,
            "batch_size_per_image": 64,
            "positive_fraction": 0.5,
            "pre_nms_top_n": 100,
            "post_nms_top_n": 50,
            "nms_thresh": 0.7,
        },
        "roi": {
            "strides": [8, 16, 32],
            "pool": "roi_align",
            "size": 3,
            "channels": 16,
            "fg_iou_thresh": 0.5,
            "bg_iou_thresh": 0.5,
            "batch_size_per_image": 32,
            "positive_fraction": 0.25,
            "box_weights": [10.0, 10.0, 5.0, 5.0],
            "quality": "iou",
        },
        "detection": {"score_floor": 0.02, "nms_thresh": 0.5, "min_size": 2.0, "detections_per_img": 500},
        "stages": [joint | (stage or {})],
    }
    return Recipe.model_validate(common | changes)
