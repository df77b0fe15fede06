"""A head without regions: each cell of the pyramid says whether it lies in a wheat head, and how far its edges are.

One stage (FCOS, Tian et al. 2019), edges as distributions (GFL, Li et al. 2020), and cells chosen for a head by how
well they find it (TOOD, Feng et al. 2021).

B images, K cells of all levels of one, G ground truth, N bins. Boxes are xyxy pixels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image, generalized_box_iou_loss, nms, remove_small_boxes

from wheatear.train.suppression import vote

SCORE_POWER, IOU_POWER = 0.5, 6.0  # of a cell's score and its IoU in how well it finds a head
SCORE_SHARE, BOX_SHARE, EDGE_SHARE = 0.5, 1.9, 0.375  # of the three losses
RARE = (
    -4.6
)  # the logit of one cell in a hundred, which an untrained head says of all (focal loss, Lin et al. 2017)
TINY = 1e-9


class Seen(NamedTuple):
    """Logits (B, K) of a head, and edges (B, K, 4, N), logits of how many cells away it ends: left, top, right, bottom.

    centres (K, 2) x, y of the cells and strides (K,), in pixels.
    """

    logits: Tensor
    edges: Tensor
    centres: Tensor
    strides: Tensor


class DenseHead(nn.Module):
    """Two towers of 3×3 convolutions over every level, one for the score and one for the edges, alike for all levels.

    bins: an edge lies 0 to bins - 1 cells from the cell's centre.
    """

    steps: Tensor

    def __init__(
        self, in_channels: int, strides: Sequence[int], channels: int, layers: int, bins: int
    ) -> None:
        super().__init__()
        self.strides, self.bins = tuple(strides), bins
        self.likely = tower(in_channels, channels, layers)
        self.placed = tower(in_channels, channels, layers)
        self.scores = nn.Conv2d(channels, 1, 3, padding=1)
        self.edges = nn.Conv2d(channels, 4 * bins, 3, padding=1)
        for layer, bias in ((self.scores, RARE), (self.edges, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)
        self.register_buffer("steps", torch.arange(bins, dtype=torch.float32), persistent=False)

    def forward(self, maps: Mapping[int, Tensor]) -> Seen:
        """Maps {stride: (B, C, H, W)} -> what is said of all of their cells, finest level first, row by row."""
        logits, edges, centres, strides = [], [], [], []
        for stride in self.strides:
            features = maps[stride]
            logits.append(self.scores(self.likely(features)).flatten(1))
            placed = self.edges(self.placed(features)).permute(0, 2, 3, 1)
            edges.append(placed.reshape(features.shape[0], -1, 4, self.bins))
            centres.append(cell_centres(features.shape[2], features.shape[3], stride, features.device))
            strides.append(torch.full_like(centres[-1][:, 0], stride))
        # In float32, as bfloat16 would move an edge by up to a quarter of a cell.
        return Seen(
            torch.cat(logits, 1).float(), torch.cat(edges, 1).float(), torch.cat(centres), torch.cat(strides)
        )

    def boxes(self, edges: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
        """Edges (…, K, 4, N), centres (K, 2) and strides (K,) -> (…, K, 4): an edge lies at its distribution's mean."""
        lengths = (edges.softmax(-1) * self.steps).sum(-1) * strides[:, None]
        return torch.cat([centres - lengths[..., :2], centres + lengths[..., 2:]], -1)

    def losses(self, seen: Seen, gt_boxes: Sequence[Tensor]) -> dict[str, Tensor]:
        """loss_dense_score, loss_dense_box (GIoU) and loss_dense_edges, by the (G, 4) heads of each image.

        Each is divided by the sum of what the cells' scores should be.
        """
        boxes = self.boxes(seen.edges, seen.centres, seen.strides)
        wanted, box_loss, edge_loss = (
            torch.zeros_like(seen.logits),
            seen.edges.new_zeros(()),
            seen.edges.new_zeros(()),
        )
        for i, gt in enumerate(gt_boxes):
            index, target = chosen_cells(
                seen.logits[i].detach().sigmoid(), boxes[i].detach(), seen.centres, gt
            )
            wanted[i] = target
            cells = torch.where(index >= 0)[0]
            truth, weight = gt[index[cells]].to(boxes.dtype), target[cells]
            box_loss = box_loss + (generalized_box_iou_loss(boxes[i, cells], truth) * weight).sum()
            lengths = torch.cat([seen.centres[cells] - truth[:, :2], truth[:, 2:] - seen.centres[cells]], 1)
            apart = edge_errors(seen.edges[i, cells], lengths / seen.strides[cells, None])
            edge_loss = edge_loss + (apart.mean(1) * weight).sum()
        total = wanted.sum().clamp(min=1)
        score_loss = F.binary_cross_entropy_with_logits(seen.logits, wanted, reduction="sum")
        return {
            "loss_dense_score": SCORE_SHARE * score_loss / total,
            "loss_dense_box": BOX_SHARE * box_loss / total,
            "loss_dense_edges": EDGE_SHARE * edge_loss / total,
        }

    def detect(
        self,
        seen: Seen,
        image_size: tuple[int, int],
        *,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        min_size: float,
        vote_iou: float,
        margin: float,
    ) -> tuple[Tensor, Tensor]:
        """One image's (B = 1) cells -> boxes (D, 4) within it and scores (D,), descending; settings as of `roi.detect`.

        A score is the root of the cell's, so that, as of regions, 0.5 means a likely, good box.
        """
        scores = seen.logits[0].sigmoid().sqrt()
        cells = torch.where(scores >= score_thresh)[0]
        scores = scores[cells]
        boxes = self.boxes(seen.edges[0][cells], seen.centres[cells], seen.strides[cells])
        grown = margin * (boxes[:, 2:] - boxes[:, :2])
        boxes = clip_boxes_to_image(torch.cat([boxes[:, :2] - grown, boxes[:, 2:] + grown], 1), image_size)
        thick = remove_small_boxes(boxes, min_size)
        boxes, scores = boxes[thick], scores[thick]
        kept = nms(boxes, scores, nms_thresh)[:detections_per_img]
        return vote(boxes[kept], boxes, scores, vote_iou) if vote_iou < 1 else (boxes[kept], scores[kept])


