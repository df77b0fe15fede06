"""The scale of the ground in a photo: as the user gives it, or from the height of the camera and the EXIF.

Lengths on the ground are in metres, ground sampling distances (GSD) in metres per pixel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags

from wheatear.errors import InputError
from wheatear.images import opened

LONGEST = 10_000  # millimetres per pixel, metres across a photo or of height: anything larger is a mistake
DIAGONAL_35MM = math.hypot(36, 24)  # mm; "35 mm equivalent" focal lengths compare diagonals (CIPA DCG-001)
SAME_LENS = 1.2  # pixel sizes from two tags contradict each other above this ratio; rounding alone makes 1.05
SAME_SHAPE = 1.05  # ratio of aspect ratios; in a photo made very small, rounding the sides changes its own
MILLIMETRES = {2: 25.4, 3: 10.0}  # EXIF 2.3, FocalPlaneResolutionUnit: inch, centimetre


@dataclass(frozen=True)
class Scale:
    """The scale of the ground as given by the user, in at most one of three ways.

    gsd_mm: millimetres of ground per pixel. frame_m: metres of ground across the photo's width. height_m:
    metres from the camera to the heads; the photo's EXIF describes the lens and the sensor. Without any of
    them, only an image with coordinates of its own has an area.
    InputError for a number that is not above 0 and at most LONGEST, and for more than one.
    """

    gsd_mm: float | None = None
    frame_m: float | None = None
    height_m: float | None = None

    def __post_init__(self) -> None:
        given = {
            name: number
            for name, number in (
                ("--gsd", self.gsd_mm),
                ("--frame", self.frame_m),
                ("--height", self.height_m),
            )
            if number is not None
        }
        for name, number in given.items():
            if not 0 < number <= LONGEST:
                raise InputError(
                    f"{name} {number:g}: not a length; give a number above 0, at most {LONGEST:,}"
                )
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)}: give one of them, they may contradict each other")

    def gsd(self, path: Path, width: int, height: int) -> float | None:
        """The GSD of a photo of this size in pixels, in metres per pixel; None without any of the three.

        From height_m it is height_m × pixel pitch / focal length, for a camera that looks straight down.
        InputError, saying why, if the photo's EXIF does not give these.
        """
        if self.gsd_mm is not None:
            return self.gsd_mm / 1000
        if self.frame_m is not None:
            return self.frame_m / width
        if self.height_m is None:
            return None
        return self.height_m * pitch_per_focal_length(_exif(path), width, height)


def pitch_per_focal_length(exif: Mapping[int, object], width: int, height: int) -> float:
    """The pixel pitch divided by the focal length, from EXIF tags. InputError, saying why, if these do not give it.

    It comes from the focal-plane resolution (pixels per unit of the sensor) and the focal length if both are
    given, else from the 35 mm equivalent focal length. The two may contradict each other: for a resized photo the
    first may be wrong, for a crop the second, and nothing shows which. Nor is it known for a crop whose EXIF
    still has the original width and height. width, height: pixels of the photo, which may have been downsized.
    """
    if _is_cut(exif, width, height):
        raise InputError("its EXIF is that of a photo of other sides, so it was cut")
    by_plane, by_film = _pitches(exif, width, height)
    if by_plane and by_film and not 1 / SAME_LENS < by_plane / by_film < SAME_LENS:
        raise InputError("its EXIF contradicts itself on lens and sensor")
    if told := by_plane or by_film:
        return told
    raise InputError("its EXIF does not tell focal length and sensor")


def _pitches(exif: Mapping[int, object], width: int, height: int) -> tuple[float | None, float | None]:
    """The same from the focal-plane resolution and from the 35 mm equivalent focal length; None if not given."""
    by_plane = by_film = None
    focal = _positive(exif.get(ExifTags.Base.FocalLength))
    density = _positive(exif.get(ExifTags.Base.FocalPlaneXResolution))
    unit = MILLIMETRES.get(int(_positive(exif.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)) or 0))
    if focal and density and unit:
        taken = _positive(exif.get(ExifTags.Base.ExifImageWidth)) or max(width, height)
        by_plane = unit / density / focal * taken / _same_side(exif, width, height)
    if film := _positive(exif.get(ExifTags.Base.FocalLengthIn35mmFilm)):
        by_film = DIAGONAL_35MM / film / math.hypot(width, height)
    return by_plane, by_film


def _is_cut(exif: Mapping[int, object], width: int, height: int) -> bool:
    """Whether the photo's aspect ratio differs from the one in its EXIF, in either orientation."""
    taken = [
        _positive(exif.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)
    ]
    sides = [side for side in taken if side]
    if len(sides) < 2:
        return False
    apart = (max(sides) / min(sides)) / (max(width, height) / min(width, height))
    return not 1 / SAME_SHAPE < apart < SAME_SHAPE


def _same_side(exif: Mapping[int, object], width: int, height: int) -> int:
    """The side of the photo that EXIF calls its width: the longer one, unless EXIF says that it is the shorter."""
    taken_width = _positive(exif.get(ExifTags.Base.ExifImageWidth))
    taken_height = _positive(exif.get(ExifTags.Base.ExifImageHeight))
    upright = taken_width and taken_height and taken_width < taken_height
    return min(width, height) if upright else max(width, height)


def _positive(value: object) -> float | None:
    """A number above 0 from EXIF; None for anything else, such as a division by 0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if number > 0 and math.isfinite(number) else None


def _exif(path: Path) -> dict[int, object]:
    try:
        with opened(path) as image:
            return dict(image.getexif().get_ifd(ExifTags.IFD.Exif))
    except InputError:  # whatever broken EXIF raises; nothing can be read from it
        return {}
