"""`wheatear count` over GeoTIFFs: the maps, the plots, and what is said of images without coordinates."""

import json

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

from count_runs import count, lines_of, table  # noqa: E402
from test_geo import UTM, geotiff, plots_file  # noqa: E402
from tiny_model import red_cells  # noqa: E402

# 6 × 4 m at 1 cm, in a grid of 4 × 4: heads of 1.5 × 1 m with their middles at (0.75, 0.5) and (5.25, 3.5).
FIELD = red_cells([(0, 0), (3, 3)], 400, 600)


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


def test_plots_are_counted(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", A1=(0, 0, 3, 4), A2=(3, 0, 7, 4), B1=(100, 0, 110, 4))
    assert count(model, tmp_path / "out", image, "--plots", plots, "--cell", "2").exit_code == 0
    first, second = rows_of(tmp_path / "out" / "plots.csv")
    assert [first[name] for name in ("image", "plot", "heads", "warnings")] == ["a.tif", "A1", "1", ""]
    assert float(first["area_m2"]) == pytest.approx(12, rel=1e-2)
    assert second["warnings"] == "25 % of it is off the image or without data"
    assert float(second["heads_per_m2"]) == pytest.approx(1 / 12, abs=0.005)
    fields = pyogrio.raw.read(tmp_path / "out" / "maps" / "a_plots.gpkg")[3]
    assert fields[0].tolist() == ["A1", "A2"]


def test_plots_that_are_elsewhere_are_one_line(model, tmp_path):
    image = geotiff(tmp_path / "a.tif", image=FIELD)
    plots = plots_file(tmp_path / "p.geojson", far=(100, 0, 110, 4))
    result = count(model, tmp_path / "out", image, "--plots", plots)
    assert result.exit_code == 0
    assert lines_of(result) == [
        "wheatear: a.tif: none of the 1 plots of p.geojson lies on it; check their CRS"
    ]
    assert rows_of(tmp_path / "out" / "plots.csv") == []


def test_a_photo_has_no_plots(model, photos, tmp_path):
    plots = plots_file(tmp_path / "p.geojson", a=(0, 0, 3, 4))
    result = count(model, tmp_path / "out", photos / "a.png", "--plots", plots)
    assert lines_of(result) == ["wheatear: a.png: has no coordinates, so no plots are counted in it"]


def test_bad_plots_end_the_run_before_it_begins(model, photos, tmp_path):
    result = count(model, tmp_path / "out", photos, "--plots", tmp_path / "missing.geojson")
    assert result.exit_code == 1
    [said] = lines_of(result)
    assert said.endswith("missing.geojson: cannot be read as plots; give a GeoJSON or GeoPackage of polygons")
    assert not (tmp_path / "out").exists()


def test_an_image_without_a_crs_is_counted_and_said(model, tmp_path):
    alpha = np.full((400, 600), 255)
    alpha[:, 300:] = 0  # the lower right head is gone
    image = geotiff(tmp_path / "a.tif", image=FIELD, crs=None, alpha=alpha, nodata=0)
    result = count(model, tmp_path / "out", image, "--gsd", "10")
    assert lines_of(result) == [
        "wheatear: a.tif: has no CRS, so no maps; give it one, as with gdal_edit -a_srs"
    ]
    [row] = rows_of(tmp_path / "out" / "counts.csv")
    assert row["heads"] == "1"
    assert not (tmp_path / "out" / "maps").exists()


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
