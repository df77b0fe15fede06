"""The pictures of the result: what they draw, in figures worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from tiny_model import red_cells, write_tiny_model
from wheatear import load
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.explain.colours import BACKGROUND, FOUND, HEAD, MISSED, TRUTH
from wheatear.explain.drawing import caption_of
from wheatear.explain.result import (
    found_heads,
    head_sizes,
    hits_and_misses,
    labelled_photo,
    pair,
    score_threshold,
)
from wheatear.explain.seen import ExportedModel, Seen, unlabelled
from wheatear.matching import match

TWO_HEADS = np.array([[10, 10, 30, 30], [60, 10, 80, 30]], np.float32)


class Known:
    """Finds what it is told."""

    threshold = 0.5

    def __init__(self, boxes: np.ndarray, scores: list[float]) -> None:
        self.found = Detections(np.array(boxes).reshape(-1, 4), np.array(scores), 100, 100)

    def seen(self, sample: Sample) -> Seen:
        return Seen(np.zeros((100, 100, 3), np.uint8), sample.boxes, self.found, sample)


def sample_with(boxes: np.ndarray) -> Sample:
    return Sample(Path("photo.jpg"), boxes, 100, 100)


def outlines(figure: Figure, colour: str) -> np.ndarray:
    """(N, 4) boxes drawn in this colour."""
    drawn = [
        np.concatenate([path.vertices.min(0), path.vertices.max(0)])
        for axes in figure.axes
        for lines in axes.collections
        if isinstance(lines, LineCollection) and to_hex(lines.get_color()[0]) == colour.lower()
        for path in lines.get_paths()
    ]
    return np.array(drawn).reshape(-1, 4)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.fixture
def one_of_each() -> Known:
    """A hit on the first head, a false alarm, and one below the threshold that would hit the second head."""
    boxes = np.array([[10, 10, 30, 29], [0, 60, 20, 80], [60, 10, 80, 30]], np.float32)
    return Known(boxes, [0.9, 0.7, 0.4])


def test_hits_misses_and_false_alarms_have_their_colours(one_of_each: Known):
    figure = hits_and_misses(one_of_each, sample_with(TWO_HEADS))
    np.testing.assert_array_equal(outlines(figure, HEAD), [[10, 10, 30, 29]])
    np.testing.assert_array_equal(outlines(figure, BACKGROUND), [[0, 60, 20, 80]])
    np.testing.assert_array_equal(outlines(figure, MISSED), TWO_HEADS[1:])
    assert texts(figure) == ["0.90", "0.70"]
    assert "1 hits, 1 heads missed, 1 false alarms" in caption_of(figure)
    assert "= 0.333; counted 2 of 2" in caption_of(figure)


def test_the_photo_shows_its_labels(one_of_each: Known):
    figure = labelled_photo(one_of_each, sample_with(TWO_HEADS))
    np.testing.assert_array_equal(outlines(figure, TRUTH), TWO_HEADS)
    assert "100×100 px; 2 heads as labelled, √area 20 / 20 / 20 px" in caption_of(figure)


def test_found_heads_are_those_above_the_threshold(one_of_each: Known):
    figure = found_heads(one_of_each, sample_with(TWO_HEADS))
    np.testing.assert_array_equal(outlines(figure, FOUND), one_of_each.found.boxes[:2])
    assert caption_of(figure).startswith("2 detections with a score of 0.50 or more; the model gives 3")


def test_the_threshold_curves(one_of_each: Known):
    axes = score_threshold(one_of_each, sample_with(TWO_HEADS)).axes[0]
    counted, hits, truth, threshold = (np.asarray(line.get_xydata()) for line in axes.lines)
    at = dict(zip(np.round(counted[:, 0], 2).tolist(), counted[:, 1].tolist(), strict=True))
    assert [at[t] for t in (0.4, 0.41, 0.7, 0.71, 0.9, 0.91)] == [3, 2, 2, 1, 1, 0]
    assert hits[:, 1].max() == 2
    assert set(truth[:, 1]) == {2}
    assert set(threshold[:, 0]) == {0.5}


def test_sizes_are_counted_once(one_of_each: Known):
    figure = head_sizes(one_of_each, sample_with(TWO_HEADS))
    heights = [
        patch.get_height()
        for patch in figure.axes[0].patches
        if to_hex(patch.get_facecolor()) == TRUTH.lower()
    ]
    assert sum(heights) == 2
    assert "labelled: 20 / 20 / 20; found: 19 / 20 / 20" in caption_of(figure)


@pytest.mark.parametrize("step", [found_heads, head_sizes, hits_and_misses, labelled_photo, score_threshold])
def test_nothing_found_and_nothing_there(step):
    figure = step(Known(np.zeros((0, 4)), []), sample_with(np.zeros((0, 4), np.float32)))
    figure.canvas.draw()
    assert caption_of(figure)
    assert len(outlines(figure, FOUND)) == len(outlines(figure, TRUTH)) == 0


def test_pairs_are_those_of_the_evaluation():
    rng = np.random.default_rng(0)
    for _ in range(30):
        corners = rng.uniform(0, 60, (30, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (30, 2)).astype(np.float32)], 1)
        found = Detections(boxes[:18], rng.uniform(size=18))
        head_of = pair(boxes[18:], found)
        taken = head_of[head_of >= 0]
        assert len(set(taken.tolist())) == len(taken)
        expected = match(boxes[18:], found, np.array([0.5])).hits[0]
        np.testing.assert_array_equal((head_of >= 0).cumsum(), expected[1:])


def test_an_exported_model_sees_a_photo_at_its_own_size(tmp_path: Path):
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "photo.png")
    model = ExportedModel(load(write_tiny_model(tmp_path, count_threshold=0.3)))
    seen = model.seen(unlabelled(tmp_path / "photo.png"))
    assert model.threshold == 0.3
    assert seen.image.shape == (80, 120, 3)
    assert seen.boxes.shape == (0, 4)
    np.testing.assert_array_equal(seen.detections.boxes, [[0, 0, 30, 20]])
