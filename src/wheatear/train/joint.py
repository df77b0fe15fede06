"""Stages joint, refine and blend: backbone, pyramid, RPN and RoI head trained together (Faster R-CNN).

B images, R sampled regions of a batch.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.evaluation import sweep
from wheatear.train.faster_rcnn import FasterRCNN, roi_targets
from wheatear.train.joint_data import Batch
from wheatear.train.joint_losses import region_losses
from wheatear.train.recipe_stages import JointStage
from wheatear.train.roi import label_proposals
from wheatear.train.stages import StageModule, decay_groups

MOMENTUM = 0.9  # of SGD, as in all the papers


class JointTraining(StageModule):
    """All losses; all parts are trained except the backbone's stages that the recipe freezes.

    Evaluated by the Kaggle metric on whole photos: `val`, in the order of the validation loader.
    """

    stage: JointStage

    def __init__(self, model: FasterRCNN, stage: JointStage, seed: int, val: Sequence[Sample]) -> None:
        parts = [model.backbone, model.pyramid, model.rpn, model.roi_head]
        super().__init__(model, stage, seed, [part for part in parts if part is not None])
        # Weights without a gradient would stop a training on several devices.
        for name, weight in model.named_parameters():
            if name.startswith(model.idle_groups()):
                weight.requires_grad_(False)
        self.targets = roi_targets(model.recipe.roi)
        self.val, self.found = val, dict[str, Detections]()

    def configure_optimizers(self) -> Any:
        """Weight decay applies to the kernels alone; the learning rate changes each step."""
        stage, total = self.stage, int(self.trainer.estimated_stepping_batches)
        groups = parameter_groups(self.model, self.parts, stage)
        optimizer: torch.optim.Optimizer
        if stage.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=stage.lr, momentum=MOMENTUM, nesterov=True)
        else:
            optimizer = torch.optim.AdamW(groups, lr=stage.lr)
        rate = LambdaLR(optimizer, lambda step: lr_share(step, total, stage.warmup_steps, stage.final_lr))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The four losses, or five with a predicted IoU, each a mean over the sampled anchors or regions."""
        model, image_size = self.model, (batch.images.shape[2], batch.images.shape[3])
        maps = model.features(batch.images)
        objectness, deltas, anchors = model.rpn(maps)
        losses = model.rpn.loss(objectness, deltas, anchors, batch.gt_boxes, image_size, self.generator)
        proposals = model.rpn.proposals_at_once(objectness, deltas, anchors, image_size, self.stage.proposals)
        drawn = label_proposals(
            [boxes for boxes, _ in proposals], batch.gt_boxes, self.targets, self.generator
        )
        logits, deltas = model.judge(maps, drawn.rois())
        targets = drawn.boxes, drawn.labels, drawn.target_deltas
        return losses | region_losses(logits, deltas, *targets, model.recipe.roi)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.losses(batch)
        self.log_means("train", losses, len(batch.images))
        return torch.stack(list(losses.values())).sum()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.found = {}

    def validation_step(self, batch: list[tuple[int, Tensor]], batch_idx: int) -> None:
        for i, image in batch:
            ((boxes, scores),) = self.model(image[None])
            self.found[self.val[i].path.name] = Detections(
                boxes.float().cpu().numpy(), scores.float().cpu().numpy(), *image.shape[1:]
            )

    def on_validation_epoch_end(self) -> None:
        for name, value in self.figures().items():
            self.log(name, value)

    def figures(self) -> dict[str, float]:
        """Each figure at its own best score threshold: an upper bound, but the same for every recipe.

        val_threshold is that of val_kaggle.
        """
        figures = sweep(self.val, self.found)
        best = int(figures.kaggle.argmax())
        return {
            "val_kaggle": float(figures.kaggle[best]),
            "val_threshold": float(figures.thresholds[best]),
            "val_count_mae": float(figures.count_mae.min()),
        }

    @torch.no_grad()
    def judge(self, val: DataLoader[Any], precision: str, device: torch.device) -> dict[str, float]:
        """Validate the current weights after training (`figures`), with the training's precision and device.

        The network ends up on the CPU, where Lightning leaves it after training.
        """
        self.model.eval().to(device)
        self.found = {}
        lower = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
        with torch.autocast(device.type, lower, enabled=lower is not None):
            for number, batch in enumerate(val):
                self.validation_step([(i, image.to(device)) for i, image in batch], number)
        self.model.cpu()
        return self.figures()


def parameter_groups(
    model: FasterRCNN, parts: Sequence[torch.nn.Module], stage: JointStage
) -> list[dict[str, Any]]:
    """The optimiser's groups: first the new layers, whose learning rate is recorded, then the backbone."""
    groups = []
    for share, chosen in (
        (1.0, [p for p in parts if p is not model.backbone]),
        (stage.backbone_lr, [model.backbone]),
    ):
        params = [p for part in chosen for p in part.parameters() if p.requires_grad]
        groups += [group | {"lr": share * stage.lr} for group in decay_groups(params, stage.weight_decay)]
    return groups


def lr_share(step: int, total: int, warmup: int, final: float) -> float:
    """The share of the peak learning rate at a step, from 0: a linear warm-up times a cosine down to `final`."""
    rise = min(1.0, (step + 1) / (warmup + 1))
    cosine = (1 + math.cos(math.pi * min(1.0, step / total))) / 2
    return rise * (final + (1 - final) * cosine)
