"""Augmentation: how a training photo is changed, so that the network sees more fields than were photographed.

A picture is an image (H, W, 3) uint8 RGB and its boxes (G, 4) float32 xyxy pixels; G may be 0. Everything
uses numpy and Pillow on bytes: torchvision's transforms use a global random state and, on tensors, take
several times as long when a single core must feed the network. All random numbers come from the generator
passed in.
"""

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from wheatear.boxes import area, shared_area
from wheatear.train.recipe_stages import AugmentRecipe

GREY = 114  # fills what lies beyond a photo or under a cut-out: about the mean of all photos
LARGEST_BLUR = 1.5  # standard deviation in px; any more and the awns are gone
LONGEST_SHAKE = 10  # px; any more and the heads are gone
LARGEST_NOISE = 25.0  # standard deviation in levels, out of 255
QUALITY = (10, 75)  # of a JPEG: from little more than blocks of 8 px to no visible blocks
# Range of the factor on a photo's contrast when it takes another's; any more and only noise is left.
CONTRASTS = (0.5, 2.0)
SPLIT = (0.3, 0.7)  # where the four photos of a mosaic may meet, as a share of each side
BLEND = (0.35, 0.65)  # share of the first photo in a mixup: both must stay visible
PASTED = 6  # heads at most, and as many pieces of ground
EDGE = 2  # px around a box that are pasted with it, nearly transparent
LEAST_PASTED = 12.0  # px of each side; of smaller heads the soft edge leaves nothing
# What a pasted head and a pasted piece of ground may share with a head, at most, in areas of the smaller of the two;
# and what a piece of ground may share with a head where it comes from.
HEAD_OVER, GROUND_OVER, GROUND_FROM = 0.3, 0.2, 0.1
TRIES = 10  # places tried for each
CUTOUTS, CUTOUT_SIDE = 8, (0.03, 0.12)  # at most; sides as shares of the picture's, about those of a head


class Picture(NamedTuple):
    """An image (H, W, 3) uint8 RGB and its boxes (G, 4) float32 xyxy pixels, half-open."""

    image: np.ndarray
    boxes: np.ndarray


def augment(
    photo: Picture,
    another: Callable[[], Picture],
    factor: float,
    recipe: AugmentRecipe,
    rng: np.random.Generator,
) -> Picture:
    """A square of recipe.crop pixels from a photo, scaled by about `factor` and augmented as the recipe says.

    `another` supplies photos for mosaic, paste, mixup and tone.
    """
    picture = compose(photo, another, factor, recipe, rng)
    if recipe.paste and rng.random() < recipe.paste:  # where it is off, the numbers drawn stay as they were
        other = window(another(), picture.image.shape[:2], factor, recipe, rng)
        if rng.random() < 0.5:
            other = Picture(tone(other.image, picture.image), other.boxes)
        picture = paste(picture, other, rng)
    if rng.random() < recipe.mixup:
        picture = mix(picture, compose(another(), another, factor, recipe, rng), rng.uniform(*BLEND))
    if rng.random() < recipe.cutout:
        picture = cut_out(picture, recipe.keep_area, rng)
    if recipe.turn:
        picture = turn(picture, int(rng.integers(4)), flip=rng.random() < 0.5)
    elif rng.random() < recipe.mirror:
        picture = turn(picture, 0, flip=True)
    image = picture.image
    if rng.random() < recipe.tone:
        image = tone(image, another().image)
    image = recolour(image, recipe, rng)
    if rng.random() < recipe.blur:
        image = blur(image, rng.uniform(0, LARGEST_BLUR))
    if rng.random() < recipe.shake:
        image = shake(image, rng.uniform(1, LONGEST_SHAKE), rng.uniform(0, np.pi))
    if rng.random() < recipe.noise:
        image = add_noise(image, rng.uniform(0, LARGEST_NOISE), rng)
    if rng.random() < recipe.compress:
        image = compress(image, int(rng.integers(*QUALITY)))
    return Picture(image, picture.boxes)


def compose(
    photo: Picture,
    another: Callable[[], Picture],
    factor: float,
    recipe: AugmentRecipe,
    rng: np.random.Generator,
) -> Picture:
    """A window of the photo or, with the recipe's probability, a mosaic of it and three others."""
    side = recipe.crop
    if rng.random() >= recipe.mosaic:
        return window(photo, (side, side), factor, recipe, rng)
    row, column = (round(side * rng.uniform(*SPLIT)) for _ in range(2))
    shapes = [(h, w) for h in (row, side - row) for w in (column, side - column)]
    photos = [photo, another(), another(), another()]
    quarters = [window(p, shape, factor, recipe, rng) for p, shape in zip(photos, shapes, strict=True)]
    return join(quarters, row, column)


