"""Pictures of the results: boxes and a count drawn over the photo."""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from wheatear.detections import Detections
from wheatear.palette import SKY_BLUE, YELLOW

# No plant or soil has this colour. The dark rim keeps it visible on bleached straw and sky.
BOX_COLOUR = ImageColor.getrgb(SKY_BLUE)
RIM_COLOUR = (10, 18, 28)
PLOT_COLOUR = ImageColor.getrgb(YELLOW)
TEXT_COLOUR = (255, 255, 255)


class Outline(NamedTuple):
    """A plot in a picture: its name, and its rings (K, 2), xy pixels."""

    name: str
    rings: Sequence[np.ndarray]


def annotate(image: np.ndarray, detections: Detections, outlines: Sequence[Outline] = ()) -> Image.Image:
    """Draw the boxes, the outlines and names of plots, and a banner with the number of boxes.

    image: (H, W, 3) uint8 RGB, not modified. detections, outlines: in pixels of that image. A name is
    drawn without accents and with ? for letters beyond ASCII; one that is wider than its plot is left out.
    Returns an RGB picture of the same size. Without detections and plots it has only the banner "0 heads".
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    width = _line_width(picture)
    # The best last, so that where heads overlap, the box with the highest score is on top.
    for box in detections.boxes[::-1]:
        _draw_box(draw, box, width)
    for outline in outlines:
        _draw_outline(draw, outline, 2 * width, _text_size(picture))
    _draw_banner(picture, _heads(len(detections)))
    return picture


def _line_width(picture: Image.Image) -> int:
    """2 pixels at 1024², 8 at 6000 × 4000, which look the same when the picture is fitted to a screen."""
    return max(1, round(math.sqrt(picture.width * picture.height) / 600))


def _heads(number: int) -> str:
    return f"{number:,} head" if number == 1 else f"{number:,} heads"


def _draw_box(draw: ImageDraw.ImageDraw, box: np.ndarray, width: int) -> None:
    xmin, ymin, xmax, ymax = (round(float(edge)) for edge in box)
    # Boxes are half-open, but Pillow draws both corners: the last pixel inside is one before the edge.
    xmax, ymax = max(xmin, xmax - 1), max(ymin, ymax - 1)
    rim = max(1, width // 2)
    draw.rectangle(
        (xmin - rim, ymin - rim, xmax + rim, ymax + rim), outline=RIM_COLOUR, width=width + 2 * rim
    )
    draw.rectangle((xmin, ymin, xmax, ymax), outline=BOX_COLOUR, width=width)


def _draw_outline(draw: ImageDraw.ImageDraw, outline: Outline, width: int, size: int) -> None:
    rings = [[(float(x), float(y)) for x, y in ring] for ring in outline.rings]
    for ring in rings:
        for colour, thick in ((RIM_COLOUR, 2 * width), (PLOT_COLOUR, width)):
            draw.line(ring, colour, thick, joint="curve")
    xs, ys = zip(*(corner for ring in rings for corner in ring), strict=True)
    font, name = ImageFont.load_default(size), _in_ascii(outline.name)
    if font.getlength(name) < max(xs) - min(xs):
        middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        draw.text(middle, name, PLOT_COLOUR, font, "mm", stroke_width=width, stroke_fill=RIM_COLOUR)


def _in_ascii(name: str) -> str:
    """A name without its accents, and with ? for other letters that Pillow's font would show as boxes."""
    parts = unicodedata.normalize("NFKD", name)
    return (
        "".join(part for part in parts if not unicodedata.combining(part)).encode("ascii", "replace").decode()
    )


def _text_size(picture: Image.Image) -> int:
    """Large enough to read when the picture fills a screen."""
    return max(8, round(min(picture.size) / 28))


def _draw_banner(picture: Image.Image, text: str) -> None:
    """White text on a dark, semi-transparent background in the upper left corner."""
    size = _text_size(picture)
    font = ImageFont.load_default(size)
    left, _, right, _ = font.getbbox(text)
    width, height = round(right - left) + size, round(1.5 * size)
    corner = picture.crop((0, 0, width, height))
    picture.paste(Image.blend(corner, Image.new("RGB", corner.size, RIM_COLOUR), 0.75))
    ImageDraw.Draw(picture).text((size // 2, height // 2), text, TEXT_COLOUR, font, "lm")
