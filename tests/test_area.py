import math

import numpy as np
import pytest
from PIL import ExifTags, Image

from wheatear.area import Scale, pitch_per_focal_length
from wheatear.errors import InputError
from wheatear.ground import ground_of
from wheatear.pixels import InMemory

TAGS = ExifTags.Base


def test_the_scale_by_hand(tmp_path):
    photo = tmp_path / "none.jpg"
    assert Scale(gsd_mm=2).gsd(photo, 1000, 500) == 0.002
    assert Scale(frame_m=1.5).gsd(photo, 1000, 500) == 0.0015
    assert Scale().gsd(photo, 1000, 500) is None
    with pytest.raises(InputError, match="its EXIF does not tell focal length and sensor"):
        Scale(height_m=2).gsd(photo, 1000, 500)


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
    with pytest.raises(InputError, match="its EXIF does not tell focal length and sensor"):
        pitch_per_focal_length(exif, 6000, 4000)


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


def test_tags_that_contradict_each_other_tell_nothing():
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
    with pytest.raises(InputError, match="its EXIF contradicts itself"):
        pitch_per_focal_length(exif, 3000, 2000)
    exif[TAGS.FocalPlaneXResolution] = 3100 / 3.6
    assert 2 * pitch_per_focal_length(exif, 3000, 2000) == pytest.approx(0.001 * 3000 / 3100)


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
