"""The notes' CNN: its shapes, its layers in their order, its normalisation, its size worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tiny_run import tiny_recipe
from wheatear.train.backbone import NotesCNN, pad_to_multiple
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe import NotesBackboneRecipe, load_recipe

torch.set_num_threads(1)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def backbone(*channels: list[int], seed: int = 0) -> NotesCNN:
    torch.manual_seed(seed)
    recipe = NotesBackboneRecipe(name="notes", channels=[*channels], dropout=0.2, mean=MEAN, std=STD)
    return NotesCNN(recipe).eval()


def photo(height: int, width: int, seed: int = 0, images: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, 3, height, width), generator=generator, dtype=torch.uint8)


def number_of_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_maps_of_a_photo_of_1024_px():
    recipe = load_recipe("seed")
    with torch.device("meta"):  # shapes without numbers
        maps = NotesCNN(recipe.backbone)(torch.empty(2, 3, 1024, 1024, dtype=torch.uint8))
    shapes = {stride: tuple(features.shape) for stride, features in maps.items()}
    assert shapes == {
        1: (2, 16, 1024, 1024),
        2: (2, 32, 512, 512),
        4: (2, 64, 256, 256),
        8: (2, 128, 128, 128),
        16: (2, 256, 64, 64),
        32: (2, 512, 32, 32),
    }


def test_the_seed_networks_parameters_by_hand():
    recipe = load_recipe("seed")
    with torch.device("meta"):
        model = FasterRCNN(recipe)
    layers = [(3, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128)]
    layers += [(128, 128), (128, 256), (256, 256), (256, 512)]
    # kernel, bias, and the scale and shift of the batch norm
    assert sum(9 * i * o + o + 2 * o for i, o in layers) == 2_359_584
    assert number_of_parameters(model.backbone) == 2_359_584
    assert number_of_parameters(model.snip_head) == 4 * 4 * 512 * 2 + 2
    assert number_of_parameters(model.rpn) == (9 * 512 * 256 + 256) + (256 * 9 + 9) + (256 * 36 + 36)
    hidden = 7 * 7 * 256 * 1024 + 1024
    assert number_of_parameters(model.roi_head) == hidden + 2 * 1024 + (2 * 1024 + 2) + (4 * 1024 + 4)


@given(height=st.integers(1, 100), width=st.integers(1, 100))
@settings(deadline=None, max_examples=20)
def test_odd_sizes_are_padded_to_whole_cells(height, width):
    maps = backbone([2], [3], [4])(photo(height, width))
    cells = (math.ceil(height / 4), math.ceil(width / 4))
    assert {
        stride: (m.shape[1], m.shape[2] * stride / 4, m.shape[3] * stride / 4) for stride, m in maps.items()
    } == {
        1: (2, *cells),
        2: (3, *cells),
        4: (4, *cells),
    }


def test_the_padding_is_the_mean_colour_right_and_below():
    model, image = backbone([4], [4, 4], [8]), photo(5, 10).float()
    padded = (255 * torch.tensor(MEAN)).view(1, 3, 1, 1).repeat(1, 1, 8, 12)
    padded[:, :, :5, :10] = image
    for stride, features in model(image).items():
        torch.testing.assert_close(features, model(padded)[stride], atol=1e-5, rtol=0)


def test_pad_to_multiple():
    x = torch.ones(1, 2, 3, 4)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 2, 4, 4)
    assert (padded[:, :, :3] == 1).all()
    assert (padded[:, :, 3:] == 0).all()
    assert pad_to_multiple(x, 1) is not None
    assert torch.equal(pad_to_multiple(padded, 4), padded)


@pytest.mark.parametrize("colour", [0, 1, 2])
@pytest.mark.parametrize("value", [0, 200, 255])
def test_a_photo_of_one_colour_is_normalised(colour, value):
    model = backbone([1])
    with torch.no_grad():  # the one filter copies the middle pixel of one colour
        model.groups[0][0].weight.zero_()[0, colour, 1, 1] = 1
    image = torch.full((1, 3, 2, 2), value, dtype=torch.uint8)
    seen = max(0.0, (value / 255 - MEAN[colour]) / STD[colour])
    expected = torch.full(
        (1, 1, 2, 2), seen / math.sqrt(1 + 1e-5)
    )  # batch norm as it starts: mean 0, variance 1
    torch.testing.assert_close(model(image)[1], expected, atol=1e-5, rtol=0)


def test_a_lone_cell_has_no_statistics_of_its_own():
    """As of a last snip as long as the coarsest stride: it is normalised as in evaluation."""
    model, image = backbone([4], [4]), photo(2, 2)
    expected = model(image)[2]
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = norms[-1].running_mean.clone()
    model.train()
    model.shrink.eval()  # no dropout
    norms[0].eval()  # that of 2 × 2 cells
    torch.testing.assert_close(model(image)[2], expected)
    assert torch.equal(norms[-1].running_mean, before)


def test_bytes_and_floats_give_the_same():
    model, image = backbone([4], [4]), photo(8, 8)
    for stride, features in model(image).items():
        assert torch.equal(features, model(image.float())[stride])


def test_the_maps_worked_layer_by_layer():
    model, image = backbone([2, 3], [4], seed=3), photo(8, 12)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:  # so that the order of norm and ReLU shows
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)

    def layer(x: Tensor, i: int) -> Tensor:
        x = F.relu(F.conv2d(x, convolutions[i].weight, convolutions[i].bias, padding=1))
        scale = norms[i].weight / (norms[i].running_var + 1e-5).sqrt()
        return (x - norms[i].running_mean[:, None, None]) * scale[:, None, None] + norms[i].bias[
            :, None, None
        ]

    x = (image / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    first = layer(layer(x, 0), 1)
    second = layer(F.max_pool2d(first, 2), 2)
    maps = model(image)
    torch.testing.assert_close(maps[1], first, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps[2], second, atol=1e-4, rtol=1e-4)


def test_dropout_follows_every_group_but_the_last():
    model, image = backbone([4], [4]), photo(8, 8)
    sound = model(image)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 1.0  # which no recipe may have
    maps = model.train()(image)
    assert maps[1].std() > 0.1
    assert maps[2].abs().max() == 0  # everything dropped: convolution gives its bias, 0, and batch norm 0
    assert sound[2].std() > 0.1


def test_kernels_start_as_glorots_uniform_and_biases_at_zero():
    torch.manual_seed(0)
    for layer in NotesCNN(load_recipe("seed").backbone).modules():
        if isinstance(layer, nn.Conv2d):
            limit = math.sqrt(6 / (9 * (layer.in_channels + layer.out_channels)))
            weight = layer.weight.detach()
            assert 0.95 * limit < weight.abs().max() <= limit
            assert math.isclose(
                weight.std(), limit / math.sqrt(3), rel_tol=0.1
            )  # uniform, of 432 weights or more
            assert (layer.bias == 0).all()


def test_out_channels_are_those_of_each_stride():
    assert NotesCNN(tiny_recipe().backbone).out_channels == {1: 4, 2: 4, 4: 8, 8: 8, 16: 8, 32: 16}
    assert backbone([1, 2], [3, 5]).out_channels == {1: 2, 2: 5}


def test_mean_and_deviation_are_no_weights():
    assert not [
        name for name in backbone([1]).state_dict() if "mean" in name.split(".") or "std" in name.split(".")
    ]
