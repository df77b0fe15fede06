import math

import numpy as np
import pytest
from PIL import ExifTags, Image

from wheatear.area import CountingError, Scale, counting_error, figures, pitch_per_focal_length
from wheatear.errors import InputError
from wheatear.ground import ground_of
from wheatear.pixels import InMemory

TAGS = ExifTags.Base


def test_the_scale_by_hand(tmp_path):
    photo = tmp_path / "none.jpg"
    assert Scale(gsd_mm=2).gsd(photo, 1000, 500) == 0.002
    assert Scale(frame_m=1.5).gsd(photo, 1000, 500) == 0.0015
    assert Scale().gsd(photo, 1000, 500) is None
    assert Scale(height_m=2).gsd(photo, 1000, 500) is None


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf])
def test_no_length(number):
    with pytest.raises(InputError, match=r"--gsd .*: not a length; give a number above 0"):
        Scale(gsd_mm=number)


def test_a_full_frame_camera_two_metres_up():
    """6000 pixels over 36 mm behind 24 mm: 3 m of ground across from 2 m, 0.5 mm a pixel."""
    exif = {
        TAGS.FocalLength: 24.0,
        TAGS.FocalPlaneXResolution: 6000 / 36 * 25.4,
        TAGS.FocalPlaneResolutionUnit: 2,
    }
    exif |= {TAGS.ExifImageWidth: 6000, TAGS.ExifImageHeight: 4000}
    assert 2 * pitch_per_focal_length(exif, 6000, 4000) == pytest.approx(0.0005)
    # The same turned, made smaller, and in centimetres.
    assert 2 * pitch_per_focal_length(exif, 4000, 6000) == pytest.approx(0.0005)
    assert 2 * pitch_per_focal_length(exif, 3000, 2000) == pytest.approx(0.001)
    # As some cameras write it, whose width is the sensor's shorter side.
    upright = exif | {TAGS.ExifImageWidth: 4000, TAGS.ExifImageHeight: 6000}
    assert 2 * pitch_per_focal_length(upright, 4000, 6000) == pytest.approx(0.0005)
    assert 2 * pitch_per_focal_length(upright, 2000, 3000) == pytest.approx(0.001)
    for side in (TAGS.ExifImageWidth, TAGS.ExifImageHeight):  # a camera may name one of them alone
        partly = {tag: value for tag, value in exif.items() if tag != side}
        assert 2 * pitch_per_focal_length(partly, 6000, 4000) == pytest.approx(0.0005)
    exif |= {TAGS.FocalPlaneXResolution: 6000 / 3.6, TAGS.FocalPlaneResolutionUnit: 3}
    assert 2 * pitch_per_focal_length(exif, 6000, 4000) == pytest.approx(0.0005)


def test_35_mm_film_says_the_same():
    exif = {TAGS.FocalLengthIn35mmFilm: 24}
    assert 2 * pitch_per_focal_length(exif, 6000, 4000) == pytest.approx(0.0005)
    # Of a sensor of another shape the diagonal is as long, not the width.
    assert pitch_per_focal_length(exif, 4000, 3000) == pytest.approx(math.hypot(36, 24) / 24 / 5000)


@pytest.mark.parametrize(
    "exif",
    [
        {},
        {TAGS.FocalLength: 0},
        {TAGS.FocalLengthIn35mmFilm: "?"},
        {TAGS.FocalLengthIn35mmFilm: math.inf},
        {TAGS.FocalLength: 24},
    ],
)
def test_exif_that_does_not_tell(exif):
    assert pitch_per_focal_length(exif, 6000, 4000) is None


def test_the_interval_grows_in_proportion_above_vals_mean():
    error = CountingError(rmse=5, mean_heads=50)
    assert error.around(50) == pytest.approx((50 - 9.8, 50 + 9.8))
    assert error.around(500) == pytest.approx((500 - 98, 500 + 98))
    assert error.around(3) == pytest.approx((0, 12.8))
    assert CountingError(5, 50, interval_factor=2).around(50) == pytest.approx((50 - 19.6, 50 + 19.6))


def test_the_error_in_a_card():
    def of(rmse, threshold):
        overall = {"photos": 40, "heads": 2000, "count": {"rmse": rmse}}
        return {"score_threshold": threshold, "overall": overall}

    val = {"val": {"at_score_threshold": of(5, 0.7)}}
    assert counting_error(val, 0.7) == CountingError(5, 50)
    assert counting_error(val, 0.7, interval_factor=1.5) == CountingError(5, 50, 1.5)
    both = {"val": {"at_score_threshold": of(5, 0.7), "at_count_threshold": of(4, 0.6)}}
    assert [counting_error(both, at) for at in (0.7, 0.6)] == [CountingError(5, 50), CountingError(4, 50)]
    for threshold in (0.65, 0.695):  # nobody measured it there
        assert counting_error(both, threshold) is None
    empty = {"score_threshold": 0.7, "overall": {"photos": 40, "heads": 0, "count": {"rmse": 1}}}
    few = {"score_threshold": 0.7, "overall": {"photos": 9, "heads": 450, "count": {"rmse": 0}}}
    for card in (
        {},
        {"val": {}},
        {"val": None},
        *({"val": {"at_score_threshold": no}} for no in (empty, few)),
    ):
        assert counting_error(card, 0.7) is None


