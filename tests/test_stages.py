"""What each stage trains and what it leaves alone, its optimiser and the figures it logs."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tiny_run import tiny_model, tiny_recipe
from wheatear.train.dataset import FrozenPhoto
from wheatear.train.fit import fit
from wheatear.train.order import loader
from wheatear.train.stages import (
    RegionClassification,
    RegionProposal,
    SnipClassification,
    StageModule,
    covered,
    mean_losses,
    stretched,
)

torch.set_num_threads(1)

STAGES = {stage.stage: stage for stage in tiny_recipe().stages}
HEADS = [[10.0, 10, 50, 60], [60, 60, 110, 100]]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def frozen(
    heads: Sequence[Sequence[float]], stride: int, seed: int = 0, height: int = 128, width: int = 128
) -> FrozenPhoto:
    """A photo with noise for a map, its proposals near its heads and elsewhere."""
    channels = {16: 8, 32: 16}[stride]
    gt_boxes = torch.tensor(heads, dtype=torch.float32).reshape(-1, 4)
    elsewhere = torch.tensor([[0.0, 0, 9, 9], [width - 20, 0, width, 20], [0, height - 30, 30, height]])
    near = gt_boxes + torch.tensor([1.0, -2, 3, 2])
    features = rand(1, channels, height // stride, width // stride, seed=seed)
    return FrozenPhoto(features, gt_boxes, torch.cat([near, elsewhere]), (height, width))


def snips(n: int) -> list[tuple[Tensor, int]]:
    """Grainy grey background, grainy red heads."""
    grey = [100 + 100 * rand(3, 32, 32, seed=i) for i in range(n)]
    return [
        ((snip * torch.tensor([1, 1 - i % 2, 1 - i % 2]).view(3, 1, 1)).byte(), i % 2)
        for i, snip in enumerate(grey)
    ]


def make(name: str) -> tuple[StageModule, list, object]:
    """A stage, its data and how they are put together."""
    model = tiny_model()
    match name:
        case "cnn":
            return SnipClassification(model, STAGES[name], seed=1), snips(12), None
        case "rpn":
            return RegionProposal(model, STAGES[name], seed=1), [frozen(HEADS, 32, i) for i in range(3)], list
        case _:
            return (
                RegionClassification(model, STAGES[name], seed=1),
                [frozen(HEADS, 16, i) for i in range(4)],
                list,
            )


Trained = tuple[str, StageModule, list[dict[str, float]]]


@pytest.fixture(scope="module", params=["cnn", "rpn", "rcnn"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A stage's name, the stage after two epochs, and its history."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    module, data, collate = make(name)
    batches = loader(data, STAGES[name].batch_size, 1, collate)
    rows = fit(module, batches, loader(data, 2, None, collate), name=name, folder=folder, epochs=2)
    return name, module, rows


# what is trained


def test_a_stage_trains_its_parts_and_leaves_the_others_alone(trained):
    name, module, _ = trained
    parts = {"cnn": ("backbone.", "snip_head."), "rpn": ("rpn.",), "rcnn": ("roi_head.",)}[name]
    before = tiny_model().state_dict()
    for key, value in module.model.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith(parts), key  # statistics of batch norms too


def test_the_rate_of_each_epoch_is_the_recipes(trained):
    name, _, rows = trained
    assert [row["lr"] for row in rows] == [STAGES[name].lr_at(0), STAGES[name].lr_at(1)]


def test_figures_of_training_and_validation(trained):
    name, _, rows = trained
    figures = {
        "cnn": {"cross_entropy", "accuracy"},
        "rpn": {"loss_objectness", "loss_rpn_box_reg"},
        "rcnn": {"loss_classifier", "loss_box_reg", "accuracy"},
    }[name]
    expected = {f"{part}_{figure}" for part in ("train", "val") for figure in figures}
    expected |= {"val_recall"} if name == "rpn" else set()
    assert [row.keys() - {"epoch", "seconds", "lr"} for row in rows] == [expected, expected]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.parametrize("name", ["cnn", "rpn", "rcnn"])
def test_the_optimiser_makes_the_losses_fall(name):
    module, data, _ = make(name)
    batch = (
        (torch.stack([snip for snip, _ in data]), torch.tensor([1 * label for _, label in data]))
        if name == "cnn"
        else data
    )
    module.log_dict = lambda *args, **kwargs: None
    for part in module.parts:
        part.train()
    optimizer, losses = module.configure_optimizers(), []
    for _ in range(25):
        module.generator.manual_seed(0)
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


# the optimiser


def test_rmsprop_is_kerass_and_l2_falls_on_kernels_alone():
    module = make("cnn")[0]
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.RMSprop)
    kernels, others = optimizer.param_groups
    assert (kernels["lr"], kernels["alpha"], kernels["eps"]) == (1e-3, 0.9, 1e-7)
    assert (kernels["weight_decay"], others["weight_decay"]) == (2e-4, 0)
    assert {p.ndim for p in kernels["params"]} == {2, 4}
    assert {p.ndim for p in others["params"]} == {1}
    trained = [p for p in module.model.parameters() if p.requires_grad]
    assert {id(p) for p in kernels["params"] + others["params"]} == {id(p) for p in trained}


def test_weight_decay_is_the_gradient_of_kerass_l2():
    module = make("cnn")[0]
    weight = module.model.snip_head.weight
    (0.0 * weight.sum() + 1e-4 * (weight**2).sum()).backward()
    torch.testing.assert_close(
        weight.grad, module.configure_optimizers().param_groups[0]["weight_decay"] * weight.detach()
    )


@pytest.mark.parametrize(("name", "rate"), [("rpn", 1e-3), ("rcnn", 2e-4)])
def test_adam(name, rate):
    optimizer = make(name)[0].configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert {group["lr"] for group in optimizer.param_groups} == {rate}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0}


# the losses


def test_the_snip_loss_by_hand():
    module, data, _ = make("cnn")
    images, labels = torch.stack([snip for snip, _ in data]), torch.tensor([label for _, label in data])
    logits = module.model.classify(images)
    chance = logits.exp()[torch.arange(12), labels] / logits.exp().sum(1)
    loss, accuracy = module.losses((images, labels))
    torch.testing.assert_close(loss, -chance.log().mean())
    assert (
        accuracy == sum(int(row[1] > row[0]) == label for row, label in zip(logits, labels, strict=True)) / 12
    )


def test_a_batch_of_photos_has_the_mean_of_their_losses():
    module, data, _ = make("rpn")
    module.generator.manual_seed(5)
    alone = [module.losses(photo) for photo in data]
    mean = mean_losses(alone)
    assert mean.keys() == {"loss_objectness", "loss_rpn_box_reg"}
    for name, value in mean.items():
        torch.testing.assert_close(value, sum(losses[name] for losses in alone) / 3)


def test_the_losses_of_a_photo_without_heads():
    module = make("rpn")[0]
    losses = module.losses(frozen([], 32))
    assert losses["loss_rpn_box_reg"] == 0
    assert losses["loss_objectness"] > 0
    module = make("rcnn")[0]
    losses, accuracy = module.losses([frozen([], 16)])
    assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0
    assert 0 <= accuracy <= 1


def test_heads_are_learnt_from_before_there_are_proposals():
    module = make("rcnn")[0]
    photo = frozen(HEADS, 16)._replace(proposals=torch.zeros(0, 4))
    losses, _ = module.losses([photo])
    rois = torch.cat([torch.zeros(2, 1), photo.gt_boxes], 1)
    logits, deltas = module.model.roi_head({16: photo.features}, rois)
    torch.testing.assert_close(
        losses["loss_classifier"], F.cross_entropy(logits, torch.ones(2, dtype=torch.int64))
    )
    box_reg = F.smooth_l1_loss(deltas, torch.zeros(2, 4), reduction="sum") / 2  # they lie right already
    torch.testing.assert_close(losses["loss_box_reg"], box_reg)


def test_the_regions_of_a_batch_are_cut_from_their_own_photos():
    module = make("rcnn")[0]
    photos = [
        frozen(HEADS, 16, seed) for seed in range(2)
    ]  # 2 heads, 2 near them, 3 elsewhere: all are drawn
    both, _ = module.losses(photos)
    alone = [module.losses([photo])[0] for photo in photos]
    for name, value in both.items():
        torch.testing.assert_close(value, mean_losses(alone)[name])


def test_the_batch_norm_sees_the_regions_of_a_batch_together():
    module = make("rcnn")[0]
    module.model.roi_head.train()
    module.losses([frozen(HEADS, 16, seed) for seed in range(2)])
    assert module.model.roi_head.norm.num_batches_tracked == 1


def test_photos_of_different_sizes_share_a_batch():
    module = make("rcnn")[0]
    losses, _ = module.losses([frozen(HEADS, 16), frozen(HEADS, 16, height=112, width=160)])
    assert losses["loss_classifier"] > 0


# validation


def test_validation_draws_the_same_each_epoch():
    module, data, _ = make("rpn")
    with torch.no_grad():
        drawn = []
        for _ in range(2):
            module.on_validation_epoch_start()
            drawn.append(torch.stack([module.losses(photo)["loss_objectness"] for photo in data]))
            module.losses(data[0])  # training in between
    assert torch.equal(*drawn)


def test_covered():
    heads = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    proposals = torch.tensor([[0.0, 0, 10, 5], [20, 20, 30, 24.9], [100, 100, 120, 120]])
    assert covered(heads, proposals).tolist() == [True, False, False]  # IoU 0.5, 0.49, 0
    assert covered(heads, proposals, 0.4).tolist() == [True, True, False]
    assert covered(heads, torch.zeros(0, 4)).tolist() == [False] * 3
    assert covered(torch.zeros(0, 4), proposals).shape == (0,)


# stretched snips


def test_snips_are_stretched_about_their_middle():
    """A disc becomes an ellipse of the same area; what is stretched along one axis is squeezed along the other."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = torch.where((x**2 + y**2 < 20**2), 200, 20).to(torch.uint8).expand(40, 3, 64, 64)
    seen = stretched(disc, 1.4, torch.Generator().manual_seed(0))
    assert seen.dtype == torch.uint8
    assert seen.shape == disc.shape
    widths, heights = ((seen[:, 0].amax(axis) > 110).sum(1) / 40 for axis in (1, 2))
    assert (widths * heights).numpy() == pytest.approx(np.ones(40), abs=0.08)
    assert widths.min() < 0.8
    assert widths.max() > 1.25
    assert (widths > 1 / 1.45).all()
    assert (widths < 1.45).all()
    assert stretched(disc, 1.4, torch.Generator().manual_seed(0)).equal(seen)


def test_snips_that_are_hardly_stretched_stay_as_they_are():
    snips = torch.randint(
        0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert (stretched(snips, 1 + 1e-6, torch.Generator()).int() - snips.int()).abs().max() <= 1
