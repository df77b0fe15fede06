"""Augmentation: whatever is done to a picture is done to its boxes."""

import numpy as np
import pytest

import wheatear.train.augment
from wheatear.train.augment import (
    GREY,
    Picture,
    add_noise,
    augment,
    compose,
    compress,
    cut_out,
    join,
    keep,
    mix,
    paste,
    place,
    recolour,
    shake,
    tone,
    turn,
    window,
)
from wheatear.train.recipe_stages import AugmentRecipe

HEAD = (255, 0, 0)
BOX = (60, 30, 100, 90)  # 40 × 60 px


def painted(height: int = 160, width: int = 200, box: tuple[int, int, int, int] = BOX) -> Picture:
    """A black photo with one red head that fills its box."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = HEAD
    return Picture(image, np.array([box], np.float32))


def empty() -> Picture:
    return Picture(np.zeros((120, 120, 3), np.uint8), np.zeros((0, 4), np.float32))


def painted_box(image: np.ndarray) -> list[float]:
    """Where the red is: the smallest box around the pixels that are mostly head."""
    y, x = np.nonzero((image[..., 0] > 127) & (image[..., 1] < 100))
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def recipe(**changes: object) -> AugmentRecipe:
    return AugmentRecipe.model_validate({"crop": 96} | changes)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turns_and_flips_take_the_box_along(quarters, flip):
    picture = turn(painted(), quarters, flip=flip)
    assert picture.boxes.tolist() == [painted_box(picture.image)]
    assert picture.image.shape == ((160, 200, 3) if quarters % 2 == 0 else (200, 160, 3))


def test_a_photo_may_be_mirrored_and_never_turned():
    """A window as high as the photo, anywhere along it: the head lies at 20 to 60 px, mirrored at 60 to 100."""
    lefts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picture = augment(painted(), painted, 1.0, recipe(crop=160, turn=False, mirror=0.5), rng)
        assert np.abs(picture.boxes[0] - painted_box(picture.image)).max() <= 1
        assert picture.boxes[0, 1::2].tolist() == [30, 90]
        lefts.append(picture.boxes[0, 0])
    assert min(lefts) < 55
    assert max(lefts) > 65


@pytest.mark.parametrize("seed", range(20))
def test_a_window_takes_the_box_along(seed):
    """Between a quarter and twice the size, with grey around it or cut at a border: to a pixel's rounding."""
    rng = np.random.default_rng(seed)
    picture = window(painted(), (96, 128), 1.0, recipe(scale=(0.25, 2.0), keep_area=0.1), rng)
    assert picture.image.shape == (96, 128, 3)
    if len(picture.boxes):
        assert np.abs(picture.boxes[0] - painted_box(picture.image)).max() <= 1
    else:
        assert (picture.image[..., 0] > 200).sum() < 0.1 * 40 * 60 * 4


def test_a_stretched_window_takes_the_box_along():
    """A box of 40 × 60 px, by up to √2 wider and as much lower, or the other way round."""
    ratios = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        picture = window(painted(), (192, 256), 1.0, recipe(stretch=2.0, keep_area=1.0), rng)
        for box in picture.boxes:
            assert np.abs(box - painted_box(picture.image)).max() <= 1
            width, height = box[2:] - box[:2]
            ratios.append(width / height)
            assert width * height == pytest.approx(2400, rel=0.05)
    assert 0.5 < min(ratios) / (40 / 60) < 0.6
    assert 1.7 < max(ratios) / (40 / 60) <= 2.01


def test_a_photo_smaller_than_the_window_is_set_on_grey():
    picture = window(painted(), (400, 400), 1.0, recipe(), np.random.default_rng(0))
    assert (picture.image == GREY).all(2).sum() == 400 * 400 - 160 * 200
    assert picture.boxes.tolist() == [painted_box(picture.image)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, 50, 1.0, 0.0), (0, 50, range(50))),
        ((100, 50, 1.0, 1.0), (50, 100, range(50))),
        ((100, 50, 2.0, 0.5), (37.5, 62.5, range(50))),
        ((100, 50, 0.5, 0.7), (0, 100, range(50))),
        ((100, 50, 0.25, 0.0), (0, 100, range(25))),
        ((100, 50, 0.25, 0.99), (0, 100, range(24, 49))),
    ],
)
def test_where_a_window_lies(arguments, expected):
    assert place(*arguments) == expected


