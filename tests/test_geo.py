import json
import math
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

from affine import Affine  # noqa: E402
from PIL import ExifTags, Image  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402

import wheatear.raster  # noqa: E402
from wheatear.area import Scale  # noqa: E402
from wheatear.detections import Detections  # noqa: E402
from wheatear.errors import InputError  # noqa: E402
from wheatear.geo import WGS84, centres, density, map_points, pixel_area, to_crs  # noqa: E402
from wheatear.geo_files import write_density, write_heads, write_plots  # noqa: E402
from wheatear.ground import brightest, ground_of  # noqa: E402
from wheatear.images import open_photo  # noqa: E402
from wheatear.pixels import InMemory, Window, valid_pixels  # noqa: E402
from wheatear.plots import Plots, count_plots, read_plots  # noqa: E402
from wheatear.raster import GEO, Raster, open_pixels, opened_pixels  # noqa: E402

UTM = CRS.from_epsg(32631)
EAST, NORTH = 500_000.0, 5_538_630.0  # 3° E, 50° N
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 255, (400, 600, 3), dtype=np.uint8)
HEADS = Detections(
    np.array([[10, 20, 30, 60], [300, 100, 360, 140], [500, 300, 560, 360]]), np.array([0.9, 0.8, 0.7])
)


def geotiff(path: Path, image=PHOTO, crs=UTM, transform=None, alpha=None, **options) -> Path:
    """A GeoTIFF of 1 cm pixels, unless told otherwise."""
    transform = transform or Affine(0.01, 0, EAST, 0, -0.01, NORTH)
    bands = np.moveaxis(np.atleast_3d(image), -1, 0)
    bands = bands if alpha is None else np.concatenate([bands, alpha[None].astype(bands.dtype)])
    height, width = bands.shape[1:]
    profile = {"width": width, "height": height, "count": len(bands), "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile, **options) as file:
        if alpha is not None:
            file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        file.write(bands)
    return path


def raster(path: Path, **options) -> Raster:
    opened = open_pixels(geotiff(path, **options))
    assert isinstance(opened, Raster)
    return opened


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_photo_that_exif_turns_is_no_raster(tmp_path, mode):
    """GDAL takes it as it lies, with alpha or without."""
    photo = Image.fromarray(PHOTO).convert(mode)
    exif = photo.getexif()
    exif[ExifTags.Base.Orientation] = 6
    photo.save(tmp_path / "a.tif", exif=exif)
    pixels = open_pixels(tmp_path / "a.tif")
    assert (pixels.height, pixels.width) == (600, 400)
    np.testing.assert_array_equal(pixels.read(Window(0, 0, 600, 400)), np.rot90(PHOTO, -1))


def test_windows_are_those_of_the_photo(tmp_path):
    pixels = raster(tmp_path / "a b ä.tif")
    assert (pixels.height, pixels.width) == (400, 600)
    np.testing.assert_array_equal(pixels.read(Window(50, 70, 150, 90)), PHOTO[50:150, 70:90])
    assert pixels.valid(Window(0, 0, 400, 600)) is None
    assert valid_pixels(pixels) == 400 * 600
    assert pixels.overview(100).shape == (67, 100, 3)


def test_grey_and_16_bits(tmp_path):
    deep = RNG.integers(0, 65536, (40, 60, 1), dtype=np.uint16)
    grey = raster(tmp_path / "deep.tif", image=deep).read(Window(0, 0, 40, 60))
    np.testing.assert_array_equal(grey, np.repeat(deep >> 8, 3, axis=2))


@pytest.mark.parametrize("crs", [None, UTM])
def test_12_bits(tmp_path, crs):
    """As a photo without coordinates, which Pillow reads, and as a GeoTIFF."""
    deep = RNG.integers(0, 4096, (40, 60, 1), dtype=np.uint16)
    path = geotiff(tmp_path / "deep.tif", image=deep, crs=crs, nbits=12)
    with closing(open_pixels(path)) as pixels:
        assert isinstance(pixels, Raster) == bool(crs)
        np.testing.assert_array_equal(pixels.read(Window(0, 0, 40, 60)), np.repeat(deep >> 4, 3, axis=2))


@pytest.mark.parametrize(("bits", "brightest"), [(4, 15), (5, 31)])
def test_values_of_few_bits_are_scaled(tmp_path, bits, brightest):
    image = RNG.integers(0, brightest, (40, 60, 3), endpoint=True, dtype=np.uint8)
    found = raster(tmp_path / "shallow.tif", image=image, nbits=bits).read(Window(0, 0, 40, 60))
    np.testing.assert_array_equal(found, np.rint(image / brightest * 255))


def test_bands_are_found_by_their_colour(tmp_path):
    path = geotiff(tmp_path / "bgr.tif", image=PHOTO[..., ::-1])
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    np.testing.assert_array_equal(open_pixels(path).read(Window(0, 0, 400, 600)), PHOTO)


def test_alpha_and_no_data_are_no_ground(tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:, :150], alpha[:, 150:300] = 0, 1
    for path, options in (("alpha.tif", {"alpha": alpha}), ("nodata.tif", {"nodata": 0})):
        image = np.maximum(PHOTO, 1)
        image[:, :150] = 0
        pixels = raster(tmp_path / path, image=image, **options)
        np.testing.assert_array_equal(pixels.valid(Window(0, 100, 5, 200))[0], np.arange(100, 200) >= 150)
        assert valid_pixels(pixels) == 400 * 450


def test_alpha_beside_near_infrared(tmp_path):
    """GDAL takes alpha for a mask with one or three colours only."""
    bands = np.full((40, 60, 5), 200, np.uint8)
    bands[:, :15, 4], bands[:, 15:30, 4] = 0, 1
    path = geotiff(tmp_path / "five.tif", image=bands)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [*list(file.colorinterp)[:4], ColorInterp.alpha]
    with closing(open_pixels(path)) as pixels:
        assert valid_pixels(pixels) == 40 * 45


def test_alpha_beside_a_mask(tmp_path):
    """Either alone leaves a quarter out."""
    alpha = np.full((400, 600), 255)
    alpha[:, :150] = 0
    path = geotiff(tmp_path / "a.tif", alpha=alpha)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(alpha[:, ::-1] > 0)
    with closing(open_pixels(path)) as pixels:
        assert valid_pixels(pixels) == 400 * 300


def test_a_plain_tiff_is_a_photo_like_others(tmp_path):
    from PIL import Image

    Image.fromarray(PHOTO).save(tmp_path / "photo.tif")
    opened = open_pixels(tmp_path / "photo.tif")
    assert isinstance(opened, InMemory)
    np.testing.assert_array_equal(opened.image, open_photo(tmp_path / "photo.tif"))


def test_a_tiff_without_coordinates_of_a_kind_that_pillow_cannot_read(tmp_path):
    deep = PHOTO.astype(np.uint16) << 8
    path = geotiff(tmp_path / "deep.tif", image=deep, crs=None, predictor=2, compress="deflate")
    np.testing.assert_array_equal(open_pixels(path).read(Window(0, 0, 400, 600)), PHOTO)


def test_a_geotiff_is_known_by_how_it_begins(tmp_path):
    assert isinstance(open_pixels(geotiff(tmp_path / "a.geotiff")), Raster)
    geotiff(tmp_path / "raw.tif").rename(tmp_path / "raw.dng")
    with pytest.raises(InputError, match="is of a kind that is not read"):
        open_pixels(tmp_path / "raw.dng")


@pytest.mark.parametrize("data", [b"", b"II*\0", b"no tiff"])
def test_what_is_no_tiff_is_one_line(tmp_path, data):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif: is .*; "):
        open_pixels(tmp_path / "a.tif")


def test_pixels_of_unknown_range_are_refused_and_the_file_is_closed(tmp_path, monkeypatch):
    path = geotiff(tmp_path / "float.tif", image=PHOTO[..., 0].astype(np.float32))
    opened, of_rasterio = [], rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda *a, **k: opened.append(of_rasterio(*a, **k)) or opened[-1])
    with pytest.raises(
        InputError, match=r"float\.tif: has pixels of kind float32, of no known range; save it as"
    ):
        open_pixels(path)
    assert [dataset.closed for dataset in opened] == [True]


