"""A drawn wheat field with exact boxes, for the tests, the demo and the documentation.

The field is painted from the ground up: soil; low stems and leaves, out of focus and in shade; higher ones;
then the heads from far to near with a few leaves in between. A second canvas, `seen`, records the number of
the head visible at each pixel (0: none), and the boxes come from it. Letters: S the photo's side, G boxes.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wheatear.csv_files import read_table
from wheatear.data.kaggle import write_labels
from wheatear.data.sample import Sample
from wheatear.data.synth_heads import Head, Pose, draw_head
from wheatear.data.synth_leaves import (
    Ribbons,
    draw_soil,
    fill_ribbons,
    lay_leaves,
    lay_stems,
    noise,
    paint_ribbons,
)
from wheatear.data.synth_look import OVERSAMPLE, Look, choose_look
from wheatear.errors import InputError
from wheatear.files import naming

EMPTY_SHARE = 0.015  # 1-2 % of Kaggle's training photos have no heads
MIN_VISIBLE = 0.25  # labellers leave out a head of which less is visible, behind others or beyond the edge
SMALLEST_SIZE = 64  # below this a head is a dot
SHADOW = (5, 7, 5)  # what any colour becomes in deep shade, lit by the sky alone
# (light, number of leaves and also of stems at density 1), lowest first: gaps in a dense crop are nearly black
GROUND_LAYERS = ((0.2, 150), (0.36, 160), (0.64, 130))
JPEG_QUALITY = 92


def draw_field(rng: np.random.Generator, size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photo of a wheat field, seen from above, and the boxes of its heads.

    Returns the photo (S, S, 3) uint8 RGB and the boxes (G, 4) float32 xyxy pixels, half-open, inside the
    photo. As in GWHD, a box encloses a head's body without its awns. It is the exact bounding box of the
    body's visible pixels, including those it covers only in part; heads less visible than MIN_VISIBLE have no
    box. About 1.5 % of the photos have no heads: boxes (0, 4). Lengths scale with `size`: at 1024, heads are
    as large as GWHD's. The same generator state gives the same photo. Raises InputError if size is below
    SMALLEST_SIZE.
    """
    image, seen, areas = paint_field(rng, size)
    return image, visible_boxes(seen, areas)


def draw_dataset(folder: str | Path, n: int, size: int = 1024, seed: int = 0) -> None:
    """Draw n photos into `folder` in Kaggle's layout: train/<image_id>.jpg and train.csv.

    Photo k depends only on the seed, the size and k, so a larger set begins with the smaller one. A photo
    without heads has no row; n = 0 gives only the header. train.csv is written last, whole or not at all; an earlier
    one is removed before the first photo.
    Raises InputError if n is negative, size is below SMALLEST_SIZE (for n > 0), train/ holds other files, which would
    count as photos without heads, or an existing train.csv names other photos.
    """
    if n < 0:
        raise InputError(f"{n} photos cannot be drawn; ask for 0 or more")
    folder = Path(folder)
    names = [f"field_{k:05d}" for k in range(n)]
    _refuse_strangers(folder / "train", names)
    _refuse_other_labels(folder / "train.csv", names)
    (folder / "train").mkdir(parents=True, exist_ok=True)
    samples = []
    for k, name in enumerate(names):
        image, boxes = draw_field(np.random.default_rng([seed, k]), size)
        photo = folder / "train" / f"{name}.jpg"
        # If the program is killed now, no photo has the labels of one that was drawn before.
        (folder / "train.csv").unlink(missing_ok=True)
        with naming(photo):
            Image.fromarray(image).save(photo, quality=JPEG_QUALITY)
        samples.append(Sample(photo, boxes, size, size, source="drawn"))
    write_labels(samples, folder / "train.csv")


def _refuse_strangers(folder: Path, names: list[str]) -> None:
    known = {f"{name}.jpg" for name in names}
    strangers = sorted(f.name for f in folder.glob("*") if f.name not in known)
    if strangers:
        raise InputError(f"{folder}: holds {strangers[0]}, which is not drawn here; give an empty folder")


def _refuse_other_labels(file: Path, names: list[str]) -> None:
    if file.exists() and not {row.get("image_id") for _, row in read_table(file)[1]} <= {*names}:
        raise InputError(f"{file}: is there already, and not of photos drawn here; give an empty folder")


