"""Where on Earth a raster's heads are: ground area, map coordinates, density (needs the extra `geo`).

Pixel coordinates are (column, row), with (0, 0) the upper left corner of the upper left pixel. Letters: N
heads, k pixels along the side of a density map's cell.
"""

import math
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as reproject

from wheatear import boxes
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.pixels import Pixels, bands
from wheatear.raster import Raster

WGS84 = CRS.from_epsg(4326)
WGS84_AXIS = 6_378_137.0  # m, semi-major (NIMA TR8350.2)
WGS84_E2 = 0.00669437999014  # eccentricity squared
PROBE = 50  # pixels to each side over which pixel size is measured: rounding and curvature are negligible
MIN_SHARE = 0.25  # of a density cell must be data; else a sliver with one head could be the densest spot
SMALLEST_PIXEL = 1e-12  # m², a thousandth of a millimetre squared: less is a mistake in a file's transform
# Pixels: a cell smaller than a head means nothing, and cells of one pixel would take more memory than the image; a cell
# larger than any image is the only one anyway.
SMALLEST_CELL, LARGEST_CELL = 10, 2**31
NO_PLACE = "its coordinates have no place in its CRS"


class Density(NamedTuple):
    """A density map.

    heads_per_m2: (rows, columns) float32, NaN where there is too little data; cell_px: k.
    """

    heads_per_m2: np.ndarray
    cell_px: int


def pixel_area(raster: Raster) -> float | None:
    """Square metres of ground that a pixel in the middle of the raster covers; None if its coordinates do not tell it.

    The area is that on the WGS 84 ellipsoid, whatever the CRS: so degrees are fine, and the stretch of Web
    Mercator (2.4 times the area at 50° north) is removed.
    """
    if not raster.has_place:
        return None
    column, row = raster.width / 2, raster.height / 2
    points = [(column - PROBE, row), (column + PROBE, row), (column, row - PROBE), (column, row + PROBE)]
    try:
        longitudes, latitudes = to_crs(map_points(raster, np.array(points)), raster.crs, WGS84).T
    except InputError:
        return None
    latitude = math.radians(float(latitudes.mean()))
    curve = 1 - WGS84_E2 * math.sin(latitude) ** 2
    east = np.unwrap(np.radians(longitudes)) * WGS84_AXIS * math.cos(latitude) / curve**0.5
    north = np.radians(latitudes) * WGS84_AXIS * (1 - WGS84_E2) / curve**1.5
    across, down = ((axis[1] - axis[0], axis[3] - axis[2]) for axis in (east, north))
    area = abs(across[0] * down[1] - across[1] * down[0]) / (2 * PROBE) ** 2
    return float(area) if math.isfinite(area) and area > SMALLEST_PIXEL else None


def map_points(raster: Raster, points: np.ndarray) -> np.ndarray:
    """Pixel coordinates (N, 2) -> coordinates in the raster's CRS (N, 2)."""
    return affine(raster.transform, points)


def affine(transform: Affine, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) transformed by an affine transform."""
    a, b, c, d, e, f = transform[:6]
    x, y = points[:, 0], points[:, 1]
    with np.errstate(invalid="ignore", over="ignore"):  # a file's transform may hold anything
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def to_crs(points: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Coordinates (N, 2) as x, y (longitude, latitude) of one CRS, converted to another; (0, 2) stays as it is.

    InputError, without a file's name, if they are not valid in one of the two.
    """
    if not len(points):
        return points
    moved = points
    if source != target:
        try:
            moved = np.stack(reproject(source, target, points[:, 0], points[:, 1]), axis=1)
        except Exception as error:  # GDAL's exceptions have no public base of their own
            raise InputError(NO_PLACE) from error
    if not np.isfinite(moved).all() or (target.is_geographic and not are_degrees(moved)):
        raise InputError(NO_PLACE)
    return moved


def refuse_nowhere(raster: Raster) -> None:
    """InputError, without the file's name, for a raster that has no position on Earth; it must have a CRS."""
    if raster.transform.is_degenerate:  # its pixels lie on a line
        raise InputError(NO_PLACE)
    right, bottom = raster.width, raster.height
    to_crs(
        map_points(raster, np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])), raster.crs, WGS84
    )


def are_degrees(points: np.ndarray) -> bool:
    """Whether coordinates (N, 2) can be longitudes (which some data give up to 360) and latitudes."""
    return bool((np.abs(points) <= (360, 90)).all())


def centres(heads: Detections) -> np.ndarray:
    """The centres of the boxes in pixel coordinates, (N, 2) float64."""
    return boxes.centres(heads.boxes.astype(np.float64))


def corners(heads: Detections) -> np.ndarray:
    """The corners of the boxes in pixel coordinates, (N, 4, 2) float64, in order around each box."""
    return heads.boxes.astype(np.float64)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def density(heads: Detections, pixels: Pixels, area: float, cell_m: float) -> Density:
    """Heads per square metre in square cells of about cell_m metres, starting at the upper left corner.

    area: m² per pixel. A cell has at least SMALLEST_CELL pixels per side. A head belongs to the cell that
    contains the centre of its box; only pixels with data count as area.
    """
    k = max(SMALLEST_CELL, round(min(cell_m / math.sqrt(area), LARGEST_CELL)))
    shape = math.ceil(pixels.height / k), math.ceil(pixels.width / k)
    columns, rows = (centres(heads) // k).astype(np.int64).T
    number = np.zeros(shape)
    np.add.at(number, (rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1)), 1)
    valid = _valid_per_cell(pixels, k, shape)
    enough = valid >= MIN_SHARE * k * k
    per_m2 = np.divide(number, valid * area, out=np.full(shape, np.nan), where=enough)
    return Density(per_m2.astype(np.float32), k)


def _valid_per_cell(pixels: Pixels, k: int, shape: tuple[int, int]) -> np.ndarray:
    """The number of pixels with data in each cell; the mask is read one band of rows at a time."""
    total = np.zeros(shape, np.int64)
    starts = np.arange(0, pixels.width, k)
    for band in bands(pixels):
        valid = pixels.valid(band)
        if valid is None:
            valid = np.broadcast_to(True, (band.bottom - band.top, pixels.width))
        rows = np.arange(band.top, band.bottom) // k
        np.add.at(total, rows, np.add.reduceat(valid, starts, axis=1, dtype=np.int64))
    return total