def test_a_damaged_raster(tmp_path):
    path = geotiff(tmp_path / "a.tif", compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cut short"):
        open_pixels(path).read(Window(0, 0, 400, 600))


@pytest.mark.parametrize("options", [{"alpha": np.full((400, 600), 255)}, {"nodata": 0}])
def test_what_is_damaged_tells_no_ground_either(tmp_path, options):
    path = geotiff(tmp_path / "a.tif", compress="deflate", **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        open_pixels(path).valid(Window(0, 0, 400, 600))


def degrees_per_metre(latitude: float) -> tuple[float, float]:
    """By the series for WGS 84, NGA's length-of-a-degree calculator."""
    phi = math.radians(latitude)
    north = 111132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    east = 111412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    return 1 / east, 1 / north


MERCATOR = 0.01 / math.cos(math.radians(50))  # what a centimetre is stretched to


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, Affine(0.01, 0, EAST, 0, -0.01, NORTH)),
        (UTM, Affine(0.006, 0.008, EAST, 0.008, -0.006, NORTH)),  # the same, turned
        (CRS.from_epsg(4326), Affine(0.01 * degrees_per_metre(50)[0], 0, 3, 0, -0.01 * degrees_per_metre(50)[1], 50)),
        (CRS.from_epsg(3857), Affine(MERCATOR, 0, 333958, 0, -MERCATOR, 6446276)),
        (CRS.from_epsg(32660), Affine(0.01, 0, 819453.94, 0, -0.01, 1881652)),  # its middle at 180° east
        (CRS.from_epsg(2263), Affine(0.01 / 0.3048006, 0, 1e6, 0, -0.01 / 0.3048006, 2e5)),  # US feet
    ],
)  # fmt: skip
def test_the_ground_of_a_pixel_whatever_the_crs(tmp_path, crs, transform):
    area = pixel_area(raster(tmp_path / "a.tif", crs=crs, transform=transform))
    assert area == pytest.approx(1e-4, rel=6e-3)  # Mercator takes a sphere for the ellipsoid


