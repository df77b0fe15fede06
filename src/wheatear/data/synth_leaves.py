"""Drawn leaves and stems (curved, tapering, lit ribbons with a midrib) and the soil under them.

Letters: N ribbons, P points along each. Lengths are pixels of the canvas.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from wheatear.data.synth_look import STRAW_COLOUR, Look

LEAF_POINTS = 10  # enough for smooth bends, at 18 small polygons per leaf
STEM_POINTS = 5  # stems are nearly straight
SOIL_LUMPS = (7, 18, 45, 110, 260)  # lumps across the photo, from undulations of the ground to crumbs


@dataclass(frozen=True)
class Ribbons:
    """N ribbons.

    left, middle, right: edges and midrib (N, P, 2) xy, from the base to the tip. left_colour, right_colour:
    of the two halves, (N, P - 1, 3); rib_colour: of the midrib, (N, 3); RGB in full light, not clipped to
    0-255.
    """

    left: np.ndarray
    middle: np.ndarray
    right: np.ndarray
    left_colour: np.ndarray
    right_colour: np.ndarray
    rib_colour: np.ndarray


def lay_leaves(rng: np.random.Generator, look: Look, n: int) -> Ribbons:
    """Lay n leaves, green or dried, anywhere on the canvas and beyond its edges."""
    margin = 1.5 * look.head_length
    dry = rng.random(n) < look.straw_share
    colour = np.where(dry[:, None], STRAW_COLOUR, look.leaf_colour)
    colour = colour * rng.normal(1, 0.12, (n, 1)) * rng.normal(1, 0.025, (n, 3))
    lines = _centre_lines(
        rng,
        start=rng.uniform(-margin, look.canvas + margin, (n, 2)),
        angle=look.lean + rng.normal(0, 0.5 + look.spread, n),
        length=look.head_length * rng.uniform(1.2, 3.8, n),
        bend=rng.normal(0, 0.55, n),
        points=LEAF_POINTS,
    )
    t = np.linspace(0, 1, LEAF_POINTS)
    rolled = np.where(dry, 0.65, 1)  # leaves roll up as they dry
    width = look.head_length * rng.uniform(0.16, 0.4, n) * rolled
    twist = np.cos(rng.uniform(-1, 1, (n, 1)) + rng.uniform(-1.6, 1.6, (n, 1)) * t)
    # Narrow at the sheath, at most about 1, with a long tip.
    outline = 1.75 * (t + 0.015) ** 0.5 * (1 - t) ** 0.8
    half_width = width[:, None] / 2 * outline * (0.35 + 0.65 * np.abs(twist))
    return _ribbons(rng, look, lines, half_width, colour)


def lay_stems(rng: np.random.Generator, look: Look, start: np.ndarray, angle: np.ndarray) -> Ribbons:
    """Lay a stem from each start (N, 2) towards its angle (N,)."""
    n = len(start)
    waxy = 0.5 * look.leaf_colour + 0.5 * look.head_colour.mean()  # stems are greyer than leaves
    colour = waxy + look.straw_share * (STRAW_COLOUR - waxy)
    lines = _centre_lines(
        rng,
        start,
        angle,
        length=look.head_length * rng.uniform(1.5, 4, n),
        bend=rng.normal(0, 0.25, n),
        points=STEM_POINTS,
    )
    width = look.head_length * rng.uniform(0.055, 0.085, n)
    half_width = width[:, None] / 2 * np.linspace(1, 0.75, STEM_POINTS)
    return _ribbons(rng, look, lines, half_width, colour * rng.normal(0.92, 0.1, (n, 1)))


def _centre_lines(
    rng: np.random.Generator,
    start: np.ndarray,
    angle: np.ndarray,
    length: np.ndarray,
    bend: np.ndarray,
    points: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, P, 2) and directions (N, P, 2) of lines that turn by `bend` radians along their length."""
    t = np.linspace(0, 1, points)
    heading = angle[:, None] + bend[:, None] * t**1.5
    along = np.stack([np.cos(heading), np.sin(heading)], 2)
    droop = 1 - rng.uniform(0, 0.7, (len(start), 1)) * t  # a tip that hangs down looks shorter from above
    step = along * (length[:, None] * droop / (points - 1))[..., None]
    return start[:, None] + np.cumsum(step, 1) - step, along


