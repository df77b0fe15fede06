"""Photos detected at the size of their heads, as the user tells it or as the detector itself measures it."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from wheatear.detections import Detections
from wheatear.head_size import HeadSize
from wheatear.pixels import Pixels
from wheatear.raster import opened_pixels

if TYPE_CHECKING:
    from wheatear.detector import Detector

# Pixels of the longer side. The photos that detectors learn from are tiles of 1024, of fields seen from afar; a
# camera's own, taken nearer, may have heads four times as large, and one that was made smaller, to be sent, small ones.
# (In one of less than TINY_PHOTO there is next to nothing to measure.)
TINY_PHOTO, SMALL_PHOTO, LARGE_PHOTO = 200, 768, 1600

# "auto": measured photo by photo; None: in small and large photos alone
HeadPx = float | Literal["auto"] | None


class Sized(NamedTuple):
    """heads: in pixels of the photo. resized_by: the size of heads in pixels that it was resized by; None where it was
    not. measured: None where nobody asked for it, or nothing was found by measuring a small photo unasked."""

    heads: Detections
    resized_by: float | None
    measured: HeadSize | None


def detect_sized(
    detector: "Detector", pixels: Pixels, score_threshold: float | None, head_px: HeadPx
) -> Sized:
    """Detector.detect, after measuring the heads where head_px wants it; errors as there."""
    if head_px == "auto" or (head_px is None and is_measured(pixels.width, pixels.height)):
        measured = detector.measure_heads(pixels)
        size = measured.to_resize
        # A crop of a few heads is small, too, and nothing is amiss with it.
        told = head_px == "auto" or measured.px is not None or not is_small(pixels.width, pixels.height)
        return Sized(detector.detect(pixels, score_threshold, size), size, measured if told else None)
    return Sized(detector.detect(pixels, score_threshold, head_px), head_px, None)


def detect_in_file(detector: "Detector", path: Path, score_threshold: float | None, head_px: HeadPx) -> Sized:
    """detect_sized of a file's photo; InputError names it."""
    with opened_pixels(path) as pixels:
        return detect_sized(detector, pixels, score_threshold, head_px)


def is_measured(width: int, height: int) -> bool:
    """Whether the heads of a photo of this size are measured unless the user says otherwise."""
    return is_small(width, height) or max(width, height) >= LARGE_PHOTO


def is_small(width: int, height: int) -> bool:
    """Whether a photo has so few pixels that it may have been made smaller than its camera had it."""
    return TINY_PHOTO <= max(width, height) <= SMALL_PHOTO