def test_heads_cut_at_the_border_stay_while_enough_is_left():
    boxes = np.array([[-6, 0, 4, 10], [-7, 0, 3, 10], [90, 90, 99, 99], [96.5, 0, 99, 30]])
    kept = keep(boxes, (100, 100), keep_area=0.4, min_side=3.0)
    assert kept.tolist() == [[0, 0, 4, 10], [90, 90, 99, 99]]  # the last is too thin
    assert keep(np.zeros((0, 4)), (100, 100), 0.4, 3.0).shape == (0, 4)


def test_a_mosaic_moves_each_quarters_boxes():
    quarters = [painted(160, 200), painted(160, 100, (0, 0, 10, 10)), painted(80, 200, (5, 5, 9, 9)), empty()]
    quarters[3] = Picture(np.zeros((80, 100, 3), np.uint8), quarters[3].boxes)
    mosaic = join(quarters, 160, 200)
    assert mosaic.image.shape == (240, 300, 3)
    assert mosaic.boxes.tolist() == [list(BOX), [200, 0, 210, 10], [5, 165, 9, 169]]
    for x1, y1, x2, y2 in mosaic.boxes.astype(int):
        assert (mosaic.image[y1:y2, x1:x2] == HEAD).all()


def test_a_mixup_has_the_heads_of_both():
    other = painted(box=(0, 0, 10, 10))
    mixed = mix(painted(), other, 0.6)
    assert mixed.boxes.tolist() == [list(BOX), [0, 0, 10, 10]]
    assert mixed.image[40, 70].tolist() == [153, 0, 0]
    assert mixed.image[5, 5].tolist() == [102, 0, 0]


def test_a_hidden_head_is_dropped_and_the_picture_given_is_left_alone():
    photo = painted()
    outcomes = {len(cut_out(photo, 0.9, np.random.default_rng(seed)).boxes) for seed in range(40)}
    assert outcomes == {0, 1}
    for seed in range(40):  # there is one grey box at least
        assert (cut_out(photo, 0.9, np.random.default_rng(seed)).image == GREY).any()
    for seed in range(40):
        picture = cut_out(photo, 0.35, np.random.default_rng(seed))
        shown = (picture.image == HEAD).all(2).sum() / (40 * 60)
        assert shown > 0.35 - 0.3 if len(picture.boxes) else shown <= 0.35
    assert painted_box(photo.image) == list(BOX)


def test_colours_stay_where_nothing_is_asked_and_change_where_it_is():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(recolour(image, recipe(), np.random.default_rng(0)), image)
    much = recipe(brightness=0.3, contrast=0.3, saturation=0.4, cast=0.1)
    changed = recolour(image, much, np.random.default_rng(0))
    assert changed.dtype == np.uint8
    assert np.abs(changed.astype(int) - image).mean() > 3


def dot() -> np.ndarray:
    """A white pixel on black."""
    image = np.zeros((21, 21, 3), np.uint8)
    image[10, 10] = 255
    return image


@pytest.mark.parametrize(("angle", "axis"), [(0.0, 1), (np.pi / 2, 0)])
def test_a_shaken_dot_is_a_line_as_long_as_the_way_of_the_hand(angle, axis):
    """6 px are 7 places, each with a seventh of the light, around where the dot was."""
    shaken = shake(dot(), 6, angle)[..., 0]
    seen = np.nonzero(shaken)
    assert seen[axis].tolist() == [7, 8, 9, 10, 11, 12, 13]
    assert seen[1 - axis].tolist() == [10] * 7
    assert set(shaken[seen].tolist()) == {36}


def test_a_hand_moves_in_any_direction():
    """A dot of 5 px in the middle becomes longer along x in some photos, along y in others."""
    photo, longer = painted(96, 96, (46, 46, 51, 51)), set()
    for seed in range(20):
        chosen = recipe(shake=1.0, scale=(1.0, 1.0))
        image = augment(photo, painted, 1.0, chosen, np.random.default_rng(seed)).image[..., 0]
        height, width = (np.ptp(places) for places in np.nonzero(image))
        longer.add(int(np.sign(width - height)))
    assert {-1, 1} <= longer


@pytest.mark.parametrize("length", [1, 3, 7])
def test_an_odd_way_has_no_gaps(length):
    (along,) = np.nonzero(shake(dot(), length, 0.0)[10, :, 0])
    assert along.tolist() == list(range(along[0], along[0] + length + 1))


def test_a_shaken_border_stays_as_bright_as_it_was():
    assert (shake(np.full((9, 12, 3), 200, np.uint8), 10, 0.7) == 200).all()