def paint_field(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint a photo and record which head is visible where.

    Returns the photo (S, S, 3) uint8, `seen` (S * OVERSAMPLE, S * OVERSAMPLE) uint8 with the number (1, 2,
    ...) of the head at each pixel of the canvas, and each body's area (heads,) in canvas pixels, including
    hidden parts.
    """
    if size < SMALLEST_SIZE:
        raise InputError(f"a field of {size} px is too small to draw; ask for {SMALLEST_SIZE} px or more")
    empty = rng.random() < EMPTY_SHARE
    look = choose_look(rng, size, empty)
    ground = _paint_ground(rng, look.scaled(1 / OVERSAMPLE))  # out of focus: it needs no oversampling
    canvas = ground.resize((look.canvas, look.canvas), Image.Resampling.BILINEAR)
    seen = Image.new("L", canvas.size)
    areas = _paint_crop(rng, look, canvas, seen)
    return _take_photo(rng, look, canvas.reduce(OVERSAMPLE)), np.asarray(seen), areas


def visible_boxes(seen: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Boxes (G, 4) float32 xyxy photo pixels of the heads that are at least MIN_VISIBLE visible, farthest first."""
    side, n = seen.shape[0], len(areas)
    rows, cols = np.nonzero(seen)
    number = (seen[rows, cols] - 1).astype(int)
    down, across = (
        np.bincount(number * side + at, minlength=n * side).reshape(n, side) for at in (rows, cols)
    )
    boxed = down.sum(1) >= np.maximum(MIN_VISIBLE * areas, 1)
    bounds = [_bounds(count[boxed] > 0) for count in (across, down)]
    return np.stack([low for low, _ in bounds] + [high for _, high in bounds], 1).astype(np.float32)


def _bounds(occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last photo pixel, (G,) each, of the occupied canvas pixels in each row of (G, side)."""
    first = occupied.argmax(1) // OVERSAMPLE
    last = (occupied.shape[1] - 1 - occupied[:, ::-1].argmax(1)) // OVERSAMPLE
    return first, last + 1


def _paint_ground(rng: np.random.Generator, look: Look) -> Image.Image:
    """Soil and what grows below the heads: the lower, the darker and the more out of focus."""
    canvas = draw_soil(rng, look)
    for light, count in GROUND_LAYERS:
        n = int(count * look.density)
        start = rng.uniform(0, look.canvas, (n, 2))
        stems = lay_stems(rng, look, start, look.lean + rng.normal(0, 0.25 + look.spread / 2, n))
        paint_ribbons(canvas, stems, light * 0.9, 1)
        leaves = lay_leaves(rng, look, n)
        _cast_shadow(look, canvas, leaves, 0.55)
        paint_ribbons(canvas, leaves, light, _rib_width(look))
        canvas = canvas.filter(ImageFilter.BoxBlur(look.unit * (0.3 + 1.1 * (1 - light))))
    return canvas


def _paint_crop(rng: np.random.Generator, look: Look, canvas: Image.Image, seen: Image.Image) -> np.ndarray:
    """Paint the heads with their stems and upper leaves; returns the area of each head's body in canvas pixels."""
    n = look.heads
    base = rng.uniform(-0.03, 1.03, (n, 2)) * look.canvas
    angle = look.lean + rng.normal(0, look.spread, n)
    nearness = np.sort(rng.normal(1, 0.16, n).clip(0.65, 1.5))  # scale relative to a head at medium height
    paint_ribbons(canvas, lay_stems(rng, look, base, angle + np.pi + rng.normal(0, 0.2, n)), 0.85, 1)
    upper = lay_leaves(rng, look, int(80 * look.density))
    _cast_shadow(look, canvas, upper, 0.5)
    paint_ribbons(canvas, upper, 0.95, _rib_width(look))
    areas = np.zeros(n, int)
    for k in range(n):
        pose = _pose(rng, look, angle[k], nearness[k])
        areas[k] = _paint_head(rng, look, canvas, seen, base[k], pose, k + 1)
        if rng.random() < 0.15:  # now and then a leaf grows above the heads
            leaf = lay_leaves(rng, look, 1)
            paint_ribbons(canvas, leaf, 1.0, _rib_width(look))
            fill_ribbons(seen, leaf, 0)
    return areas


def _rib_width(look: Look) -> int:
    return max(1, round(look.unit))


def _cast_shadow(look: Look, canvas: Image.Image, leaves: Ribbons, strength: float) -> None:
    """Darken the canvas where the leaves' shadow falls, before they are painted."""
    coarse = 4  # a shadow's edge is soft: a quarter of the canvas's resolution will do
    mask = Image.new("L", (look.canvas // coarse, look.canvas // coarse))
    fall = -look.sun[:2] * look.head_length * 0.25
    fill_ribbons(mask, leaves, int(255 * strength), fall, 1 / coarse)
    soft = mask.filter(ImageFilter.BoxBlur(look.unit))
    canvas.paste(SHADOW, (0, 0), soft.resize(canvas.size, Image.Resampling.BILINEAR))


def _pose(rng: np.random.Generator, look: Look, angle: float, nearness: float) -> Pose:
    length = look.head_length * nearness
    return Pose(
        length=length,
        width=length * rng.uniform(0.27, 0.36),
        angle=angle,
        pitch=float(np.clip(rng.normal(look.pitch, 0.3), 0, 1.15)),
        roll=rng.uniform(-np.pi / 2, np.pi / 2),
        curve=rng.normal(0, 0.09),
    )


def _paint_head(
    rng: np.random.Generator,
    look: Look,
    canvas: Image.Image,
    seen: Image.Image,
    base: np.ndarray,
    pose: Pose,
    number: int,
) -> int:
    """Paint one head with its shadow and awns; returns its body's area in canvas pixels."""
    bright = look.head_colour * rng.normal(1.05, 0.07) * rng.normal(1, 0.018, 3)
    dark = bright * (0.22, 0.28, 0.16)  # green between the florets
    head = draw_head(rng, pose, (dark, bright), look.sun)
    place = (round(base[0]) + head.left, round(base[1]) + head.top)
    body = Image.fromarray(head.body)
    fall = -look.sun[:2] * pose.length * 0.16
    shadow = Image.fromarray(head.body * np.uint8(150)).filter(ImageFilter.BoxBlur(look.unit * 2))
    canvas.paste(SHADOW, (place[0] + round(fall[0]), place[1] + round(fall[1])), shadow)
    _paint_awns(rng, look, canvas, head, base, pose.length * look.awn_length)
    canvas.paste(Image.fromarray(head.rgb), place, body)
    seen.paste(number, place, body)
    return int(head.body.sum())


def _paint_awns(
    rng: np.random.Generator, look: Look, canvas: Image.Image, head: Head, base: np.ndarray, length: float
) -> None:
    draw = ImageDraw.Draw(canvas)
    n = len(head.tips)
    heading = head.headings + rng.normal(0, 0.12, n)
    reach = length * rng.uniform(0.6, 1, n)
    start = head.tips + base
    end = start + np.stack([np.cos(heading), np.sin(heading)], 1) * reach[:, None]
    colour = tuple((look.head_colour * rng.uniform(0.85, 1.1)).astype(int).tolist())
    for line in np.concatenate([start, end], 1)[::2].tolist():  # every second floret bears an awn
        draw.line(line, fill=colour, width=1)


def _take_photo(rng: np.random.Generator, look: Look, picture: Image.Image) -> np.ndarray:
    """What a camera makes of the scene: blur, uneven light, exposure, white balance, grain; (S, S, 3)."""
    size = picture.width
    scene = np.asarray(picture.filter(ImageFilter.BoxBlur(look.blur)), np.float32)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 - look.vignette * (axis[:, None] ** 2 + axis**2) + np.float32(0.1) * noise(rng, size, 4)
    gain = np.clip(look.brightness / max(float(scene.mean()), 1), 0.7, 1.6)
    balance = np.array([1 + look.warmth, 1, 1 - look.warmth]) * gain
    photo = scene * light[..., None].astype(np.float32) * balance.astype(np.float32)
    photo += rng.standard_normal((size, size, 1), np.float32) * np.float32(look.grain)
    return np.asarray(photo.clip(0, 255), np.uint8)
