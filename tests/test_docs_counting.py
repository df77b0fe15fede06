"""The commands of docs/counting.md, run as they stand with the tiny detector."""

import re
from pathlib import Path

import pytest

from count_runs import count

pytest.importorskip("rasterio")

from test_geo import geotiff, plots_file
from tiny_model import red_cells
from wheatear.count import COUNTS_HEADER, PLOTS_HEADER
from wheatear.detections import HEADER
from wheatear.exports import EXPORTS
from wheatear.folders import FOLDERS_HEADER

TEXT = (Path(__file__).parents[1] / "docs" / "counting.md").read_text("utf-8")
COMMANDS = re.findall(r"^wheatear count ([^#\n]*)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_how_to(model, photos, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    geotiff(tmp_path / "field.tif", image=red_cells([(0, 0)], 400, 600))
    plots_file(tmp_path / "plots.geojson", a=(0, 0, 3, 4))
    (tmp_path / "hand.csv").write_text("image,heads\na.png,2\n")
    place, out_option, out, *options = command.split()
    assert out_option == "--out"
    result = count(model, tmp_path / out, place, *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / out / "counts.csv").exists()


def test_there_are_commands():
    assert len(COMMANDS) >= 9


def test_every_file_is_listed(model, photos, tmp_path):
    geotiff(photos / "field.tif", image=red_cells([(0, 0)], 400, 600))
    plots = plots_file(tmp_path / "plots.geojson", a=(0, 0, 3, 4))
    formats = [word for name in EXPORTS for word in ("--format", name)]
    out = tmp_path / "out"
    assert count(model, out, photos, "--plots", plots, "--report", *formats).exit_code == 0
    listed = "".join(row.split("|")[1] for row in TEXT.splitlines() if row.startswith("| `"))
    for path in out.iterdir():
        assert f"`{path.name}/*" in listed if path.is_dir() else f"`{path.name}`" in listed, path
    for path in (out / "maps").iterdir():
        assert path.name.replace("field", "NAME") in listed


@pytest.mark.parametrize("header", [COUNTS_HEADER, FOLDERS_HEADER, HEADER, PLOTS_HEADER])
def test_every_column_is_listed(header):
    assert all(f"`{column}`" in TEXT for column in header)