def window(
    photo: Picture,
    shape: tuple[int, int],
    factor: float,
    recipe: AugmentRecipe,
    rng: np.random.Generator,
) -> Picture:
    """A random part of the photo, at a random scale around `factor` and stretch, as a (height, width) picture.

    A photo too small to fill it is placed on grey. Heads of which too little is left are dropped.
    """
    low, high = np.log(recipe.scale)
    factor *= float(np.exp(rng.uniform(low, high)))
    longer = recipe.stretch ** rng.uniform(-0.5, 0.5) if recipe.stretch > 1 else 1.0
    top, bottom, y = place(photo.image.shape[0], shape[0], factor * longer, rng.random())
    left, right, x = place(photo.image.shape[1], shape[1], factor / longer, rng.random())
    part = Image.fromarray(photo.image).resize(
        (len(x), len(y)), Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    image = np.full((*shape, 3), GREY, np.uint8)
    image[y.start : y.stop, x.start : x.stop] = np.asarray(part)
    scale = np.array([len(x) / (right - left), len(y) / (bottom - top)] * 2)
    boxes = (photo.boxes - [left, top, left, top]) * scale + [x.start, y.start, x.start, y.start]
    return Picture(image, keep(boxes, shape, recipe.keep_area, recipe.min_side))


def place(length: int, side: int, factor: float, luck: float) -> tuple[float, float, range]:
    """Place a window along one axis -> start and end in photo pixels, and the picture's pixels that it fills.

    length: of the photo; side: of the picture, both in pixels; luck: position between the two extremes, 0..1.
    """
    seen = side / factor
    if seen <= length:
        start = luck * (length - seen)
        return start, min(start + seen, length), range(side)
    drawn = max(1, round(length * factor))
    start = int(luck * (side - drawn))
    return 0, length, range(start, start + drawn)


def keep(boxes: np.ndarray, shape: tuple[int, int], keep_area: float, min_side: float) -> np.ndarray:
    """Boxes clipped to a picture of (height, width), without those of which too little is left."""
    height, width = shape
    cut: np.ndarray = boxes.clip(0, [width, height, width, height])
    sides = cut[:, 2:] - cut[:, :2]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left = (sides.prod(1) >= keep_area * whole) & (sides >= min_side).all(1)
    return cut[left].astype(np.float32)


def join(quarters: Sequence[Picture], row: int, column: int) -> Picture:
    """Join four pictures, given row by row, into one; they meet at this row and column."""
    (a, b, c, d) = (quarter.image for quarter in quarters)
    image = np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)])
    corners = ((0, 0), (column, 0), (0, row), (column, row))
    boxes = [
        q.boxes + np.array([x, y, x, y], np.float32) for q, (x, y) in zip(quarters, corners, strict=True)
    ]
    return Picture(image, np.concatenate(boxes))


def mix(one: Picture, other: Picture, share: float) -> Picture:
    """Blend two pictures of equal size and keep the heads of both; `share` is the weight of the first, 0..1."""
    image = Image.blend(Image.fromarray(other.image), Image.fromarray(one.image), share)
    return Picture(np.asarray(image), np.concatenate([one.boxes, other.boxes]))


