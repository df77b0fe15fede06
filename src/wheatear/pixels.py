"""Sources of pixels: a photo in memory, or (raster.py) a file too large for that, read window by window."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

BAND = 512  # rows of a mask read at a time: 10 MB for a photo 20,000 pixels wide


class Window(NamedTuple):
    """A rectangle of whole pixels, half-open: rows top..bottom, columns left..right."""

    top: int
    left: int
    bottom: int
    right: int


@runtime_checkable
class Pixels(Protocol):
    """A photo that is read window by window; windows must lie inside it."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def read(self, window: Window) -> np.ndarray:
        """(h, w, 3) uint8 RGB of a window."""

    def valid(self, window: Window) -> np.ndarray | None:
        """(h, w) bool, False where there is no data (no-data value, alpha of 0); None if all of it is data."""

    def close(self) -> None:
        """Close the file, if there is one."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A photo as an array, (H, W, 3) uint8 RGB; all of it is data."""

    image: np.ndarray

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    def read(self, window: Window) -> np.ndarray:
        return self.image[window.top : window.bottom, window.left : window.right]

    def valid(self, window: Window) -> np.ndarray | None:
        return None

    def close(self) -> None:
        pass


def bands(pixels: Pixels) -> Iterator[Window]:
    """The photo as bands of at most BAND rows, from top to bottom, to read a mask of any height in little memory."""
    for top in range(0, pixels.height, BAND):
        yield Window(top, 0, min(top + BAND, pixels.height), pixels.width)


def valid_pixels(pixels: Pixels) -> int:
    """The number of pixels that are data."""
    total = 0
    for band in bands(pixels):
        valid = pixels.valid(band)
        total += (band.bottom - band.top) * pixels.width if valid is None else int(np.count_nonzero(valid))
    return total