def tower(in_channels: int, channels: int, layers: int) -> nn.Sequential:
    """3×3 convolutions with batch norms."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return nn.Sequential(*parts)


def cell_centres(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """(height · width, 2): x, y in pixels of the centres of a map's cells, row by row."""
    y, x = ((torch.arange(side, device=device) + 0.5) * stride for side in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)


@torch.no_grad()
def chosen_cells(
    scores: Tensor, boxes: Tensor, centres: Tensor, gt: Tensor, candidates: int = 10
) -> tuple[Tensor, Tensor]:
    """Which cells shall find which head, and with what score (TOOD §3.2).

    scores (K,) in 0..1, boxes (K, 4) as they are now, centres (K, 2), gt (G, 4); G may be 0.
    -> (K,) index of the head, -1 for none, and (K,) the score that is wanted. Of the cells whose centre lies in a head,
    the `candidates` best by score^0.5 · IoU^6 are its own; one that is among those of several takes the head that its
    box fits best. The best cell of a head should have its IoU as score, the others less in proportion.
    """
    index, wanted = torch.full_like(scores, -1, dtype=torch.int64), torch.zeros_like(scores)
    if not len(gt):
        return index, wanted
    inside = ((centres[:, None] > gt[:, :2]) & (centres[:, None] < gt[:, 2:])).all(2)
    iou = box_iou(boxes, gt.to(boxes.dtype)) * inside
    fit = scores[:, None] ** SCORE_POWER * iou**IOU_POWER
    best, cells = fit.topk(min(candidates, len(fit)), dim=0)
    own = torch.zeros_like(inside).scatter_(0, cells, best > TINY)
    own &= iou == (iou * own).amax(1, keepdim=True)
    fit, iou = fit * own, iou * own
    chosen = torch.where(own.any(1))[0]
    index[chosen] = own[chosen].int().argmax(1)
    share = iou.amax(0) / fit.amax(0).clamp(min=TINY)
    wanted[chosen] = (fit * share).amax(1)[chosen]
    return index, wanted


def edge_errors(edges: Tensor, lengths: Tensor) -> Tensor:
    """Distribution focal loss (GFL eq. 6): (P, 4, N) logits and true lengths (P, 4) in cells -> (P, 4).

    It asks for the two bins beside the true length, each by how near it is. Lengths beyond the last bin count as there.
    """
    bins = edges.shape[-1]
    lengths = lengths.clamp(0, bins - 1 - 1e-3)
    low = lengths.floor().long()
    beyond = lengths - low
    logs = edges.log_softmax(-1)
    nearer, further = (logs.gather(2, each[..., None])[..., 0] for each in (low, low + 1))
    return -(nearer * (1 - beyond) + further * beyond)