def paste(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Paste heads of another picture, and as many pieces of its ground, over a picture of the same shape.

    Copy-paste (Ghiasi et al. 2021) without masks: what is pasted is a box with a soft edge. So heads of one field lie
    on the ground of another, and as ground is pasted, too, such an edge does not betray a head.
    """
    image, boxes = picture.image.copy(), picture.boxes
    height, width = image.shape[:2]
    sides = other.boxes[:, 2:] - other.boxes[:, :2]
    inside = (other.boxes[:, :2] >= EDGE) & (other.boxes[:, 2:] <= np.subtract((width, height), EDGE))
    heads = rng.permutation(other.boxes[(inside & (sides >= LEAST_PASTED)).all(1)])
    for head in heads[: int(rng.integers(1, PASTED + 1))]:
        from_head = _way(head, other.boxes, GROUND_FROM, image.shape[:2], rng)
        if from_head is not None:
            ground = head + from_head
            way = _way(ground, boxes, GROUND_OVER, image.shape[:2], rng)
            if way is not None:
                _lay(image, other.image, ground, way)
        way = _way(head, boxes, HEAD_OVER, image.shape[:2], rng)
        if way is not None:
            _lay(image, other.image, head, way)
            boxes = np.concatenate([boxes, (head + way)[None]])
    return Picture(image, boxes)


def _way(
    box: np.ndarray, heads: np.ndarray, most: float, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray | None:
    """By how many pixels to move a box, (4,) float32, to a random place where it shares little with each head.

    most: of the area of the smaller of the two. shape: (height, width). None if no such place was found.
    """
    low, high = EDGE - np.floor(box[:2]), np.subtract(shape[::-1], EDGE) - np.ceil(box[2:])
    smaller = np.minimum(area(heads), area(box))
    for _ in range(TRIES):
        way = np.tile(rng.integers(low.astype(int), high.astype(int), endpoint=True), 2).astype(np.float32)
        if (shared_area(heads, box + way) <= most * smaller).all():
            return way
    return None


def _lay(image: np.ndarray, source: np.ndarray, box: np.ndarray, way: np.ndarray) -> None:
    """Copy a box of the source, moved by `way`, into the image, in place, with rounded corners and soft edges."""
    left, top = np.floor(box[:2]).astype(int) - EDGE
    right, bottom = np.ceil(box[2:]).astype(int) + EDGE
    x, y = way[:2].astype(int)
    down, across = np.ogrid[-1 : 1 : (bottom - top) * 1j, -1 : 1 : (right - left) * 1j]
    opacity = ((1.02 - (across**4 + down**4) ** 0.25) / 0.2).clip(0, 1)[..., None]
    under = image[top + y : bottom + y, left + x : right + x]
    under[:] = (opacity * source[top:bottom, left:right] + (1 - opacity) * under).round()


def cut_out(picture: Picture, keep_area: float, rng: np.random.Generator) -> Picture:
    """Lay grey boxes over a picture, as leaves cover heads, and drop the heads that one of them hides."""
    image, boxes = picture.image.copy(), picture.boxes
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, CUTOUTS + 1)):
        h, w = (max(1, round(side * rng.uniform(*CUTOUT_SIDE))) for side in (height, width))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        image[top : top + h, left : left + w] = GREY
        hidden = shared_area(boxes, np.array([left, top, left + w, top + h])) / area(boxes)
        boxes = boxes[hidden <= 1 - keep_area]
    return Picture(image, boxes)


def turn(picture: Picture, quarters: int, *, flip: bool) -> Picture:
    """Flip left to right if asked to, then rotate anticlockwise by `quarters` times 90°."""
    image, boxes = picture
    if flip:
        width = image.shape[1]
        image = image[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    for _ in range(quarters):
        width = image.shape[1]
        image = np.rot90(image)
        boxes = np.stack([boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]], 1)
    return Picture(np.ascontiguousarray(image), boxes)


def tone(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Give an image's channels the mean and, within CONTRASTS, the standard deviation of another image's.

    Colour transfer (Reinhard et al. 2001), in RGB.
    """
    pixels, others = image[::8, ::8].reshape(-1, 3), other[::8, ::8].reshape(-1, 3)
    stretch = ((others.std(0) + 1) / (pixels.std(0) + 1)).clip(*CONTRASTS)
    values = (np.arange(256) - pixels.mean(0)[:, None]) * stretch[:, None] + others.mean(0)[:, None]
    return _looked_up(image, values)


def recolour(image: np.ndarray, recipe: AugmentRecipe, rng: np.random.Generator) -> np.ndarray:
    """Simulate other light or cameras: brightness, contrast and colour cast in one table, then saturation."""
    brightness, contrast, saturation = (
        1 + rng.uniform(-most, most) for most in (recipe.brightness, recipe.contrast, recipe.saturation)
    )
    cast = 1 + rng.uniform(-recipe.cast, recipe.cast, (3, 1))
    mean = image[::16, ::16].mean((0, 1))[:, None]
    values = (np.arange(256) - mean) * contrast + mean
    changed = Image.fromarray(_looked_up(image, values * brightness * cast))
    return np.asarray(ImageEnhance.Color(changed).enhance(saturation))


def _looked_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Map each channel's levels through its row of a (3, 256) table."""
    levels = table.round().clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(image).point(levels.ravel().tolist()))


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Blur, as if out of focus, with a Gaussian of standard deviation `radius` pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def shake(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Blur as if the hand moved `length` pixels along a line while the shutter was open; angle in radians."""
    steps = int(np.ceil(length)) + 1
    along = np.linspace(-length / 2, length / 2, steps)
    places = np.stack([np.sin(angle) * along, np.cos(angle) * along], 1)
    shifts = np.floor(places + 0.5).astype(int)  # round() goes to even: of -0.5, 0.5, 1.5 it would skip 1
    margin = int(np.ceil(length / 2))
    height, width = image.shape[:2]
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "edge")
    total = np.zeros(image.shape, np.uint16)
    for y, x in shifts + margin:
        total += padded[y : y + height, x : x + width]
    return ((total + steps // 2) // steps).astype(np.uint8)


def add_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add a sensor's noise in low light: normal, independent per value; deviation in levels of 255."""
    noisy: np.ndarray = image + rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    return noisy.round().clip(0, 255).astype(np.uint8)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Add the artefacts of JPEG compression at this quality, 1 to 95."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))
