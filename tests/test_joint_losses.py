"""The RoI head's losses of the joint stage."""

import math

import pytest
import torch
import torchvision.ops
from torch import Tensor

from wheatear.train.joint_losses import paired_iou, region_losses
from wheatear.train.losses import rcnn_losses
from wheatear.train.recipe import RoIRecipe
from wheatear.train.targets import decode, encode

torch.set_num_threads(1)

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def recipe(**changes: object) -> RoIRecipe:
    common = {
        "strides": [8],
        "pool": "roi_align",
        "size": 7,
        "channels": 8,
        "fg_iou_thresh": 0.5,
        "bg_iou_thresh": 0.5,
        "batch_size_per_image": 8,
        "positive_fraction": 0.5,
        "box_weights": WEIGHTS,
    }
    return RoIRecipe.model_validate(common | changes)


def example(heads: int, background: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """logits (R, 3), deltas, regions, labels, target_deltas; the regions lie a little beside the heads."""
    generator = torch.Generator().manual_seed(0)
    n = heads + background
    corners = 100 * torch.rand(n, 2, generator=generator)
    gt = torch.cat([corners, corners + 20 + 30 * torch.rand(n, 2, generator=generator)], dim=1)
    regions = gt + 4 * torch.rand(n, 4, generator=generator)
    labels = (torch.arange(n) < heads).long()
    target_deltas = encode(gt, regions, WEIGHTS) * labels[:, None]
    logits = torch.randn(n, 3, generator=generator).requires_grad_()
    deltas = (0.3 * torch.randn(n, 4, generator=generator)).requires_grad_()
    return logits, deltas, regions, labels, target_deltas


def test_without_extras_they_are_the_notes_losses():
    logits, deltas, regions, labels, target_deltas = example(2)
    losses = region_losses(logits[:, :2], deltas, regions, labels, target_deltas, recipe())
    expected = rcnn_losses(logits[:, :2], deltas, labels, target_deltas, 1.0)
    assert list(losses) == ["loss_classifier", "loss_box_reg"]
    assert torch.equal(torch.stack(list(losses.values())), torch.stack(expected))


def test_giou_is_torchvisions_of_the_moved_boxes_over_the_batch():
    logits, deltas, regions, labels, target_deltas = example(2)
    switched = recipe(box_loss="giou", box_loss_weight=3.0)
    loss = region_losses(logits, deltas, regions, labels, target_deltas, switched)["loss_box_reg"]
    moved, gt = decode(deltas[:2], regions[:2], WEIGHTS), decode(target_deltas[:2], regions[:2], WEIGHTS)
    giou = torchvision.ops.generalized_box_iou(moved, gt).diagonal()
    assert loss.item() == pytest.approx(3 * (1 - giou).sum().item() / 5, rel=1e-5)


def test_soft_labels_by_hand():
    """One head whose box stands still and one background, both judged even: log 2 whatever the target."""
    _, _, regions, labels, target_deltas = example(1, background=1)
    logits, deltas = torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 4)
    loss = region_losses(logits, deltas, regions, labels, target_deltas, recipe(quality="soft"))[
        "loss_classifier"
    ]
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)
    loss.backward()
    gt = decode(target_deltas[:1], regions[:1], WEIGHTS)
    iou = torchvision.ops.box_iou(regions[:1], gt).item()
    assert logits.grad is not None
    assert logits.grad[:, 1].tolist() == pytest.approx([(0.5 - iou) / 2, 0.25], rel=1e-4)


def test_quality_learns_the_iou_of_the_moved_box():
    _, _, regions, labels, target_deltas = example(1, background=1)
    logits = torch.zeros(2, 3, requires_grad=True)
    losses = region_losses(
        logits, target_deltas.clone(), regions, labels, target_deltas, recipe(quality="iou")
    )
    losses["loss_quality"].backward()
    assert logits.grad is not None
    assert logits.grad[:, 2].tolist() == pytest.approx([-0.25, 0.0], abs=1e-4)  # (0.5 - 1) / 2: the box fits
    assert losses["loss_box_reg"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
@pytest.mark.parametrize("quality", ["none", "soft", "iou"])
def test_without_heads_the_losses_of_boxes_are_exactly_0(box_loss, quality):
    logits, deltas, regions, labels, target_deltas = example(0)
    losses = region_losses(
        logits, deltas, regions, labels, target_deltas, recipe(box_loss=box_loss, quality=quality)
    )
    assert all(loss.item() == 0 for name, loss in losses.items() if name != "loss_classifier")
    torch.stack(list(losses.values())).sum().backward()
    assert deltas.grad is not None
    assert not deltas.grad.any()


def test_paired_iou_is_the_diagonal_of_all_pairs():
    _, _, regions, _, _ = example(6)
    others = regions.flip(0)
    assert torch.allclose(paired_iou(regions, others), torchvision.ops.box_iou(regions, others).diagonal())
    assert paired_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


@pytest.mark.parametrize(("quality", "name"), [("iou", "loss_quality"), ("soft", "loss_classifier")])
def test_boxes_are_not_moved_so_that_their_quality_is_easier_to_say(quality, name):
    logits, deltas, regions, labels, target_deltas = example(2)
    losses = region_losses(logits, deltas, regions, labels, target_deltas, recipe(quality=quality))
    (grad,) = torch.autograd.grad(losses[name], deltas, allow_unused=True)
    assert grad is None or not grad.any()


def test_the_quality_is_no_third_class():
    logits, deltas, regions, labels, target_deltas = example(2)
    losses = region_losses(logits, deltas, regions, labels, target_deltas, recipe(quality="iou"))
    expected, _ = rcnn_losses(logits[:, :2], deltas, labels, target_deltas, 1.0)
    torch.testing.assert_close(losses["loss_classifier"], expected)
