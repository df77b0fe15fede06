from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wheatear.boxes import nms
from wheatear.detections import Detections
from wheatear.pixels import InMemory, Window
from wheatear.tiles import OVERLAP, SIZE, SLACK, detect_in_tiles, keep_core, run_scaled, tiles

LONGEST_HEAD = OVERLAP - 2 * SLACK


def colour_of(number: int) -> tuple[int, int, int]:
    return (number % 256, number // 256, 255)


def draw(heads: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """A black photo with each head (xmin, ymin, xmax, ymax) filled with a colour of its own."""
    image = np.zeros((height, width, 3), np.uint8)
    for number, (xmin, ymin, xmax, ymax) in enumerate(heads):
        image[ymin:ymax, xmin:xmax] = colour_of(number)
    return image


def find_colours(image: np.ndarray) -> Detections:
    """A detector that knows nothing of tiles: the extent of each colour. A head cut by the window gives a cut box,
    and one of 100 pixels more is the surer."""
    rows, columns = np.nonzero(image[..., 2] == 255)
    _, place, sizes = np.unique(
        image[rows, columns, 0] + 256 * image[rows, columns, 1].astype(int),
        return_inverse=True,
        return_counts=True,
    )
    boxes = np.zeros((len(sizes), 4))
    boxes[:, :2] = np.inf
    for column, values in enumerate((columns, rows)):
        np.minimum.at(boxes[:, column], place, values)
        np.maximum.at(boxes[:, column + 2], place, values + 1)
    return Detections(boxes, np.minimum(1, sizes / 60_000), *image.shape[:2])


def as_set(detections: Detections) -> set[tuple[float, ...]]:
    return {tuple(box) for box in detections.boxes.tolist()}


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([0.3, 0.5, 1.0, 2.0, 3.7]))
def test_cores_divide_the_photo_and_windows_hold_them(height, width, scale):
    parts = list(tiles(height, width, scale))
    assert sum((c.bottom - c.top) * (c.right - c.left) for _, c in parts) == height * width
    for window, core in parts:
        assert 0 <= window.top <= core.top < core.bottom <= window.bottom <= height
        assert 0 <= window.left <= core.left < core.right <= window.right <= width
        assert max(window.bottom - window.top, window.right - window.left) <= round(SIZE / scale)


# Stride 32, twice over for deeper ones: so an anchor lies where a run over the whole photo would have it.
ALIGNMENT = 64


@given(st.integers(1, 9000))
def test_inside_the_photo_a_core_keeps_half_the_overlap_from_its_windows_border(width):
    for window, core in tiles(1, width):
        assert window.left % ALIGNMENT == 0
        if window.left:
            assert core.left - window.left >= OVERLAP // 2
        if window.right < width:
            assert window.right - core.right >= OVERLAP // 2


def test_a_photo_that_fits_is_one_tile():
    for size in (1, 1024, SIZE):
        whole = Window(0, 0, size, size)
        assert list(tiles(size, size)) == [(whole, whole)]
    assert len(list(tiles(SIZE + 1, SIZE))) == 2


def test_the_core_rule_by_hand():
    # Centres at 99, 100, 199 and 200 of a core that spans 100 to 200.
    boxes = np.array([[x - 10, 140, x + 10, 160] for x in (99, 100, 199, 200)], np.float32)
    core = Window(0, 100, 300, 200)
    assert keep_core(boxes, core, slack=0).tolist() == [False, True, True, False]
    assert keep_core(boxes, core, slack=1).tolist() == [True, True, True, True]
    assert keep_core(np.zeros((0, 4), np.float32), core).tolist() == []


heads_anywhere = st.lists(
    st.tuples(
        st.integers(0, 1700), st.integers(0, 1500), st.integers(8, LONGEST_HEAD), st.integers(8, LONGEST_HEAD)
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None)
@given(heads_anywhere)
def test_every_head_is_counted_once_wherever_the_seams_are(corners):
    heads = [(x, y, min(x + w, 1700), min(y + h, 1500)) for x, y, w, h in corners if x < 1690 and y < 1490]
    image = draw(heads, 1500, 1700)
    whole = find_colours(image)
    # A detector has suppressed such boxes itself, and find_colours has not.
    assume(len(nms(whole.boxes, whole.scores, 0.4)) == len(whole))
    assert as_set(detect_in_tiles(find_colours, InMemory(image))) == as_set(whole)


def heads_on_a_grid(height: int, width: int, step: int, size: int) -> list[tuple[int, int, int, int]]:
    return [
        (x, y, x + size, y + size)
        for y in range(0, height - size, step)
        for x in range(0, width - size, step)
    ]


def test_window_by_window_counts_twice_and_the_merge_does_not():
    heads = heads_on_a_grid(1400, 2400, 100, 70)
    image = draw(heads, 1400, 2400)
    each_window = [len(find_colours(InMemory(image).read(window))) for window, _ in tiles(1400, 2400)]
    assert sum(each_window) > 1.1 * len(heads)
    assert as_set(detect_in_tiles(find_colours, InMemory(image))) == {
        tuple(map(float, head)) for head in heads
    }


def on_the_line() -> InMemory:
    """A head of 80 px in the middle of the line between two cores."""
    border = next(iter(tiles(1000, 2000))).core.right
    return InMemory(draw([(border - 40, 400, border + 40, 460)], 1000, 2000))


def shy(window: np.ndarray) -> Detections:
    """Sees a head beside the line 3 px further off than it is."""
    seen = find_colours(window)
    away = 3 if seen.boxes[0, 0] > 600 else -3
    return Detections(seen.boxes + np.array([away, 0, away, 0]), seen.scores, *window.shape[:2])


def test_two_windows_that_disagree_on_a_centre_lose_no_head():
    """The head on the line between the cores is seen 3 px further off by each window: outside both cores."""
    assert len(detect_in_tiles(shy, on_the_line())) == 1


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_photo_is_resized_to_the_heads_that_the_detector_knows(scale):
    head = (1240, 800, 1300, 860)
    seen_sizes = []

    def find_blue(seen: np.ndarray) -> Detections:
        rows, columns = np.nonzero(seen[..., 2] > 127)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
        if len(rows):
            seen_sizes.append(box[2] - box[0])
        return Detections(np.array([box]), np.ones(1))[: len(rows)]

    found = detect_in_tiles(find_blue, InMemory(draw([head], 1700, 1700)), scale)
    np.testing.assert_allclose(found.boxes, [head], atol=1 / scale)
    assert seen_sizes[0] == pytest.approx(60 * scale, abs=1)


def test_no_heads_and_the_smallest_photo():
    for shape in [(1, 1), (1, 3000), (2000, 2000)]:
        found = detect_in_tiles(find_colours, InMemory(np.zeros((*shape, 3), np.uint8)))
        assert found.boxes.shape == (0, 4)
        assert (found.height, found.width) == shape


class HalfWithoutData(InMemory):
    """No data right of column 1500."""

    def valid(self, window: Window) -> np.ndarray:
        columns = np.arange(window.left, window.right) < 1500
        return np.broadcast_to(columns, (window.bottom - window.top, len(columns)))


def test_heads_without_data_under_them_are_not_counted():
    heads = [(100, 100, 160, 160), (1440, 100, 1540, 160), (1480, 300, 1540, 360), (2600, 100, 2660, 160)]
    image = draw(heads, 500, 4000)
    windows = []

    def run(seen: np.ndarray) -> Detections:
        windows.append(seen.shape)
        return find_colours(seen)

    assert as_set(detect_in_tiles(run, HalfWithoutData(image))) == {
        (100, 100, 160, 160),
        (1440, 100, 1540, 160),
    }
    assert len(windows) == 2 < len(list(tiles(500, 4000)))


def test_a_box_over_all_of_a_resized_window_is_all_of_it():
    """10 × 3 px become 2 × 1, so that boxes are not to be divided by the scale."""

    def all_of_it(seen: np.ndarray) -> Detections:
        return Detections(np.array([[0, 0, seen.shape[1], seen.shape[0]]]), np.ones(1))

    assert run_scaled(all_of_it, np.zeros((3, 10, 3), np.uint8), 0.25).boxes.tolist() == [[0, 0, 10, 3]]


def test_a_small_head_beside_a_seam_is_counted_once():
    """It lies wholly in one core, and its centre in the other's slack."""
    border = next(iter(tiles(1000, 2000))).core.right
    for left in (border - 21, border + 1):
        image = draw([(left, 400, left + 20, 420)], 1000, 2000)
        assert len(detect_in_tiles(find_colours, InMemory(image))) == 1


@pytest.mark.parametrize("scale", [0.3, 0.5, 2.0, 3.7])
def test_windows_of_a_resized_photo_overlap_by_as_much_for_the_detector(scale):
    for window, core in tiles(1, 9000, scale):
        if window.left:
            assert (core.left - window.left) * scale >= OVERLAP // 2 - max(1, scale)
        if window.right < 9000:
            assert (window.right - core.right) * scale >= OVERLAP // 2 - max(1, scale)


def test_the_slack_is_in_pixels_of_the_detector():
    """At a quarter of the size each window sees the head on the line 24 px further off: more than 16, less than 64."""
    border = next(iter(tiles(200, 8000, 0.25))).core.right
    image = np.zeros((200, 8000, 3), np.uint8)
    image[40:160, border - 120 : border + 120] = colour_of(0)

    def shy(seen: np.ndarray) -> Detections:
        columns = np.flatnonzero(seen[..., 2].max(axis=0) > 127)
        if not len(columns):
            return Detections(np.zeros((0, 4)), np.zeros(0))
        left, right = np.array([columns[0], columns[-1] + 1]) + (6 if columns[0] > 600 else -6)
        return Detections(np.array([[left, 10, right, 40]]), np.ones(1))

    assert len(detect_in_tiles(shy, InMemory(image), 0.25)) == 1


def test_boxes_of_two_windows_are_merged_by_the_detectors_own_threshold():
    overlap = (80 - 6) / (80 + 6)
    for iou_thresh, number in ((overlap - 0.05, 1), (overlap + 0.05, 2)):
        assert len(detect_in_tiles(shy, on_the_line(), iou_thresh=iou_thresh)) == number


@pytest.mark.parametrize("far_off", [[], [[600, 100, 1400, 500]]])
def test_boxes_of_one_window_are_left_alone_whatever_else_is_found(far_off):
    """Its own suppression has left them, and votes may have moved them onto each other since."""
    left, _ = tiles(1000, 2000)
    side = left.core.right
    pair = [[side - 60, 400, side - 10, 450], [side - 58, 400, side - 8, 450]]

    def find(window: np.ndarray) -> Detections:
        boxes = [*pair, *far_off] if window.all() else []
        return Detections(np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)))

    image = np.zeros((1000, 2000, 3), np.uint8)
    image[:, : left.window.right] = 255
    assert len(detect_in_tiles(find, InMemory(image), iou_thresh=0.5)) == 2 + len(far_off)


def test_the_core_rule_from_top_to_bottom():
    boxes = np.array([[140, y - 10, 160, y + 10] for y in (99, 100, 199, 200)], np.float32)
    core = Window(100, 0, 200, 300)
    assert keep_core(boxes, core, slack=0).tolist() == [False, True, True, False]
    assert keep_core(boxes, core, slack=1).tolist() == [True, True, True, True]