def test_no_crs_no_ground(tmp_path):
    assert pixel_area(raster(tmp_path / "a.tif", crs=None, nodata=0)) is None


def test_heads_lie_where_the_map_has_them(tmp_path):
    pixels = raster(tmp_path / "a.tif")
    np.testing.assert_allclose(map_points(pixels, centres(HEADS))[0], [EAST + 0.20, NORTH - 0.40])
    write_heads(HEADS, pixels, tmp_path, "a")
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "a.gpkg", layer="heads")
    assert CRS.from_user_input(meta["crs"]) == UTM
    points = shapely.get_coordinates(shapely.from_wkb(geometry))
    np.testing.assert_allclose(
        points, [[EAST + x, NORTH - y] for x, y in ((0.2, 0.4), (3.3, 1.2), (5.3, 3.3))]
    )
    np.testing.assert_allclose(fields[0], [0.9, 0.8, 0.7])
    boxes = shapely.from_wkb(pyogrio.raw.read(tmp_path / "a.gpkg", layer="boxes")[2])
    np.testing.assert_allclose(shapely.area(boxes), [0.08, 0.24, 0.36], atol=1e-6)
    np.testing.assert_allclose(shapely.get_coordinates(shapely.centroid(boxes)), points)


def test_geojson_is_wgs_84_as_its_rfc_wants(tmp_path):
    pixels = raster(tmp_path / "a.tif")
    write_heads(HEADS, pixels, tmp_path, "a")
    heads = json.loads((tmp_path / "a_heads.geojson").read_text())
    assert "crs" not in heads
    longitude, latitude = heads["features"][0]["geometry"]["coordinates"]
    back = to_crs(np.array([[longitude, latitude]]), WGS84, UTM)
    np.testing.assert_allclose(back, [[EAST + 0.2, NORTH - 0.4]], atol=1e-3)
    boxes = json.loads((tmp_path / "a_boxes.geojson").read_text())
    assert [feature["properties"]["score"] for feature in boxes["features"]] == [0.9, 0.8, 0.7]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.gpkg", "a.tif", "a_boxes.geojson", "a_heads.geojson",
    ]  # fmt: skip


