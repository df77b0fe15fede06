"""Heads per plot, for plots drawn as polygons in a GeoJSON or GeoPackage (the extra `geo`).

A head belongs to the plot that holds the centre of its box; on the line between two plots, or where plots overlap, to
the one that the file names first, so that no head is counted twice. A plot's area is that of its pixels with data
(those whose middle it holds), times a pixel's area on the ground. Letters: N heads, P plots.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize

from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.geo import affine, centres, to_crs
from wheatear.pixels import BAND, Pixels, Window
from wheatear.raster import Raster

NAME_FIELDS = (
    "plot",
    "plot_id",
    "plotid",
    "name",
    "id",
)  # the first of these that the file has names the plots


@dataclass(frozen=True, eq=False)
class Plots:
    """names: of the P plots, unique; polygons: (P,) shapely polygons in crs; path: the file, for messages."""

    path: Path
    names: list[str]
    polygons: np.ndarray
    crs: CRS


@dataclass(frozen=True)
class PlotCount:
    """heads; pixels: of it that are data; share: of the plot, 0..1, that the image shows with data."""

    name: str
    heads: int
    pixels: int
    share: float


def read_plots(path: Path) -> Plots:
    """The polygons of the file's first layer, named by its field plot, plot_id, name or id, else 1, 2, …

    InputError for a file that cannot be read, has no CRS, no plots, or a shape that is no polygon.
    """
    try:
        meta, _, geometry, values = pyogrio.raw.read(path)
    except (DataSourceError, DataLayerError) as error:
        raise InputError(
            f"{path}: cannot be read as plots; give a GeoJSON or GeoPackage of polygons"
        ) from error
    crs = _crs(path, meta["crs"])
    polygons = np.array([] if geometry is None else shapely.from_wkb(geometry), object)
    if not len(polygons):
        raise InputError(f"{path}: holds no plots; draw them as polygons")
    for number, polygon in enumerate(polygons, 1):
        _refuse_no_polygon(f"{path}, plot {number}", polygon)
    return Plots(path, _names(list(meta["fields"]), values, len(polygons)), polygons, crs)


def count_plots(plots: Plots, heads: Detections, raster: Raster) -> list[PlotCount]:
    """The heads and pixels of each plot that the raster shows any of, in the file's order; [] where it shows none.

    heads: in pixels of the raster, which must have a CRS.
    """
    polygons = in_pixels(plots, raster)
    pixels = _valid_pixels(polygons, raster)
    number = _heads(polygons, heads)
    shares = np.minimum(1, pixels / np.maximum(shapely.area(polygons), 1))
    return [
        PlotCount(name, int(number[i]), int(pixels[i]), float(shares[i]))
        for i, name in enumerate(plots.names)
        if pixels[i]
    ]


def in_pixels(plots: Plots, raster: Raster) -> np.ndarray:
    """The polygons (P,) in pixel coordinates of the raster."""

    def to_pixels(points: np.ndarray) -> np.ndarray:
        return affine(~raster.transform, to_crs(points, plots.crs, raster.crs))

    polygons: np.ndarray = shapely.transform(plots.polygons, to_pixels)
    return polygons


def _heads(polygons: np.ndarray, heads: Detections) -> np.ndarray:
    """How many heads belong to each of the polygons (P,)."""
    points = shapely.points(centres(heads))
    head, polygon = shapely.STRtree(polygons).query(points, predicate="intersects")
    first = np.full(len(points), len(polygons))
    np.minimum.at(first, head, polygon)
    return np.bincount(first, minlength=len(polygons) + 1)[:-1]


def _valid_pixels(polygons: np.ndarray, pixels: Pixels) -> np.ndarray:
    """How many pixels with data each of the polygons (P,) holds, counted a band of rows at a time."""
    tree, total = shapely.STRtree(polygons), np.zeros(len(polygons) + 1, np.int64)
    for top in range(0, pixels.height, BAND):
        window = Window(top, 0, min(top + BAND, pixels.height), pixels.width)
        touched = np.sort(tree.query(shapely.box(0, top, window.right, window.bottom)))[::-1]
        if not len(touched):
            continue
        # Burnt last to first, so that a pixel of two plots is the first one's, as its heads are.
        owner = rasterize(
            [(polygons[i], int(i) + 1) for i in touched],
            out_shape=(window.bottom - top, window.right),
            transform=Affine.translation(0, top),
            dtype="int32",
        )
        valid = pixels.valid(window)
        total += np.bincount(owner[valid] if valid is not None else owner.ravel(), minlength=len(total))
    return total[1:]


def _crs(path: Path, text: str | None) -> CRS:
    if not text:
        raise InputError(f"{path}: has no CRS, so its plots have no place; save it with one")
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(f"{path}: its CRS is not known; save it in EPSG:4326") from error


def _refuse_no_polygon(where: str, shape: object) -> None:
    if not isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        kind = "empty" if shape is None else f"a {type(shape).__name__}"
        raise InputError(f"{where}: is {kind}; draw it as a polygon")
    if not shape.is_valid or shape.is_empty:
        raise InputError(f"{where}: its outline crosses itself or has no area; draw it anew")


def _names(fields: list[str], values: list[np.ndarray], number: int) -> list[str]:
    """Unique names: those of the first of NAME_FIELDS, or the places in the file where a name would be missing."""
    lower = [field.lower() for field in fields]
    for wanted in NAME_FIELDS:
        if wanted in lower:
            names = [str(value) for value in values[lower.index(wanted)]]
            if len(set(names)) == number and "None" not in names:
                return names
    return [str(place) for place in range(1, number + 1)]
