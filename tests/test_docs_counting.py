"""The commands of docs/counting.md, run as they stand with the tiny detector."""

import re
from pathlib import Path

import pytest

from count_runs import count

pytest.importorskip("rasterio")

from test_geo import geotiff, plots_file
from tiny_model import red_cells

TEXT = (Path(__file__).parents[1] / "docs" / "counting.md").read_text("utf-8")
COMMANDS = re.findall(r"^wheatear count ([^#\n]*)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_how_to(model, photos, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    geotiff(tmp_path / "field.tif", image=red_cells([(0, 0)], 400, 600))
    plots_file(tmp_path / "plots.geojson", a=(0, 0, 3, 4))
    place, out_option, out, *options = command.split()
    assert out_option == "--out"
    result = count(model, tmp_path / out, place, *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / out / "counts.csv").exists()


def test_there_are_commands():
    assert len(COMMANDS) >= 7