def test_noise_has_the_deviation_asked_for_and_no_mean():
    grey = np.full((100, 100, 3), 128, np.uint8)
    noise = add_noise(grey, 20, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.5
    assert noise.std() == pytest.approx(20, rel=0.03)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.05


def test_a_lower_quality_leaves_less_of_a_picture():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    lost = [np.abs(compress(image, quality).astype(int) - image).mean() for quality in (90, 50, 10)]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_a_picture_takes_the_colours_of_another():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 20, (256, 256, 3)).clip(0, 255).astype(np.uint8)
    other = rng.normal([60, 120, 160], [10, 30, 20], (320, 160, 3)).clip(0, 255).astype(np.uint8)
    toned = tone(image, other)
    assert toned.mean((0, 1)) == pytest.approx(other.mean((0, 1)), abs=4)
    assert toned.std((0, 1)) == pytest.approx(other.std((0, 1)), rel=0.15)


def test_colours_taken_from_a_picture_of_one_colour_leave_half_of_the_contrast():
    image = np.random.default_rng(0).integers(50, 150, (256, 256, 3), dtype=np.uint8)
    toned = tone(image, np.full((8, 8, 3), 90, np.uint8))
    assert toned.std() == pytest.approx(image.std() / 2, rel=0.05)


ALL = {"scale": (0.5, 2.0), "brightness": 0.3} | dict.fromkeys(
    ("mosaic", "mixup", "cutout", "blur", "shake", "noise", "compress", "tone", "paste"), 1.0
)


@pytest.mark.parametrize("first", [painted, empty])
def test_all_of_it_together_is_a_picture_and_the_same_for_the_same_seed(first):
    one, two = (augment(first(), painted, 1.0, recipe(**ALL), np.random.default_rng(3)) for _ in range(2))
    assert one.image.shape == (96, 96, 3)
    assert one.image.dtype == np.uint8
    assert one.boxes.dtype == np.float32
    assert ((one.boxes >= 0) & (one.boxes <= 96)).all()
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.boxes, two.boxes)


@pytest.mark.parametrize(
    "name", ["mosaic", "mixup", "cutout", "mirror", "blur", "shake", "noise", "compress", "tone"]
)
def test_each_change_is_made_where_it_is_asked_for_and_not_where_it_is_not(name):
    photo = painted(96, 96, (50, 30, 90, 80))
    changes = {"turn": False, "scale": (1.0, 1.0)}
    never, always = (
        augment(photo, painted, 1.0, recipe(**changes, **{name: share}), np.random.default_rng(0)).image
        for share in (0.0, 1.0)
    )
    assert np.array_equal(never, photo.image)
    assert not np.array_equal(always, photo.image)


def test_jpegs_are_neither_useless_nor_as_good_as_new(monkeypatch):
    asked = []
    monkeypatch.setattr(
        wheatear.train.augment, "compress", lambda image, quality: asked.append(quality) or image
    )
    for seed in range(100):
        augment(painted(), painted, 1.0, recipe(compress=1.0), np.random.default_rng(seed))
    assert 10 <= min(asked) < 20
    assert 65 < max(asked) <= 75


def test_photos_without_heads_stay_without():
    picture = augment(empty(), empty, 1.0, recipe(**ALL), np.random.default_rng(0))
    assert picture.boxes.shape == (0, 4)


def test_a_shaken_sum_is_rounded():
    """Of the 7 places of a hand's way 4 at most are of 1, the others of 0: 0.57."""
    image = np.zeros((5, 30, 3), np.uint8)
    image[:, 12:16] = 1
    assert shake(image, 6, 0.0).max() == 1


