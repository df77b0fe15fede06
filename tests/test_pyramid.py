"""The feature pyramid and its RoI head."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from wheatear.train.pyramid import Pyramid, PyramidHead, pyramid_roi_align, region_levels
from wheatear.train.roi import to_rois

torch.set_num_threads(1)

STRIDES, CELLS, SIZE = (8, 16, 32), 7.0, 3
IMAGE = 256


def maps(images: int, channels: int = 4) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {s: torch.rand(images, channels, IMAGE // s, IMAGE // s, generator=generator) for s in STRIDES}


def boxes_of_every_size(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = torch.linspace(20, IMAGE, n)[:, None]
    sides = (size * (0.95 + 0.1 * torch.rand(n, 2, generator=generator))).clamp(max=IMAGE)
    corners = torch.rand(n, 2, generator=generator) * (IMAGE - sides)
    return torch.cat([corners, corners + sides], dim=1)


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [
        (8, 8, 0),
        (111, 111, 0),
        (112, 112, 1),
        (56, 224, 1),
        (223, 223, 1),
        (224, 224, 2),
        (900, 900, 2),
        (0, 50, 0),
    ],
)
def test_a_region_of_seven_cells_of_a_level_is_its_own(width, height, level):
    """7 cells of stride 16 are 112 px, of stride 32 are 224; below is the finest level's, above the coarsest's."""
    assert region_levels(torch.tensor([[3.0, 5, 3 + width, 5 + height]]), STRIDES, CELLS).tolist() == [level]


@pytest.mark.parametrize("sampling_ratio", [1, 2])
def test_regions_are_cut_as_by_torchvision(sampling_ratio):
    """Its own has no "aligned": it samples half a cell to the right of and below ours, so its boxes are moved back."""
    images = [boxes_of_every_size(30, seed) for seed in (1, 2)]
    levels = [region_levels(boxes, STRIDES, CELLS) for boxes in images]
    assert torch.cat(levels).bincount().min() >= 5
    moved = [b - torch.tensor(STRIDES)[level][:, None] / 2 for b, level in zip(images, levels, strict=True)]
    theirs = MultiScaleRoIAlign(
        ["8", "16", "32"], SIZE, sampling_ratio, canonical_scale=112, canonical_level=4
    )
    features = maps(2)
    expected = theirs({str(s): m for s, m in features.items()}, moved, [(IMAGE, IMAGE)] * 2)
    crops, place = pyramid_roi_align(features, to_rois(images), CELLS, SIZE, sampling_ratio)
    assert torch.allclose(crops[place], expected, atol=1e-4)


def test_no_regions():
    head = PyramidHead(4, STRIDES, CELLS, SIZE, 8, quality=True)
    logits, deltas = head(maps(1), torch.zeros(0, 5))
    assert logits.shape == (0, 3)
    assert deltas.shape == (0, 4)


def test_every_level_learns_from_its_regions():
    features = {s: m.requires_grad_() for s, m in maps(1).items()}
    rois = to_rois([torch.tensor([[0.0, 0, 40, 40], [0, 0, 120, 120], [0, 0, 240, 240]])])
    pyramid_roi_align(features, rois, CELLS, SIZE)[0].sum().backward()
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in features.values())


def test_the_pyramid_keeps_the_strides_and_carries_meaning_down():
    pyramid = Pyramid({4: 2, 8: 3, 16: 5, 32: 7}, STRIDES, 6).eval()
    channels = {8: 3, 16: 5, 32: 7}
    coarse = {s: torch.rand(2, c, IMAGE // s, IMAGE // s) for s, c in channels.items()}
    levels = pyramid(coarse)
    assert {s: tuple(m.shape) for s, m in levels.items()} == {
        s: (2, 6, IMAGE // s, IMAGE // s) for s in STRIDES
    }
    changed = pyramid(coarse | {32: coarse[32] + 1})
    assert not torch.equal(changed[8], levels[8])
    assert torch.equal(pyramid(coarse | {8: coarse[8] + 1})[32], levels[32])


def test_maps_may_come_in_any_order():
    features, rois = maps(1), to_rois([boxes_of_every_size(9, 1)])
    backwards = dict(reversed(features.items()))
    for one, other in zip(
        *(pyramid_roi_align(m, rois, CELLS, SIZE) for m in (features, backwards)), strict=True
    ):
        assert torch.equal(one, other)


def test_what_is_said_of_a_region_does_not_depend_on_its_neighbours():
    """Of regions of all levels, the largest first, each is judged as if alone."""
    torch.manual_seed(0)
    head = PyramidHead(4, STRIDES, CELLS, SIZE, 8, quality=True)
    torch.nn.init.normal_(head.scores.weight)
    torch.nn.init.normal_(head.deltas.weight)
    rois = to_rois([boxes_of_every_size(9, 1).flip(0)])
    together = head(maps(1), rois)
    alone = [head(maps(1), rois[i : i + 1]) for i in range(len(rois))]
    for i, said in enumerate(together):
        torch.testing.assert_close(said, torch.cat([one[i] for one in alone]), atol=1e-5, rtol=1e-5)
