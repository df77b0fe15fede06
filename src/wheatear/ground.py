"""The ground that a photo shows, from what the user gives or from the file's own coordinates."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheatear.area import Scale
from wheatear.boxes import sizes
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.head_size import HeadSize
from wheatear.pixels import InMemory, Pixels, Window, valid_pixels
from wheatear.raster import INSTALL, Raster, is_placed, lacks_geo
from wheatear.words import figures

ENOUGH_HEADS = 10  # for their median size to be meaningful
SHORTEST_HEAD, LONGEST_HEAD = 0.005, 0.2  # metres, the root of a box's area; real ones have 0.03 to 0.1
ALIKE = 1.1  # above this ratio, the pixel areas as given and from coordinates contradict each other
DARK = 64  # of 255; 14-bit values in 16 bits reach 63
SAMPLE = 2048  # pixels per side
FAR_OFF = 1.6  # heads larger or smaller by this factor than those of training are found less reliably


@dataclass(frozen=True)
class Ground:
    """The ground that a photo shows.

    pixel_m2: square metres of ground per pixel, None if unknown. pixels: how many are data.
    warnings: what is wrong, one line each.
    """

    pixel_m2: float | None
    pixels: int
    warnings: tuple[str, ...] = ()

    @property
    def area_m2(self) -> float | None:
        """Square metres of ground that are data; None if unknown."""
        return None if self.pixel_m2 is None else self.pixel_m2 * self.pixels


def ground_of(path: Path, pixels: Pixels, scale: Scale) -> Ground:
    """The ground of a photo: from `scale` if that determines it, else from the raster's own coordinates."""
    pixel_m2, warnings, untold = None, list[str](), ""
    try:
        if gsd := scale.gsd(path, pixels.width, pixels.height):
            pixel_m2 = gsd**2
    except InputError as error:
        untold = f"{error}, so no area; give --gsd or --frame"
    if isinstance(pixels, Raster) and pixels.crs:
        from wheatear.geo import pixel_area  # needs the extra `geo`, without which there is no Raster

        own = pixel_area(pixels)
        if pixel_m2 and own and not 1 / ALIKE < pixel_m2 / own < ALIKE:
            says, given = (figures(1000 * math.sqrt(area_m2)) for area_m2 in (own, pixel_m2))
            warnings.append(f"its coordinates say {says} mm a pixel, not {given} as was given")
        pixel_m2 = pixel_m2 or own
    elif lacks_geo(path):
        warnings.append(f"has coordinates: for area, maps and what has no data, {INSTALL}")
    elif is_placed(path) or (isinstance(pixels, Raster) and not pixels.transform.is_identity):
        warnings.append(
            "has no CRS, so no maps; give it one, as with gdal_edit -a_srs, or gdalwarp if it has GCPs"
        )
    if untold and pixel_m2 is None:
        warnings.insert(0, untold)
    data = valid_pixels(pixels)
    if not data:
        warnings.append("has no data")
    elif brightest(pixels) < DARK:
        warnings.append("is almost black; if its file has 10 or 12 bits, save it as 8-bit RGB")
    return Ground(pixel_m2, data, tuple(warnings))


def brightest(pixels: Pixels) -> int:
    """The largest value, 0..255, in a sample of the pixels.

    The sample is from all of a photo in memory, and from the middle of a raster, or its overview if the
    middle has no data.
    """
    middle = pixels.height // 2, pixels.width // 2
    top, left = (max(0, at - SAMPLE // 2) for at in middle)
    window = Window(top, left, min(top + SAMPLE, pixels.height), min(left + SAMPLE, pixels.width))
    valid = pixels.valid(window)
    if isinstance(pixels, Raster) and valid is not None and not valid.any():
        image = pixels.overview(SAMPLE)
    else:
        image = pixels.image if isinstance(pixels, InMemory) else pixels.read(window)
    return int(image[::4, ::4].max(initial=0))


def odd_scale(heads: Detections, pixel_m2: float | None) -> str | None:
    """A warning if the heads found would have a size that no wheat has; None if not, or if unknown."""
    if pixel_m2 is None or len(heads) < ENOUGH_HEADS:
        return None
    side = float(np.median(sizes(heads.boxes))) * math.sqrt(pixel_m2)
    if SHORTEST_HEAD <= side <= LONGEST_HEAD:
        return None
    long = f"heads would be {figures(1000 * side)} mm long"
    return f"{long}; is the scale right? --gsd is in millimetres, --frame and --height in metres"


def odd_size(heads: Detections, sought_px: float, measured: HeadSize | None) -> str | None:
    """A warning if the heads found are far from the size looked for, or too few to measure; else None.

    sought_px: the size looked for, in pixels. measured: the measurement of this photo, None without one.
    """
    if measured and measured.px is None:
        unless = f"unless they are about {sought_px:.0f} px, measure some by hand and give --head-px"
        return f"too few sure heads to tell their size; {unless}"
    if len(heads) < ENOUGH_HEADS:
        return None
    median = float(np.median(sizes(heads.boxes)))
    if 1 / FAR_OFF < median / sought_px < FAR_OFF:
        return None
    # If the heads are smaller than expected, the larger ones are found first, so their median does not measure them.
    advice = "measure some by hand and give --head-px" if measured else "try --head-px auto"
    return f"heads are {median:.0f} px, far from the {sought_px:.0f} px looked for; {advice}"
