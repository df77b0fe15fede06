"""Elements that all figures share: a photo on axes, boxes over it, and a caption.

Boxes are (N, 4) xyxy pixels of the photo, half-open, so the photo spans (0, W) × (0, H) on its axes.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from wheatear.explain.colours import INK, RIM

LETTERS_PER_INCH = 14  # at the caption's 9 points
SHOWN = 1600  # px; a photo twice as long or longer is subsampled for drawing, as no panel has so many pixels
LOWEST, HIGHEST = 0.4, 1.6  # height / width of a panel; a long strip of a photo gets white margins instead


def sheet(rows: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns panels of (width, height) inches each, and its axes row by row."""
    figure = Figure(figsize=(columns * panel[0], rows * panel[1] + 0.7), layout="compressed")
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def panel_for(image: np.ndarray, width: float) -> tuple[float, float]:
    """(width, height) in inches of a panel that fits a photo (H, W, 3)."""
    height, breadth = image.shape[:2]
    return width, width * min(max(height / breadth, LOWEST), HIGHEST)


def show(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """Show a photo (H, W, 3) uint8 without ticks."""
    height, width = image.shape[:2]
    step = max(1, max(height, width) // SHOWN)
    axes.imshow(image[::step, ::step], extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0))
    bare(axes, title)


def bare(axes: Axes, title: str = "") -> None:
    """Remove ticks and frame, and set the title."""
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)


def nothing(axes: Axes, text: str) -> None:
    """Leave a panel empty, with a text that says why."""
    bare(axes)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, wrap=True)


def draw_boxes(
    axes: Axes,
    boxes: np.ndarray,
    colour: str,
    *,
    label: str = "",
    width: float = 1.4,
    style: str = "-",
    rim: bool = True,
) -> LineCollection:
    """Outline (N, 4) boxes, N ≥ 0, with a dark rim that keeps them visible on straw; -> the N outlines."""
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    corners = np.stack([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]).transpose(2, 0, 1)
    lines = LineCollection(list(corners), colors=colour, linewidths=width, linestyles=style, label=label)
    if rim and style == "-":  # under dashes, only the rim would be visible
        lines.set_path_effects([withStroke(linewidth=width + 1.4, foreground=RIM)])
    axes.add_collection(lines, autolim=False)
    return lines


def write(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a word on a photo, white with a dark rim, its upper left corner at the pixel (x, y)."""
    rim = [withStroke(linewidth=2, foreground=RIM)]
    axes.text(x, y, text, color="white", fontsize=7, va="top", ha="left", path_effects=rim, clip_on=True)


def zoom(axes: Axes, boxes: Sequence[np.ndarray], margin: float = 0.25) -> None:
    """Zoom to the square around some boxes, (4,) each, plus a fraction `margin` of its side on every side."""
    every = np.stack(boxes)
    low, high = every[:, :2].min(0), every[:, 2:].max(0)
    centre, reach = (low + high) / 2, (high - low).max() * (0.5 + margin)
    axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] + reach, centre[1] - reach))


def legend(axes: Axes) -> None:
    """A legend below a photo, where it hides nothing of it."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False)


def caption(figure: Figure, text: str) -> Figure:
    """Put a caption under a figure and return the figure."""
    width = round(figure.get_figwidth() * LETTERS_PER_INCH)
    lines = "\n".join(textwrap.wrap(text, width))
    # A photo's name may have dollar signs, which would begin a formula.
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=9, color=INK, parse_math=False)
    return figure


def caption_of(figure: Figure) -> str:
    """The caption on one line."""
    return " ".join(figure.get_supxlabel().split())
