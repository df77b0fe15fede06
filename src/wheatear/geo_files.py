"""Files for geographic information systems: GeoPackage, GeoJSON, density GeoTIFF (needs the extra `geo`)."""

import errno
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError
from rasterio.crs import CRS

from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.files import whole
from wheatear.geo import NO_PLACE, WGS84, Density, centres, corners, map_points, to_crs
from wheatear.photo_names import BOXES_MAP, DENSITY_MAP, HEADS_MAP, PLOTS_MAP
from wheatear.plots import Plots, is_misread
from wheatear.raster import Raster

# Errors are raised as exceptions; on a full disk GDAL would also print dozens of lines of SQL.
pyogrio.set_gdal_config_options({"CPL_LOG": os.devnull})

Fields = Mapping[str, Sequence[object] | np.ndarray]
GEOPACKAGE = "map.gpkg"  # its name while it is being written


def write_heads(heads: Detections, raster: Raster, folder: Path, name: str) -> None:
    """Write NAME.gpkg (layers heads and boxes), NAME_heads.geojson (points) and NAME_boxes.geojson (polygons).

    The GeoPackage is in the raster's CRS; GeoJSON is in WGS 84, longitude first, as RFC 7946 requires. Each
    head has its score. The raster must have a CRS. No heads give files without features. InputError, without
    the raster's name, if its coordinates are not valid in its CRS or the CRS cannot be written.
    """
    fields = {"score": heads.scores.astype(np.float64).round(4)}
    points = map_points(raster, centres(heads))
    outlines = map_points(raster, corners(heads).reshape(-1, 2))
    places, frames = (to_crs(some, raster.crs, WGS84) for some in (points, outlines))
    with _geopackage(folder / f"{name}.gpkg") as path:
        _write_layer(path, "heads", shapely.points(points), "Point", fields, raster.crs)
        _write_layer(path, "boxes", _polygons(outlines), "Polygon", fields, raster.crs)
    _write_geojson(folder / f"{name}{HEADS_MAP}.geojson", "heads", shapely.points(places), "Point", fields)
    _write_geojson(folder / f"{name}{BOXES_MAP}.geojson", "boxes", _polygons(frames), "Polygon", fields)


def write_plots(plots: Plots, counts: Fields, folder: Path, name: str) -> None:
    """Write NAME_plots.gpkg: the plots in counts["plot"], as drawn and in their own CRS, with counts as fields."""
    place = {plot: index for index, plot in enumerate(plots.names)}
    shown = plots.polygons[[place[str(plot)] for plot in counts["plot"]]]
    with _geopackage(folder / f"{name}{PLOTS_MAP}.gpkg") as path:
        _write_layer(path, "plots", shown, "Unknown", counts, plots.crs)


def write_density(density: Density, raster: Raster, folder: Path, name: str) -> None:
    """Write NAME_density.tif: heads per m² as float32 in the raster's CRS, with NaN as the no-data value."""
    rows, columns = density.heads_per_m2.shape
    a, b, c, d, e, f = raster.transform[:6]
    k = density.cell_px
    transform = Affine(a * k, b * k, c, d * k, e * k, f)
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=columns, height=rows, count=1, dtype="float32", crs=raster.crs,
            transform=transform, nodata=np.nan, compress="deflate",
        ) as file:  # fmt: skip
            file.write(density.heads_per_m2, 1)
            file.set_band_description(1, "heads per m2")
        _put(bytes(memory.getbuffer()), folder / f"{name}{DENSITY_MAP}.tif")


def _write_geojson(path: Path, layer: str, shapes: np.ndarray, kind: str, fields: Fields) -> None:
    # 9 decimals of a degree are 0.1 mm; the driver's own 7 are 1 cm, the width of a head.
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": "9"}
    memory = io.BytesIO()
    try:
        _write_layer(memory, layer, shapes, kind, fields, WGS84, "GeoJSON", options)
    except DataLayerError as error:  # it is in memory, so the disk is not the cause
        raise InputError(NO_PLACE) from error
    _put(memory.getvalue(), path)


def _put(content: bytes, path: Path) -> None:
    """Write a file without GDAL, which on a full disk leaves half of a GeoTIFF or GeoJSON without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_bytes(content)


@contextmanager
def _geopackage(path: Path) -> Iterator[Path]:
    """A path to write to, with the ending that GDAL needs; the file becomes `path` if the block ends well.

    OSError if GDAL cannot write, which it reports in terms of its database; InputError if the CRS is the
    cause.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = None if is_misread(path.parent / GEOPACKAGE) else path.parent
    with whole(path) as part, TemporaryDirectory(dir=beside, prefix=".") as folder:
        try:
            yield Path(folder, GEOPACKAGE)
        except CRSError as error:
            raise InputError("its CRS cannot be written") from error
        except (DataSourceError, DataLayerError, FeatureError) as error:
            raise OSError(errno.EIO, "cannot be written; is the disk full?", str(path)) from error
        shutil.move(Path(folder, GEOPACKAGE), part)


def _write_layer(
    place: Path | io.BytesIO,
    layer: str,
    shapes: np.ndarray,
    kind: str,
    fields: Fields,
    crs: CRS,
    driver: str = "GPKG",
    options: Mapping[str, str] | None = None,
) -> None:
    pyogrio.raw.write(
        place,
        geometry=shapely.to_wkb(shapes),
        field_data=[np.asarray(values) for values in fields.values()],
        fields=list(fields),
        layer=layer,
        driver=driver,
        geometry_type=kind,
        crs=crs.to_wkt(),
        append=isinstance(place, Path) and place.exists(),
        layer_options=options,
    )


def _polygons(points: np.ndarray) -> np.ndarray:
    """The corners of boxes (4 N, 2), box after box, as polygons (N,)."""
    return shapely.polygons(points.reshape(-1, 4, 2))
