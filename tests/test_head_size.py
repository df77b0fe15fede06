import dataclasses

import numpy as np
import pytest
from PIL import Image

from tiny_model import write_tiny_model
from wheatear.detections import Detections
from wheatear.detector import load
from wheatear.head_size import FEW_PLACES, PLACES, SCALES, WINDOW, HeadSize, measure_heads
from wheatear.pixels import InMemory, Pixels, Window
from wheatear.tiles import run_scaled

TRAINED = 60.0


def estimate_head_px(run, pixels: Pixels, trained_px: float) -> float | None:
    """As detector.measure_heads."""
    return measure_heads(run, pixels, trained_px).to_resize


def field(size: int, height: int = 1500, width: int = 2000) -> InMemory:
    """White squares of `size` pixels, each in the middle of a place twice as large."""
    y, x = np.ogrid[:height, :width]
    inside = (np.abs(y % (2 * size) - size) <= size // 2) & (np.abs(x % (2 * size) - size) <= size // 2)
    return InMemory(np.repeat(np.where(inside, 255, 0).astype(np.uint8)[..., None], 3, axis=2))


def sure_of_its_own_size(image: np.ndarray) -> Detections:
    """Finds the white runs in rows 8 pixels apart as squares; surest of those of 60 pixels, blind beyond twice that."""
    boxes, scores = [], []
    for row in range(0, image.shape[0], 8):
        edges = np.flatnonzero(np.diff(np.r_[0, (image[row, :, 0] > 127).astype(int), 0]))
        for start, end in edges.reshape(-1, 2):
            score = 1 - np.log2((end - start) / TRAINED) ** 2
            if score > 0.02:
                boxes.append([start, row, end, row + end - start])
                scores.append(score)
    return Detections(np.reshape(boxes, (-1, 4)), np.array(scores), *image.shape[:2])


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded(InMemory):
    """A photo that notes the windows that are read of it. is_data: (H, W) bool; None: all of it is."""

    is_data: np.ndarray | None = None
    windows: list[Window] = dataclasses.field(default_factory=list)

    def read(self, window: Window) -> np.ndarray:
        self.windows.append(window)
        return super().read(window)

    def valid(self, window: Window) -> np.ndarray | None:
        if self.is_data is None:
            return None
        return self.is_data[window.top : window.bottom, window.left : window.right]


def partly(is_data: np.ndarray) -> Recorded:
    """Heads of 120 px where there is data."""
    image = field(120, *is_data.shape).image.copy()
    image[~is_data] = 0
    return Recorded(image, is_data)


@pytest.mark.parametrize("size", [30, 41, 48, 88, 120, 200])
def test_the_size_is_measured(size):
    found = estimate_head_px(sure_of_its_own_size, field(size), TRAINED)
    assert found == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize("size", [52, 60, 80])
def test_heads_of_the_known_size_are_left_as_they_are(size):
    assert estimate_head_px(sure_of_its_own_size, field(size), TRAINED) is None


def test_no_heads_and_a_photo_smaller_than_a_window():
    assert (
        estimate_head_px(sure_of_its_own_size, InMemory(np.zeros((900, 900, 3), np.uint8)), TRAINED) is None
    )
    assert estimate_head_px(sure_of_its_own_size, InMemory(np.zeros((1, 3, 3), np.uint8)), TRAINED) is None


def shapes_of_the_looks_at(pixels: InMemory) -> list[tuple[int, ...]]:
    """Height and width of every image that the detector is shown."""
    seen = []

    def run(image: np.ndarray) -> Detections:
        seen.append(image.shape[:2])
        return sure_of_its_own_size(image)

    estimate_head_px(run, pixels, TRAINED)
    return seen


def test_every_look_costs_the_same():
    seen = shapes_of_the_looks_at(field(60, 5200, 5200))
    assert seen[:2] == [(325, 325), (650, 650)]  # of the whole photo
    assert len(seen) == 2 + FEW_PLACES * len(SCALES)
    assert {side for shape in seen[2:] for side in shape} <= {WINDOW - 1, WINDOW, WINDOW + 1}


def test_a_photo_too_large_to_be_seen_whole_is_not_taken_for_one_of_near_heads():
    """Otherwise a mosaic would be read in windows of ten thousand pixels."""
    strip = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (400, 10400, 3))
    assert len(shapes_of_the_looks_at(InMemory(strip))) == PLACES * len(SCALES)


