"""The second stage: cutting regions out of the map, its head, its training regions and its detections."""

import math
from typing import Any

import pytest
import torch
import torchvision.ops
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads

import oracles
from wheatear.train.losses import rcnn_losses
from wheatear.train.recipe import DetectionRecipe
from wheatear.train.roi import (
    RoIHead,
    crop_and_resize,
    detect,
    label_proposals,
    region_scores,
    roi_align,
    to_rois,
)
from wheatear.train.targets import TargetSettings, encode

torch.set_num_threads(1)

STRIDE = 16
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
NOTES = TargetSettings(0.5, 0.2, 256, 0.5, allow_low_quality=False)
SEEDS = st.integers(0, 2**31)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(n: int, height: float, width: float, generator: torch.Generator) -> Tensor:
    """n boxes within a height × width image."""
    points = torch.rand(n, 2, 2, generator=generator).sort(dim=1).values * torch.tensor([width, height])
    return points.flatten(1)


def ramps(height: int, width: int) -> Tensor:
    """(1, 2, H, W): the x and the y of each cell's centre, in pixels."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return STRIDE * torch.stack([x, y])[None]


def torchvision_heads(settings: TargetSettings, score_thresh: float = 0.05, top: int = 100) -> RoIHeads:
    return RoIHeads(
        None,
        None,
        None,
        settings.fg_iou_thresh,
        settings.bg_iou_thresh,
        settings.batch_size_per_image,
        settings.positive_fraction,
        settings.weights,
        score_thresh,
        0.5,
        top,
    )


def rows(*columns: Tensor) -> list[list[float]]:
    """Rows of the columns side by side, in an order of their own, so that sets of them compare."""
    table = torch.cat([column.reshape(len(column), -1).double() for column in columns], dim=1)
    return sorted(table.tolist())


# pooling


def test_to_rois_puts_the_images_index_first():
    boxes = [torch.full((2, 4), 5.0), torch.zeros(0, 4), torch.full((1, 4), 7.0)]
    assert to_rois(boxes).tolist() == [[0, 5, 5, 5, 5], [0, 5, 5, 5, 5], [2, 7, 7, 7, 7]]


def test_crop_and_resize_by_hand_as_in_tensorflows_own_tests():
    four = torch.tensor([[[[1.0, 2], [3, 4]]]])
    whole = torch.tensor([[0.0, 0, 0, 32, 32]])
    assert crop_and_resize(four, whole, STRIDE, 3)[0, 0].tolist() == [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]]
    nine = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    rois = torch.tensor([[0.0, 0, 0, 48, 48], [0, 0, 0, 24, 24]])
    assert crop_and_resize(nine, rois, STRIDE, 2)[:, 0].tolist() == [[[1, 3], [7, 9]], [[1, 2], [4, 5]]]


@given(seed=SEEDS, images=st.integers(1, 3), n=st.integers(0, 5), size=st.integers(2, 7))
@settings(deadline=None, max_examples=40)
def test_crop_and_resize_is_the_oracles(seed, images, n, size):
    generator = seeded(seed)
    height, width = torch.randint(1, 7, (2,), generator=generator).tolist()
    features = torch.randn(images, 3, height, width, generator=generator)
    boxes = random_boxes(n, height * STRIDE, width * STRIDE, generator)
    rois = torch.cat([torch.randint(0, images, (n, 1), generator=generator), boxes], dim=1)  # in any order
    oracle = oracles.crop_and_resize(features, rois, STRIDE, size)
    torch.testing.assert_close(crop_and_resize(features, rois, STRIDE, size), oracle, atol=1e-4, rtol=0)


def test_crop_and_resize_reaches_every_edge():
    features = torch.randn(1, 2, 5, 9, generator=seeded())
    crop = crop_and_resize(features, torch.tensor([[0.0, 0, 0, 9 * STRIDE, 5 * STRIDE]]), STRIDE, 7)[0]
    corners = features[0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(crop[:, [0, 0, -1, -1], [0, -1, 0, -1]], corners, atol=1e-5, rtol=0)


def test_crop_and_resize_looks_half_a_cell_inwards_at_the_edges_and_right_in_the_middle():
    height, width = 8, 12
    x2, y2 = width * STRIDE, height * STRIDE
    roi = torch.tensor([[0.0, 0, 0, x2, y2]])
    x, y = crop_and_resize(ramps(height, width), roi, STRIDE, 3)[0]
    half = STRIDE / 2
    torch.testing.assert_close(x[0], torch.tensor([half, x2 / 2, x2 - half]))
    torch.testing.assert_close(y[:, 0], torch.tensor([half, y2 / 2, y2 - half]))


def test_roi_align_has_no_bias():
    roi = torch.tensor([[0.0, 20, 24, 132, 94]])  # half a cell and more from the border
    x, y = roi_align(ramps(8, 12), roi, STRIDE, 7)[0]
    middles = (torch.arange(7) + 0.5) / 7
    torch.testing.assert_close(x[3], 20 + 112 * middles)
    torch.testing.assert_close(y[:, 3], 24 + 70 * middles)


def test_roi_align_is_torchvisions_with_the_offset_right():
    features = torch.randn(2, 3, 6, 8, generator=seeded())
    rois = to_rois([random_boxes(4, 96, 128, seeded(i)) for i in (1, 2)])
    theirs = torchvision.ops.RoIAlign(7, 1 / STRIDE, sampling_ratio=2, aligned=True)(features, rois)
    torch.testing.assert_close(roi_align(features, rois, STRIDE, 7, 2), theirs, atol=1e-4, rtol=0)


@given(seed=SEEDS, n=st.integers(0, 5), size=st.integers(1, 7), sampling_ratio=st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_roi_align_learns_as_torchvisions(seed, n, size, sampling_ratio):
    """Regions of any order, within the map and beyond it."""
    generator = seeded(seed)
    images, height, width = torch.randint(1, 7, (3,), generator=generator).tolist()
    boxes = random_boxes(n, 2 * height * STRIDE, 2 * width * STRIDE, generator) - STRIDE
    rois = torch.cat([torch.randint(0, images, (n, 1), generator=generator), boxes], dim=1)
    features = torch.randn(images, 3, height, width, generator=generator, requires_grad=True)
    crops = roi_align(features, rois, STRIDE, size, sampling_ratio)
    theirs = torchvision.ops.roi_align(features, rois, size, 1 / STRIDE, sampling_ratio, aligned=True)
    torch.testing.assert_close(crops, theirs, atol=1e-4, rtol=0)
    slopes = torch.randn(crops.shape, generator=generator)
    gradients = [torch.autograd.grad(pooled, features, slopes)[0] for pooled in (crops, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=0)


@pytest.mark.parametrize("pool", [crop_and_resize, roi_align])
@pytest.mark.parametrize("images", [1, 2])
def test_no_regions_is_no_crops_but_still_attached(pool, images):
    features = torch.zeros(images, 3, 4, 4, requires_grad=True)
    crops = pool(features, torch.zeros(0, 5), STRIDE, 7)
    assert crops.shape == (0, 3, 7, 7)
    crops.sum().backward()
    assert not features.grad.any()


@pytest.mark.parametrize("pool", [crop_and_resize, roi_align])
def test_places_are_exact_for_half_precision_maps(pool):
    features = torch.randint(-8, 8, (1, 1, 64, 64), generator=seeded()).float()  # exact in bfloat16
    rois = to_rois([random_boxes(20, 1024, 1024, seeded(1))])
    crops = pool(features.bfloat16(), rois, STRIDE, 7)
    torch.testing.assert_close(crops, pool(features, rois, STRIDE, 7))


# head


def test_head_is_put_together_as_torchvisions():
    head = RoIHead(3, size=7, channels=8, pool="roi_align", stride=STRIDE).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3, generator=seeded(3))
    head.norm.running_mean.normal_(generator=seeded(4))
    head.norm.running_var.uniform_(0.5, 2, generator=seeded(5))
    their_hidden, their_last = TwoMLPHead(3 * 49, 8).fc6, FastRCNNPredictor(8, 2)
    their_hidden.load_state_dict(head.hidden.state_dict())
    their_last.cls_score.load_state_dict(head.scores.state_dict())
    their_last.bbox_pred.weight.data = torch.cat([torch.zeros(4, 8), head.deltas.weight])
    their_last.bbox_pred.bias.data = torch.cat([torch.zeros(4), head.deltas.bias])

    features = torch.randn(2, 3, 6, 8, generator=seeded())
    rois = to_rois([random_boxes(4, 96, 128, seeded(i)) for i in (1, 2)])
    class_logits, deltas = head({STRIDE: features}, rois)
    pooled = torchvision.ops.RoIAlign(7, 1 / STRIDE, 2, aligned=True)(features, rois)
    theirs = their_last(head.norm(their_hidden(pooled.flatten(1)).relu()))
    torch.testing.assert_close(class_logits, theirs[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(deltas, theirs[1][:, 4:], atol=1e-4, rtol=0)


def test_a_region_alone_is_trained_by_the_running_means():
    head = RoIHead(3, channels=8)
    head.norm.running_mean.normal_(generator=seeded(4))
    maps = {STRIDE: torch.randn(1, 3, 6, 8, generator=seeded())}
    rois = to_rois([random_boxes(1, 96, 128, seeded())])
    trained, expected = head.train()(maps, rois), head.eval()(maps, rois)
    torch.testing.assert_close(trained, expected)
    trained[0].sum().backward()
    assert head.norm.weight.grad is not None


@pytest.mark.parametrize("pool", ["crop_and_resize", "roi_align"])
@pytest.mark.parametrize("training", [True, False])
def test_head_of_no_regions_has_zero_loss_still_attached(pool, training):
    head = RoIHead(3, channels=8, pool=pool).train(training)
    features = torch.zeros(1, 3, 4, 4, requires_grad=True)
    class_logits, deltas = head({STRIDE: features}, torch.zeros(0, 5))
    assert class_logits.shape == (0, 2)
    assert deltas.shape == (0, 4)
    losses = rcnn_losses(class_logits, deltas, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 1.0)
    sum(losses).backward()
    assert not features.grad.any()
    assert all(buffer.isfinite().all() for buffer in head.buffers())


def test_head_refuses_an_unknown_pool():
    with pytest.raises(KeyError, match="max"):
        RoIHead(3, pool="max")


# training regions


def drawn(proposals: Tensor, gt_boxes: Tensor, rule: TargetSettings) -> tuple[Tensor, Tensor, Tensor]:
    """What is drawn of one image."""
    targets = label_proposals([proposals], [gt_boxes], rule, seeded())
    return targets.boxes, targets.labels, targets.target_deltas


def test_label_proposals_by_hand():
    gt = torch.tensor([[0.0, 0, 10, 10]])
    proposals = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 4], [0, 0, 10, 2], [50, 50, 60, 60]])
    boxes, labels, deltas = drawn(proposals, gt, NOTES)
    assert labels.tolist() == [1, 1, 0, 0]
    assert rows(boxes[:2]) == [[0, 0, 10, 9], [0, 0, 10, 10]]  # IoU 0.9, and the head itself; 0.4 is left out
    assert rows(boxes[2:]) == [[0, 0, 10, 2], [50, 50, 60, 60]]  # IoU 0.2 and 0
    moved = torch.tensor([[0, 0.5 / 9, 0, math.log(10 / 9)], [0, 0, 0, 0]])
    torch.testing.assert_close(deltas[boxes[:, 3].argsort()][1:3], moved)
    assert not deltas[2:].any()


def test_label_proposals_are_torchvisions():
    rule = TargetSettings(0.4, 0.2, 1000, 0.5, allow_low_quality=False, weights=WEIGHTS)
    gt = random_boxes(8, 100, 100, seeded(1))
    proposals = random_boxes(300, 100, 100, seeded(2))
    boxes, labels, deltas = drawn(proposals, gt, rule)
    assert 8 < labels.sum() < len(labels) - 8
    target = {"boxes": gt, "labels": torch.ones(8, dtype=torch.int64)}
    their_boxes, _, their_labels, their_deltas = torchvision_heads(rule).select_training_samples(
        [proposals], [target]
    )
    foreground, theirs = labels == 1, their_labels[0] == 1
    assert rows(boxes[~foreground]) == rows(their_boxes[0][~theirs])
    ours = torch.tensor(rows(boxes[foreground], deltas[foreground]))
    expected = torch.tensor(rows(their_boxes[0][theirs], their_deltas[0][theirs]))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_label_proposals_without_heads_or_proposals():
    proposals, none = random_boxes(300, 100, 100, seeded()), torch.zeros(0, 4)
    boxes, labels, deltas = drawn(proposals, none, NOTES)
    assert len(boxes) == 256
    assert not labels.any()
    assert not deltas.any()
    boxes, labels, deltas = drawn(none, none, NOTES)
    assert (boxes.shape, labels.shape, deltas.shape) == ((0, 4), (0,), (0, 4))


# detections


def run_detect(
    class_logits: Tensor, deltas: Tensor, proposals: Tensor, most: int = 100, **changed: Any
) -> tuple[Tensor, Tensor]:
    chosen = {"score_floor": 0.05, "nms_thresh": 0.5, "min_size": 1e-2, "detections_per_img": 500} | changed
    return detect(class_logits, deltas, proposals, (100, 120), DetectionRecipe(**chosen), most, WEIGHTS)


def test_detect_by_hand():
    proposals = torch.tensor(
        [
            [0.0, 0, 10, 10],
            [1, 0, 11, 10],  # overlaps the first by 9/11
            [110, 90, 130, 110],  # clipped to 10 × 10
            [118, 0, 130, 50],  # 2 px wide after clipping
            [50, 50, 60, 60],  # below the threshold
            [70, 70, 80, 80],  # just at it
        ]
    )
    chances = torch.tensor([0.6, 0.9, 0.7, 0.8, 0.25, 0.5])
    class_logits = torch.stack([torch.zeros(6), chances.logit()], dim=1)
    found = run_detect(class_logits, torch.zeros(6, 4), proposals, score_floor=0.5, min_size=3)
    assert found[0].tolist() == [[1, 0, 11, 10], [110, 90, 120, 100], [70, 70, 80, 80]]
    assert found[1].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert len(run_detect(class_logits, torch.zeros(6, 4), proposals, most=2)[0]) == 2


def test_detect_is_torchvisions():
    proposals = random_boxes(200, 100, 120, seeded(1))
    class_logits = torch.randn(200, 2, generator=seeded(2)) * 2
    deltas = torch.randn(200, 4, generator=seeded(3))
    boxes, scores = run_detect(class_logits, deltas, proposals, most=60)
    rule = TargetSettings(0.5, 0.5, 256, 0.5, False, weights=WEIGHTS)
    per_class = torch.cat([torch.zeros(200, 4), deltas], dim=1)
    their_boxes, their_scores, _ = torchvision_heads(rule, top=60).postprocess_detections(
        class_logits, per_class, [proposals], [(100, 120)]
    )
    assert len(boxes) == 60
    torch.testing.assert_close(boxes, their_boxes[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, their_scores[0], atol=1e-4, rtol=0)


@given(seed=SEEDS, n=st.integers(0, 25))
@settings(deadline=None, max_examples=40)
def test_detect_keeps_what_the_oracle_keeps(seed, n):
    generator = seeded(seed)
    proposals = random_boxes(n, 100, 120, generator)
    class_logits = torch.randn(n, 2, generator=generator)
    boxes, scores = run_detect(class_logits, torch.zeros(n, 4), proposals, score_floor=0.4, min_size=5)
    chances = class_logits.softmax(dim=1)[:, 1].tolist()
    sides = (proposals[:, 2:] - proposals[:, :2]).amin(dim=1).tolist()
    able = [i for i in range(n) if chances[i] >= 0.4 and sides[i] >= 5]
    kept = oracles.nms([proposals[i].tolist() for i in able], [chances[i] for i in able], 0.5)
    torch.testing.assert_close(boxes, proposals[[able[i] for i in kept]].reshape(-1, 4), atol=1e-3, rtol=0)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_detect_finds_the_heads_that_perfect_deltas_point_at():
    gt = torch.tensor([[10.0, 10, 30, 40], [60, 50, 90, 80]])
    proposals = gt + torch.tensor([5.0, -4, 8, 3])
    class_logits = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    boxes, _ = run_detect(class_logits, encode(gt, proposals, WEIGHTS), proposals)
    torch.testing.assert_close(boxes, gt.flip(0), atol=1e-4, rtol=0)


def test_a_margin_moves_every_edge_outwards_as_far_as_the_image_goes():
    gt = torch.tensor([[10.0, 10, 30, 50], [100, 60, 120, 100], [60, 50, 90, 80]])
    proposals = gt + torch.tensor([5.0, -4, 8, 3])
    class_logits = torch.tensor([[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]])
    boxes, _ = run_detect(class_logits, encode(gt, proposals, WEIGHTS), proposals, margin=0.1)
    expected = torch.tensor([[8.0, 6, 32, 54], [98, 56, 120, 100], [57, 47, 93, 83]])
    torch.testing.assert_close(boxes, expected, atol=1e-4, rtol=0)


def test_boxes_are_suppressed_and_vote_with_their_margin():
    proposals = torch.tensor([[10.0, 10, 20, 20], [13.5, 10, 23.5, 20], [10, 22, 20, 32], [1, 40, 3, 42]])
    class_logits = torch.tensor([[0.0, 3.0], [0.0, 2.0], [0.0, 1.0], [0.0, 0.0]])
    chosen = {"vote_iou": 0.5, "min_size": 2.3}
    boxes, _ = run_detect(class_logits, torch.zeros(4, 4), proposals, margin=0.1, **chosen)
    larger = torchvision.ops.clip_boxes_to_image(
        proposals + 0.1 * (proposals - proposals[:, [2, 3, 0, 1]]), (100, 120)
    )
    expected, _ = run_detect(class_logits, torch.zeros(4, 4), larger, **chosen)
    torch.testing.assert_close(boxes, expected, atol=1e-4, rtol=0)
    # The last is thick enough with it, and the second overlaps the first by 0.55, not 0.48.
    assert len(boxes) == 3


def test_no_margin_changes_nothing():
    proposals = random_boxes(50, 100, 120, seeded(1))
    class_logits, deltas = torch.randn(50, 2, generator=seeded(2)), torch.randn(50, 4, generator=seeded(3))
    boxes, scores = run_detect(class_logits, deltas, proposals, margin=0.0)
    expected = run_detect(class_logits, deltas, proposals)
    assert torch.equal(boxes, expected[0])
    assert torch.equal(scores, expected[1])


def test_a_margin_is_exact_for_half_precision_deltas():
    proposals = random_boxes(20, 100, 120, seeded(1))
    deltas, class_logits = torch.zeros(20, 4), torch.zeros(20, 2)
    boxes, _ = run_detect(class_logits.bfloat16(), deltas.bfloat16(), proposals, margin=0.01)
    torch.testing.assert_close(boxes, run_detect(class_logits, deltas, proposals, margin=0.01)[0])


def test_detect_of_nothing_is_nothing():
    none = torch.zeros(0, 4)
    boxes, scores = run_detect(torch.zeros(0, 2), none, none, margin=0.01)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_a_third_logit_says_how_well_the_box_fits():
    """A chance of 0.8 (whatever the third logit) and a fit of 0.45: the root of 0.36."""
    logits = torch.tensor([[0.0, math.log(4), math.log(0.45 / 0.55)], [0.0, math.log(4), 30.0]])
    assert region_scores(logits).tolist() == pytest.approx([0.6, math.sqrt(0.8)], rel=1e-5)
    assert region_scores(logits[:, :2]).tolist() == pytest.approx([0.8, 0.8], rel=1e-5)


def test_boxes_that_lose_score_by_matrix_are_limited_and_below_the_threshold_gone():
    """The second overlaps the first by 9/11 and keeps 2/11 of 0.8; the others stand alone."""
    proposals = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [80, 80, 90, 90]])
    chances = torch.tensor([0.9, 0.8, 0.6, 0.7])
    given = torch.stack([torch.zeros(4), chances.logit()], dim=1), torch.zeros(4, 4), proposals
    boxes, scores = run_detect(*given, suppression="matrix", score_floor=0.1)
    assert boxes.tolist() == proposals[[0, 3, 2, 1]].tolist()
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.8 * 2 / 11])
    assert len(run_detect(*given, suppression="matrix", score_floor=0.2)[0]) == 3
    assert len(run_detect(*given, suppression="matrix", score_floor=0.1, most=2)[0]) == 2


def test_suppressed_boxes_vote_too():
    """The second overlaps the first by 0.9, of the way from 0.5 to 1 that is 0.8; it goes, its vote does not."""
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    logits = torch.stack([torch.zeros(2), torch.tensor([0.6, 0.5]).logit()], dim=1)
    boxes, scores = run_detect(logits, torch.zeros(2, 4), proposals, vote_iou=0.5)
    assert boxes.tolist() == [[0, 0, 10, pytest.approx((0.6 * 10 + 0.4 * 9) / (0.6 + 0.4))]]
    assert scores.tolist() == pytest.approx([(0.6 * 0.6 + 0.4 * 0.5) / (0.6 + 0.4)])
