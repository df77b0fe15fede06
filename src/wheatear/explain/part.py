"""The part of a photo that is explained: all of it, or the middle of a large one.

A photo longer than the detector's window (`tiles.SIZE`) is processed window by window; one window shows how.
"""

from dataclasses import replace

import numpy as np

from wheatear.boxes import centres
from wheatear.data.sample import Sample
from wheatear.pixels import Window
from wheatear.tiles import SIZE


def middle(sample: Sample) -> Window:
    """The window of at most SIZE pixels a side in the middle of a photo."""
    height, width = min(sample.height, SIZE), min(sample.width, SIZE)
    top, left = (sample.height - height) // 2, (sample.width - width) // 2
    return Window(top, left, top + height, left + width)


def cut_out(sample: Sample, window: Window) -> Sample:
    """A window as a photo of its own, with the heads (G, 4) centred in it, clipped at its border; G may be 0."""
    corner = np.array([window.left, window.top] * 2, np.float32)
    size = np.array([window.right - window.left, window.bottom - window.top], np.int64)
    boxes = sample.boxes - corner
    middles = centres(boxes)
    inside = ((middles >= 0) & (middles < size)).all(1)
    clipped = np.clip(boxes[inside], 0, np.tile(size, 2)).astype(sample.boxes.dtype)
    return replace(sample, boxes=clipped, width=int(size[0]), height=int(size[1]), rows=sample.rows[:0])