def test_no_heads_are_files_without_features(tmp_path):
    write_heads(HEADS[:0], raster(tmp_path / "a.tif"), tmp_path, "a")
    assert json.loads((tmp_path / "a_heads.geojson").read_text())["features"] == []
    assert len(pyogrio.raw.read(tmp_path / "a.gpkg", layer="boxes")[2]) == 0


def test_density_by_hand(tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:, 500:] = 0  # half of the last column of cells
    pixels = raster(tmp_path / "a.tif", alpha=alpha)
    found = density(HEADS[:2], pixels, area=1e-4, cell_m=2.0)
    assert found.cell_px == 200
    np.testing.assert_allclose(found.heads_per_m2, [[0.25, 0.25, 0], [0, 0, 0]])
    assert density(HEADS, pixels, area=1.001e-4, cell_m=2.0).cell_px == 200  # 199.9, rounded
    write_density(found, pixels, tmp_path, "a")
    with rasterio.open(tmp_path / "a_density.tif") as file:
        assert (file.crs, file.transform.a, file.transform.c) == (UTM, 2.0, EAST)
        np.testing.assert_array_equal(file.read(1), found.heads_per_m2)


def test_density_where_there_is_no_ground(tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:200, :200] = 0
    found = density(HEADS, raster(tmp_path / "a.tif", alpha=alpha), area=1e-4, cell_m=2.0)
    assert np.isnan(found.heads_per_m2[0, 0])
    assert np.isfinite(found.heads_per_m2).sum() == 5


def test_pixels_of_no_size_and_cells_of_any(tmp_path):
    speck = raster(tmp_path / "a.tif", crs="EPSG:4326", transform=Affine(1e-100, 0, 0, 0, -1e-100, 0))
    assert pixel_area(speck) is None
    found = density(HEADS, raster(tmp_path / "b.tif"), area=1e-4, cell_m=1e300)
    assert np.isnan(found.heads_per_m2).tolist() == [[True]]
    assert density(HEADS, raster(tmp_path / "b.tif"), area=1e-4, cell_m=0.01).cell_px == 10


def square(xmin: float, ymin: float, xmax: float, ymax: float) -> list[list[float]]:
    """A ring of longitude and latitude, from metres right of and below the raster's corner."""
    corners = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    return to_crs(np.array([[EAST + x, NORTH - y] for x, y in corners]), UTM, WGS84).tolist()


def plots_file(path: Path, **squares: tuple[float, float, float, float]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"plot": name},
            "geometry": {"type": "Polygon", "coordinates": [square(*s)]},
        }
        for name, s in squares.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_head_belongs_to_the_plot_that_holds_its_centre(tmp_path):
    plots = read_plots(plots_file(tmp_path / "my plots.geojson", west=(0, 0, 3.2, 4), east=(3.2, 0, 6, 4)))
    west, east = count_plots(plots, HEADS, raster(tmp_path / "a.tif"))
    assert (west.name, west.heads, west.pixels) == ("west", 1, 320 * 400)
    assert (east.name, east.heads, east.pixels) == ("east", 2, 280 * 400)
    assert west.share == pytest.approx(1, abs=1e-3)


def test_where_plots_overlap_the_first_counts(tmp_path):
    plots = read_plots(plots_file(tmp_path / "p.geojson", inner=(3, 1, 4, 2), outer=(-0.001, -0.001, 6, 4)))
    inner, outer = count_plots(plots, HEADS, raster(tmp_path / "a.tif"))
    assert (inner.heads, outer.heads) == (1, 2)
    assert inner.pixels + outer.pixels == 600 * 400


def test_plots_outside_the_image(tmp_path):
    far = plots_file(tmp_path / "p.geojson", near=(5, 0, 7, 4), far=(100, 100, 110, 110))
    [near] = count_plots(read_plots(far), HEADS, raster(tmp_path / "a.tif"))
    assert (near.name, near.heads, near.pixels) == ("near", 1, 100 * 400)
    assert near.share == pytest.approx(0.5, abs=1e-3)


