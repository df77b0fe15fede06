"""One drawn wheat head: florets as small lit ellipsoids, in two alternating rows along a curved rachis.

Letters: F florets, K side of the square patch around each, (h, w) size of the head's sprite. Lengths are
canvas pixels; x to the right, y down, z towards the camera; angles are radians from x towards y.
"""

from dataclasses import dataclass

import numpy as np

FLORETS = (-1.0, 0.0, 1.0)  # visible in a spikelet: the one in the middle and one on either side
SPIKELETS = (16, 22)  # range, half-open, in a field-grown head: 8-11 in each row
ROW_OFFSET, FAN_OFFSET = 0.50, 0.42  # from the rachis, in radii: of a row, and of a spikelet's outer florets
FLORET_LENGTH, FLORET_WIDTH = 0.196, 0.30  # relative to the head's: florets overlap like roof tiles
FLARE = 1.05  # radians by which a floret one radius out would turn away from the rachis
HIDDEN = -0.3  # florets raised by fewer radii than this are hidden behind the head's near side


@dataclass(frozen=True)
class Pose:
    """How a head is oriented towards the camera.

    length, width: of its body, lying flat. angle: the direction of its tip in the photo.
    pitch: how far its tip is raised towards the camera; 0 is flat.
    roll: 0 shows both rows of spikelets side by side, pi / 2 one row on top.
    curve: how far the tip is bent sideways, as a fraction of the length.
    """

    length: float
    width: float
    angle: float
    pitch: float
    roll: float
    curve: float


@dataclass(frozen=True)
class Head:
    """A drawn head.

    rgb: (h, w, 3) uint8. body: (h, w) bool, awns not included. left, top: the sprite's position relative to
    the head's base. tips (F, 2) xy relative to the base, headings (F,): where awns may grow, and in which
    direction, farthest first.
    """

    rgb: np.ndarray
    body: np.ndarray
    left: int
    top: int
    tips: np.ndarray
    headings: np.ndarray


@dataclass(frozen=True)
class _Florets:
    """F ellipsoids, farthest first.

    centre: (F, 3) from the head's base. heading, half_length, half_width: (F,). outward: (F, 2), the
    direction that the head's own surface faces there.
    """

    centre: np.ndarray
    heading: np.ndarray
    half_length: np.ndarray
    half_width: np.ndarray
    outward: np.ndarray


def draw_head(
    rng: np.random.Generator, pose: Pose, colours: tuple[np.ndarray, np.ndarray], sun: np.ndarray
) -> Head:
    """Draw one head.

    colours: (3,) RGB 0-255 in deepest shade and in full light. sun: (3,) unit vector towards the light.
    """
    florets = _lay_florets(rng, pose)
    light, corner = _light_florets(rng, florets, sun)
    grain = 0.68 + 0.64 * rng.random(light.shape, np.float32)  # hairs and veins, too fine to be drawn
    dark, bright = (np.asarray(c, np.float32) for c in colours)
    rgb = dark + (bright - dark) * np.clip(light * grain, 0, 1)[..., None]
    along = np.stack([np.cos(florets.heading), np.sin(florets.heading)], 1)
    tips = florets.centre[:, :2] + along * florets.half_length[:, None]
    left, top = corner.tolist()
    return Head(rgb.clip(0, 255).astype(np.uint8), light >= 0, left, top, tips, florets.heading)


def _lay_florets(rng: np.random.Generator, pose: Pose) -> _Florets:
    spikelets = int(rng.integers(*SPIKELETS))
    node = np.repeat(np.arange(spikelets), len(FLORETS))
    fan = np.tile(FLORETS, spikelets)
    row = np.where(node % 2, 1.0, -1.0)
    t = (node + 0.5 + 0.15 * fan) / spikelets
    plump = np.minimum(1, 0.55 + 2.2 * t) * (1 - 0.45 * t**3)  # a head tapers towards both ends
    across = plump * (ROW_OFFSET * row * np.cos(pose.roll) - FAN_OFFSET * fan * np.sin(pose.roll))
    raised = plump * (ROW_OFFSET * row * np.sin(pose.roll) + FAN_OFFSET * fan * np.cos(pose.roll))
    centre, bend = _along_rachis(pose, t, across, raised)
    flat = np.cos(pose.pitch)
    n = len(t)
    heading = bend + FLARE * across / (0.4 + 0.6 * flat) + rng.normal(0, 0.12, n)
    shortened = (0.5 + 0.5 * flat) * (0.75 + 0.25 * plump)
    half_length = pose.length * FLORET_LENGTH / 2 * shortened * rng.uniform(0.9, 1.1, n)
    half_width = pose.width * FLORET_WIDTH / 2 * (0.7 + 0.3 * plump) * rng.uniform(0.9, 1.1, n)
    half_length = np.maximum(half_length, half_width)
    outward = across[:, None] * np.stack([-np.sin(bend), np.cos(bend)], 1)
    seen = np.flatnonzero(raised > HIDDEN)
    order = seen[np.argsort(centre[seen, 2], kind="stable")]
    return _Florets(*(a[order] for a in (centre, heading, half_length, half_width, outward)))


