"""The detector explained on one photo: every step is a function that returns a matplotlib Figure.

    from wheatear.explain import TrainedRun, labelling, unlabelled
    labelling(TrainedRun("runs/seed"), unlabelled("photo.jpg")).savefig("labelling.png")

A step takes a TrainedRun and a Sample. Instead of a run it also accepts the result of
`shipped_network("seed")`, except for `curves` and the steps of the snip classifier. labelled_photo,
found_heads, hits_and_misses, score_threshold and head_sizes accept an ExportedModel as well, and need no
torch. Every figure carries its caption (`drawing.caption_of`). Each name is imported on first access, so that
the steps for an exported model do not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wheatear.explain.anchors import anchor_boxes
    from wheatear.explain.architecture import layers
    from wheatear.explain.channels import feature_maps
    from wheatear.explain.classifier import class_map, snips
    from wheatear.explain.history import curves
    from wheatear.explain.labels import labelling, training_samples
    from wheatear.explain.look import TrainedRun, shipped_network
    from wheatear.explain.proposals import best_regions
    from wheatear.explain.receptive import receptive_field
    from wheatear.explain.regions import box_regression, pooled_crop
    from wheatear.explain.result import (
        found_heads,
        head_sizes,
        hits_and_misses,
        labelled_photo,
        score_threshold,
    )
    from wheatear.explain.seen import ExportedModel, unlabelled

_HOME = {
    "ExportedModel": "seen",
    "TrainedRun": "look",
    "anchor_boxes": "anchors",
    "best_regions": "proposals",
    "box_regression": "regions",
    "class_map": "classifier",
    "curves": "history",
    "feature_maps": "channels",
    "found_heads": "result",
    "head_sizes": "result",
    "hits_and_misses": "result",
    "labelled_photo": "result",
    "labelling": "labels",
    "layers": "architecture",
    "pooled_crop": "regions",
    "receptive_field": "receptive",
    "score_threshold": "result",
    "shipped_network": "look",
    "snips": "classifier",
    "training_samples": "labels",
    "unlabelled": "seen",
}

__all__ = [
    "ExportedModel",
    "TrainedRun",
    "anchor_boxes",
    "best_regions",
    "box_regression",
    "class_map",
    "curves",
    "feature_maps",
    "found_heads",
    "head_sizes",
    "hits_and_misses",
    "labelled_photo",
    "labelling",
    "layers",
    "pooled_crop",
    "receptive_field",
    "score_threshold",
    "shipped_network",
    "snips",
    "training_samples",
    "unlabelled",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