def test_plots_are_written_with_their_counts(tmp_path):
    plots = read_plots(plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1)))
    write_plots(plots, {"plot": ["b"], "heads": [3], "heads_per_m2": [3.5]}, tmp_path, "photo")
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "photo_plots.gpkg")
    assert list(meta["fields"]) == ["plot", "heads", "heads_per_m2"]
    assert [values.tolist() for values in fields] == [["b"], [3], [3.5]]
    assert shapely.equals(shapely.from_wkb(geometry)[0], plots.polygons[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as plots; give a GeoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no plots; draw them as polygons"),
        ('{"type": "Point", "coordinates": [3, 50]}', "plot 1: is a Point; draw it as a polygon"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}',
            "plot 1: its outline crosses itself or has no area; draw it anew",
        ),
    ],
)
def test_bad_plots_are_one_line(tmp_path, content, message):
    path = tmp_path / "plots.geojson"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_plots(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_plots_without_a_crs(tmp_path):
    path = tmp_path / "plots.gpkg"
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)])), [np.array(["a"])], ["plot"],
        driver="GPKG", geometry_type="Polygon", crs="EPSG:32631",
    )  # fmt: skip
    assert read_plots(path).names == ["a"]
    shapefile = tmp_path / "plots.shp"
    pyogrio.raw.write(
        shapefile, shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)])), [np.array(["a"])], ["plot"],
        driver="ESRI Shapefile", geometry_type="Polygon", crs="EPSG:32631",
    )  # fmt: skip
    shapefile.with_suffix(".prj").unlink()
    with pytest.raises(
        InputError, match=r"plots\.shp: has no CRS, so its plots have no place; save it with one"
    ):
        read_plots(shapefile)


def test_a_shapefile_copied_without_its_other_files(tmp_path):
    shapes = shapely.to_wkb(np.array([shapely.box(3, 50, 3.1, 50.1)]))
    options = {"geometry_type": "Polygon", "crs": "EPSG:4326", "driver": "ESRI Shapefile"}
    pyogrio.raw.write(tmp_path / "p.shp", shapes, [np.array(["a"])], ["id"], **options)
    (tmp_path / "p.shx").unlink()
    with pytest.raises(InputError, match=r"p\.shp: has no \.shx beside it; copy all files of the Shapefile"):
        read_plots(tmp_path / "p.shp")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[3.", "[500003.", "its coordinates are not degrees; save it in EPSG:4326, or with its CRS"),
        ("p1", "p\xe9", "its text is not UTF-8; save it in UTF-8"),
    ],
)
def test_plots_of_other_coordinates_or_letters(tmp_path, old, new, message):
    path = plots_file(tmp_path / "p.geojson", p1=(1, 1, 2, 2))
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new).encode("latin-1"))
    with pytest.raises(InputError, match=rf"p\.geojson: {message}"):
        read_plots(path)


@pytest.mark.parametrize(
    ("crs", "far"), [('LOCAL_CS["Local Coordinates (m)",UNIT["metre",1]]', 0), ("EPSG:32631", 9e15)]
)
def test_plots_that_lie_nowhere(tmp_path, crs, far):
    path, plot = tmp_path / "p.gpkg", shapely.box(EAST + far, NORTH + far, EAST + far + 10, NORTH + far + 10)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array([plot])),
        [np.array(["a"])],
        ["plot"],
        driver="GPKG",
        geometry_type="Polygon",
        crs=crs,
    )
    with pytest.raises(
        InputError, match=r"p\.gpkg: its coordinates have no place in its CRS; save it in EPSG:4326"
    ):
        read_plots(path)


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ("[[3, 50], [NaN, 50], [3, 51], [3, 50]]", "plot 1: a corner has no place; draw it anew"),
        ("[[3, 50], [3, 51], [4, 51]]", r"a plot is damaged \(.*closed.*\); draw it anew"),
    ],
)
def test_plots_with_bad_corners_are_one_line_without_warnings(tmp_path, ring, message):
    (tmp_path / "p.geojson").write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
    with pytest.raises(InputError, match=message):
        read_plots(tmp_path / "p.geojson")


