"""A photo at the scale that a recipe works at.

The factor is fixed, image_size / 1024 for a photo of any size, so that a head has as many pixels as in training. (Were
the longer side scaled to image_size, the heads of a 4000 px photo would become a quarter as long.)
"""

from fractions import Fraction
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from wheatear.train.backbone import pad_to_multiple

REFERENCE = 1024  # px, the side of the photos of the Global Wheat Head Dataset


def scale_factor(image_size: int) -> Fraction:
    """What a photo's sides are multiplied by."""
    return Fraction(image_size, REFERENCE)


def grown(limit: int, image_size: tuple[int, int], side: int) -> int:
    """A limit that is meant for a photo of side², for one of height and width `image_size`: more where it is larger.

    So a run over a large photo finds as many heads as its parts would. All lengths are at one scale.
    """
    height, width = image_size
    # max() would be decided once, on export.
    return cast(int, torch.sym_max(limit, limit * height * width // side**2))


def scaled_side(side: int, image_size: int) -> int:
    """The pixels, the last perhaps a part, that a side of a photo takes at the recipe's scale; at least 1."""
    factor = scale_factor(image_size)
    # Upwards without negative numbers: an exported graph rounds their quotients towards 0, Python does not.
    return (side * factor.numerator + factor.denominator - 1) // factor.denominator


def rescale(images: Tensor, image_size: int) -> Tensor:
    """(B, 3, H, W) in 0..255 -> float (B, 3, H', W') at the recipe's scale; at the factor 1 the images themselves.

    Sides are first made up to a multiple of the factor's denominator, with black right and below, so that the factor
    is exact; H' and W' are therefore up to image_size / 32 more than `scaled_side`. Smoothed as Pillow smooths, by
    which the training photos are scaled.
    """
    factor = scale_factor(image_size)
    if factor == 1:
        return images
    n, d = factor.numerator, factor.denominator
    images = pad_to_multiple(images, d).to(torch.float32)  # a quarter of the bytes to copy, if they are bytes
    size = (images.shape[2] // d * n, images.shape[3] // d * n)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def to_photo(boxes: Tensor, height: int, width: int, image_size: int) -> Tensor:
    """(D, 4) boxes at the recipe's scale -> pixels of the height × width photo, within it."""
    factor = scale_factor(image_size)
    if factor == 1:
        return boxes
    clipped: Tensor = clip_boxes_to_image(boxes / float(factor), (height, width))
    return clipped
