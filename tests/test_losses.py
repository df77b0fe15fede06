"""The losses of the RPN and the R-CNN."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.rpn import RPNHead as TorchvisionHead

import oracles
from wheatear.train.losses import rcnn_losses, rpn_losses

torch.set_num_threads(1)

TORCHVISIONS_BETA = 1 / 9


def random_batch(n: int, seed: int, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, deltas, labels 0 or 1 and target deltas of n boxes, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator).double() * 3
    deltas, target_deltas = torch.randn(2, n, 4, generator=generator).double()
    return logits, deltas, torch.randint(0, 2, (n,), generator=generator), target_deltas


def test_rpn_losses_by_hand():
    objectness = torch.tensor([0.0, 0.0, math.log(3)])  # chances 1/2, 1/2, 3/4
    deltas = torch.tensor([[2.0, 0, 0, 0.05], [9, 9, 9, 9], [9, 9, 9, 9]])
    losses = rpn_losses(objectness, deltas, torch.tensor([1, 0, 0]), torch.zeros(3, 4), beta=0.1)
    # linear 2 - 0.1 / 2, quadratic 0.05² / (2 · 0.1); background has no box loss
    expected = (2 * math.log(2) + math.log(4)) / 3, (1.95 + 0.0125) / 3
    assert tuple(x.item() for x in losses) == pytest.approx(expected)


def test_rcnn_losses_by_hand():
    class_logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    deltas = torch.tensor([[9.0, 9, 9, 9], [1, 0, 0, 0]])
    losses = rcnn_losses(class_logits, deltas, torch.tensor([0, 1]), torch.zeros(2, 4), beta=1.0)
    expected = (math.log(2) + math.log(4 / 3)) / 2, 0.5 / 2
    assert tuple(x.item() for x in losses) == pytest.approx(expected)


@given(seed=st.integers(0, 2**31), n=st.integers(1, 12), beta=st.sampled_from([1 / 9, 1.0]))
@settings(deadline=None, max_examples=40)
def test_rpn_losses_are_the_oracles(seed, n, beta):
    logits, deltas, labels, target_deltas = random_batch(n, seed, classes=1)
    ours = rpn_losses(logits[:, 0], deltas, labels, target_deltas, beta)
    oracle = oracles.rpn_losses(logits[:, 0], deltas, labels.tolist(), target_deltas, beta)
    torch.testing.assert_close(ours, oracle)


def test_rpn_losses_are_torchvisions():
    logits, deltas, labels, target_deltas = random_batch(50, 0, classes=1)
    labels[:5] = -1
    rpn = RegionProposalNetwork(
        AnchorGenerator(),
        TorchvisionHead(1, 1),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=200,  # more than there are: all are drawn, whatever the chance
        positive_fraction=0.5,
        pre_nms_top_n={},
        post_nms_top_n={},
        nms_thresh=0.7,
    )
    theirs = rpn.compute_loss(logits, deltas, [labels.double()], [target_deltas])
    drawn = labels >= 0
    ours = rpn_losses(logits[drawn, 0], deltas[drawn], labels[drawn], target_deltas[drawn], TORCHVISIONS_BETA)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_rcnn_losses_are_torchvisions():
    class_logits, deltas, labels, target_deltas = random_batch(50, 0, classes=2)
    per_class = torch.cat([torch.full_like(deltas, 7), deltas], dim=1)  # theirs has deltas for background too
    theirs = fastrcnn_loss(class_logits, per_class, [labels], [target_deltas])
    ours = rcnn_losses(class_logits, deltas, labels, target_deltas, TORCHVISIONS_BETA)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("losses", "shape"), [(rpn_losses, (0,)), (rcnn_losses, (0, 2))])
def test_losses_of_nothing_are_zero_and_attached(losses, shape):
    logits, deltas = torch.zeros(shape, requires_grad=True), torch.zeros(0, 4, requires_grad=True)
    classification, box = losses(logits, deltas, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 1.0)
    assert (classification.item(), box.item()) == (0, 0)
    (classification + box).backward()
    assert logits.grad is not None
    assert deltas.grad is not None


@pytest.mark.parametrize(("losses", "shape"), [(rpn_losses, (3,)), (rcnn_losses, (3, 2))])
def test_background_alone_has_no_box_loss_and_no_gradient(losses, shape):
    deltas = torch.full((3, 4), 1e6, requires_grad=True)
    labels = torch.zeros(3, dtype=torch.int64)
    classification, box = losses(torch.zeros(shape), deltas, labels, torch.full((3, 4), float("nan")), 1.0)
    assert classification.item() == pytest.approx(math.log(2))
    assert box.item() == 0
    box.backward()
    assert not deltas.grad.any()


@pytest.mark.parametrize(("losses", "shape"), [(rpn_losses, (3,)), (rcnn_losses, (3, 2))])
def test_half_precision_is_summed_in_the_targets_precision(losses, shape):
    logits, deltas = torch.zeros(shape, dtype=torch.bfloat16), torch.ones(3, 4, dtype=torch.bfloat16)
    classification, box = losses(logits, deltas, torch.tensor([1, 0, 0]), torch.zeros(3, 4), 1.0)
    assert classification.dtype == box.dtype == torch.float32
    assert classification.item() == pytest.approx(math.log(2), abs=1e-6)