@pytest.mark.parametrize("number", [999_999, 0])
def test_plots_in_an_unknown_crs_are_one_line(tmp_path, number):
    path = plots_file(tmp_path / "p.geojson", p1=(1, 1, 2, 2))
    named = json.dumps({"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{number}"}})
    metres = path.read_text().replace("[3.", "[500003.")
    path.write_text(f'{{"crs": {named}, {metres[1:]}')
    with pytest.raises(InputError, match="its coordinates are not degrees; save it in EPSG:4326, or with"):
        read_plots(path)


def test_a_plot_within_one_that_comes_before_it(tmp_path):
    path = plots_file(tmp_path / "p.geojson", field=(0, 0, 6, 4), a=(1, 1, 2, 2))
    with pytest.raises(
        InputError, match="plot a lies within field, which comes before it and has its heads; take one"
    ):
        read_plots(path)


def test_numbers_are_names_too(tmp_path):
    path = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    text = path.read_text().replace('"a"', "101").replace('"b"', "null")
    path.write_text(text)
    assert read_plots(path).names == ["1", "2"]
    assert read_plots(path).note.endswith("not every plot has one")
    path.write_text(text.replace("null", "102.0"))
    assert read_plots(path).names == ["101", "102"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([101, 102], np.float32), ["101", "102"]),
        (np.array([1.5, 102]), ["1.5", "102"]),
        (np.array([101, np.nan], np.float32), None),
        (np.array(["2026-06-01", "NaT"], "datetime64[ms]"), None),
        (np.array(["a", " "], object), None),
        (np.array(["a\nb", " c"], object), ["a b", "c"]),
    ],
)
def test_names_of_other_kinds(tmp_path, values, names):
    path = tmp_path / "p.gpkg"
    shapes = shapely.to_wkb(np.array([shapely.box(EAST + x, NORTH, EAST + x + 1, NORTH + 1) for x in (0, 1)]))
    pyogrio.raw.write(
        path, shapes, [values], ["plot"], driver="GPKG", geometry_type="Polygon", crs="EPSG:32631"
    )
    plots = read_plots(path)
    assert plots.names == (names or ["1", "2"])
    assert plots.note.endswith("" if names else ": not every plot has one")
    assert bool(plots.note) == (names is None)


def test_plots_without_names_are_numbered(tmp_path):
    path = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    path.write_text(path.read_text().replace('"plot": "b"', '"plot": "a"'))
    assert read_plots(path).names == ["1", "2"]


@pytest.mark.parametrize(
    ("field", "names", "note"),
    [
        ("Plot_No", ["a", "b"], ""),
        ("PLOT ID", ["a", "b"], ""),
        ("plot2", ["1", "2"], "plots are numbered, as no field holds their names (plot2); call it plot"),
        (
            "Parzelle",
            ["1", "2"],
            "plots are numbered, as no field holds their names (Parzelle); call it plot",
        ),
    ],
)
def test_the_field_that_names_the_plots(tmp_path, field, names, note):
    path = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    path.write_text(path.read_text().replace('"plot":', f'"{field}":'))
    plots = read_plots(path)
    assert (plots.names, plots.note) == (names, note)


def test_of_two_fields_that_are_called_alike_the_one_with_names_is_taken(tmp_path):
    path = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    path.write_text(path.read_text().replace('"plot":', '"PLOT": "x", "Plot":'))
    assert read_plots(path).names == ["a", "b"]


def test_without_the_extra_a_geotiff_is_a_photo_and_a_large_one_is_said(tmp_path, monkeypatch):
    path = geotiff(tmp_path / "a.tif")
    monkeypatch.setattr(wheatear.raster, "find_spec", lambda _: None)
    np.testing.assert_array_equal(open_pixels(path).read(Window(0, 0, 400, 600)), PHOTO)
    monkeypatch.setattr("wheatear.images.MAX_PIXELS", 400 * 600 - 1)
    with pytest.raises(
        InputError, match=r"a\.tif: is too large to be read whole; install wheatear's extra `geo`"
    ):
        open_pixels(path)


@pytest.mark.parametrize("missing", GEO)
def test_of_half_of_the_extra_nothing_is_taken(tmp_path, monkeypatch, missing):
    """Maps that cannot be written would be noticed after a day of counting."""
    path = geotiff(tmp_path / "a.tif")
    monkeypatch.setattr(wheatear.raster, "find_spec", lambda package: package != missing)
    assert not isinstance(open_pixels(path), Raster)


