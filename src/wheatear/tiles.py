"""Photos of any size, run tile by tile, with every head counted once.

Windows of at most SIZE pixels overlap by OVERLAP; each has a core, and the cores partition the photo: they
meet in the middle of the overlaps. Two rules apply to the detections of the windows, in this order:

1. A detection is kept if the centre of its box lies in its window's core grown by SLACK pixels.
2. Those kept from all windows undergo non-maximum suppression: a box is dropped if a better one from another
   window overlaps it by an IoU above the detector's own threshold (with several views, FUSION_IOU).

So a head that a window cuts is left to the neighbour that sees all of it: the centre of a cut box lies less
than half a head from the window's border, the grown core OVERLAP / 2 - SLACK from it. This holds for heads
shorter than OVERLAP - 2 * SLACK (224 pixels). Without the slack, a head on the line between two cores could
be lost, as two windows may see its centre a pixel apart; with it, the head is kept twice, and rule 2 leaves
one.

All lengths are in pixels of the photo as the detector sees it, that is, after scaling. Letters: N detections.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from wheatear.boxes import centres, nms
from wheatear.detections import Detections
from wheatear.pixels import Pixels, Window

# A core has the size of the 1024² photos that the detectors were trained on; memory use grows with the window.
SIZE = 1280
OVERLAP = 256
# How far two windows may disagree on a head's centre: the finest grid of seed is 16 pixels, that of the others finer.
SLACK = 16
# The IoU of two boxes of one head, for a detector whose card does not give it.
NMS_THRESH = 0.4


Run = Callable[[np.ndarray], Detections]


class Tile(NamedTuple):
    """The window that the detector sees, and the core, which is this tile's own part of it."""

    window: Window
    core: Window


def tiles(height: int, width: int, scale: float = 1.0) -> Iterator[Tile]:
    """The tiles of a photo of height × width >= 1 pixels, row by row, in pixels of the photo.

    scale: the detector's pixels per pixel of the photo, above 0. A photo that fits into one window is one
    tile.
    """
    for top, bottom, core_top, core_bottom in _spans(height, scale):
        for left, right, core_left, core_right in _spans(width, scale):
            yield Tile(Window(top, left, bottom, right), Window(core_top, core_left, core_bottom, core_right))


def _spans(length: int, scale: float) -> list[tuple[int, int, int, int]]:
    """Start and end, along one side, of each window and of its core."""
    size, step = max(1, round(SIZE / scale)), max(1, round((SIZE - OVERLAP) / scale))
    number = max(1, math.ceil((length - (size - step)) / step))
    starts = [index * step for index in range(number)]
    ends = [min(start + size, length) for start in starts]
    borders = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)), length]
    return list(zip(starts, ends, borders, borders[1:], strict=False))


def detect_in_tiles(
    run: Run, pixels: Pixels, scale: float = 1.0, iou_thresh: float = NMS_THRESH
) -> Detections:
    """Run a detector on every tile and combine the heads; boxes are in pixels of the photo.

    run:   one run of the detector, (h, w, 3) uint8 -> Detections in pixels of that array.
    scale: the detector's pixels per pixel of the photo, above 0: each window is resized by it.
    iou_thresh: the IoU above which boxes from two windows are of the same head.
    A head whose centre lies where there is no data is left out; a window without any data is not run.
    """
    parts = [_of_tile(run, pixels, tile, scale) for tile in tiles(pixels.height, pixels.width, scale)]
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    if len(parts) > 1:
        sources = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        kept = nms(boxes, scores, iou_thresh, sources)
        boxes, scores = boxes[kept], scores[kept]
    return Detections(boxes, scores, pixels.height, pixels.width)


def keep_core(boxes: np.ndarray, core: Window, slack: float = SLACK) -> np.ndarray:
    """Which boxes (N, 4) have their centre in the core grown by slack -> (N,) bool."""
    x, y = centres(boxes).T
    across = (x >= core.left - slack) & (x < core.right + slack)
    return across & (y >= core.top - slack) & (y < core.bottom + slack)


def _of_tile(run: Run, pixels: Pixels, tile: Tile, scale: float) -> Detections:
    """What is kept from one tile; boxes are in pixels of the photo."""
    window, core = tile
    valid = pixels.valid(window)
    if valid is not None and not valid.any():
        return Detections(np.zeros((0, 4)), np.zeros(0))
    heads = run_scaled(run, pixels.read(window), scale)
    if valid is not None:
        heads = heads[_on_data(heads.boxes, valid)]
    boxes = heads.boxes + np.array([window.left, window.top] * 2, np.float32)
    return Detections(boxes, heads.scores)[keep_core(boxes, core, SLACK / scale)]


def run_scaled(run: Run, image: np.ndarray, scale: float) -> Detections:
    """Run a detector once on an image resized by scale; boxes are in pixels of the image as given."""
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return run(image)
    heads = run(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)))
    back = np.array([width / size[0], height / size[1]] * 2, np.float32)
    return Detections(heads.boxes * back, heads.scores, height, width)


def _on_data(boxes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4), in pixels of the mask (h, w), have their centre on data -> (N,) bool."""
    x, y = centres(boxes).astype(np.int64).T
    return valid[y.clip(0, valid.shape[0] - 1), x.clip(0, valid.shape[1] - 1)]
