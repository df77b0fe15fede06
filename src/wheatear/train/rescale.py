"""A photo at the recipe's scale.

The factor is fixed, image_size / 1024 for a photo of any size, so that a head has as many pixels as in
training. (If the longer side were scaled to image_size, the heads of a 4000 px photo would become a quarter
as long.)
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
    """The factor by which a photo's sides are multiplied."""
    return Fraction(image_size, REFERENCE)


def grown(limit: int, image_size: tuple[int, int], side: int) -> int:
    """Scale a limit meant for a photo of side² up by area, for a larger one of (height, width) `image_size`.

    A large photo thus gets as many detections as its parts would. All lengths are at the same scale.
    """
    height, width = image_size
    # The export would evaluate max() only once.
    return cast(int, torch.sym_max(limit, limit * height * width // side**2))


def scaled_side(side: int, image_size: int) -> int:
    """The length in pixels of a photo's side at the recipe's scale, rounded up; at least 1."""
    factor = scale_factor(image_size)
    # Rounded up without negative numbers: an exported graph rounds their quotients towards 0, unlike Python.
    return (side * factor.numerator + factor.denominator - 1) // factor.denominator


def rescale(images: Tensor, image_size: int) -> Tensor:
    """(B, 3, H, W) in 0..255 -> float (B, 3, H', W') at the recipe's scale; unchanged if the factor is 1.

    Sides are first padded to a multiple of the factor's denominator, with black on the right and at the
    bottom, so that the factor is exact; H' and W' therefore exceed `scaled_side` by up to image_size / 32.
    Antialiased like Pillow, with which the training photos are scaled.
    """
    factor = scale_factor(image_size)
    if factor == 1:
        return images
    n, d = factor.numerator, factor.denominator
    images = pad_to_multiple(images, d).to(torch.float32)  # padding uint8 copies a quarter of the bytes
    size = (images.shape[2] // d * n, images.shape[3] // d * n)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def to_photo(boxes: Tensor, height: int, width: int, image_size: int) -> Tensor:
    """(D, 4) boxes at the recipe's scale -> the same in pixels of the height × width photo, clipped to it."""
    factor = scale_factor(image_size)
    if factor == 1:
        return boxes
    return clip_boxes_to_image(boxes / float(factor), (height, width))
