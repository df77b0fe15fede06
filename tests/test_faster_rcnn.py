"""The whole detector: its parts, and its forward pass against the same steps taken one by one."""

from functools import partial

import pytest
import torch
from torch import Tensor

import oracles
from tiny_recipe import tiny_recipe as joint_recipe
from tiny_run import tiny_model, tiny_recipe
from wheatear.train.faster_rcnn import FasterRCNN, build_rpn, roi_targets, snip_head
from wheatear.train.pyramid import pyramid_roi_align
from wheatear.train.recipe import Recipe, load_recipe
from wheatear.train.roi import crop_and_resize, roi_align, to_rois
from wheatear.train.targets import TargetSettings

torch.set_num_threads(1)

EVERYTHING = {"score_floor": 0.0, "nms_thresh": 1.0, "min_size": 1e-3}


def photos(images: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise in blocks of 16 px, so that cells of the maps differ."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (images, 3, height // 16 + 1, width // 16 + 1), generator=generator)
    grid = blocks.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return grid[:, :, :height, :width].to(torch.uint8)


def changed(recipe: Recipe, part: str, **values: object) -> Recipe:
    return recipe.model_copy(update={part: getattr(recipe, part).model_copy(update=values)})


def without_heads(model: FasterRCNN) -> FasterRCNN:
    """The model, sure that everything is background."""
    with torch.no_grad():
        model.roi_head.scores.bias.copy_(torch.tensor([50.0, -50.0]))
    return model


# detection


@torch.inference_mode()
def test_a_batch_is_detected_as_its_photos_are_one_by_one():
    model, batch = tiny_model(), photos(3, 96, 128)
    together = model(batch)
    assert len(together) == 3
    for i, (boxes, scores) in enumerate(together):
        ((one_boxes, one_scores),) = model(batch[i : i + 1])
        torch.testing.assert_close(boxes, one_boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(scores, one_scores, atol=1e-5, rtol=0)
    assert len({len(boxes) for boxes, _ in together}) > 1  # the photos are not all alike


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(128, 96), (60, 131), (33, 40), (16, 16)])
def test_detections_are_sorted_thick_sure_enough_and_in_the_photo(height, width):
    model = tiny_model(changed(tiny_recipe(), "detection", score_floor=0.3))
    ((boxes, scores),) = model(photos(1, height, width, seed=1))
    assert len(boxes) == len(scores) > 0
    assert (scores[:-1] >= scores[1:]).all()
    assert scores.min() >= 0.3
    assert scores.max() <= 1
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 2
    overlaps = torch.tensor([[oracles.iou(a, b) for b in boxes.tolist()] for a in boxes.tolist()])
    assert overlaps.fill_diagonal_(0).max() <= 0.4


@torch.inference_mode()
def test_a_photo_without_heads_gives_none():
    for boxes, scores in without_heads(tiny_model())(photos(2, 64, 64)):
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)


@torch.inference_mode()
def test_a_photo_smaller_than_any_head_gives_none():
    ((boxes, scores),) = tiny_model()(photos(1, 1, 1))
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@torch.inference_mode()
def test_heads_are_capped_only_by_the_recipe():
    recipe = changed(tiny_recipe(), "detection", **EVERYTHING)
    recipe = changed(recipe, "rpn", nms_thresh=1.0, pre_nms_top_n=5000, post_nms_top_n=5000)
    ((boxes, _),) = tiny_model(recipe)(photos(1, 256, 320))
    assert len(boxes) == 500  # of 8 · 10 · 9 proposals
    uncapped = changed(recipe, "detection", detections_per_img=900)
    ((boxes, _),) = tiny_model(uncapped)(photos(1, 256, 320))
    assert len(boxes) == 720


