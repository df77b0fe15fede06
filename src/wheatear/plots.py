"""Heads per plot, for plots drawn as polygons in a GeoJSON, GeoPackage or Shapefile (needs the extra `geo`).

A head belongs to the plot that contains the centre of its box; on the line between two plots, or where plots
overlap, to the one that comes first in the file, so that no head is counted twice. A plot's area is the
number of pixels with data whose centre it contains and no earlier plot does, times a pixel's area on the
ground. Letters: N heads, P plots.
"""

import math
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize

from wheatear.detections import Detections
from wheatear.errors import InputError, first_line, is_utf_8
from wheatear.files import parts_of_plots
from wheatear.geo import WGS84, affine, are_degrees, centres, to_crs
from wheatear.picture import Outline
from wheatear.pixels import Pixels, bands
from wheatear.raster import Raster

# The first of these fields with unique values names the plots; Plot_ID and plot id are plotid, too.
NAME_FIELDS = ("plot", "plotid", "plotname", "plotno", "plotnr", "plotnumber", "name", "id")
LAYER = "plots"  # the layer to use in a file with several


@dataclass(frozen=True, eq=False)
class Plots:
    """The plots in a file.

    names: of the P plots, unique; polygons: (P,) shapely polygons in crs; path: the file, for messages.
    note: a line for the user if the names are not those in the file.
    """

    path: Path
    names: list[str]
    polygons: np.ndarray
    crs: CRS
    note: str = ""


@dataclass(frozen=True)
class PlotCount:
    """The count of a plot.

    heads: in it; pixels: of it that are data and in no earlier plot; share: of the plot, 0..1, that these cover.
    """

    name: str
    heads: int
    pixels: int
    share: float


def read_plots(path: Path) -> Plots:
    """The polygons of the file's layer, named by the first of its fields NAME_FIELDS, else 1, 2, …

    Of several layers it is the one called plots, or the only one of polygons. InputError for a file that
    cannot be read, has several such layers, no CRS, no plots, a shape that is not a valid polygon,
    coordinates that are not valid in its CRS, or a plot within one that comes before it, to which all of its
    heads would belong.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings(), _readable(path) as place:
            # An outline that is not closed, an unknown CRS: reported below.
            warnings.simplefilter("ignore", RuntimeWarning)
            layer = _layer(path, pyogrio.list_layers(place).tolist())
            meta, _, geometry, values = pyogrio.raw.read(place, layer=layer)
    except (UnicodeDecodeError, UnboundLocalError) as error:  # the second is pyogrio's, of a Shapefile's .prj
        raise InputError(f"{path}: its text is not UTF-8; save it in UTF-8") from error
    except (DataSourceError, DataLayerError, OSError) as error:
        wrong = "cannot be read as plots; give a GeoJSON, GeoPackage or Shapefile of polygons"
        if path.suffix.lower() == ".shp" and not any(
            part.suffix.lower() == ".shx" for part in parts_of_plots(path)
        ):
            wrong = "has no .shx beside it; copy all files of the Shapefile"
        raise InputError(f"{path}: {wrong}") from error
    crs = _crs(path, meta["crs"])
    try:
        with np.errstate(invalid="ignore"):  # a corner that is not a number: reported below
            polygons = np.array([] if geometry is None else shapely.from_wkb(geometry), object)
    except shapely.errors.ShapelyError as error:
        raise InputError(f"{path}: a plot is damaged ({first_line(error)}); draw it anew") from error
    if not len(polygons):
        raise InputError(f"{path}: holds no plots; draw them as polygons")
    for number, polygon in enumerate(polygons, 1):
        _refuse_no_polygon(f"{path}, plot {number}", polygon)
    _refuse_nowhere(path, polygons, crs)
    names, note = _names(list(meta["fields"]), values, len(polygons))
    _refuse_hidden(path, names, polygons)
    return Plots(path, names, polygons, crs, note)


@contextmanager
def _readable(path: Path) -> Iterator[Path | bytes]:
    """The path of a file of plots or, where pyogrio would misread it, the content; of a Shapefile, a copy's path."""
    if not is_misread(path):
        yield path
    elif path.suffix.lower() != ".shp":
        yield path.read_bytes()
    else:
        with TemporaryDirectory() as folder:
            for part in parts_of_plots(path):
                shutil.copy(part, Path(folder, f"{LAYER}{part.suffix}"))
            yield Path(folder, f"{LAYER}{path.suffix}")


def is_misread(path: Path) -> bool:
    """Whether pyogrio cannot read or write at a path: it takes part of it for an archive, or it is not UTF-8."""
    return "!" in str(path) or ";" in path.name or not is_utf_8(str(path))


def count_plots(plots: Plots, heads: Detections, raster: Raster) -> list[PlotCount]:
    """The heads and pixels of each plot of which the raster shows any part, in the file's order; [] if none.

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


def outlines(plots: Plots, raster: Raster) -> list[Outline]:
    """The outlines of the plots of which the raster shows any part, in its pixels, cut off just beyond its edges."""
    polygons = in_pixels(plots, raster)
    width, height = raster.width, raster.height
    seen = shapely.intersects(polygons, shapely.box(0, 0, width, height))
    edge = 0.01 * max(width, height)
    near = shapely.intersection(polygons, shapely.box(-edge, -edge, width + edge, height + edge))
    shapes = zip(plots.names, map(_rings, near), seen, strict=True)
    return [Outline(name, rings) for name, rings, shown in shapes if shown and rings]


def _rings(shape: shapely.Geometry) -> list[np.ndarray]:
    """The rings of a shape's polygons, (K, 2) each."""
    polygons = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    return [np.asarray(ring.coords) for part in polygons for ring in (part.exterior, *part.interiors)]


