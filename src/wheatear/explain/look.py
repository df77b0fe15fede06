"""A trained run, and its model's output for one photo, part by part.

C H W features, A anchors per cell, K anchors in all, R proposals, G heads. Boxes are xyxy pixels of the photo
at the recipe's image_size.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.detector import read_card
from wheatear.explain.part import cut_out, middle
from wheatear.explain.seen import Seen, caveat
from wheatear.images import open_photo
from wheatear.train.dataset import to_tensor
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network
from wheatear.train.photo import scaled, scaled_boxes, scaled_size
from wheatear.train.pyramid import region_levels
from wheatear.train.roi import region_scores, to_rois
from wheatear.train.run_card import load_run
from wheatear.train.targets import decode

UNCHOSEN = 0.5  # the threshold of a run that has no card yet


class Judged(NamedTuple):
    """The RoI head's output for the proposals.

    boxes: (R, 4), displaced, but not clipped and without the recipe's margin. likely: (R,), the probability
    that each is a head. fit: (R,), the predicted IoU of its box; None for a recipe that does not predict it.
    scores: (R,) in 0..1, √(likely · fit), or likely alone.
    """

    scores: Tensor
    boxes: Tensor
    likely: Tensor
    fit: Tensor | None


class Network:
    """A trained model, and its output for photos; `threshold`: the lowest score that counts as a head."""

    def __init__(self, model: FasterRCNN, threshold: float) -> None:
        self.model, self.threshold = model, threshold
        self._last: tuple[Sample, Look] | None = None

    def look(self, sample: Sample) -> "Look":
        """The model's output for a photo; that of the last photo is kept for the next picture."""
        if self._last is None or self._last[0] is not sample:
            self._last = sample, Look(self.model, sample)
        return self._last[1]

    def seen(self, sample: Sample) -> Seen:
        """The photo at the recipe's image_size, and what is found in it."""
        look = self.look(sample)
        views = self.model.recipe.detection.tta
        return Seen(look.image, look.boxes, look.detections, look.sample, caveat(sample, views))


class TrainedRun(Network):
    """A run folder whose stages are all finished. Raises InputError if any is not.

    Its threshold is that in RUN/model.json, as chosen by `wheatear evaluate`; 0.5 before that.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        card, threshold = self.folder / "model.json", UNCHOSEN
        if card.exists():
            threshold = read_card(card).threshold_to_count()
        super().__init__(load_run(self.folder), threshold)


def shipped_network(name: str | Path) -> Network:
    """The network inside a shipped detector, or a model.onnx of one's own.

    Raises InputError if there is no such detector, or its card holds no recipe to rebuild the network from.
    """
    model, card = exported_network(name)
    return Network(model, card.threshold_to_count())


class Look:
    """A model's output for one photo; each part is computed on first access.

    `sample` is the part of the photo that is explained, and `window` its place: the middle of a large photo.
    """

    def __init__(self, model: FasterRCNN, sample: Sample) -> None:
        self.model, self.window = model, middle(sample)
        self.sample = cut_out(sample, self.window)

    @cached_property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, at the recipe's image_size."""
        top, left, bottom, right = self.window
        image = open_photo(self.sample.path)[top:bottom, left:right]
        return scaled(image, scaled_size(self.sample, self.model.recipe.image_size))

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def boxes(self) -> np.ndarray:
        """(G, 4), the heads as labelled."""
        return scaled_boxes(self.sample, self.model.recipe.image_size)

    @cached_property
    def backbone_maps(self) -> dict[int, Tensor]:
        """The backbone's maps by stride, (1, C, H, W) each."""
        with torch.no_grad():
            return self.model.backbone(to_tensor(self.image))

    @cached_property
    def maps(self) -> dict[int, Tensor]:
        """The maps that RPN and RoI head use, by stride, (1, C, H, W) each: the pyramid's, if there is one."""
        if self.model.pyramid is None:
            return self.backbone_maps
        with torch.no_grad():
            return self.model.pyramid(self.backbone_maps)

    @cached_property
    def features(self) -> list[Tensor]:
        """The maps that the RPN uses, one per level."""
        return [self.maps[level.stride] for level in self.model.rpn.levels]

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(height, width) in cells of the RPN's levels."""
        return [(feature.shape[2], feature.shape[3]) for feature in self.features]

    @cached_property
    def anchors(self) -> list[Tensor]:
        """(H·W·A, 4) of each level."""
        return self.model.rpn.anchors(self.shapes, torch.device("cpu"))

    @cached_property
    def scored(self) -> tuple[Tensor, Tensor]:
        """Objectness (K,) logits and deltas (K, 4) of all anchors."""
        with torch.no_grad():
            objectness, deltas, _ = self.model.rpn(self.maps)
        return objectness[0], deltas[0]

    @cached_property
    def proposals(self) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4) and scores (R,), descending."""
        with torch.no_grad():
            ((boxes, scores),) = self.model.propose(self.maps, self.size)
        return boxes, scores

    @property
    def region_strides(self) -> Tensor:
        """(R,) the stride of the map that each proposal is cut from."""
        roi = self.model.recipe.roi
        strides = sorted(roi.strides)
        return torch.tensor(strides)[region_levels(self.proposals[0], strides, roi.cells)]

    @cached_property
    def judged(self) -> Judged:
        """The RoI head's output for the proposals."""
        boxes = self.proposals[0]
        with torch.no_grad():
            logits, deltas = self.model.judge(self.maps, to_rois([boxes]))
        return Judged(
            region_scores(logits),
            decode(deltas, boxes, self.model.recipe.roi.box_weights),
            logits[:, :2].softmax(1)[:, 1],
            logits[:, 2].sigmoid() if logits.shape[1] == 3 else None,
        )

    @cached_property
    def detections(self) -> Detections:
        """All detections down to the recipe's score floor."""
        with torch.no_grad():
            boxes, scores = self.model.detect(self.maps, self.size)
        return Detections(boxes.numpy(), scores.numpy(), *self.size)