@torch.inference_mode()
def test_forward_is_the_paper_step_by_step():
    recipe = changed(tiny_recipe(), "rpn", pre_nms_top_n=40, post_nms_top_n=15)
    recipe = changed(recipe, "detection", score_floor=0.1, min_size=20.0)
    model, images, (height, width) = tiny_model(recipe, seed=2), photos(1, 64, 90), (64, 90)
    maps = model.backbone(images)
    objectness, deltas = model.rpn.head([maps[32]])
    anchors = oracles.anchors([32, 48, 64], [0.6, 1, 2], 2, 3, 32, 0.5)
    order = objectness[0].argsort(descending=True)[:40].tolist()
    moved = [oracles.decode(deltas[0, i].tolist(), anchors[i], (1, 1, 1, 1)) for i in order]
    proposals, scores = [], []
    for i, box in zip(order, moved, strict=True):
        box = clipped(box, height, width)
        if min(box[2] - box[0], box[3] - box[1]) >= 20:
            proposals.append(box)
            scores.append(objectness[0, i].item())
    proposals = [proposals[i] for i in oracles.nms(proposals, scores, 0.7)[:15]]

    head = model.roi_head
    rois = torch.tensor([[0, *box] for box in proposals])
    crops = oracles.crop_and_resize(maps[16], rois, 16, 7).flatten(1)
    hidden = (crops @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    hidden = (hidden - head.norm.running_mean) / (head.norm.running_var + 1e-5).sqrt()
    logits = hidden @ head.scores.weight.T + head.scores.bias
    moves = hidden @ head.deltas.weight.T + head.deltas.bias
    chances = (logits[:, 1].exp() / logits.exp().sum(1)).tolist()
    moved = [oracles.decode(m, box, (10, 10, 5, 5)) for m, box in zip(moves.tolist(), proposals, strict=True)]
    found = [(clipped(box, height, width), p) for box, p in zip(moved, chances, strict=True) if p >= 0.1]
    found = [(box, p) for box, p in found if min(box[2] - box[0], box[3] - box[1]) >= 20]
    kept = oracles.nms([box for box, _ in found], [p for _, p in found], 0.4)

    ((boxes, chances),) = model(images)
    assert 1 < len(kept) < len(found) < len(proposals) < len(anchors)  # every step leaves something out
    torch.testing.assert_close(boxes, torch.tensor([found[i][0] for i in kept]), atol=1e-2, rtol=0)
    torch.testing.assert_close(chances, torch.tensor([found[i][1] for i in kept]), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_margin_is_that_of_the_detections_alone():
    recipe = changed(tiny_recipe(), "detection", **EVERYTHING)
    model, wider = tiny_model(recipe), tiny_model(changed(recipe, "detection", margin=0.05))
    images, (height, width) = photos(1, 96, 128), (96, 128)
    maps = model.features(images)
    ((proposals, _),), ((theirs, _),) = (each.propose(maps, (height, width)) for each in (model, wider))
    assert torch.equal(proposals, theirs)
    logits, deltas = model.judge(maps, to_rois([proposals]))
    weights = recipe.roi.box_weights
    order = (logits[:, 1] - logits[:, 0]).argsort(descending=True).tolist()
    expected = []
    for i in order:
        x1, y1, x2, y2 = oracles.decode(deltas[i].tolist(), proposals[i].tolist(), weights)
        dx, dy = 0.05 * (x2 - x1), 0.05 * (y2 - y1)
        expected.append(clipped([x1 - dx, y1 - dy, x2 + dx, y2 + dy], height, width))
    ((boxes, _),) = wider(images)
    torch.testing.assert_close(boxes, torch.tensor(expected), atol=1e-2, rtol=0)


def clipped(box: list[float], height: int, width: int) -> list[float]:
    x1, y1, x2, y2 = box
    return [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]


# the parts


@torch.inference_mode()
def test_proposals_are_sorted_thick_and_in_the_photo():
    model, height, width = tiny_model(), 100, 130
    found = model.propose(model.backbone(photos(2, height, width)), (height, width))
    assert len(found) == 2
    for boxes, scores in found:
        assert 0 < len(boxes) == len(scores) <= 50
        assert (scores[:-1] >= scores[1:]).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= 2


@torch.inference_mode()
def test_classify_looks_at_the_last_map_of_a_snip():
    model, snips = tiny_model(), photos(4, 32, 32)
    last = model.backbone(snips)[32].reshape(4, 16)  # one cell
    expected = last @ model.snip_head.weight.T + model.snip_head.bias
    torch.testing.assert_close(model.classify(snips), expected, atol=1e-5, rtol=0)
    assert model.classify(snips).std(0).min() > 0


def test_the_snip_head_fits_the_snips():
    recipe = load_recipe("seed")
    assert snip_head(recipe, {1: 16, 32: 512}).in_features == 4 * 4 * 512
    assert snip_head(load_recipe("seed-512"), {1: 16, 32: 512}).in_features == 2 * 2 * 512
    alone = recipe.model_copy(update={"stages": recipe.stages[1:]})
    assert snip_head(alone, {1: 16, 32: 512}) is None
    with torch.device("meta"):
        assert not [name for name in FasterRCNN(alone).state_dict() if name.startswith("snip_head")]


def test_the_rpn_takes_its_settings_from_the_recipe():
    recipe = tiny_recipe().rpn.model_copy(
        update={
            "batch_size_per_image": 62,
            "positive_fraction": 0.25,
            "fg_iou_thresh": 0.6,
            "bg_iou_thresh": 0.1,
        }
    )
    rpn = build_rpn(recipe, 16, 2048, min_size=3.0)
    assert rpn.target_settings == TargetSettings(0.6, 0.1, 62, 0.25, allow_low_quality=True)
    settings = rpn.proposal_settings
    assert (settings.pre_nms_top_n, settings.post_nms_top_n) == (200, 50)
    assert (settings.nms_thresh, settings.min_size) == (0.7, 3.0)
    assert rpn.inside_only
    assert rpn.beta == 1 / 9
    assert [level.stride for level in rpn.levels] == [32]
    assert rpn.head.conv.weight.shape == (16, 16, 3, 3)
    assert tiny_model().rpn.inside_only


def test_the_regions_take_their_settings_from_the_recipe():
    recipe = load_recipe("seed").roi
    expected = TargetSettings(0.5, 0.2, 256, 0.5, allow_low_quality=False, weights=(10.0, 10.0, 5.0, 5.0))
    assert roi_targets(recipe) == expected


@pytest.mark.parametrize(
    ("pool", "crop"),
    [("crop_and_resize", crop_and_resize), ("roi_align", partial(roi_align, sampling_ratio=3))],
)
def test_the_roi_head_takes_its_settings_from_the_recipe(pool, crop):
    settings = {"pool": pool, "size": 5, "channels": 12, "strides": [8], "sampling_ratio": 3}
    head = FasterRCNN(changed(tiny_recipe(), "roi", **settings)).roi_head
    assert (head.size, head.stride) == (5, 8)
    assert head.hidden.weight.shape == (12, 8 * 5 * 5)
    maps, rois = torch.rand(1, 8, 9, 9), torch.tensor([[0.0, 3, 5, 60, 41]])
    assert torch.equal(head.crop(maps, rois), crop(maps, rois, 8, 5))


def test_a_pyramids_regions_are_sampled_as_the_recipe_says():
    recipe = changed(joint_recipe(), "roi", sampling_ratio=1)
    head, other = FasterRCNN(recipe).eval().roi_head, FasterRCNN(joint_recipe()).eval().roi_head
    other.load_state_dict(head.state_dict())
    maps = {stride: torch.rand(1, 8, 256 // stride, 256 // stride) for stride in (8, 16, 32)}
    rois = torch.tensor([[0.0, 30, 50, 170, 150]])
    crops, _ = pyramid_roi_align(maps, rois, recipe.roi.cells, recipe.roi.size, 1)
    assert torch.equal(head(maps, rois)[1], head.deltas(head.hidden(crops)))
    assert not torch.equal(head(maps, rois)[1], other(maps, rois)[1])
