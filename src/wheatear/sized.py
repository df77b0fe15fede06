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
# camera's own, taken nearer, may have heads four times as large.
LARGE_PHOTO = 1600

HeadPx = float | Literal["auto"] | None  # "auto": measured photo by photo; None: in large photos alone


class Sized(NamedTuple):
    """heads: in pixels of the photo. resized_by: the size of heads in pixels that it was resized by; None where it was
    not. measured: None where nobody asked for it."""

    heads: Detections
    resized_by: float | None
    measured: HeadSize | None


def detect_sized(
    detector: "Detector", pixels: Pixels, score_threshold: float | None, head_px: HeadPx
) -> Sized:
    """Detector.detect, after measuring the heads where head_px wants it; errors as there."""
    if head_px == "auto" or (head_px is None and is_large(pixels.width, pixels.height)):
        measured = detector.measure_heads(pixels)
        size = measured.to_resize
        return Sized(detector.detect(pixels, score_threshold, size), size, measured)
    return Sized(detector.detect(pixels, score_threshold, head_px), head_px, None)


def detect_in_file(detector: "Detector", path: Path, score_threshold: float | None, head_px: HeadPx) -> Sized:
    """detect_sized of a file's photo; InputError names it."""
    with opened_pixels(path) as pixels:
        return detect_sized(detector, pixels, score_threshold, head_px)


def is_large(width: int, height: int) -> bool:
    """Whether the heads of a photo of this size are measured unless the user says otherwise."""
    return max(width, height) >= LARGE_PHOTO