def _along_rachis(
    pose: Pose, t: np.ndarray, across: np.ndarray, raised: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (F, 3) of florets at fraction t (F,) of the length, offset in radii; and the rachis's heading (F,)."""
    radius, seen_length = pose.width / 2, pose.length * np.cos(pose.pitch)
    along, sideways = seen_length * t, seen_length * pose.curve * t**2
    bend = pose.angle + np.arctan(2 * pose.curve * t)
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    x = along * cos - sideways * sin - radius * across * np.sin(bend)
    y = along * sin + sideways * cos + radius * across * np.cos(bend)
    z = radius * raised + pose.length * np.sin(pose.pitch) * t
    return np.stack([x, y, z], 1), bend


def _light_florets(
    rng: np.random.Generator, florets: _Florets, sun: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light (h, w) float32 of the nearest floret at each pixel, 0 to about 1, or -1 outside all florets; and
    the sprite's upper left corner (2,) xy from the head's base."""
    reach = int(np.ceil(florets.half_length.max())) + 1
    spot = np.floor(florets.centre[:, :2]).astype(int) - reach
    corner = spot.min(0)
    side = 2 * reach + 1
    light, depth = _floret_patches(rng, florets, spot, side, sun)
    width, height = np.ptp(spot, axis=0) + side
    canvas = np.full((height, width), -1, np.float32)
    nearest = np.full((height, width), -np.inf, np.float32)
    for (x, y), patch_light, patch_depth in zip((spot - corner).tolist(), light, depth, strict=True):
        part = np.s_[y : y + side, x : x + side]
        closer = patch_depth > nearest[part]
        np.copyto(nearest[part], patch_depth, where=closer)
        np.copyto(canvas[part], patch_light, where=closer)
    return canvas, corner


def _floret_patches(
    rng: np.random.Generator, florets: _Florets, spot: np.ndarray, side: int, sun: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light and depth (F, K, K) float32 of each floret's surface; depth is -inf outside it.

    spot: (F, 2) upper left corner of each patch.
    """
    offset = (spot - florets.centre[:, :2] + 0.5).astype(np.float32)
    grid = np.arange(side, dtype=np.float32)
    x, y = (offset[:, :1] + grid)[:, None, :], (offset[:, 1:] + grid)[:, :, None]
    cos, sin = _column(np.cos(florets.heading)), _column(np.sin(florets.heading))
    half_width = _column(florets.half_width)
    u = (x * cos + y * sin) / _column(florets.half_length)
    v = (y * cos - x * sin) / (half_width * np.maximum(1 - 0.5 * u, 0.5))  # narrower towards the tip, u = 1
    rest = 1 - u * u - v * v
    up = np.sqrt(np.maximum(rest, 0))
    tip_raised = half_width * (up + 0.5 * u)
    depth = np.where(rest > 0, _column(florets.centre[:, 2]) + tip_raised, np.float32(-np.inf))
    sx, sy, sz = sun.astype(np.float32)
    facing = (0.45 * u * cos - v * sin) * sx + (0.45 * u * sin + v * cos) * sy + up * sz
    own = _column((1 + 0.9 * florets.outward @ sun[:2]) * rng.uniform(0.8, 1.15, len(spot)))
    crack = (0.8 + 0.3 * u) * (0.5 + 0.5 * np.sqrt(up))  # dark where florets meet and at their bases
    light = own * (0.3 + 0.8 * np.maximum(facing, 0)) * crack
    return np.maximum(light, 0), depth


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]
