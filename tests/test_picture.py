import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.detections import Detections
from wheatear.picture import BOX_COLOUR, PLOT_COLOUR, RIM_COLOUR, Outline, annotate

GREEN = (40, 120, 40)


def field(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREEN, np.uint8)


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(np.reshape(boxes, (-1, 4)), np.linspace(0.9, 0.5, len(boxes)))


def changed(photo: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(H, W) True where the picture differs from the photo."""
    return (np.asarray(picture) != photo).any(axis=2)


def banner(height: int, width: int, heads: int) -> np.ndarray:
    """(H, W) True where the banner for so many heads lies; all boxes are put far outside."""
    photo = field(height, width)
    return changed(photo, annotate(photo, found(*[(-9e3, -9e3, -8e3, -8e3)] * heads)))


def test_the_box_is_drawn_on_its_own_pixels():
    photo = field(600, 600)
    picture = np.asarray(annotate(photo, found((300, 400, 340, 420))))
    # Half-open: the last row and column inside are 419 and 339. One pixel of colour at this size, rim around.
    assert picture[400, 300:340].tolist() == [list(BOX_COLOUR)] * 40
    assert picture[419, 300:340].tolist() == [list(BOX_COLOUR)] * 40
    assert picture[400:420, 300].tolist() == picture[400:420, 339].tolist() == [list(BOX_COLOUR)] * 20
    assert picture[399, 299:341].tolist() == picture[420, 299:341].tolist() == [list(RIM_COLOUR)] * 42
    assert picture[401, 301:339].tolist() == [list(RIM_COLOUR)] * 38
    assert (picture[402:418, 302:338] == GREEN).all()
    assert (picture[422:, :] == GREEN).all()


def test_the_photo_given_is_left_as_it_is():
    photo = field(64, 64)
    photo.flags.writeable = False
    annotate(photo, found((1, 1, 60, 60)))
    assert (photo == GREEN).all()


def test_lines_grow_with_the_photo():
    widths = []
    for height, width in [(200, 200), (1024, 1024), (4000, 6000)]:
        photo = field(height, width)
        picture = np.asarray(annotate(photo, found((10, height / 2, width - 10, height - 10))))
        upper_edge = picture[height // 2 : height // 2 + 50, width // 2]
        widths.append(int((upper_edge == BOX_COLOUR).all(axis=1).sum()))
    assert widths == [1, 2, 8]


def test_no_heads_give_the_banner_alone():
    assert banner(256, 256, heads=0).any()
    rows, columns = np.nonzero(banner(256, 256, heads=0))
    assert rows.max() < 40
    assert columns.max() < 128


def test_the_banner_tells_the_number():
    banners = {
        n: np.asarray(annotate(field(256, 256), found(*[(-90, -90, -80, -80)] * n))) for n in (0, 1, 2)
    }
    assert (banners[0] != banners[1]).any()
    assert (banners[1] != banners[2]).any()


def test_a_plot_has_its_outline_and_its_name_where_that_fits():
    ring = np.array([(20, 60), (180, 60), (180, 160), (20, 160), (20, 60)])
    photo = field(200, 200)
    named, unnamed = (
        np.asarray(annotate(photo, found(), [Outline(name, [ring])])) for name in ("A1", "a long name" * 9)
    )
    for picture in (named, unnamed):
        assert (picture[60, 30:170] == PLOT_COLOUR).all()
        assert (picture[70:150, 180] == PLOT_COLOUR).all()
    assert (named[80:140, 60:140] != GREEN).any()
    assert (unnamed[80:140, 60:140] == GREEN).all()


@pytest.mark.parametrize(
    ("name", "shown"), [("Süd 1", "Sud 1"), ("Su\u0308d 1", "Sud 1"), ("Groß 1", "Gro? 1")]
)
def test_letters_that_the_font_lacks_are_no_boxes(name, shown):
    ring = np.array([(20, 60), (180, 60), (180, 160), (20, 160), (20, 60)])
    pictures = [annotate(field(200, 200), found(), [Outline(text, [ring])]) for text in (name, shown)]
    assert pictures[0].tobytes() == pictures[1].tobytes()


@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    boxes=st.lists(st.tuples(*[st.floats(-100, 200, width=32)] * 4), max_size=4),
)
def test_any_box_in_any_photo_can_be_drawn(size, boxes):
    photo = field(*size)
    ordered = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    picture = annotate(photo, found(*ordered))
    assert picture.size == (size[1], size[0])
    assert picture.mode == "RGB"
