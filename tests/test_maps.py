"""`wheatear count` over GeoTIFFs: the maps, the plots, and what is said of images without coordinates."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

from affine import Affine  # noqa: E402
from PIL import Image  # noqa: E402
from pyogrio.errors import CRSError, DataSourceError, FeatureError  # noqa: E402

import wheatear.sized  # noqa: E402
from count_runs import count, lines_of, table  # noqa: E402
from test_geo import EAST, NORTH, UTM, geotiff, plots_file  # noqa: E402
from tiny_model import red_cells  # noqa: E402
from wheatear.errors import InputError  # noqa: E402
from wheatear.images import open_photo  # noqa: E402
from wheatear.plots import read_plots  # noqa: E402

pytestmark = pytest.mark.usefixtures("as_they_are")

# 6 × 4 m at 1 cm, in a grid of 4 × 4: heads of 1.5 × 1 m with their middles at (0.75, 0.5) and (5.25, 3.5).
FIELD = red_cells([(0, 0), (3, 3)], 400, 600)


@pytest.fixture
def as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heads of these fields, which are small as photos, are not measured."""
    monkeypatch.setattr(wheatear.sized, "SMALL_PHOTO", 0)


def rows_of(path) -> list[dict[str, str]]:
    header, *rows = table(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_geotiff_gives_maps(model, tmp_path):
    image = geotiff(tmp_path / "my field.tif", image=FIELD)
    out = tmp_path / "out"
    result = count(model, out, image)
    assert result.exit_code == 0
    [row] = rows_of(out / "counts.csv")
    assert (row["heads"], row["warnings"]) == ("2", "")
    assert float(row["area_m2"]) == pytest.approx(24, rel=1e-3)
    assert float(row["heads_per_m2"]) == pytest.approx(2 / 24, abs=0.005)
    assert sorted(path.name for path in (out / "maps").iterdir()) == [
        "my field.gpkg", "my field_boxes.geojson", "my field_density.tif", "my field_heads.geojson",
    ]  # fmt: skip
    with rasterio.open(out / "maps" / "my field_density.tif") as file:
        assert file.crs == UTM
        heads = file.read(1)
    assert heads.shape == (4, 6)
    assert np.argwhere(heads).tolist() == [[0, 0], [3, 5]]


def test_the_sum_of_tiles_of_which_one_has_no_data_has_a_density(model, tmp_path):
    (tmp_path / "tiles").mkdir()
    north_up = Affine(0.001, 0, EAST, 0, -0.001, NORTH)  # 0.24 m²
    geotiff(tmp_path / "tiles" / "a.tif", image=FIELD, transform=north_up)
    geotiff(tmp_path / "tiles" / "b.tif", image=np.zeros_like(FIELD), transform=north_up, nodata=0)
    result = count(model, tmp_path / "out", tmp_path / "tiles")
    assert lines_of(result) == ["wheatear: b.tif: has no data"]
    assert re.search(r"Total of 2 photos +2 +8 *$", result.stdout, re.MULTILINE)
    assert re.search(r"Mean of 2 photos +1\.0 +8 *$", result.stdout, re.MULTILINE)


def test_plots_are_drawn(model, tmp_path):
    """Those of the image: A1 is its left half, and of A2 a part lies beyond its edge."""
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", A1=(0, 0, 3, 4), A2=(3, 0, 7, 4), B1=(100, 0, 110, 4))
    count(model, tmp_path / "out", image, "--plots", plots)
    count(model, tmp_path / "without", image)
    with_plots, without = (
        open_photo(tmp_path / out / "annotated" / "a.jpg").astype(int) for out in ("out", "without")
    )
    changed = np.abs(with_plots - without).max(axis=2) > 60
    assert changed[100:300, 298:303].any(axis=1).all()  # the line between the two
    assert not changed[80:150, 350:590].any()  # and nothing inside, above its name


def test_plots_are_counted(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", A1=(0, 0, 3, 4), A2=(3, 0, 7, 4), B1=(100, 0, 110, 4))
    result = count(model, tmp_path / "out", image, "--plots", plots, "--cell", "2")
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {plots}: 1 of 3 plots lie on no image: B1"]
    assert re.search(r"Plot A1 in a.tif +1 +0", result.stdout)
    assert re.search(r"Plot A2 in a.tif +1 +0", result.stdout)
    first, second = rows_of(tmp_path / "out" / "plots.csv")
    assert [first[name] for name in ("image", "plot", "heads", "warnings")] == ["a.tif", "A1", "1", ""]
    assert float(first["area_m2"]) == pytest.approx(12, rel=1e-2)
    assert second["warnings"] == "25 % of it is off the image, without data or in a plot named before it"
    assert float(second["heads_per_m2"]) == pytest.approx(1 / 12, abs=0.005)
    fields = pyogrio.raw.read(tmp_path / "out" / "maps" / "a_plots.gpkg")[3]
    assert fields[0].tolist() == ["A1", "A2"]


def test_plots_are_not_written_over(model, tmp_path):
    """The map of an image has only those plots that lie on it, and of their fields only the name."""
    image, out = geotiff(tmp_path / "a.tif", image=FIELD), tmp_path / "out"
    plots = plots_file(tmp_path / "p.geojson", A1=(0, 0, 3, 4), B1=(100, 0, 110, 4))
    count(model, out, image, "--plots", plots)
    drawn = out / "maps" / "a_plots.gpkg"
    before = drawn.read_bytes()
    for more in ([], ["--resume"]):
        result = count(model, out, image, "--plots", drawn, *more)
        said = f"wheatear: {drawn}: would be written over; name another folder for --out"
        assert (result.exit_code, lines_of(result)) == (1, [said])
    assert drawn.read_bytes() == before
    own = shutil.copy(drawn, out / "maps" / "own.gpkg")
    assert count(model, out, image, "--plots", own).exit_code == 0


def test_plots_that_are_elsewhere_are_one_line(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", far=(100, 0, 110, 4))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert result.exit_code == 0
    assert lines_of(result) == [
        "wheatear: a.tif: none of the 1 plots of p.geojson lies on it; check their CRS"
    ]
    assert rows_of(tmp_path / "out" / "plots.csv") == []


def test_plots_on_another_continent_do_not_keep_those_on_the_image_from_being_counted(model, tmp_path):
    """The far plot has no place in the image's UTM zone, 90° to the west of it."""
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", far=(0, 0, 3, 4), A1=(0, 0, 3, 4))
    collection = json.loads(plots.read_text())
    corners = [[93, 0], [93.1, 0], [93.1, 0.1], [93, 0]]
    collection["features"][0]["geometry"]["coordinates"] = [corners]
    plots.write_text(json.dumps(collection))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert lines_of(result) == [f"wheatear: {plots}: 1 of 2 plots lie on no image: far"]
    assert [(row["plot"], row["heads"]) for row in rows_of(tmp_path / "out" / "plots.csv")] == [("A1", "1")]


def test_a_photo_has_no_plots(model, photos, tmp_path):
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    result = count(model, tmp_path / "out", photos / "a.png", "--plots", plots)
    assert lines_of(result) == ["wheatear: a.png: has no coordinates, so no plots are counted in it"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize("name", ["a_heads.geojson", "a_boxes.geojson", "a_density.tif"])
def test_a_map_on_a_full_disk_is_one_line_and_not_half_there(model, tmp_path, name):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    maps = tmp_path / "out" / "maps"
    maps.mkdir(parents=True)
    (maps / f"{name}.part").symlink_to("/dev/full")
    result = count(model, tmp_path / "out", image)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {maps / name}: No space left on device; make room on that disk"]
    assert not (maps / name).exists()


@pytest.mark.parametrize("error", [DataSourceError, FeatureError])
@pytest.mark.parametrize("calls", [0, 1])
def test_a_geopackage_that_gdal_cannot_write_is_one_line(model, tmp_path, monkeypatch, error, calls):
    write, left = pyogrio.raw.write, [True] * calls

    def fail(*arguments: object, **options: object) -> None:
        if not left:
            raise error("sqlite3_exec(COMMIT) failed: database or disk is full")
        left.pop()
        write(*arguments, **options)

    monkeypatch.setattr(pyogrio.raw, "write", fail)
    result = count(model, tmp_path / "out", geotiff(tmp_path / "a.tif", image=FIELD))
    assert result.exit_code == 1
    place = tmp_path / "out" / "maps" / "a.gpkg"
    assert lines_of(result) == [f"wheatear: {place}: cannot be written; is the disk full?"]
    assert list(place.parent.iterdir()) == []


def test_what_gdal_prints_of_a_file_that_cannot_grow_stays_away(model, tmp_path):
    pytest.importorskip("resource")
    image, out = geotiff(tmp_path / "a.tif", image=FIELD), tmp_path / "out"
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    code = (
        "import resource, signal, sys\nfrom wheatear.cli import app\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error then, as a full disk is\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\napp()"
    )
    command = [sys.executable, "-c", code, "count", image, "--out", out, "--model", model, "--plots", plots]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.stderr == f"wheatear: {out}/maps/a.gpkg: cannot be written; is the disk full?\n"
    assert done.returncode == 1


def test_bad_plots_end_the_run_before_it_begins(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos, "--plots", tmp_path / "missing.geojson")
    assert result.exit_code == 1
    [said] = lines_of(result)
    assert said.endswith("missing.geojson: no such file")
    assert not (tmp_path / "out").exists()


def test_an_image_without_a_crs_is_counted_and_said(model, tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:, 300:] = 0  # the lower right head is gone
    image = geotiff(tmp_path / "a.tif", image=FIELD, crs=None, alpha=alpha, nodata=0)
    result = count(model, tmp_path / "out", image, "--gsd", "10")
    assert lines_of(result) == [
        "wheatear: a.tif: has no CRS, so no maps; give it one, as with gdal_edit -a_srs, or gdalwarp if it has GCPs"
    ]
    [row] = rows_of(tmp_path / "out" / "counts.csv")
    assert row["heads"] == "1"
    assert not (tmp_path / "out" / "maps").exists()


@pytest.mark.parametrize("beside", [True, False], ids=["world file", "tags"])
def test_a_plain_tiff_with_coordinates_in_no_crs_is_counted_and_said(model, tmp_path, beside):
    image = tmp_path / "a.tif"
    if beside:
        Image.fromarray(FIELD).save(image)
        image.with_suffix(".tfw").write_text("0.01\n0\n0\n-0.01\n500000\n5538630\n")
    else:
        geotiff(image, image=FIELD, crs=None)
    [said] = lines_of(count(model, tmp_path / "out", image))
    assert said.startswith("wheatear: a.tif: has no CRS, so no maps; ")


def test_a_plain_photo_that_is_read_in_windows_needs_no_crs(model, tmp_path):
    image = tmp_path / "a.tif"
    Image.fromarray(np.dstack([FIELD, np.full((400, 600), 255, np.uint8)])).save(image)
    assert lines_of(count(model, tmp_path / "out", image, "--gsd", "10")) == []


def test_without_the_extra_a_geotiff_is_said_to_have_coordinates(model, tmp_path, monkeypatch):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    monkeypatch.setattr("wheatear.raster.find_spec", lambda _: None)
    assert lines_of(count(model, tmp_path / "out", image)) == [
        "wheatear: a.tif: has coordinates: for area, maps and what has no data, "
        "install wheatear's extra `geo`: pip install '.[geo]'"
    ]
    geotiff(tmp_path / "five.tif", image=np.zeros((40, 60, 5), np.uint8))
    result = count(model, tmp_path / "five", tmp_path / "five.tif")
    assert lines_of(result)[0].endswith(
        "if it is a whole TIFF, install wheatear's extra `geo`: pip install '.[geo]'"
    )


def test_heads_where_there_is_no_data_are_not_counted(model, tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:200] = 0
    image = geotiff(tmp_path / "a.tif", image=FIELD, alpha=alpha)
    assert count(model, tmp_path / "out", image).exit_code == 0
    [row] = rows_of(tmp_path / "out" / "counts.csv")
    assert row["heads"] == "1"
    assert float(row["area_m2"]) == pytest.approx(12, rel=1e-3)
    heads = json.loads((tmp_path / "out" / "maps" / "a_heads.geojson").read_text())["features"]
    assert len(heads) == 1


LOCAL = 'LOCAL_CS["Local Coordinates (m)",UNIT["metre",1]]'  # as programs of photogrammetry write it


@pytest.mark.parametrize(
    ("crs", "corner"),
    [(LOCAL, (0, 0)), (UTM, (9e15, 9e15)), (UTM, (math.nan, 0)), ("EPSG:4326", (500_000, 5_500_000))],
)
def test_an_image_that_lies_nowhere_is_counted_and_the_others_are_too(model, tmp_path, crs, corner):
    transform = Affine(0.01, 0, corner[0], 0, -0.01, corner[1])
    images = [geotiff(tmp_path / "a.tif", image=FIELD, crs=crs, transform=transform)]
    images.append(geotiff(tmp_path / "b.tif", image=FIELD))
    result = count(model, tmp_path / "out", *images)
    assert result.exit_code == 0
    assert "wheatear: a.tif: its coordinates have no place in its CRS, so no maps" in lines_of(result)[0]
    assert [row["heads"] for row in rows_of(tmp_path / "out" / "counts.csv")] == ["2", "2"]
    assert sorted({path.name[0] for path in (tmp_path / "out" / "maps").iterdir()}) == ["b"]


@pytest.mark.parametrize(
    "transform", [Affine(0.01, 0, 5e5, 0.01, 0, 5.5e6), Affine(math.inf, 0, 5e5, 0, -0.01, 5.5e6)]
)
def test_an_image_whose_pixels_lie_on_a_line_or_nowhere(model, tmp_path, transform):
    image = geotiff(tmp_path / "a.tif", image=FIELD, transform=transform)
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    result = count(model, tmp_path / "out", image, "--gsd", "10", "--plots", plots)
    assert result.exit_code == 0
    [said] = lines_of(result)
    assert said.startswith("wheatear: a.tif: its coordinates have no place in its CRS, so no maps; give it")
    [row] = rows_of(tmp_path / "out" / "counts.csv")
    assert (row["heads"], row["area_m2"]) == ("2", "24.0")
    assert not (tmp_path / "out" / "maps").exists()


@pytest.mark.filterwarnings("ignore:The given matrix is equal to Affine.identity")
def test_an_image_with_a_crs_and_no_coordinates(model, tmp_path):
    """GDAL then has a pixel a metre, from the origin of the CRS on."""
    image = geotiff(tmp_path / "a.tif", image=FIELD, transform=Affine.identity())
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert result.exit_code == 0
    [said] = lines_of(result)
    assert said.startswith("wheatear: a.tif: has a CRS but no coordinates, so no maps; give it some")
    [row] = rows_of(tmp_path / "out" / "counts.csv")
    assert (row["heads"], row["area_m2"]) == ("2", "")
    assert not (tmp_path / "out" / "maps").exists()
    count(model, tmp_path / "scaled", image, "--gsd", "10")
    [row] = rows_of(tmp_path / "scaled" / "counts.csv")
    assert row["area_m2"] == "24.0"
    assert "as was given" not in row["warnings"]


def test_an_image_over_the_pole_in_two_corners(model, tmp_path):
    transform = Affine(
        1e-7, 1e-7, 3, 1e-7, -1e-7, 90 - 300e-7
    )  # the upper right corner lies beyond 90° north
    image = geotiff(tmp_path / "a.tif", image=FIELD, crs="EPSG:4326", transform=transform)
    result = count(model, tmp_path / "out", image)
    assert result.exit_code == 0
    assert "a.tif: its coordinates have no place in its CRS, so no maps" in lines_of(result)[0]
    assert not (tmp_path / "out" / "maps").exists()


@pytest.mark.parametrize("error", [FeatureError, CRSError])
def test_what_gdal_refuses_to_write_leaves_out_the_maps_alone(model, tmp_path, monkeypatch, error):
    write = pyogrio.raw.write

    def fail(place: object, **options: object) -> None:
        if error is CRSError or not isinstance(place, Path):
            raise error("no")
        write(place, **options)

    monkeypatch.setattr(pyogrio.raw, "write", fail)
    result = count(model, tmp_path / "out", geotiff(tmp_path / "a.tif", image=FIELD))
    assert result.exit_code == 0
    assert lines_of(result)[0].startswith(
        "wheatear: a.tif: its co" if error is FeatureError else "wheatear: a.tif: its CRS"
    )
    assert [row["heads"] for row in rows_of(tmp_path / "out" / "counts.csv")] == ["2"]


def test_names_of_plots_that_are_lost_are_said_to_be(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1), b=(1, 0, 2, 1))
    plots.write_text(plots.read_text().replace('"plot": "b"', '"plot": "a"'))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert lines_of(result) == [
        f"wheatear: {plots}: plots are numbered, as their names in the field 'plot' do not tell them apart: "
        "'a' is there more than once"
    ]


def test_plots_that_were_edited_are_not_resumed_with(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 1, 1))
    assert count(model, tmp_path / "out", image, "--plots", plots).exit_code == 0
    plots_file(plots, a=(0, 0, 2, 1))
    result = count(model, tmp_path / "out", image, "--plots", plots, "--resume")
    assert "settings.json: plots_sha256 was" in lines_of(result)[0]


def test_a_shapefile_whose_names_were_edited_is_not_resumed_with(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = tmp_path / "p.shp"
    outline = shapely.to_wkb(np.array([shapely.box(EAST, NORTH - 4, EAST + 3, NORTH)]))
    write = {"geometry_type": "Polygon", "crs": "EPSG:32631", "fields": ["plot"]}
    pyogrio.raw.write(plots, outline, [np.array(["A"], object)], **write)
    assert count(model, tmp_path / "out", image, "--plots", plots).exit_code == 0
    pyogrio.raw.write(plots, outline, [np.array(["B"], object)], **write)
    result = count(model, tmp_path / "out", image, "--plots", plots, "--resume")
    assert "settings.json: plots_sha256 was" in lines_of(result)[0]


def test_what_else_lies_beside_a_shapefile_does_not_change_it(model, tmp_path):
    """Such as what a program that showed the image of the same name left there."""
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    outline = shapely.to_wkb(np.array([shapely.box(EAST, NORTH - 4, EAST + 3, NORTH)]))
    write = {"geometry_type": "Polygon", "crs": "EPSG:32631", "fields": ["plot"]}
    pyogrio.raw.write(tmp_path / "a.shp", outline, [np.array(["A"], object)], **write)
    given = image, "--plots", tmp_path / "a.shp"
    count(model, tmp_path / "out", *given)
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "a.qmd").write_text("<qgis/>")
    assert count(model, tmp_path / "out", *given, "--resume").exit_code == 0


def test_a_tile_without_data_is_no_ground_and_no_photo_in_the_dark(model, tmp_path):
    """The others' heads to a square metre stay known."""
    (tmp_path / "p").mkdir()
    geotiff(tmp_path / "p" / "a.tif", image=FIELD, nodata=0)
    geotiff(tmp_path / "p" / "b.tif", image=np.zeros_like(FIELD), nodata=0)
    result = count(model, tmp_path / "out", tmp_path / "p")
    assert lines_of(result) == ["wheatear: b.tif: has no data"]
    [folder] = rows_of(tmp_path / "out" / "folders.csv")
    [a, _] = rows_of(tmp_path / "out" / "counts.csv")
    assert (folder["area_m2"], folder["heads_per_m2"]) == (a["area_m2"], a["heads_per_m2"])


def test_the_crs_of_plots_is_not_doubted_for_a_tile_without_data(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=np.zeros_like(FIELD), nodata=0)
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert lines_of(result) == ["wheatear: a.tif: has no data"]


def test_a_scale_that_its_coordinates_deny_is_doubted(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    assert lines_of(count(model, tmp_path / "out", image, "--gsd", "10.2")) == []
    assert lines_of(count(model, tmp_path / "out", image, "--gsd", "20")) == [
        "wheatear: a.tif: its coordinates say 10 mm a pixel, not 20 as was given"
    ]


def test_the_page_has_the_plots_too(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", north=(0, 0, 3, 4), south=(3, 0, 6, 4))
    assert count(model, tmp_path / "out", image, "--plots", plots, "--report").exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Plots</h2>" in page
    assert [name in page for name in (">north<", ">south<")] == [True, True]
    assert (
        count(model, tmp_path / "out", image, "--report").exit_code == 0
    )  # the older plots.csv is not this run's
    assert "<h2>Plots</h2>" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("mark", ["!", ";"])
def test_marks_that_gdal_takes_for_archives(model, tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    image = geotiff(tmp_path / f"day 1{mark} field.tif", image=FIELD)
    plots = plots_file(tmp_path / f"p{mark}1.geojson", A1=(0, 0, 3, 4))
    out = tmp_path / f"out{mark}5"
    result = count(model, out, image, "--plots", plots)
    assert (result.exit_code, lines_of(result)) == (0, [])
    name = f"day 1{mark} field"
    assert sorted(path.name for path in (out / "maps").iterdir()) == sorted(
        name + ending
        for ending in (".gpkg", "_boxes.geojson", "_density.tif", "_heads.geojson", "_plots.gpkg")
    )
    heads = pyogrio.raw.read(
        shutil.copy(out / "maps" / f"{name}.gpkg", tmp_path / "read.gpkg"), layer="heads"
    )
    assert len(heads[2]) == 2
    assert [path.name for path in tmp_path.glob("*.gpkg")] == ["read.gpkg"]


@pytest.mark.parametrize("name", ["p.geo!json", "day 1.5; plots"])
def test_plots_whose_extension_gdal_takes_for_an_archive(tmp_path, name):
    plots_file(tmp_path / "p.geojson", A1=(0, 0, 3, 4)).rename(tmp_path / name)
    assert read_plots(tmp_path / name).names == ["A1"]


@pytest.mark.parametrize("name", ["field! of June/p.shp", "p;1.SHP"])
def test_a_shapefile_whose_path_gdal_takes_for_an_archive(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shapes = shapely.to_wkb(np.array([shapely.box(0, 0, 3, 4)]))
    fields = [np.array(["Süd"], object)], ["plot"]
    pyogrio.raw.write(tmp_path / "q.shp", shapes, *fields, geometry_type="Polygon", crs=UTM.to_wkt())
    for part in tmp_path.glob("q.*"):
        suffix = part.suffix.upper() if name.endswith(".SHP") else part.suffix
        part.rename((tmp_path / name).with_suffix(suffix))
    assert read_plots(tmp_path / name).names == ["Süd"]


def layers_file(path: Path, *layers: str, kind: str = "Polygon") -> Path:
    shape = shapely.Point(0, 0) if kind == "Point" else shapely.box(0, 0, 3, 4)
    for layer in layers:
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array([shape])), [np.array([layer])], ["plot"], layer=layer, driver="GPKG",
            geometry_type=kind, crs=UTM.to_wkt(), append=path.exists(),
        )  # fmt: skip
    return path


def test_the_layer_of_plots_is_found_among_others(tmp_path):
    one = layers_file(layers_file(tmp_path / "a.gpkg", "posts", kind="Point"), "field")
    assert read_plots(one).names == ["field"]
    named = layers_file(tmp_path / "b.gpkg", "field", "Plots")
    assert read_plots(named).names == ["Plots"]
    with_table = layers_file(tmp_path / "d.gpkg", "field", kind="Unknown")
    pyogrio.raw.write(
        with_table,
        None,
        [np.array(["red"])],
        ["style"],
        layer="layer_styles",
        driver="GPKG",
        geometry_type=None,
        append=True,
    )
    assert read_plots(with_table).names == ["field"]
    neither = layers_file(tmp_path / "c.gpkg", "field", "trial")
    with pytest.raises(
        InputError, match=r"c\.gpkg: has several layers \(field, trial\); call that of the plots"
    ):
        read_plots(neither)


def test_the_scale_as_given_goes_before_that_of_the_coordinates(model, tmp_path):
    """6 × 4 m by its coordinates; the user's millimetres make it less or more, and both are doubted."""
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    for gsd in (5, 20):
        out = tmp_path / str(gsd)
        assert lines_of(count(model, out, image, "--gsd", gsd)) == [
            f"wheatear: a.tif: its coordinates say 10 mm a pixel, not {gsd} as was given"
        ]
        [row] = rows_of(out / "counts.csv")
        assert float(row["area_m2"]) == 400 * 600 * gsd**2 / 1e6