def test_figures_of_a_row():
    error = CountingError(rmse=5, mean_heads=50)
    assert figures(50, None, None) == [50, "", "", "", "", "", ""]
    assert figures(50, 2.0, None) == [50, "", "", 2.0, 25.0, "", ""]
    assert figures(50, 2.0, error) == [50, 40.2, 59.8, 2.0, 25.0, 20.1, 29.9]
    assert figures(50, 0.1, error)[4:] == [500.0, 402.0, 598.0]
    assert figures(51, 0.1, error)[4:] == [510.0, 410.04, 609.96]  # of the ends before they are rounded
    assert figures(0, 0.0, error) == [0, 0.0, 9.8, 0, "", "", ""]


def test_the_frame_is_the_photos_width_be_it_upright(tmp_path):
    assert Scale(frame_m=1.5).gsd(tmp_path / "none.jpg", 500, 1000) == 0.003


@pytest.mark.parametrize(
    "missing", [TAGS.ExifImageWidth, TAGS.ExifImageHeight, TAGS.FocalPlaneResolutionUnit]
)
def test_a_camera_may_leave_out_a_tag(missing):
    """The unit is then an inch (EXIF 2.3), the photo as large as it was taken, lying or upright."""
    exif = {
        TAGS.FocalLength: 24.0,
        TAGS.FocalPlaneXResolution: 6000 / 36 * 25.4,
        TAGS.FocalPlaneResolutionUnit: 2,
    }
    exif |= {TAGS.ExifImageWidth: 6000, TAGS.ExifImageHeight: 4000}
    del exif[missing]
    for size in ((6000, 4000), (4000, 6000)):
        assert 2 * pitch_per_focal_length(exif, *size) == pytest.approx(0.0005)


def test_tags_that_contradict_each_other_tell_nothing(tmp_path):
    """The focal plane's resolution of the photo as taken, of 6000 px, in one that was cut or made half as large."""
    exif = {
        TAGS.FocalLength: 24.0,
        TAGS.FocalPlaneXResolution: 6000 / 3.6,
        TAGS.FocalPlaneResolutionUnit: 3,
        TAGS.ExifImageWidth: 3000,
        TAGS.ExifImageHeight: 2000,
    }
    assert 2 * pitch_per_focal_length(exif, 3000, 2000) == pytest.approx(
        0.0005
    )  # nothing says that it is wrong
    exif[TAGS.FocalLengthIn35mmFilm] = 24
    assert pitch_per_focal_length(exif, 3000, 2000) is None
    exif[TAGS.FocalPlaneXResolution] = 3100 / 3.6
    assert 2 * pitch_per_focal_length(exif, 3000, 2000) == pytest.approx(0.001 * 3000 / 3100)
    assert Scale(height_m=2).why_untold(tmp_path / "none.jpg", 3000, 2000).startswith("does not tell")


@pytest.mark.parametrize(("size", "is_cut"), [((800, 600), False), ((300, 400), False), ((400, 600), True)])
def test_a_photo_that_was_cut_has_no_area(tmp_path, size, is_cut):
    """Its EXIF still has the sides before, by which lens and sensor agree."""
    exif = Image.Exif()
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    tags[TAGS.FocalLength], tags[TAGS.FocalLengthIn35mmFilm] = 8.8, 24
    tags[TAGS.ExifImageWidth], tags[TAGS.ExifImageHeight] = 800, 600
    Image.new("RGB", size).save(tmp_path / "a.jpg", exif=exif)
    pixels = InMemory(np.full((size[1], size[0], 3), 255, np.uint8))
    ground = ground_of(tmp_path / "a.jpg", pixels, Scale(height_m=2))
    cut = "its EXIF is that of a photo of other sides, so it was cut, so no area; give --gsd or --frame"
    assert ground.warnings == ((cut,) if is_cut else ())
    assert (ground.area_m2 is None) == is_cut


@pytest.mark.parametrize(("resolution", "is_contradicted"), [(6000 / 3.6, True), (3100 / 3.6, False)])
def test_a_photo_whose_exif_contradicts_itself(tmp_path, resolution, is_contradicted):
    exif = Image.Exif()
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    tags[TAGS.FocalLength], tags[TAGS.FocalLengthIn35mmFilm] = 24.0, 24
    tags[TAGS.FocalPlaneXResolution], tags[TAGS.FocalPlaneResolutionUnit] = resolution, 3
    tags[TAGS.ExifImageWidth], tags[TAGS.ExifImageHeight] = 3000, 2000
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg", exif=exif)
    ground = ground_of(tmp_path / "a.jpg", InMemory(np.full((200, 300, 3), 255, np.uint8)), Scale(height_m=2))
    doubt = "its EXIF contradicts itself on lens and sensor, so no area; give --gsd or --frame"
    assert ground.warnings == ((doubt,) if is_contradicted else ())
