"""A trained run, and what its model makes of one photo, part by part.

C H W features, A anchors per cell, K all anchors, R proposals, G heads. Boxes are xyxy pixels of the photo at the size
that the recipe trains at.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.detector import Card
from wheatear.explain.seen import Seen
from wheatear.train.checkpoint import read_json
from wheatear.train.dataset import to_tensor
from wheatear.train.export import load_run
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.photo import scaled_boxes, scaled_photo
from wheatear.train.roi import RoIHead, to_rois
from wheatear.train.targets import decode

UNCHOSEN = 0.5  # the threshold of a run that has no card yet


class Judged(NamedTuple):
    """What the RoI head says of the proposals: scores (R,) in 0..1 and displaced boxes (R, 4), not clipped."""

    scores: Tensor
    boxes: Tensor


class TrainedRun:
    """A run folder whose stages are all finished. Raises InputError where it is not."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.model = load_run(self.folder)
        self._last: Look | None = None

    @cached_property
    def threshold(self) -> float:
        """The score threshold of RUN/model.json, which `wheatear evaluate` chooses; 0.5 before that."""
        card = self.folder / "model.json"
        if not card.exists():
            return UNCHOSEN
        return Card.model_validate(read_json(card)).threshold_to_count()

    def look(self, sample: Sample) -> "Look":
        """What the model makes of a photo; the last photo is remembered for the next picture."""
        if self._last is None or self._last.sample is not sample:
            self._last = Look(self.model, sample)
        return self._last

    def seen(self, sample: Sample) -> Seen:
        """The photo at the size that the recipe trains at, and what is found in it."""
        look = self.look(sample)
        return Seen(look.image, look.boxes, look.detections)


class Look:
    """What a model makes of one photo; each part is computed when it is first asked for."""

    def __init__(self, model: FasterRCNN, sample: Sample) -> None:
        self.model, self.sample = model, sample

    @cached_property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, at the scale of the training."""
        return scaled_photo(self.sample, self.model.recipe.image_size)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def boxes(self) -> np.ndarray:
        """(G, 4) the heads as labelled."""
        return scaled_boxes(self.sample, self.model.recipe.image_size)

    @cached_property
    def maps(self) -> dict[int, Tensor]:
        """The backbone's maps by stride, (1, C, H, W) each."""
        with torch.no_grad():
            return self.maps_of(to_tensor(self.image))

    def maps_of(self, image: Tensor) -> dict[int, Tensor]:
        """The maps of another photo, or of a part of this one: (1, 3, H, W) RGB in 0..255 -> (1, C, H, W) by stride."""
        return self.model.features(image)

    @cached_property
    def features(self) -> list[Tensor]:
        """The maps that the RPN looks at, a level each."""
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
            objectness, deltas = self.model.rpn(self.features)
        return objectness[0], deltas[0]

    @cached_property
    def proposals(self) -> tuple[Tensor, Tensor]:
        """(R, 4) and scores (R,), descending."""
        with torch.no_grad():
            ((boxes, scores),) = self.model.propose(self.maps, self.size)
        return boxes, scores

    @property
    def roi_map(self) -> Tensor:
        """(1, C, H, W) the map that regions are cut from."""
        assert isinstance(self.model.roi_head, RoIHead)  # a pyramid has one for each size of region
        return self.maps[self.model.roi_head.stride]

    @cached_property
    def judged(self) -> Judged:
        """What the RoI head says of the proposals."""
        boxes = self.proposals[0]
        with torch.no_grad():
            logits, deltas = self.model.judge(self.maps, to_rois([boxes]))
        return Judged(
            logits[:, :2].softmax(1)[:, 1], decode(deltas, boxes, self.model.recipe.roi.box_weights)
        )

    @cached_property
    def detections(self) -> Detections:
        """All down to the recipe's score floor."""
        with torch.no_grad():
            boxes, scores = self.model.detect(self.maps, self.size)
        return Detections(boxes.numpy(), scores.numpy(), *self.size)