def test_a_tiff_whose_name_gdal_cannot_take(tmp_path):
    try:
        path = geotiff(tmp_path / "a.tif").rename(tmp_path / os.fsdecode(b"f\xfcr.tif"))
    except OSError:
        pytest.skip("this disk has names in UTF-8 alone")
    with pytest.raises(InputError, match="its name is not in UTF-8; rename it"):
        open_pixels(path)


def test_16_bit_colours_plane_by_plane_are_read_without_coordinates_too(tmp_path):
    deep = PHOTO.astype(np.uint16) * 257
    with closing(open_pixels(geotiff(tmp_path / "a.tif", image=deep, crs=None, interleave="band"))) as pixels:
        np.testing.assert_array_equal(pixels.read(Window(0, 0, 400, 600)), PHOTO)


def test_a_large_tiff_without_coordinates_is_read_in_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(wheatear.raster, "LARGE", 400 * 600 - 1)
    assert isinstance(open_pixels(geotiff(tmp_path / "a.tif", crs=None)), Raster)


def test_a_raster_without_data_in_its_middle_is_not_black(tmp_path, monkeypatch):
    image = np.full((300, 300, 3), 200, np.uint8)
    image[50:250, 50:250] = 0
    monkeypatch.setattr("wheatear.ground.SAMPLE", 100)
    with closing(open_pixels(geotiff(tmp_path / "ring.tif", image=image, nodata=0))) as pixels:
        assert brightest(pixels) == 200


def test_centres_of_odd_boxes_and_places_of_skewed_rasters(tmp_path):
    pixels = raster(tmp_path / "a.tif", transform=Affine(0.01, 0.002, EAST, 0.003, -0.01, NORTH))
    [centre] = centres(Detections([[10, 20, 13, 25]], [0.9]))
    assert centre.tolist() == [11.5, 22.5]
    [place] = map_points(pixels, np.array([centre]))
    assert place - [EAST, NORTH] == pytest.approx([0.115 + 0.045, 0.0345 - 0.225], abs=1e-6)


def test_the_ground_is_that_of_the_middle(tmp_path):
    """1,000 rows of 0.02° from 60° down to 40° north, 20 columns."""
    tall = raster(
        tmp_path / "a.tif", image=np.zeros((1000, 20, 3), np.uint8), crs="EPSG:4326",
        transform=Affine(0.02, 0, 3, 0, -0.02, 60),
    )  # fmt: skip
    east, north = degrees_per_metre(50)
    assert pixel_area(tall) == pytest.approx(0.02**2 / east / north, rel=1e-3)


def test_names_of_fields_in_capitals(tmp_path):
    path = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    path.write_text(path.read_text().replace('"plot"', '"Plot_ID"'))
    assert read_plots(path).names == ["a", "b"]


def test_a_plot_is_its_outline_not_its_frame(tmp_path):
    """A triangle holds the first of two heads; the other lies in the corner that is not its own."""
    triangle = shapely.Polygon([(EAST, NORTH), (EAST + 6, NORTH), (EAST, NORTH - 4)])
    plots = Plots(tmp_path, ["a"], np.array([triangle]), UTM)
    [plot] = count_plots(plots, HEADS[[0, 2]], raster(tmp_path / "a.tif"))
    assert plot.heads == 1
    assert plot.pixels == pytest.approx(400 * 600 / 2, rel=0.01)


def test_a_head_on_the_line_between_two_plots_is_the_firsts(tmp_path):
    """Pixels of 25 cm, so that the line at column 330, the middle of a head, is met exactly."""
    pixels = raster(tmp_path / "a.tif", transform=Affine(0.25, 0, EAST, 0, -0.25, NORTH))
    line = EAST + 330 * 0.25
    west, east = shapely.box(EAST, NORTH - 100, line, NORTH), shapely.box(line, NORTH - 100, line + 60, NORTH)
    for polygons in ([west, east], [east, west]):
        plots = Plots(tmp_path, ["1", "2"], np.array(polygons), UTM)
        assert [plot.heads for plot in count_plots(plots, HEADS[1:2], pixels)] == [1, 0]