def test_boxes_of_a_mosaic_lie_on_their_heads():
    """Four photos that meet at a row and a column which differ."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        picture = compose(painted(), painted, 1.0, recipe(crop=256, mosaic=1.0, scale=(1.0, 1.0)), rng)
        assert len(picture.boxes)
        for x1, y1, x2, y2 in picture.boxes.round().astype(int):
            assert (picture.image[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1, 0] > 127).all()


def a_field(ground: int, boxes: list[tuple[int, int, int, int]]) -> Picture:
    """Heads of pure red on blue ground of this level."""
    image = np.full((128, 160, 3), (0, 0, ground), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = HEAD
    return Picture(image, np.array(boxes, np.float32))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_pasted_is_labelled_where_it_is_a_head_and_only_there(seed):
    one = a_field(60, [(20, 40, 50, 60), (100, 70, 120, 110)])
    other = a_field(250, [(10, 10, 30, 45), (60, 20, 90, 40), (120, 60, 140, 100), (0, 90, 30, 110)])
    picture = paste(one, other, np.random.default_rng(seed))
    assert picture.boxes.dtype == np.float32
    kept, new = picture.boxes[:2], picture.boxes[2:]
    assert np.array_equal(kept, one.boxes)
    assert 1 <= len(new) <= 3  # that at the border of the other picture is none of them
    sides = {tuple(side) for side in (other.boxes[:3, 2:] - other.boxes[:3, :2]).tolist()}
    assert {tuple(side) for side in (new[:, 2:] - new[:, :2]).tolist()} <= sides
    for x, y in (new[:, :2] + new[:, 2:]).astype(int) // 2:
        assert picture.image[y, x, 0] > 0
    labelled = np.zeros(picture.image.shape[:2], bool)
    for left, top, right, bottom in picture.boxes.astype(int):
        labelled[top:bottom, left:right] = True
    unlabelled_red = (picture.image[..., 0] > 127) & ~labelled
    assert unlabelled_red.sum() < 100  # the tenth of a head that a piece of ground may have


def test_ground_is_pasted_as_heads_are_and_covers_few_of_them():
    shares = []
    for seed in range(40):
        one = a_field(60, [(20, 40, 50, 60), (100, 70, 120, 110)])
        picture = paste(one, a_field(250, [(60, 20, 90, 40)]), np.random.default_rng(seed))
        shares.append(((picture.image[..., 2] > 200) & (picture.image[..., 0] < 50)).mean())
        for left, top, right, bottom in one.boxes.astype(int):
            head = picture.image[top:bottom, left:right]
            assert (head[..., 0] > 127).mean() > 0.65
    assert np.mean(shares) > 0.015  # of 128 × 160 px; a piece has 30 × 20, or 0.029


def test_heads_are_pasted_where_it_is_asked_for_and_not_where_it_is_not():
    photo = a_field(60, [(20, 40, 50, 60)])
    for share, most in ((0.0, 1), (1.0, 2)):
        chosen = recipe(crop=128, turn=False, paste=share)
        pictures = [
            augment(photo, lambda: photo, 1.0, chosen, np.random.default_rng(seed)) for seed in range(20)
        ]
        assert max(len(picture.boxes) for picture in pictures) == most


def test_nothing_is_pasted_from_a_picture_without_whole_heads():
    one, cut = a_field(60, [(20, 40, 50, 60)]), a_field(250, [(0, 0, 40, 40), (60, 60, 70, 90)])
    for other in (cut, a_field(250, [])._replace(boxes=np.zeros((0, 4), np.float32))):
        picture = paste(one, other, np.random.default_rng(0))
        assert np.array_equal(picture.image, one.image)
        assert np.array_equal(picture.boxes, one.boxes)


class Highest:
    """A generator that draws the upper limit."""

    def uniform(self, low, high, shape=None):
        return high if shape is None else np.full(shape, high)


def test_levels_beyond_white_and_black_stay_white_and_black():
    image = np.array([0, 5, 250, 255], np.uint8)[:, None, None].repeat(3, 2).repeat(4, 1)
    noisy = add_noise(image, 20, np.random.default_rng(0)).astype(int)
    assert np.abs(noisy - image).max() < 100
    bright = recolour(np.full((16, 16, 3), 250, np.uint8), recipe(brightness=0.9), Highest())
    assert (bright == 255).all()


def test_more_contrast_is_no_more_light():
    image = np.random.default_rng(0).integers(110, 140, (64, 64, 3), dtype=np.uint8)
    changed = recolour(image, recipe(contrast=0.9), Highest())
    assert changed.mean() == pytest.approx(image.mean(), abs=1.5)
    assert changed.std() == pytest.approx(1.9 * image.std(), rel=0.02)


def test_a_photo_may_be_turned_to_any_side():
    sides = set()
    for seed in range(40):
        photo, rng = painted(160, 160, (70, 10, 90, 30)), np.random.default_rng(seed)
        picture = augment(photo, painted, 1.0, recipe(crop=160, turn=True), rng)
        sides.add(tuple(((picture.boxes[0, :2] + picture.boxes[0, 2:]) / 2).round().tolist()))
    assert sides == {(80, 20), (80, 140), (20, 80), (140, 80)}


def test_heads_that_are_too_thin_are_dropped_from_a_window():
    photo = painted(box=(60, 30, 64, 90))
    for min_side, number in ((3.9, 1), (4.1, 0)):
        chosen = recipe(min_side=min_side, scale=(1.0, 1.0))
        assert len(window(photo, (160, 200), 1.0, chosen, np.random.default_rng(0)).boxes) == number
