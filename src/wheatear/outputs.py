"""The files for one photo: its annotated picture, and its maps if it has coordinates."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.files import whole
from wheatear.ground import Ground
from wheatear.picture import Outline, annotate
from wheatear.pixels import InMemory, Pixels
from wheatear.raster import Raster

if TYPE_CHECKING:
    from wheatear.plots import PlotCount, Plots

JPEG_LIMIT = 65_500  # pixels per side, libjpeg's own limit
# Pixels on the longer side of a large raster's picture: heads of 1 cm at 1 mm/px are still visible.
OVERVIEW = 4096
WHOLE_PLOT = 0.99  # pixels along a plot's outline are in or out; below this share, a plot is cut off


@dataclass(frozen=True)
class Maps:
    """What is drawn on maps: the plots to count in, and the side of the density map's cells in metres."""

    plots: "Plots | None" = None
    cell_m: float = 1.0


class PlotRow(NamedTuple):
    """A row of plots.csv, before the intervals are added."""

    plot: str
    heads: int
    area_m2: float
    warning: str


def draw_picture(pixels: Pixels, heads: Detections, path: Path, plots: "Plots | None" = None) -> None:
    """Save the photo with its boxes as a JPEG; for a raster, an overview of at most OVERVIEW pixels per side.

    plots: drawn too, on a raster with coordinates in a CRS.
    InputError, without the photo's name, for one that is too long for JPEG.
    """
    if isinstance(pixels, InMemory):
        image = pixels.image
    elif isinstance(pixels, Raster):
        image = pixels.overview(OVERVIEW)
    if max(image.shape) > JPEG_LIMIT:
        raise InputError("too long for an annotated JPEG; count it with --no-pictures")
    shrink = np.array([image.shape[1] / pixels.width, image.shape[0] / pixels.height] * 2, np.float32)
    outlines = [
        Outline(name, [ring * shrink[:2] for ring in rings])
        for name, rings in (_outlines(plots, pixels) if plots and isinstance(pixels, Raster) else ())
    ]
    picture = annotate(image, Detections(heads.boxes * shrink, heads.scores, *image.shape[:2]), outlines)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        picture.save(part, "JPEG", quality=90)


def _outlines(plots: "Plots", raster: Raster) -> list[Outline]:
    if not raster.has_place:
        return []
    from wheatear.geo import refuse_nowhere
    from wheatear.plots import outlines

    try:
        refuse_nowhere(raster)
        return outlines(plots, raster)
    except InputError:  # of which write_maps warns
        return []


def write_maps(
    raster: Raster, heads: Detections, ground: Ground, maps: Maps, folder: Path, name: str
) -> tuple[list[PlotRow], list[str]]:
    """Write the maps of a raster with a CRS into a folder -> the plots that it shows, and warnings."""
    from wheatear import geo, geo_files  # they need the extra `geo`, without which there is no Raster

    if not raster.has_place:
        return [], ["has a CRS but no coordinates, so no maps; give it some, as with gdal_edit -a_ullr"]
    try:
        geo.refuse_nowhere(raster)
        geo_files.write_heads(heads, raster, folder, name)
    except InputError as error:
        return [], [f"{error}, so no maps; give it the right one, as with gdal_edit -a_srs"]
    if ground.pixel_m2 is None:
        return [], ["its CRS does not tell metres, so no density map and no plots; reproject it"]
    geo_files.write_density(geo.density(heads, raster, ground.pixel_m2, maps.cell_m), raster, folder, name)
    if maps.plots is None or not ground.pixels:  # without data it shows no plots, wherever these lie
        return [], []
    return _write_plots(raster, heads, ground.pixel_m2, maps.plots, folder, name)


def _write_plots(
    raster: Raster, heads: Detections, pixel_m2: float, plots: "Plots", folder: Path, name: str
) -> tuple[list[PlotRow], list[str]]:
    from wheatear.geo_files import write_plots
    from wheatear.plots import count_plots

    rows = [_plot_row(count, pixel_m2) for count in count_plots(plots, heads, raster)]
    if not rows:
        return [], [f"none of the {len(plots.names)} plots of {plots.path.name} lies on it; check their CRS"]
    columns: dict[str, list[object]] = {
        "plot": [row.plot for row in rows],
        "heads": [row.heads for row in rows],
        "area_m2": [row.area_m2 for row in rows],
        "heads_per_m2": [row.heads / row.area_m2 for row in rows],
    }
    write_plots(plots, columns, folder, name)
    return rows, []


def _plot_row(count: "PlotCount", pixel_m2: float) -> PlotRow:
    missing = round(100 * (1 - count.share))
    cut = (
        f"{missing} % of it is off the image, without data or in a plot named before it"
        if count.share < WHOLE_PLOT
        else ""
    )
    return PlotRow(count.name, count.heads, count.pixels * pixel_m2, cut)
