"""The region proposal network: its head, its proposals and its loss."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.models.detection.rpn import RPNHead as TorchvisionHead
from torchvision.ops import box_iou

import oracles
from wheatear.train.anchors import AnchorLevel, inside
from wheatear.train.rpn import RPN, ProposalSettings, RPNHead
from wheatear.train.targets import TargetSettings, encode, sample_targets

torch.set_num_threads(1)

BETA = 1 / 9  # torchvision's
CHANNELS = 6
RATIOS = (0.5, 1.0, 2.0)
# offset 0 and two levels, as torchvision has them
LEVELS = (AnchorLevel(8, (16.0,), RATIOS, offset=0), AnchorLevel(16, (32.0,), RATIOS, offset=0))
IMAGE_SIZE = (64, 80)
SIDE = 80  # of the photo that the numbers of proposals are meant for: IMAGE_SIZE is no larger
SHAPES = [(8, 10), (4, 5)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_rpn(
    levels: tuple[AnchorLevel, ...] = LEVELS,
    *,
    batch_size_per_image: int = 1000,
    inside_only: bool = False,
    pre_nms_top_n: int = 100,
    post_nms_top_n: int = 50,
    min_size: float = 1e-3,
) -> RPN:
    """An RPN that says something: weights of spread 0.3 instead of the first 0.01."""
    rpn = RPN(
        CHANNELS,
        CHANNELS,
        levels,
        TargetSettings(0.5, 0.3, batch_size_per_image, 0.5, allow_low_quality=True),
        ProposalSettings(SIDE, pre_nms_top_n, post_nms_top_n, nms_thresh=0.7, min_size=min_size),
        beta=BETA,
        inside_only=inside_only,
    )
    for parameter in rpn.parameters():
        nn.init.normal_(parameter, std=0.3, generator=seeded(1))
    return rpn


def torchvision_twin(rpn: RPN) -> RegionProposalNetwork:
    """torchvision's RPN with the same weights, settings and (not rounded) anchors."""
    generator = AnchorGenerator(tuple(level.sizes for level in rpn.levels), (RATIOS,) * len(rpn.levels))
    generator.cell_anchors = [level.cell() for level in rpn.levels]
    head = TorchvisionHead(CHANNELS, len(RATIOS))
    for theirs, ours in zip(
        (head.conv[0][0], head.cls_logits, head.bbox_pred),
        (rpn.head.conv, rpn.head.objectness, rpn.head.deltas),
        strict=True,
    ):
        theirs.load_state_dict(ours.state_dict())
    rule, proposing = rpn.target_settings, rpn.proposal_settings
    return RegionProposalNetwork(
        generator,
        head,
        rule.fg_iou_thresh,
        rule.bg_iou_thresh,
        rule.batch_size_per_image,
        rule.positive_fraction,
        dict.fromkeys(("training", "testing"), proposing.pre_nms_top_n),
        dict.fromkeys(("training", "testing"), proposing.post_nms_top_n),
        proposing.nms_thresh,
    )


def two_images(images: int = 2) -> tuple[list[Tensor], ImageList]:
    features = [torch.randn(images, CHANNELS, h, w, generator=seeded(2)) for h, w in SHAPES]
    return features, ImageList(torch.zeros(images, 3, *IMAGE_SIZE), [IMAGE_SIZE] * images)


def heads_of_two_images() -> list[Tensor]:
    first = torch.tensor([[4.0, 6, 22, 20], [30, 20, 60, 44], [50, 40, 66, 60], [10, 40, 20, 62]])
    return [first, first[1:3] + 3]


def as_scores(chances: list[float]) -> Tensor:
    return torch.tensor([chances]).logit()


def test_head_is_torchvisions():
    rpn = small_rpn()
    features, _ = two_images()
    objectness, deltas = rpn.head(features)
    theirs = concat_box_prediction_layers(*torchvision_twin(rpn).head(features))
    torch.testing.assert_close(objectness.flatten(), theirs[0].flatten(), atol=1e-4, rtol=0)
    torch.testing.assert_close(deltas.reshape(-1, 4), theirs[1], atol=1e-4, rtol=0)


