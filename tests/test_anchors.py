"""Anchors: their shapes, their places and what the RPN's window can see of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

import oracles
from wheatear.errors import InputError
from wheatear.train.anchors import AnchorLevel, cell_anchors, check_reach, grid_anchors, inside

torch.set_num_threads(1)

SEED_SIZES, SEED_RATIOS = (32.0, 48.0, 64.0), (0.6, 1.0, 2.0)


def centre_of_sight(net: nn.Module) -> list[float]:
    """The centre (x, y), in pixels, of what row 3, column 4 of a map has seen; far enough from the border."""
    pixels = torch.zeros(1, 1, 40, 40, requires_grad=True)
    net(pixels)[0, 0, 3, 4].backward()
    weight = pixels.grad[0, 0] / pixels.grad.sum()
    position = torch.arange(40) + 0.5  # the centre of a pixel
    return [(weight.sum(dim) @ position).item() for dim in (0, 1)]


def conv_of_ones(stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(1, 1, 3, stride=stride, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    return conv


def test_cell_by_hand():
    # ratio 4 = height / width: an anchor of area 16 is 2 wide and 8 high
    assert cell_anchors([4, 8], [1, 4]).tolist() == [
        [-2, -2, 2, 2],
        [-4, -4, 4, 4],
        [-1, -4, 1, 4],
        [-2, -8, 2, 8],
    ]


def test_cell_is_torchvisions_before_it_rounds():
    sizes, ratios = [32.0, 48.0, 64.0, 128.0], [0.5, 0.6, 1.0, 2.0, 3.0]
    theirs = AnchorGenerator().generate_anchors(sizes, ratios)
    assert torch.equal(cell_anchors(sizes, ratios).round(), theirs)


def test_rounding_example_of_the_docstring():
    width, height = 2 * cell_anchors([32], [2])[0, 2:]
    assert (round(width.item(), 1), round(height.item(), 1)) == (22.6, 45.3)
    assert (2 * cell_anchors([32], [2]).round()[0, 2:]).tolist() == [22, 46]


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (1, 7)])
def test_grid_with_offset_0_is_torchvisions(height, width):
    sizes, ratios, stride = (32, 64), (0.5, 1.0, 2.0), 16
    images = ImageList(
        torch.zeros(1, 3, height * stride, width * stride), [(height * stride, width * stride)]
    )
    theirs = AnchorGenerator((sizes,), (ratios,))(images, [torch.zeros(1, 1, height, width)])[0]
    ours = grid_anchors(cell_anchors(sizes, ratios).round(), height, width, stride, offset=0)
    assert torch.equal(ours, theirs)


@given(
    height=st.integers(0, 4),
    width=st.integers(0, 4),
    stride=st.sampled_from([1, 8, 32]),
    offset=st.sampled_from([0.0, 0.25, 0.5]),
    sizes=st.lists(st.floats(1, 200), min_size=1, max_size=3),
    ratios=st.lists(st.floats(0.2, 5), min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=40)
def test_level_grid_is_the_oracles(height, width, stride, offset, sizes, ratios):
    level = AnchorLevel(stride, tuple(sizes), tuple(ratios), offset)
    ours = level.grid(height, width, torch.device("cpu"))
    oracle = torch.tensor(oracles.anchors(sizes, ratios, height, width, stride, offset)).reshape(-1, 4)
    assert ours.shape == (height * width * level.per_cell(), 4)
    torch.testing.assert_close(ours, oracle, atol=1e-3, rtol=1e-5)


def test_the_notes_map_of_16_by_16_has_2304_anchors():
    assert len(AnchorLevel(32, SEED_SIZES, SEED_RATIOS).grid(16, 16, torch.device("cpu"))) == 2304


def test_order_is_that_of_flattened_scores():
    a, height, width = 4, 3, 5
    cell = cell_anchors([10, 20], [1, 4])
    ids = torch.arange(a * height * width).reshape(a, height, width)
    place = ids.permute(1, 2, 0).flatten().tolist().index(ids[2, 1, 4].item())
    found = grid_anchors(cell, height, width, stride=8)[place]
    assert torch.equal(found, cell[2] + torch.tensor([4.5, 1.5, 4.5, 1.5]) * 8)


def test_pooled_cells_look_at_the_centre_of_their_own_pixels():
    net = nn.Sequential(conv_of_ones(1), nn.AvgPool2d(2), conv_of_ones(1), nn.AvgPool2d(2), conv_of_ones(1))
    assert centre_of_sight(net) == pytest.approx([4.5 * 4, 3.5 * 4])


def test_strided_cells_look_at_the_first_of_their_pixels():
    net = nn.Sequential(conv_of_ones(2), conv_of_ones(2))
    half_a_pixel = 0.5
    assert centre_of_sight(net) == pytest.approx([4 * 4 + half_a_pixel, 3 * 4 + half_a_pixel])


def test_inside_by_hand():
    boxes = torch.tensor(
        [
            [0.0, 0, 20, 10],  # touches all four borders
            [-0.1, 0, 20, 10],
            [0, -0.1, 20, 10],
            [0, 0, 20.1, 10],
            [0, 0, 20, 10.1],
            [5, 5, 6, 6],
        ]
    )
    assert inside(boxes, height=10, width=20).tolist() == [True, False, False, False, False, True]
    assert inside(torch.zeros(0, 4), 10, 20).shape == (0,)


def test_check_reach_allows_the_seed_and_what_just_fits():
    check_reach(cell_anchors(SEED_SIZES, SEED_RATIOS), stride=32)
    check_reach(cell_anchors([96], [1]), stride=32)
    check_reach(cell_anchors([96.1], [1]), stride=32, window=5)


@pytest.mark.parametrize(("size", "ratio"), [(96.1, 1.0), (64.0, 2.3), (64.0, 1 / 2.3)])
def test_check_reach_refuses_longer_anchors_with_the_reason(size, ratio):
    with pytest.raises(InputError, match=r"longer than 3 strides of 32 px: the 3×3 window cannot see them"):
        check_reach(cell_anchors([32, size], [ratio]), stride=32)