def test_a_look_at_the_whole_photo_is_taken_once():
    seen = shapes_of_the_looks_at(field(60, 1024, 1024))
    assert [seen.count((side, side)) for side in (64, 128, 256, 512, 1024)] == [1, 1, 1, 1, 1]
    assert len(seen) == 5 + 2 * FEW_PLACES


def test_too_few_heads_are_not_measured():
    def run(image: np.ndarray) -> Detections:
        return Detections(np.array([[0.0, 0, 20, 20]]), np.array([0.9]), *image.shape[:2])

    assert measure_heads(run, field(60, 300, 300), TRAINED) == HeadSize(None, TRAINED)


@pytest.mark.parametrize(
    ("scale", "score", "size"), [(0.5, 0.52, None), (0.5, 0.54, 120), (4, 0.59, None), (4, 0.61, 15)]
)
def test_doubtful_heads_are_not_measured(scale, score, size):
    """Ten that have the size that was learned at one scale: 0.28 is 0.53², and for small ones 0.36 is 0.6²."""
    found = {round(300 * scale): [[5.0, 5, 65, 65]] * 10}

    def run(image: np.ndarray) -> Detections:
        boxes = np.reshape(found.get(image.shape[0], []), (-1, 4))
        return Detections(boxes, np.full(len(boxes), score), *image.shape[:2])

    measured = measure_heads(run, InMemory(np.zeros((300, 300, 3), np.uint8)), TRAINED)
    assert measured.px == (size and pytest.approx(size))


@pytest.mark.parametrize(("number", "size"), [(4, None), (5, 15)])
def test_five_small_heads_are_enough(number, size):
    def run(image: np.ndarray) -> Detections:
        boxes = np.reshape([[5.0, 5, 65, 65]] * (number if len(image) == 4 * 300 else 0), (-1, 4))
        return Detections(boxes, np.full(len(boxes), 0.9), *image.shape[:2])

    assert measure_heads(run, InMemory(np.zeros((300, 300, 3), np.uint8)), TRAINED).px == size


