"""The region proposal network: where might a head be? (Faster R-CNN §3.1)

B images, (C, H, W) features, A anchors per cell, K anchors in all per image, R proposals, G ground-truth
boxes. Flattened outputs are in the order level, row, column, anchor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from wheatear.train.anchors import AnchorLevel, inside
from wheatear.train.losses import rpn_losses
from wheatear.train.rescale import grown
from wheatear.train.suppression import unsuppressed
from wheatear.train.targets import TargetSettings, decode, sample_targets


@dataclass(frozen=True)
class ProposalSettings:
    """Which anchors become proposals.

    side:           in px, of the square photo that the two numbers are for; a larger one has more (`grown`).
    pre_nms_top_n:  number of highest scores on each level that enter the NMS.
    post_nms_top_n: proposals per image.
    nms_thresh:     of two boxes on one level with a higher IoU, the one with the lower score is dropped.
    min_size:       boxes thinner than this, in pixels after clipping, are dropped.
    """

    side: int
    pre_nms_top_n: int
    post_nms_top_n: int
    nms_thresh: float
    min_size: float

    def most_before(self, image_size: tuple[int, int]) -> int:
        """The largest number of boxes per level that enter the NMS, for an image of (height, width) px."""
        return grown(self.pre_nms_top_n, image_size, self.side)

    def most_after(self, image_size: tuple[int, int]) -> int:
        """The largest number of proposals for an image of (height, width) pixels."""
        return grown(self.post_nms_top_n, image_size, self.side)


class RPNHead(nn.Module):
    """A 3×3 window over each map, which gives the anchors at its centre their scores and deltas."""

    def __init__(self, in_channels: int, channels: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors_per_cell, kernel_size=1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, kernel_size=1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)  # Faster R-CNN §3.1.3
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Each level's (B, C, H, W) -> objectness (B, K) logits and deltas (B, K, 4)."""
        objectness, deltas = [], []
        for feature in features:
            seen = self.conv(feature).relu()
            objectness.append(self.objectness(seen).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(seen).permute(0, 2, 3, 1).reshape(feature.shape[0], -1, 4))
        return torch.cat(objectness, dim=1), torch.cat(deltas, dim=1)


