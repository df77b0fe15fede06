"""A photo at the recipe's scale: 1024 of its pixels become `image_size`, as at detection (`rescale`)."""

import numpy as np
from PIL import Image

from wheatear.data.sample import Sample
from wheatear.images import open_photo
from wheatear.train.rescale import scaled_side


def scaled_size(sample: Sample, image_size: int) -> tuple[int, int]:
    """(width, height) in pixels after scaling."""
    return scaled_side(sample.width, image_size), scaled_side(sample.height, image_size)


def scaled_boxes(sample: Sample, image_size: int) -> np.ndarray:
    """(G, 4) float32 xyxy boxes in pixels of the scaled photo."""
    width, height = scaled_size(sample, image_size)
    factor = np.array([width / sample.width, height / sample.height] * 2, np.float32)
    return sample.boxes.astype(np.float32) * factor


def scaled_photo(sample: Sample, image_size: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return scaled(open_photo(sample.path), scaled_size(sample, image_size))


def scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same, resized to (width, height)."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