def _ribbons(
    rng: np.random.Generator,
    look: Look,
    lines: tuple[np.ndarray, np.ndarray],
    half_width: np.ndarray,
    colour: np.ndarray,
) -> Ribbons:
    middle, along = lines
    n, t = len(middle), np.linspace(0, 1, middle.shape[1])[:-1]
    across = np.stack([-along[..., 1], along[..., 0]], 2)
    skew = rng.uniform(0.6, 1.4, (n, 1))  # one half turned more towards the camera than the other
    left = middle + across * (half_width * skew)[..., None]
    right = middle - across * (half_width * (2 - skew))[..., None]
    wave = 0.9 + 0.16 * np.sin(rng.uniform(0, 2 * np.pi, (n, 1)) + rng.uniform(1, 5, (n, 1)) * t)
    base = colour[:, None] * wave[..., None]
    tilt = 0.24 * (across[:, :-1] @ look.sun[:2])[..., None]
    return Ribbons(left, middle, right, base * (1 + tilt), base * (1 - tilt), colour * 1.14)


def paint_ribbons(canvas: Image.Image, ribbons: Ribbons, light: float, rib_width: int) -> None:
    """Paint the ribbons in order, later ones over earlier ones; light: a factor on their colours."""
    draw = ImageDraw.Draw(canvas)
    middle = ribbons.middle
    sides = [
        (_quads(ribbons.left, middle), _bytes(ribbons.left_colour * light)),
        (_quads(ribbons.right, middle), _bytes(ribbons.right_colour * light)),
    ]
    ribs = _flat(middle[:, :-1])  # the midrib fades before the tip
    rib_fills = _bytes(ribbons.rib_colour * light)
    for i, rib in enumerate(ribs):
        for quads, fills in sides:
            for quad, fill in zip(quads[i], fills[i], strict=True):
                draw.polygon(quad, fill=tuple(fill))
        draw.line(rib, fill=tuple(rib_fills[i]), width=rib_width)


def fill_ribbons(
    canvas: Image.Image, ribbons: Ribbons, value: int, shift: np.ndarray | float = 0.0, scale: float = 1.0
) -> None:
    """Fill the ribbons' outlines, shifted (xy) and then scaled, with one value of a one-channel canvas."""
    draw = ImageDraw.Draw(canvas)
    outline = (np.concatenate([ribbons.left, ribbons.right[:, ::-1]], 1) + shift) * scale
    for points in _flat(outline):
        draw.polygon(points, fill=value)


def noise(rng: np.random.Generator, size: int, lumps: int) -> np.ndarray:
    """(size, size) float32 smooth noise, about -1 to 1, with `lumps` lumps across."""
    small = Image.fromarray(rng.uniform(-1, 1, (lumps + 1, lumps + 1)).astype(np.float32))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def draw_soil(rng: np.random.Generator, look: Look) -> Image.Image:
    """Bare crumbly soil over the whole canvas, RGB, lit from the sun's side."""
    size = look.canvas // 2  # the ground is farthest from the camera: half the resolution will do
    height = np.zeros((size, size), np.float32)
    for lumps in SOIL_LUMPS:
        height += noise(rng, size, min(lumps, size)) / lumps
    slope_y, slope_x = np.gradient(height * size)
    light = 0.75 - 0.13 * (slope_x * look.sun[0] + slope_y * look.sun[1]) + 0.25 * noise(rng, size, 9)
    soil = look.soil_colour * light[..., None]
    picture = Image.fromarray(soil.clip(0, 255).astype(np.uint8))
    return picture.resize((look.canvas, look.canvas), Image.Resampling.BILINEAR)


def _flat(points: np.ndarray) -> list[list[float]]:
    n, p = points.shape[:2]
    return points.reshape(n, 2 * p).tolist()


def _quads(edge: np.ndarray, middle: np.ndarray) -> list[list[list[float]]]:
    corners = np.concatenate([edge[:, :-1], edge[:, 1:], middle[:, 1:], middle[:, :-1]], 2)
    return corners.tolist()


def _bytes(colour: np.ndarray) -> list[Any]:
    """RGB values as nested lists of ints, as deep as the array."""
    return colour.clip(0, 255).astype(int).tolist()