class RPN(nn.Module):
    """The head, its anchors, its proposals and its loss.

    All levels share the head, so they must have the same number of anchors per cell. With inside_only,
    anchors that cross the border are excluded from training, but not from the proposals. beta is that of
    the smooth L1 loss.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        levels: Sequence[AnchorLevel],
        target_settings: TargetSettings,
        proposal_settings: ProposalSettings,
        *,
        beta: float,
        inside_only: bool,
    ) -> None:
        super().__init__()
        (anchors_per_cell,) = {level.per_cell() for level in levels}
        self.head = RPNHead(in_channels, channels, anchors_per_cell)
        self.levels = tuple(levels)
        self.target_settings = target_settings
        self.proposal_settings = proposal_settings
        self.beta = beta
        self.inside_only = inside_only

    def forward(self, maps: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """{stride: (B, C, H, W)} -> objectness (B, K) logits, deltas (B, K, 4) and the anchors of each level."""
        features = [maps[level.stride] for level in self.levels]
        objectness, deltas = self.head(features)
        shapes = [(feature.shape[2], feature.shape[3]) for feature in features]
        return objectness, deltas, self.anchors(shapes, features[0].device)

    def anchors(self, shapes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Return the anchors of each level, (H·W·A, 4), for maps of the given (height, width)."""
        return [level.grid(h, w, device) for level, (h, w) in zip(self.levels, shapes, strict=True)]

    def proposals(
        self,
        objectness: Tensor,
        deltas: Tensor,
        anchors: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> list[tuple[Tensor, Tensor]]:
        """Return, for each image, boxes (R, 4) within it and their scores (R,), 0 to 1 and descending.

        objectness (B, K) logits, deltas (B, K, 4), anchors as returned by `anchors`, image_size height and
        width in pixels. R may be 0. No gradient flows back through the boxes.
        """
        limit = self.proposal_settings.most_after(image_size)
        sizes = [level.shape[0] for level in anchors]
        found = []
        for scores, moves in zip(objectness.detach().unbind(), deltas.detach().unbind(), strict=True):
            levels = zip(scores.split_with_sizes(sizes), moves.split_with_sizes(sizes), anchors, strict=True)
            found.append(best([self._propose(*level, image_size) for level in levels], limit))
        return found

    def proposals_at_once(
        self,
        objectness: Tensor,
        deltas: Tensor,
        anchors: Sequence[Tensor],
        image_size: tuple[int, int],
        number: int | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """The same as `proposals`, for all images at once, which takes a GPU a fraction of the time.

        For training only: its number of iterations depends on the boxes, so it cannot be exported.
        number: replaces post_nms_top_n.
        """
        settings = self.proposal_settings
        if number:
            settings = replace(settings, post_nms_top_n=number)
        most, limit = settings.most_before(image_size), settings.most_after(image_size)
        sizes = [level.shape[0] for level in anchors]
        boxes, scores = [], []
        for logits, moves, level in zip(
            objectness.detach().split_with_sizes(sizes, 1),
            deltas.detach().split_with_sizes(sizes, 1),
            anchors,
            strict=True,
        ):
            highest, top = logits.topk(min(most, level.shape[0]), dim=1)
            moved, likely = self._boxes(
                highest, moves.take_along_dim(top[..., None], 1), level[top], image_size
            )
            thick = (moved[..., 2:] - moved[..., :2] >= settings.min_size).all(-1)
            kept = unsuppressed(moved, thick, settings.nms_thresh)
            boxes.append(moved)
            scores.append(likely.masked_fill(~kept, -1))
        every = torch.cat(scores, 1)
        best, top = every.topk(min(limit, every.shape[1]), dim=1)
        joined = torch.cat(boxes, 1).take_along_dim(top[..., None], 1)
        counts = (best >= 0).sum(1).tolist()
        return [(b[:n], s[:n]) for b, s, n in zip(joined, best, counts, strict=True)]

    def loss(
        self,
        objectness: Tensor,
        deltas: Tensor,
        anchors: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        image_size: tuple[int, int],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return loss_objectness and loss_rpn_box_reg for anchors sampled from each image with the generator.

        objectness (B, K) logits, deltas (B, K, 4), anchors as returned by `anchors`, gt_boxes B times (G, 4),
        image_size height and width in pixels. An image without heads contributes background only.
        """
        every = torch.cat(list(anchors))
        usable = inside(every, *image_size) if self.inside_only else slice(None)
        candidates = every[usable]
        every_image = [candidates] * len(gt_boxes)
        targets = sample_targets(every_image, gt_boxes, self.target_settings, generator)
        loss_objectness, loss_rpn_box_reg = rpn_losses(
            objectness[:, usable][targets.image, targets.index],
            deltas[:, usable][targets.image, targets.index],
            targets.labels,
            targets.target_deltas,
            self.beta,
        )
        return {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_rpn_box_reg}

    def _propose(
        self, objectness: Tensor, deltas: Tensor, anchors: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Propose boxes from one level of one image: (R, 4) and scores (R,), descending."""
        settings = self.proposal_settings
        limit = settings.most_before(image_size)
        # Of scores alone topk would be traced for one size of photo, with more anchors than the limit or with fewer.
        top = F.pad(objectness, (0, limit), value=-torch.inf).topk(limit).indices
        top = top[torch.where(top < objectness.shape[0])[0]]
        boxes, scores = self._boxes(objectness[top], deltas[top], anchors[top], image_size)
        thick = remove_small_boxes(boxes, settings.min_size)
        boxes, scores = boxes[thick], scores[thick]
        kept = nms(boxes, scores, settings.nms_thresh)
        return boxes[kept], scores[kept]

    def _boxes(
        self, objectness: Tensor, deltas: Tensor, anchors: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Logits (…), deltas and anchors (…, 4) -> boxes (…, 4) within the image, scores (…) from 0 to 1."""
        boxes = clip_boxes_to_image(decode(deltas, anchors, self.target_settings.weights), image_size)
        return boxes, objectness.to(boxes.dtype).sigmoid()


def best(level_results: Sequence[tuple[Tensor, Tensor]], number: int) -> tuple[Tensor, Tensor]:
    """Join the boxes and scores of one image's levels and keep the `number` highest scores, descending."""
    boxes, scores = map(torch.cat, zip(*level_results, strict=True))
    kept = scores.argsort(descending=True)[:number]
    return boxes[kept], scores[kept]
