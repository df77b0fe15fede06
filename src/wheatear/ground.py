"""What a photo shows of the ground, from what the user says or from the file's own coordinates."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheatear.area import Scale
from wheatear.boxes import area
from wheatear.detections import Detections
from wheatear.pixels import Pixels, valid_pixels
from wheatear.raster import Raster

ENOUGH_HEADS = 10  # for their median size to say something of the photo
FAR_OFF = 1.6  # heads larger or smaller than the detector's by this are found worse


@dataclass(frozen=True)
class Ground:
    """pixel_m2: square metres of ground a pixel, None where unknown. pixels: how many are data.
    warnings: what is amiss, a line each."""

    pixel_m2: float | None
    pixels: int
    warnings: tuple[str, ...] = ()

    @property
    def area_m2(self) -> float | None:
        """Square metres that are data."""
        return None if self.pixel_m2 is None else self.pixel_m2 * self.pixels


def ground_of(path: Path, pixels: Pixels, scale: Scale) -> Ground:
    """The ground of a photo: by `scale` if it says anything, else by the raster's own coordinates."""
    gsd = scale.gsd(path, pixels.width, pixels.height)
    pixel_m2, warnings = (None if gsd is None else gsd**2), []
    if scale.height_m is not None and gsd is None:
        warnings.append("its EXIF does not tell focal length and sensor, so no area; give --gsd or --frame")
    if isinstance(pixels, Raster):
        warnings += [] if pixels.crs else ["has no CRS, so no maps; give it one, as with gdal_edit -a_srs"]
        pixel_m2 = pixel_m2 or _by_coordinates(pixels)
    return Ground(pixel_m2, valid_pixels(pixels), tuple(warnings))


def odd_size(heads: Detections, trained_px: float, head_px: float | None) -> str | None:
    """A warning where the heads found are far from the size that the detector knows; None where they are not."""
    if len(heads) < ENOUGH_HEADS:
        return None
    median = float(np.median(np.sqrt(area(heads.boxes))))
    sought = head_px or trained_px
    ratio = median / sought
    if 1 / FAR_OFF < ratio < FAR_OFF:
        return None
    return f"heads are {median:.0f} px, far from the {sought:.0f} px looked for; try --head-px {median:.0f}"


def _by_coordinates(raster: Raster) -> float | None:
    from wheatear.geo import pixel_area  # needs the extra `geo`, without which there is no Raster

    return pixel_area(raster)