def test_head_starts_like_torchvisions():
    torch.manual_seed(0)
    head = RPNHead(64, 256, 9)
    for layer in (head.conv, head.objectness, head.deltas):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not layer.bias.any()


def test_outputs_are_in_the_order_of_the_anchors():
    rpn = small_rpn()
    feature = torch.zeros(1, CHANNELS, 8, 10)
    feature[0, :, 5, 7] = 1
    silent = rpn.head([torch.zeros_like(feature)])[0]
    heard = torch.where(rpn.head([feature])[0] != silent)[1]
    anchors = LEVELS[0].grid(8, 10, feature.device)[heard]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert {(x, y) for x, y in centre.tolist()} == {(8 * x, 8 * y) for x in (6, 7, 8) for y in (4, 5, 6)}


def test_levels_must_have_the_same_number_of_anchors():
    with pytest.raises(ValueError, match="too many values"):
        small_rpn((LEVELS[0], AnchorLevel(16, (32.0, 48.0), RATIOS)))


def test_loss_and_gradient_are_torchvisions():
    rpn = small_rpn()
    twin = torchvision_twin(rpn)
    features, images = two_images()
    objectness, deltas = rpn.head(features)
    anchors = rpn.anchors(SHAPES, objectness.device)
    ours = rpn.loss(objectness, deltas, anchors, heads_of_two_images(), IMAGE_SIZE, seeded())
    targets = [{"boxes": gt} for gt in heads_of_two_images()]
    _, theirs = twin(images, dict(enumerate(features)), targets)
    assert ours.keys() == theirs.keys()
    for name, loss in ours.items():
        assert loss > 0
        torch.testing.assert_close(loss, theirs[name], atol=1e-4, rtol=0)
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    for mine, other in zip(rpn.parameters(), twin.head.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_proposals_are_torchvisions():
    rpn = small_rpn(pre_nms_top_n=40, post_nms_top_n=25)
    features, images = two_images()
    twin = torchvision_twin(rpn).eval()
    boxes, _ = twin(images, dict(enumerate(features)))
    objectness, deltas = rpn.head(features)
    found = rpn.proposals(objectness, deltas, rpn.anchors(SHAPES, objectness.device), IMAGE_SIZE)
    assert [len(scores) for _, scores in found] == [25, 25]
    for (ours, _), theirs in zip(found, boxes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_training_over_the_map_equals_the_notes_training_by_tiles():
    """Same anchors drawn, same loss, same gradient of every weight; tiles at the border among them."""
    rows, columns, a = 8, 10, 6
    rpn = small_rpn((AnchorLevel(8, (12.0, 20.0), (0.6, 1.0, 2.0)),), batch_size_per_image=64).double()
    feature = torch.randn(2, CHANNELS, rows, columns, generator=seeded(3)).double()
    anchors = [level.double() for level in rpn.anchors([(rows, columns)], feature.device)]
    gt_boxes = [gt.double() for gt in heads_of_two_images()]
    weights = list(rpn.parameters())

    whole = tuple(rpn.loss(*rpn.head([feature]), anchors, gt_boxes, IMAGE_SIZE, seeded(4)).values())

    targets = sample_targets([anchors[0]] * 2, gt_boxes, rpn.target_settings, seeded(4))
    drawn = zip(targets.image.tolist(), targets.index.tolist(), strict=True)
    chosen = [(image, k // a // columns, k // a % columns, k % a) for image, k in drawn]
    labels = targets.labels.tolist()
    assert {row for _, row, _, _ in chosen} >= {0, rows - 1}
    assert 8 < sum(labels) < len(labels) == 128
    tiles = oracles.rpn_losses(
        *oracles.rpn_by_tiles(rpn.head, feature, chosen), labels, list(targets.target_deltas), BETA
    )

    torch.testing.assert_close(whole, tiles, atol=1e-5, rtol=0)
    by_map, by_tiles = torch.autograd.grad(sum(whole), weights), torch.autograd.grad(sum(tiles), weights)
    torch.testing.assert_close(by_map, by_tiles, atol=1e-5, rtol=0)
    assert all(gradient.abs().max() > 1e-3 for gradient in by_tiles)


@pytest.mark.parametrize("inside_only", [True, False])
def test_anchors_across_the_border_learn_only_if_asked_to(inside_only):
    rpn = small_rpn(inside_only=inside_only)
    anchors = rpn.anchors(SHAPES, torch.device("cpu"))
    every = torch.cat(anchors)
    objectness = torch.zeros(1, len(every), requires_grad=True)
    deltas = torch.zeros(1, len(every), 4)
    rpn.loss(objectness, deltas, anchors, heads_of_two_images()[:1], IMAGE_SIZE, seeded())[
        "loss_objectness"
    ].backward()
    learns = objectness.grad[0] != 0
    within = inside(every, *IMAGE_SIZE)
    assert learns[within].any()
    assert learns[~within].any().item() is not inside_only


def test_a_photo_without_heads_is_background_with_no_box_loss():
    rpn = small_rpn()
    features, _ = two_images(1)
    objectness, deltas = rpn.head(features)
    anchors = rpn.anchors(SHAPES, objectness.device)
    losses = rpn.loss(objectness, deltas, anchors, [torch.zeros(0, 4)], IMAGE_SIZE, seeded())
    expected = nn.functional.softplus(objectness).mean()  # -log(1 - sigmoid), over all of the anchors
    torch.testing.assert_close(losses["loss_objectness"], expected)
    assert losses["loss_rpn_box_reg"].item() == 0
    sum(losses.values()).backward()
    assert not rpn.head.deltas.weight.grad.any()


def test_no_anchor_inside_is_no_loss():
    rpn = small_rpn(inside_only=True)
    features, _ = two_images(1)
    anchors = rpn.anchors(SHAPES, features[0].device)
    losses = rpn.loss(*rpn.head(features), anchors, heads_of_two_images()[:1], (4, 4), seeded())
    assert [loss.item() for loss in losses.values()] == [0, 0]
    sum(losses.values()).backward()


def test_loss_draws_the_same_anchors_from_the_same_seed():
    rpn = small_rpn(batch_size_per_image=16)
    features, _ = two_images()
    objectness, deltas = rpn.head(features)
    anchors = rpn.anchors(SHAPES, objectness.device)
    first, again, other = (
        rpn.loss(objectness, deltas, anchors, heads_of_two_images(), IMAGE_SIZE, seeded(s))["loss_objectness"]
        for s in (5, 5, 6)
    )
    assert first == again != other


def test_proposals_by_hand():
    rpn = small_rpn((AnchorLevel(8, (16.0,), (1.0,)),), pre_nms_top_n=4, post_nms_top_n=2, min_size=5)
    anchors = torch.tensor(
        [
            [0.0, 0, 10, 10],
            [1, 0, 11, 10],  # IoU 9/11 with the first
            [-10, -10, 4, 20],  # 4 px wide within the image: too thin
            [30, 30, 90, 90],  # clipped
            [50, 0, 60, 10],  # fifth score: not among the four
        ]
    )
    objectness = as_scores([0.6, 0.7, 0.9, 0.5, 0.4])
    ((boxes, scores),) = rpn.proposals(objectness, torch.zeros(1, 5, 4), [anchors], (64, 80))
    assert boxes.tolist() == [[1, 0, 11, 10], [30, 30, 80, 64]]
    assert scores.tolist() == pytest.approx([0.7, 0.5])


def test_the_numbers_of_proposals_grow_with_the_photo():
    rpn = small_rpn((AnchorLevel(8, (16.0,), (1.0,)),), pre_nms_top_n=3, post_nms_top_n=2)
    anchors = 20.0 * torch.arange(8)[:, None] + torch.tensor([0.0, 0, 10, 10])
    objectness = as_scores([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])

    def number(height: int, width: int, asked: int | None = None) -> int:
        moves = torch.zeros(1, 8, 4)
        given = objectness, moves, [anchors], (height, width)
        ((boxes, _),) = rpn.proposals_at_once(*given, asked)
        if asked is None:
            assert len(rpn.proposals(*given)[0][0]) == len(boxes)
        return len(boxes)

    assert [number(160, 40), number(80, 160), number(160, 160)] == [2, 4, 8]  # 3, 6 and 12 go into the NMS
    assert [number(80, 80, 1), number(160, 160, 1), number(160, 200, 9)] == [1, 4, 8]


@pytest.mark.parametrize("min_size", [0.0, 16.0])
@pytest.mark.parametrize("number", [None, 10])
def test_proposals_at_once_are_those_of_one_image_after_the_other(number, min_size):
    rpn = small_rpn(pre_nms_top_n=40, post_nms_top_n=80, min_size=min_size)
    features, _ = two_images()
    objectness, deltas = rpn.head(features)
    given = objectness, deltas, rpn.anchors(SHAPES, objectness.device), IMAGE_SIZE
    one_by_one = small_rpn(pre_nms_top_n=40, post_nms_top_n=number or 80, min_size=min_size)
    expected, found = one_by_one.proposals(*given), rpn.proposals_at_once(*given, number)
    assert all(0 < len(scores) < 80 for _, scores in expected)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not any(part.requires_grad for part in ours)


def test_levels_are_suppressed_apart_and_ranked_together():
    rpn = small_rpn(post_nms_top_n=2)
    box = torch.tensor([[0.0, 0, 10, 10]])
    objectness = as_scores([0.3, 0.8, 0.2])
    ((boxes, scores),) = rpn.proposals(
        objectness, torch.zeros(1, 3, 4), [box, torch.cat([box, box + 1e-3])], IMAGE_SIZE
    )
    assert len(boxes) == 2
    assert scores.tolist() == pytest.approx([0.8, 0.3])


def test_proposals_may_be_none_and_let_no_gradient_through():
    rpn = small_rpn(min_size=1000)
    features, _ = two_images()
    objectness, deltas = rpn.head(features)
    anchors = rpn.anchors(SHAPES, objectness.device)
    for boxes, scores in rpn.proposals(objectness, deltas, anchors, IMAGE_SIZE):
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)
    (boxes, scores), _ = small_rpn().proposals(objectness, deltas, anchors, IMAGE_SIZE)
    assert len(boxes) > 0
    assert not boxes.requires_grad
    assert not scores.requires_grad


def test_deltas_have_the_weights_of_the_targets():
    rpn = small_rpn((AnchorLevel(8, (16.0,), (1.0,)),))
    rpn.target_settings = replace(rpn.target_settings, weights=(10.0, 10.0, 5.0, 5.0))
    anchors = torch.tensor([[20.0, 20, 30, 30]])
    ((boxes, _),) = rpn.proposals(as_scores([0.9]), torch.tensor([[[5.0, 0, 0, 0]]]), [anchors], IMAGE_SIZE)
    assert boxes.tolist() == [[25, 20, 35, 30]]


def test_anchors_inside_learn_from_their_own_deltas():
    """There is no loss of boxes where the deltas are what the anchors should learn."""
    rpn = small_rpn(inside_only=True)
    anchors = rpn.anchors(SHAPES, torch.device("cpu"))
    every, (gt, _) = torch.cat(anchors), heads_of_two_images()
    deltas = encode(gt[box_iou(every, gt).argmax(1)], every)[None].requires_grad_()
    given = anchors, [gt], IMAGE_SIZE
    perfect = rpn.loss(torch.zeros(1, len(every)), deltas, *given, seeded())["loss_rpn_box_reg"]
    assert perfect.item() == pytest.approx(0, abs=1e-6)
    rpn.loss(torch.zeros(1, len(every)), deltas + 1, *given, seeded())["loss_rpn_box_reg"].backward()
    learns = deltas.grad[0].any(1)
    assert learns.any()
    assert not learns[~inside(every, *IMAGE_SIZE)].any()
