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
    from wheatear.explain.anchors import anchor_boxes as anchor_boxes
    from wheatear.explain.architecture import layers as layers
    from wheatear.explain.channels import feature_maps as feature_maps
    from wheatear.explain.classifier import class_map as class_map
    from wheatear.explain.classifier import snips as snips
    from wheatear.explain.history import curves as curves
    from wheatear.explain.labels import labelling as labelling
    from wheatear.explain.labels import training_samples as training_samples
    from wheatear.explain.look import TrainedRun as TrainedRun
    from wheatear.explain.look import shipped_network as shipped_network
    from wheatear.explain.proposals import best_regions as best_regions
    from wheatear.explain.receptive import receptive_field as receptive_field
    from wheatear.explain.regions import box_regression as box_regression
    from wheatear.explain.regions import pooled_crop as pooled_crop
    from wheatear.explain.result import found_heads as found_heads
    from wheatear.explain.result import head_sizes as head_sizes
    from wheatear.explain.result import hits_and_misses as hits_and_misses
    from wheatear.explain.result import labelled_photo as labelled_photo
    from wheatear.explain.result import score_threshold as score_threshold
    from wheatear.explain.seen import ExportedModel as ExportedModel
    from wheatear.explain.seen import unlabelled as unlabelled

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

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