def in_pixels(plots: Plots, raster: Raster) -> np.ndarray:
    """The polygons (P,) in pixel coordinates of the raster, empty if they have no place in its CRS.

    UTM, for example, has no place for some plots that lie a quarter of the way round the Earth from the raster.
    """

    def to_pixels(points: np.ndarray) -> np.ndarray:
        return affine(~raster.transform, to_crs(points, plots.crs, raster.crs))

    def placed(polygon: shapely.Geometry) -> shapely.Geometry:
        with suppress(InputError):
            return shapely.transform(polygon, to_pixels)
        return shapely.Polygon()

    try:  # all at once, which is much faster
        return shapely.transform(plots.polygons, to_pixels)
    except InputError:
        return np.array([placed(polygon) for polygon in plots.polygons], object)


def _heads(polygons: np.ndarray, heads: Detections) -> np.ndarray:
    """The number of heads that belong to each of the polygons (P,)."""
    points = shapely.points(centres(heads))
    head, polygon = shapely.STRtree(polygons).query(points, predicate="intersects")
    first = np.full(len(points), len(polygons))
    np.minimum.at(first, head, polygon)
    return np.bincount(first, minlength=len(polygons) + 1)[:-1]


def _valid_pixels(polygons: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The number of pixels with data in each of the polygons (P,), counted one band of rows at a time."""
    tree, total = shapely.STRtree(polygons), np.zeros(len(polygons) + 1, np.int64)
    for band in bands(pixels):
        touched = np.sort(tree.query(shapely.box(0, band.top, band.right, band.bottom)))[::-1]
        if not len(touched):
            continue
        # Burnt last to first, so that a pixel in two plots belongs to the first one, as its heads do.
        owner = rasterize(
            [(polygons[i], int(i) + 1) for i in touched],
            out_shape=(band.bottom - band.top, band.right),
            transform=Affine.translation(0, band.top),
            dtype="int32",
        )
        valid = pixels.valid(band)
        total += np.bincount(owner[valid] if valid is not None else owner.ravel(), minlength=len(total))
    return total[1:]


def _layer(path: Path, layers: list[tuple[str, str | None]]) -> str | None:
    """The name of the layer of plots among (name, type of geometry); None if there is no choice."""
    if len(layers) < 2:
        return None
    kinds = {name: kind or "" for name, kind in layers}  # no geometry: a table, such as QGIS's layer_styles
    fitting = (
        [name for name in kinds if name.lower() == LAYER]
        or [name for name, kind in kinds.items() if "Polygon" in kind]
        or [name for name, kind in kinds.items() if kind == "Unknown"]  # it may contain any shapes
        or [name for name, kind in kinds.items() if kind]
    )
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(name for name, _ in layers)
    raise InputError(
        f"{path}: has several layers ({names}); call that of the plots {LAYER}, or save it alone"
    )


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
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise InputError(f"{where}: a corner has no place; draw it anew")
    if not shape.is_valid or shape.is_empty:
        raise InputError(f"{where}: its outline crosses itself or has no area; draw it anew")


def _refuse_nowhere(path: Path, polygons: np.ndarray, crs: CRS) -> None:
    points = shapely.get_coordinates(polygons)
    if crs.is_geographic and not are_degrees(points):
        raise InputError(f"{path}: its coordinates are not degrees; save it in EPSG:4326, or with its CRS")
    try:
        to_crs(points, crs, WGS84)
    except InputError as error:
        raise InputError(f"{path}: {error}; save it in EPSG:4326") from error


def _refuse_hidden(path: Path, names: list[str], polygons: np.ndarray) -> None:
    inner, outer = shapely.STRtree(polygons).query(polygons, predicate="within")
    for one, other in zip(inner.tolist(), outer.tolist(), strict=True):
        if other < one:
            hidden = f"plot {names[one]} lies within {names[other]}, which comes before it and has its heads"
            raise InputError(f"{path}: {hidden}; take one out")


def _names(fields: list[str], values: list[np.ndarray], number: int) -> tuple[list[str], str]:
    """Unique names from the first of NAME_FIELDS that has them, else 1, 2, …; and a line if names are lost."""
    lost = ""
    for wanted in NAME_FIELDS:
        for field, column in zip(fields, values, strict=True):
            if _plain(field) != wanted:
                continue
            names = [_name(value) for value in column]
            if len(set(names)) == number and "" not in names:
                return names, ""
            if not lost:
                twice = [name for name, times in Counter(names).items() if name and times > 1]
                why = f"{twice[0]!r} is there more than once" if twice else "not every plot has one"
                lost = f"their names in the field {field!r} do not tell them apart: {why}"
    there = ", ".join(fields) or "there is none"
    lost = lost or f"no field holds their names ({there}); call it plot"
    return [str(place) for place in range(1, number + 1)], f"plots are numbered, as {lost}"


def _plain(field: str) -> str:
    """A field's name in lower case, without what may stand between its words."""
    return re.sub(r"[\s_.-]", "", field.lower())


def _name(value: object) -> str:
    """A field's value as a name, on one line; "" if it has none."""
    if value is None or (isinstance(value, np.datetime64) and np.isnat(value)):
        return ""
    if isinstance(value, float | np.floating):  # also of 32 bits, which is not Python's float
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    return " ".join(str(value).split())
