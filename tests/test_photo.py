"""A photo and its boxes at the size a recipe works at."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wheatear.data.sample import Sample
from wheatear.train.photo import scaled_boxes, scaled_photo, scaled_size


def sample(width: int, height: int, *boxes: list[float], path: Path = Path("photo.png")) -> Sample:
    return Sample(path, np.array(boxes, np.float32).reshape(-1, 4), width, height)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1024, 1024, (512, 512)),
        (256, 128, (128, 64)),
        (4000, 3000, (2000, 1500)),
        (301, 900, (151, 450)),  # half a pixel is one
        (1, 1, (1, 1)),
    ],
)
def test_the_factor_is_the_same_for_every_photo(width, height, size):
    assert scaled_size(sample(width, height), 512) == size


def test_boxes_are_scaled_by_hand():
    boxes = scaled_boxes(sample(200, 100, [0, 0, 200, 100], [20, 10, 50, 30]), 2048)
    assert boxes.tolist() == [[0, 0, 400, 200], [40, 20, 100, 60]]
    assert boxes.dtype == np.float32


def test_boxes_follow_the_rounding_of_the_size():
    # 3 × 100 px at a factor of 1/8 are 0.375 × 12.5 px, so 1 × 13.
    assert scaled_boxes(sample(3, 100, [0, 0, 3, 100]), 128).tolist() == [[0, 0, 1, 13]]


def test_no_heads_are_no_boxes():
    assert scaled_boxes(sample(20, 10), 512).shape == (0, 4)


@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 3000))
def test_a_box_round_the_photo_stays_one(width, height, size):
    whole = sample(width, height, [0, 0, width, height])
    scaled = scaled_size(whole, size)
    assert min(scaled) >= 1
    np.testing.assert_allclose(scaled_boxes(whole, size), [[0, 0, *scaled]], rtol=1e-6)


def write(tmp_path: Path, image: np.ndarray) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


def test_a_photo_of_the_right_size_is_left_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = write(tmp_path, image)
    assert np.array_equal(scaled_photo(sample(30, 20, path=path), 1024), image)


@pytest.mark.parametrize("size", [341, 1127, 2048])
def test_a_photo_is_scaled_as_its_boxes_are(tmp_path, size):
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:15, 10:20] = (200, 100, 50)
    head = sample(30, 20, [10, 5, 20, 15], path=write(tmp_path, image))
    scaled = scaled_photo(head, size)
    assert scaled.shape == (*scaled_size(head, size)[::-1], 3)
    assert scaled.dtype == np.uint8
    x1, y1, x2, y2 = scaled_boxes(head, size)[0]
    assert scaled[int((y1 + y2) / 2), int((x1 + x2) / 2)].tolist() == [200, 100, 50]
    rows, columns = np.nonzero(scaled[..., 0] > 100)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(edges, [x1, y1, x2, y2], atol=1)
