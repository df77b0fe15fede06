"""Photos at the scale a recipe works at."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from wheatear.train.backbone import pad_to_multiple
from wheatear.train.rescale import grown, rescale, scale_factor, scaled_side, to_photo


@pytest.mark.parametrize(
    ("side", "image_size", "expected"), [(1024, 640, 640), (1, 640, 1), (9, 640, 6), (7, 1024, 7)]
)
def test_a_side_keeps_its_last_pixel_even_if_a_part_of_it(side, image_size, expected):
    assert scaled_side(side, image_size) == expected


@pytest.mark.parametrize("shape", [(8, 16), (37, 50), (64, 96)])
def test_the_factor_is_exact_at_any_size(shape):
    """A ramp stays a ramp: pixel x lies at x · factor, and there is no drift from left to right."""
    height, width = shape
    small = rescale(torch.arange(width, dtype=torch.float32).expand(1, 3, height, width), 640)[0, 0]
    assert small.shape == tuple(5 * -(-side // 8) for side in shape)
    inner = slice(2, int(width * 0.625) - 2)  # away from the border, where there is nothing to smooth with
    expected = (torch.arange(small.shape[1]) + 0.5) / 0.625 - 0.5
    # A triangle sampled at few pixels is off by up to 0.06.
    assert (small[0] - expected)[inner].abs().max() < 0.1


def test_it_smooths_as_pillow_does():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((80, 80), Image.Resampling.BILINEAR), np.float32)
    ours = rescale(torch.from_numpy(image).permute(2, 0, 1)[None], 640)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() <= 1.01  # Pillow rounds after each of the two directions


def test_at_1024_nothing_happens():
    images = torch.zeros(1, 3, 5, 7, dtype=torch.uint8)
    assert rescale(images, 1024) is images
    boxes = torch.tensor([[-1.0, 0, 9, 9]])
    assert to_photo(boxes, 5, 7, 1024) is boxes


def test_boxes_come_back_in_pixels_of_the_photo_and_within_it():
    boxes = torch.tensor([[5.0, 10, 15, 20], [0, 0, 70, 70]])
    assert to_photo(boxes, 100, 64, 640).tolist() == [[8, 16, 24, 32], [0, 0, 64, 100]]
    assert float(scale_factor(640)) == 0.625


class Cells(nn.Module):
    """What an export knows of a detector's map: its cells come from the photo's sides, and are laid out in a row."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size

    def forward(self, image: Tensor) -> Tensor:
        scaled = rescale(image.permute(2, 0, 1)[None].float(), self.image_size)
        return pad_to_multiple(scaled, 32)[:, :, ::32, ::32].permute(0, 2, 3, 1).reshape(1, -1, 3)


@pytest.mark.parametrize("image_size", [256, 512, 576, 640, 704, 832, 1024, 1536, 2048])
def test_sides_of_any_length_can_be_exported_at_any_scale(image_size):
    sides = {i: torch.export.Dim(name, min=32 * 1024 // image_size + 1) for i, name in enumerate("hw")}
    example = torch.zeros(256, 320, 3, dtype=torch.uint8)
    program = torch.export.export(
        Cells(image_size),
        (example,),
        dynamic_shapes=(sides,),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    image = torch.randint(0, 256, (301, 177, 3), dtype=torch.uint8)
    assert torch.equal(program.module()(image), Cells(image_size)(image))


@pytest.mark.parametrize(
    ("size", "expected"), [((1024, 1024), 100), ((512, 512), 100), ((2048, 1024), 200), ((10, 4000), 100)]
)
def test_a_limit_grows_with_the_area(size, expected):
    assert grown(100, size, 1024) == expected
