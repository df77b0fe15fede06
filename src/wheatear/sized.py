"""Detect heads in photos resized for the heads' size, which the user gives or the detector itself measures."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from wheatear.detections import Detections
from wheatear.head_size import HeadSize
from wheatear.pixels import Pixels
from wheatear.raster import opened_pixels

if TYPE_CHECKING:
    from wheatear.detector import Detector

# Pixels on the longer side. Detectors are trained on tiles of 1024, of fields seen from a distance; a photo as taken by
# a camera, from closer up, may have heads four times as large, and one that was downsized for sending, small ones.
# (In one smaller than TINY_PHOTO there is next to nothing to measure.)
TINY_PHOTO, SMALL_PHOTO, LARGE_PHOTO = 200, 768, 1600

# "auto": measured in each photo; None: only in small and large photos
HeadPx = float | Literal["auto"] | None


class Sized(NamedTuple):
    """The heads in a photo, and what is known of their size.

    heads: in pixels of the photo. resized_by: the size of heads, in pixels, for which it was resized; None if
    it was not. measured: None if nothing was measured, or if the unrequested measurement of a small photo
    found nothing.
    """

    heads: Detections
    resized_by: float | None
    measured: HeadSize | None


def detect_sized(
    detector: "Detector", pixels: Pixels, score_threshold: float | None, head_px: HeadPx
) -> Sized:
    """Detector.detect, after measuring the heads if head_px asks for it; errors as in detect."""
    if head_px == "auto" or (head_px is None and is_measured(pixels.width, pixels.height)):
        measured = detector.measure_heads(pixels)
        size = measured.to_resize
        # A crop of a few heads is small too, and nothing is wrong with it.
        told = head_px == "auto" or measured.px is not None or not is_small(pixels.width, pixels.height)
        return Sized(detector.detect(pixels, score_threshold, size), size, measured if told else None)
    return Sized(detector.detect(pixels, score_threshold, head_px), head_px, None)


def detect_in_file(detector: "Detector", path: Path, score_threshold: float | None, head_px: HeadPx) -> Sized:
    """detect_sized for the photo in a file; InputError names the file."""
    with opened_pixels(path) as pixels:
        return detect_sized(detector, pixels, score_threshold, head_px)


def is_measured(width: int, height: int) -> bool:
    """Whether the heads in a photo of this size are measured unless the user gives head_px."""
    return is_small(width, height) or max(width, height) >= LARGE_PHOTO


def is_small(width: int, height: int) -> bool:
    """Whether a photo has so few pixels that it may have been downsized after it was taken."""
    return TINY_PHOTO <= max(width, height) <= SMALL_PHOTO
