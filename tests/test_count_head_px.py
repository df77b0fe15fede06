"""Which photos `wheatear count` measures the heads of, and what it then says."""

import numpy as np
import pytest
from PIL import Image

from count_runs import table
from tiny_model import write_tiny_model
from wheatear.count import COUNTS_HEADER, Options, count_photos
from wheatear.count_settings import settings_of
from wheatear.detector import Detector, load
from wheatear.head_size import HeadSize
from wheatear.photo_names import name_photos
from wheatear.sized import LARGE_PHOTO, SMALL_PHOTO, TINY_PHOTO


@pytest.fixture
def measured(monkeypatch) -> list[tuple[int, int]]:
    """Height and width of the photos whose heads are measured; they are said to be 37.5 px, in square ones unknown."""
    seen: list[tuple[int, int]] = []

    def measure(detector: Detector, pixels) -> HeadSize:
        seen.append((pixels.height, pixels.width))
        return HeadSize(None if pixels.height == pixels.width else 37.5, detector.card.head_px)

    monkeypatch.setattr(Detector, "measure_heads", measure)
    return seen


@pytest.mark.parametrize(
    ("asked", "size", "is_measured"),
    [
        (None, (100, LARGE_PHOTO - 1), False),
        (None, (100, SMALL_PHOTO + 1), False),
        (None, (SMALL_PHOTO, 100), True),
        (None, (100, TINY_PHOTO), True),
        (None, (100, TINY_PHOTO - 1), False),
        (None, (100, LARGE_PHOTO), True),
        (None, (LARGE_PHOTO, 100), True),
        ("auto", (100, 80), True),
        (75.0, (100, LARGE_PHOTO), False),
        (37.5, (100, LARGE_PHOTO), False),
    ],
)
def test_small_and_large_photos_are_measured_unless_the_size_is_given(
    tmp_path, measured, asked, size, is_measured
):
    photo = tmp_path / "a.png"
    Image.fromarray(np.full((*size, 3), 255, np.uint8)).save(photo)
    options = Options(head_px=asked, pictures=False)
    detector = load(write_tiny_model(tmp_path), 1)
    [count] = count_photos(detector, name_photos([photo]), tmp_path, options)
    assert measured == [size] * is_measured
    assert (count.is_resized, count.warnings) == (is_measured, ())
    [row] = table(tmp_path / "counts.csv")[1:]
    resized_by = row[COUNTS_HEADER.index("resized_by")]
    assert resized_by == str(37.5 if is_measured else asked or "")
    assert settings_of(detector, options)["head_px"] == asked


@pytest.mark.parametrize("side", [SMALL_PHOTO, LARGE_PHOTO])
def test_a_small_photo_whose_heads_cannot_be_measured_is_a_crop(tmp_path, measured, side):
    """It is as good as any, so nothing is said of it, as it is of a large one."""
    photo = tmp_path / "a.png"
    Image.fromarray(np.full((side, side, 3), 255, np.uint8)).save(photo)
    detector, options = load(write_tiny_model(tmp_path), 1), Options(pictures=False)
    [count] = count_photos(detector, name_photos([photo]), tmp_path, options)
    assert measured == [(side, side)]
    assert len(count.warnings) == (side == LARGE_PHOTO)


def test_a_size_that_cannot_be_measured_is_told(tmp_path, measured):
    photo = tmp_path / "a.png"
    Image.fromarray(np.full((80, 80, 3), 255, np.uint8)).save(photo)
    detector, options = load(write_tiny_model(tmp_path), 1), Options(head_px="auto", pictures=False)
    [count] = count_photos(detector, name_photos([photo]), tmp_path, options)
    [warning] = count.warnings
    assert warning == (
        "too few sure heads to tell their size; unless they are about 75 px, measure some by hand and give --head-px"
    )
