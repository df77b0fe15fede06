"""What each stage trains, and with which loss, as Lightning modules around one FasterRCNN.

Shapes: B images, K anchors, R RoIs.
"""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from wheatear.train.dataset import FrozenPhoto
from wheatear.train.faster_rcnn import RCNN_BETA, FasterRCNN, roi_targets
from wheatear.train.losses import rcnn_losses
from wheatear.train.order import epoch_seed
from wheatear.train.recipe_stages import CNNStage, Stage, SteppedStage
from wheatear.train.roi import RoIHead, label_proposals


class StageModule(L.LightningModule):
    """Common to all stages; `parts` are the modules that this stage trains."""

    def __init__(self, model: FasterRCNN, stage: Stage, seed: int, parts: list[nn.Module]) -> None:
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        model.requires_grad_(False)
        self.parts = parts
        for part in parts:
            part.requires_grad_(True)
        self.generator = torch.Generator()

    def on_fit_start(self) -> None:
        """Draw random numbers on the training device, which would otherwise wait for them."""
        self.generator = torch.Generator(self.device)

    def on_train_epoch_start(self) -> None:
        """An epoch's randomness follows from the seed and its number alone; frozen parts stay in eval mode."""
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))
        self.generator.manual_seed(epoch_seed(self.seed, self.current_epoch))
        self.model.eval()
        for part in self.parts:
            part.train()

    def on_validation_epoch_start(self) -> None:
        """Draw the same samples from the validation photos each epoch, so that epochs are comparable."""
        self.generator.manual_seed(self.seed)

    def log_means(self, prefix: str, values: dict[str, Tensor], batch_size: int) -> None:
        """Log the epoch's mean of each value, detached from its graph."""
        named = {f"{prefix}_{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=batch_size)


class SteppedModule(StageModule):
    """The optimiser and the stepwise learning rate of the notes' stages."""

    stage: SteppedStage

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """L2 applies to kernels alone, like Keras's kernel_regularizer: its l2·w² is a weight decay of 2·l2."""
        params = [p for part in self.parts for p in part.parameters()]
        groups = decay_groups(params, 2 * self.stage.l2)
        if self.stage.optimizer == "rmsprop":
            # With Keras's defaults.
            return torch.optim.RMSprop(groups, lr=self.stage.lr_at(0), alpha=0.9, eps=1e-7)
        return torch.optim.Adam(groups, lr=self.stage.lr_at(0))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.stage.lr_at(self.current_epoch)


def decay_groups(params: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """An optimiser's groups: kernels, which decay; and biases and the norms' weights, which do not."""
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


class SnipClassification(SteppedModule):
    """Stage cnn: is there a head in this snip? Batches are ((B, 3, S, S) uint8, (B,) labels)."""

    stage: CNNStage

    def __init__(self, model: FasterRCNN, stage: CNNStage, seed: int) -> None:
        assert model.snip_head is not None
        super().__init__(model, stage, seed, [model.backbone, model.snip_head])

    def losses(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """-> cross-entropy, accuracy."""
        snips, labels = batch
        logits = self.model.classify(snips.contiguous(memory_format=torch.channels_last)).float()
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if self.stage.stretch > 1:
            batch = stretched(batch[0], self.stage.stretch, self.generator), batch[1]
        loss, accuracy = self.losses(batch)
        self.log_means("train", {"cross_entropy": loss, "accuracy": accuracy}, len(batch[1]))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss, accuracy = self.losses(batch)
        self.log_means("val", {"cross_entropy": loss, "accuracy": accuracy}, len(batch[1]))


def stretched(snips: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Snips (B, 3, S, S) uint8, each stretched about its centre along one axis and squeezed along the other.

    Both by the same factor from 1 to `most`; its logarithm is uniform, and either axis is equally likely.
    Squeezing leaves a border, which is filled by reflection.
    """
    luck = torch.rand(len(snips), generator=generator, device=generator.device).to(snips.device)
    factor = most ** (2 * luck - 1)
    theta = torch.zeros(len(snips), 2, 3, device=snips.device)
    theta[:, 0, 0], theta[:, 1, 1] = 1 / factor, factor
    grid = F.affine_grid(theta, list(snips.shape), align_corners=False)
    seen = F.grid_sample(snips.float(), grid, padding_mode="reflection", align_corners=False)
    return seen.round().clamp(0, 255).byte()


class RegionProposal(SteppedModule):
    """Stage rpn: scores and deltas of the anchors, on frozen maps. Batches are lists of photos."""

    def __init__(self, model: FasterRCNN, stage: SteppedStage, seed: int) -> None:
        super().__init__(model, stage, seed, [model.rpn])

    def losses(self, photo: FrozenPhoto) -> dict[str, Tensor]:
        rpn = self.model.rpn
        objectness, deltas, anchors = rpn({rpn.levels[0].stride: photo.features})
        return rpn.loss(objectness, deltas, anchors, [photo.gt_boxes], photo.image_size, self.generator)

    def training_step(self, batch: list[FrozenPhoto], batch_idx: int) -> Tensor:
        losses = mean_losses([self.losses(photo) for photo in batch])
        self.log_means("train", losses, len(batch))
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: list[FrozenPhoto], batch_idx: int) -> None:
        self.log_means("val", mean_losses([self.losses(photo) for photo in batch]), len(batch))
        for photo in batch:
            ((boxes, _),) = self.model.propose(
                {self.model.rpn.levels[0].stride: photo.features}, photo.image_size
            )
            if len(photo.gt_boxes):
                found = covered(photo.gt_boxes, boxes).float().mean()
                self.log("val_recall", found, on_epoch=True, batch_size=len(photo.gt_boxes))


class RegionClassification(SteppedModule):
    """Stage rcnn: scores and deltas of the frozen RPN's proposals, on frozen maps. Batches are lists of photos."""

    def __init__(self, model: FasterRCNN, stage: SteppedStage, seed: int) -> None:
        super().__init__(model, stage, seed, [model.roi_head])
        self.targets = roi_targets(model.recipe.roi)

    def losses(self, batch: list[FrozenPhoto]) -> tuple[dict[str, Tensor], Tensor]:
        """-> the losses over all sampled regions of the batch, and the accuracy of their classes."""
        drawn = [
            label_proposals([photo.proposals], [photo.gt_boxes], self.targets, self.generator)
            for photo in batch
        ]
        head = self.model.roi_head
        assert isinstance(head, RoIHead)
        # Photo by photo, as their maps may differ in size; then all together, as the batch norm needs them.
        crops = [
            head.crop(photo.features, targets.rois()) for photo, targets in zip(batch, drawn, strict=True)
        ]
        logits, deltas = head.judge(torch.cat(crops))
        truth = torch.cat([targets.labels for targets in drawn])
        target_deltas = torch.cat([targets.target_deltas for targets in drawn])
        classifier, box_reg = rcnn_losses(logits, deltas, truth, target_deltas, RCNN_BETA)
        accuracy = (logits.argmax(1) == truth).float().mean()
        return {"loss_classifier": classifier, "loss_box_reg": box_reg}, accuracy

    def training_step(self, batch: list[FrozenPhoto], batch_idx: int) -> Tensor:
        losses, accuracy = self.losses(batch)
        self.log_means("train", losses | {"accuracy": accuracy}, len(batch))
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: list[FrozenPhoto], batch_idx: int) -> None:
        losses, accuracy = self.losses(batch)
        self.log_means("val", losses | {"accuracy": accuracy}, len(batch))


def mean_losses(photos: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each named loss over the photos."""
    return {name: torch.stack([losses[name] for losses in photos]).mean() for name in photos[0]}


def covered(gt_boxes: Tensor, proposals: Tensor, iou_thresh: float = 0.5) -> Tensor:
    """(G,) bool: whether some proposal has at least this IoU with the head; without proposals, none has."""
    best = torch.cat([box_iou(gt_boxes, proposals), gt_boxes.new_zeros(len(gt_boxes), 1)], dim=1).amax(1)
    return best >= iou_thresh
