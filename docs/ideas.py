"""A figure of two of the notes' ideas for better results: what the snip classifier is trained on with them."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wheatear.data.sample import Sample
from wheatear.explain.colours import BACKGROUND, HEAD, INK
from wheatear.explain.drawing import bare, caption, draw_boxes, sheet, show
from wheatear.explain.look import Network
from wheatear.train.photo import scaled_boxes, scaled_photo
from wheatear.train.snips import background_corners, head_corners, near_corners
from wheatear.train.stages import stretched

SIZE, IMAGE_SIZE, MOST = (
    128,
    1024,
    1.4,
)  # px as in the recipe seed; then the largest stretch factor
SHOWN = 6  # snips per row


def harder_snips(run: Network, sample: Sample) -> Figure:
    """Snips of a photo, unchanged and stretched; and background snips without heads and with heads beside them."""
    image, boxes = scaled_photo(sample, IMAGE_SIZE), scaled_boxes(sample, IMAGE_SIZE)
    height, width = image.shape[:2]
    rng = np.random.default_rng(0)
    found = [
        rng.permutation(corners(boxes, width, height, SIZE))
        for corners in (head_corners, background_corners, near_corners)
    ]
    heads, empty, near = (
        np.array([image[y : y + SIZE, x : x + SIZE] for x, y in places[:SHOWN]]).reshape(-1, SIZE, SIZE, 3)
        for places in found
    )
    seen = stretched(torch.from_numpy(heads).permute(0, 3, 1, 2), MOST, torch.Generator().manual_seed(0))
    rows = (
        ("with a head", heads, HEAD),
        ("stretched", seen.permute(0, 2, 3, 1).numpy(), HEAD),
        ("background", empty, BACKGROUND),
        ("a harder one", near, BACKGROUND),
    )
    figure, axes = sheet(len(rows), SHOWN, (1.3, 1.4))
    for row, (name, snips, colour) in enumerate(rows):
        show_row(axes[row * SHOWN : (row + 1) * SHOWN], name, snips, colour)
    return caption(
        figure,
        f"Of this photo {len(found[0])} snips hold a head in their middle; stretched along one axis by up to {MOST} "
        f"and squeezed along the other by as much, they stand for heads of other shapes. {len(found[1])} windows touch "
        f"no head; {len(found[2])} touch some near their border, but none in their middle: the harder backgrounds.",
    )


def show_row(axes: list[Axes], name: str, snips: np.ndarray, colour: str) -> None:
    """Show snips (N, S, S, 3) side by side, framed; N may be smaller than the number of axes."""
    for panel in axes:
        bare(panel)
    axes[0].text(
        -0.08, 0.5, name, transform=axes[0].transAxes, rotation=90, ha="right", va="center", color=INK
    )
    for panel, snip in zip(axes, snips, strict=False):
        show(panel, snip)
        draw_boxes(panel, np.array([[0, 0, *snip.shape[1::-1]]]), colour, width=4, rim=False)


IDEAS = (harder_snips,)
