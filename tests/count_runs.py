"""Running `wheatear count` in tests, and reading what it wrote."""

import csv
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from typer.testing import CliRunner

from tiny_model import red_cells
from wheatear.cli_count import count_command
from wheatear.count import COUNTS_HEADER

app = typer.Typer()
app.command()(count_command)


def draw(path: Path, cells: list[tuple[int, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(red_cells(cells)).save(path)
    return path


def count(model: Path, out: Path, *arguments: str | Path) -> Any:
    options = ["--out", out, "--model", model, *arguments]
    return CliRunner().invoke(app, list(map(str, options)), catch_exceptions=False)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def counted(out: Path, name: str = "counts.csv") -> dict[str, int]:
    header, *rows = table(out / name)
    assert header == list(COUNTS_HEADER)
    return {row[0]: int(row[1]) for row in rows}


def lines_of(result: Any) -> list[str]:
    return result.stderr.splitlines()