def test_a_few_sure_heads_outweigh_many_doubtful_ones():
    """As of a photo with few heads, whose leaves look a little like heads when they are four times as large."""
    photo = InMemory(np.tile((np.arange(2000) // 8).astype(np.uint8)[:, None], (1500, 1, 3)))

    def run(image: np.ndarray) -> Detections:
        seen = int(image.max()) - int(image.min())  # 8 px a level of the photo: 80 at its own scale
        number, score = {80: (2, 0.75), 20: (7, 0.55)}.get(5 * round(seen / 5), (0, 0.0))
        lefts = np.arange(number) * 80 + 10
        boxes = np.stack([lefts, np.full(number, 10), lefts + TRAINED, np.full(number, 10 + TRAINED)], 1)
        return Detections(boxes, np.full(number, score), *image.shape[:2])

    assert measure_heads(run, photo, TRAINED).px == pytest.approx(TRAINED)


def test_where_the_first_places_show_soil_others_are_looked_at():
    image = field(120, 3000, 4000).image.copy()
    image[:2200] = 0
    photo = Recorded(image)
    assert measure_heads(sure_of_its_own_size, photo, TRAINED).px == pytest.approx(120, rel=0.06)
    assert sum(window.bottom - window.top == WINDOW for window in photo.windows) == PLACES


def test_places_without_data_are_passed_over():
    """A field in the lower right corner of a mosaic."""
    corner = np.zeros((3000, 4000), bool)
    corner[2000:, 2500:] = True
    photo = partly(corner)
    assert measure_heads(sure_of_its_own_size, photo, TRAINED).px == pytest.approx(120, rel=0.06)
    own = [w for w in photo.windows if w.bottom - w.top == WINDOW]
    assert len(own) == FEW_PLACES
    assert all(corner[w.top : w.bottom, w.left : w.right].mean() >= 0.5 for w in own)


def test_a_strip_of_data_is_looked_at():
    """300 px wide, less than half of any window."""
    strip = np.zeros((3000, 4000), bool)
    strip[:, 1900:2200] = True
    assert measure_heads(sure_of_its_own_size, partly(strip), TRAINED).px == pytest.approx(120, rel=0.06)


def test_a_photo_without_data():
    empty = Recorded(field(60).image, np.zeros((1500, 2000), bool))
    assert measure_heads(sure_of_its_own_size, empty, TRAINED).px is None


def test_boxes_come_back_in_the_photos_pixels():
    image = field(120).image[:500, :500]
    plain, half = sure_of_its_own_size(image), run_scaled(sure_of_its_own_size, image, 0.5)
    assert len(plain) == 0
    assert half.boxes[:, 2].max() <= 500
    np.testing.assert_allclose((half.boxes[:, 2] - half.boxes[:, 0]).mean(), 120, atol=4)


def test_the_detector_takes_it_from_its_card(tmp_path):
    detector = load(write_tiny_model(tmp_path, head_px=40.0))
    assert [detector.scale_for(px) for px in (4, 80, 10_000)] == [10, 0.5, 0.004]
    assert detector.measure_heads(InMemory(np.full((300, 300, 3), 90, np.uint8))).to_resize is None
    with pytest.raises(ValueError, match=r"head_px must lie in 4\.\.10000, got 0"):
        detector.detect(np.zeros((8, 8, 3), np.uint8), head_px=0)


def test_a_photo_is_given_as_to_detect(tmp_path, monkeypatch):
    monkeypatch.setattr("wheatear.detector.measure_heads", lambda _, pixels, px: HeadSize(pixels.width, px))
    detector = load(write_tiny_model(tmp_path, head_px=20.0))
    image = np.zeros((40, 60, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    by_array, by_file = detector.measure_heads(image), detector.measure_heads(tmp_path / "a.png")
    assert by_array.to_resize == by_file.to_resize == 60
    with pytest.raises(TypeError, match="uint8"):
        detector.measure_heads(image.astype(float))
    with pytest.raises(ValueError, match="got inf"):
        detector.detect(image, head_px=float("inf"))


def found_at(looks, side=304):
    """The size that is estimated of a photo of side² pixels, given (size, score, number) of what is found by scale."""
    by_side = {round(side * scale): found for scale, found in looks.items()}

    def run(image: np.ndarray) -> Detections:
        heads = [
            (size, score) for size, score, number in by_side.get(image.shape[0], ()) for _ in range(number)
        ]
        boxes = np.array([[5, 5, 5 + size, 5 + size] for size, _ in heads]).reshape(-1, 4)
        return Detections(boxes, np.array([score for _, score in heads]), *image.shape[:2])

    return estimate_head_px(run, InMemory(np.zeros((side, side, 3), np.uint8)), TRAINED)


@pytest.mark.parametrize(
    ("looks", "size"),
    [
        ({0.5: [(60, 0.6, 10)], 1.0: [(30, 0.7, 10)]}, 120),  # surer, but of half the size that it learned
        ({0.5: [(60, 0.9, 10), (25, 0.35, 15)]}, 120),  # the doubtful ones have no say in the size
        (
            {0.5: [(60, 0.9, 6), (60, 0.2, 30)], 1.0: [(60, 0.6, 10)]},
            120,
        ),  # nor the unlikely ones in the scale
        ({0.5: [(60, 0.62, 10)], 1.0: [(60, 0.8, 3)]}, 120),  # three say less than ten
        ({0.5: [(60, 0.5, 10)], 1.0: [(60, 0.6, 6)]}, None),  # a few sure ones more than many doubtful ones
        ({0.5: [(60, 0.9, 5)]}, 120),
        ({0.5: [(60, 0.56, 4)]}, 120),  # near ones, which are few in a photo: 0.3 is 0.55²
        ({0.5: [(60, 0.56, 1)]}, 120),
        ({0.5: [(60, 0.54, 4)]}, None),
        ({2.0: [(60, 0.9, 4)]}, None),  # a few small ones may be parts of a near one
        ({0.25: [(60, 0.6, 2)], 0.5: [(60, 0.5, 8)]}, 240),
        ({0.25: [(60, 0.6, 2)], 0.5: [(60, 0.58, 12)]}, 240),  # surer than what may be their spikelets
        ({0.25: [(60, 0.6, 2)], 0.5: [(60, 0.62, 12)]}, 120),
        ({0.25: [(60, 0.9, 1)], 0.5: [(60, 0.58, 12)]}, 120),  # a single one may be anything
    ],
)
def test_the_scale_that_counts_by_hand(looks, size):
    assert found_at(looks) == size


def test_heads_half_as_long_as_the_photo():
    assert found_at({0.0625: [(30, 0.9, 2)]}, side=1024) == 480


@pytest.mark.parametrize(("whole", "size"), [(0.56, 120), (0.54, 160)])
def test_a_near_head_that_the_photo_cuts_is_measured_where_none_is_whole(whole, size):
    def run(image: np.ndarray) -> Detections:
        boxes, scores = np.array([[10.0, 10, 70, 70], [0, 10, 100, 110]]), np.array([whole, 0.9])
        seen = slice(2 if image.shape[0] == 152 else 0)  # at the scale 0.5 alone
        return Detections(boxes[seen], scores[seen], *image.shape[:2])

    photo = InMemory(np.zeros((304, 304, 3), np.uint8))
    assert estimate_head_px(run, photo, TRAINED) == pytest.approx(size)


@pytest.mark.parametrize("edge", range(4))
def test_heads_that_the_window_cuts_are_not_measured(edge):
    """Ten whole ones of 120 px, and twenty with an edge on the border of what is seen, or a pixel beside it."""

    def run(image: np.ndarray) -> Detections:
        whole, cut = np.array([[10.0, 10, 70, 70]] * 10), np.array([[10.0, 10, 100, 100]] * 20)
        cut[:, edge] = ([0] * 10 + [1] * 10) if edge < 2 else ([300] * 10 + [299] * 10)
        number = 30 if image.shape[0] == 300 else 0  # at the scale 0.5 alone
        return Detections(np.concatenate([whole, cut]), np.full(30, 0.9), *image.shape[:2])[:number]

    assert estimate_head_px(run, InMemory(np.zeros((600, 600, 3), np.uint8)), TRAINED) == pytest.approx(120)


@pytest.mark.parametrize("shape", [(700, 3000), (3000, 700)])
def test_windows_lie_in_the_photo_whatever_its_shape(shape):
    photo = Recorded(np.zeros((*shape, 3), np.uint8))
    estimate_head_px(sure_of_its_own_size, photo, TRAINED)
    windows = photo.windows
    height, width = shape
    assert all(0 <= w.top < w.bottom <= height and 0 <= w.left < w.right <= width for w in windows)
    halves = [w for w in windows if w.bottom - w.top == WINDOW / 2]  # at the scale 2
    assert len(set(halves)) == PLACES
    first = halves[0]
    assert (first.top + first.bottom, first.left + first.right) == (height, width)
    assert min(w.left for w in halves) < width / 8
    assert max(w.right for w in halves) > width * 7 / 8