def test_a_raster_of_several_bands_of_rows(tmp_path):
    """1,100 rows, of which 512 at a time are counted; the right half is without data from row 800 on."""
    alpha = np.full((1100, 100), 255)
    alpha[800:, 50:] = 0
    pixels = raster(tmp_path / "a.tif", image=np.full((1100, 100, 3), 200, np.uint8), alpha=alpha)
    plots = read_plots(plots_file(tmp_path / "p.geojson", upper=(0, 0, 1, 6), lower=(0, 6, 1, 11)))
    upper, lower = count_plots(plots, HEADS[:0], pixels)
    assert (upper.heads, lower.heads) == (0, 0)  # and yet they are listed
    assert (upper.pixels, lower.pixels) == (600 * 100, 500 * 100 - 300 * 50)
    assert lower.share == pytest.approx(0.7, abs=1e-3)
    heads = Detections([[60, y, 80, y + 20] for y in (10, 710, 1050)], [0.9] * 3)
    found = density(heads, pixels, area=1e-4, cell_m=1.0).heads_per_m2
    assert np.flatnonzero(found).tolist() == [0, 7, 10]
    np.testing.assert_allclose(found[[0, 7, 10], 0], [1, 1, 2])  # of the last cell half is data


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_negative_is_turned_as_that_of_a_photo_is(tmp_path, dtype):
    image = RNG.integers(0, np.iinfo(dtype).max, (40, 60, 1)).astype(dtype)
    photo = open_photo(geotiff(tmp_path / "photo.tif", image=image, crs=None, photometric="MINISWHITE"))
    seen = raster(tmp_path / "map.tif", image=image, photometric="MINISWHITE")
    np.testing.assert_array_equal(seen.read(Window(0, 0, 40, 60)), photo)


def test_the_height_is_not_missed_where_coordinates_tell_the_ground(tmp_path):
    pixels = raster(tmp_path / "map.tif")
    ground = ground_of(tmp_path / "map.tif", pixels, Scale(height_m=2))
    assert ground.area_m2 == pytest.approx(4 * 6, rel=0.01)
    assert ground.warnings == ()


def test_folders_whose_names_gdal_cannot_take(tmp_path):
    """A TIFF in one is named; plots are read there, and maps are written."""
    folder = tmp_path / os.fsdecode(b"Bl\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this disk has names in UTF-8 alone")
    with pytest.raises(InputError, match="the name of its folder is not in UTF-8; rename that"):
        open_pixels(geotiff(tmp_path / "a.tif").rename(folder / "a.tif"))
    pixels = raster(tmp_path / "b.tif")
    write_heads(HEADS, pixels, folder, "b")
    ring = [[3, 50], [3.1, 50], [3.1, 49.9], [3, 50]]
    shape = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (folder / "plots.geojson").write_text(json.dumps(shape))
    assert read_plots(folder / "plots.geojson").names == ["1"]
    assert {path.name for path in folder.glob("b*")} == {"b.gpkg", "b_heads.geojson", "b_boxes.geojson"}


def test_a_raster_whose_overviews_were_cut_off_is_one_line(tmp_path):
    path = geotiff(tmp_path / "a.tif")
    size = path.stat().st_size
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    os.truncate(path, size)
    with opened_pixels(path) as pixels:
        np.testing.assert_array_equal(pixels.read(Window(0, 0, 400, 600)), PHOTO)


def test_a_shapefile_whose_crs_is_not_utf_8_is_one_line(tmp_path):
    shapes = shapely.to_wkb(np.array([shapely.box(3, 50, 3.1, 50.1)]))
    options = {"geometry_type": "Polygon", "crs": "EPSG:4326", "driver": "ESRI Shapefile"}
    pyogrio.raw.write(
        tmp_path / "p.shp", geometry=shapes, field_data=[np.array(["a"])], fields=["id"], **options
    )
    crs = (tmp_path / "p.prj").read_bytes()
    (tmp_path / "p.prj").write_bytes(crs.replace(b"GCS_WGS_1984", b"GCS_W\xfcGS_1984"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_plots(tmp_path / "p.shp")
