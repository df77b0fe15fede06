"""report.html of a run of `wheatear count`: tables, histograms, thumbnails, the settings and the model's card."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from wheatear.errors import InputError
from wheatear.images import opened
from wheatear.page import END_OF_TABLE, SCROLL, Write, cell, figure, header, open_page, opening, thumbnail
from wheatear.palette import BLUE
from wheatear.svg import Axis, bars, chart
from wheatear.words import figures, photos

if TYPE_CHECKING:
    from wheatear.detector import Card

# Pixels per side of an enlarged picture, in which each box is visible and which takes 85 kB. If there are more than
# MANY photos it is smaller, so that a page of 1,000 still opens on a phone.
SIDE, SMALL_SIDE, MANY = 512, 256, 200
MOST_BARS = 24
FEW = 5  # photos that could not be counted; up to this many are listed without a click
LOW, HIGH = "_low", "_high"
INTERVAL = "Small numbers: the true one lies between them for about 95 in 100 photos"
CHARTED = ("heads", "heads_per_m2")
# The ends of an interval are shown below the number, and the size of a photo means little to someone counting heads.
NO_COLUMNS = (LOW, HIGH, "width", "height")
MEANS = ("heads_per_photo", "heads_per_m2")
NAMES = ("image", "folder", "plot")  # shown as text even if they are numbers
TITLES = {
    "area_m2": "area, m²",
    "heads_per_m2": "heads per m²",
    "resized_by": "size of heads, px",
    "threshold": "score threshold",
    "head_px": "size of heads, pixels",
    "gsd_mm": "ground, mm a pixel",
    "frame_m": "ground across a photo, m",
    "height_m": "camera above the heads, m",
    "cell_m": "cells of density maps, m",
}

Value = str | float | None
Row = Mapping[str, Value]


def write_report(
    path: str | Path,
    rows: Sequence[Row],
    pictures: Mapping[str, Path],
    card: "Card",
    settings: Mapping[str, object],
    errors: Sequence[str] = (),
    folders: Sequence[Row] = (),
    plots: Sequence[Row] = (),
    remarks: Sequence[str] = (),
    title: str = "Wheat heads counted",
) -> None:
    """Write one self-contained HTML page.

    rows: one per photo, with the columns of counts.csv ("image" and "heads" first; numbers, text or None).
    pictures: the annotated picture by image name; a photo may have none. They are read one at a time and
    written to the file directly, so memory grows with the rows alone. settings: what the run was asked for.
    errors: one line for each photo that is not among the rows because it could not be counted. remarks: lines
    about no single photo, such as those of images.left_out and count_outputs.remarks.
    folders, plots: rows for tables of their own, with the columns of folders.csv and plots.csv. Empty columns
    are left out. No rows give a page that says so. OSError if the page cannot be written.
    """
    with open_page(Path(path), title) as write:
        write(_summary(rows))
        write(_not_counted(errors))
        # A line begins with "left", a number, or a path.
        write("".join(f"<p>{escape(re.sub('^left', 'Left', line))}.</p>\n" for line in remarks))
        if rows:
            write(_histograms(rows))
            _write_table(write, rows, pictures, Path(path).parent)
            write(_interval(rows, card))
        _write_places(write, "Folders", folders)
        _write_places(write, "Plots", plots)
        write(_settings(settings))
        write(_card(card))


def _summary(rows: Sequence[Row]) -> str:
    heads = _numbers(rows, "heads")
    if not heads:
        return "<p>No photo was counted.</p>\n"
    middle = _text(float(np.median(heads)))
    spread = f"mean {np.mean(heads):,.1f}, median {middle}, from {min(heads):,.0f} to {max(heads):,.0f}"
    each = f": {spread} per photo" if len(heads) > 1 else ""
    total = f"<strong>{sum(heads):,.0f} heads</strong> in {photos(len(heads))}{each}."
    return f"<p>{total}{_density(rows)}</p>\n"


def _density(rows: Sequence[Row]) -> str:
    """The density over all photos whose ground area is known."""
    known = [row for row in rows if _number(row.get("area_m2"))]
    heads, area = sum(_numbers(known, "heads")), sum(_numbers(known, "area_m2"))
    if not known:
        return ""
    where = "" if len(known) == len(rows) else f", those of {photos(len(known))}"
    return f" On {figures(area)} m²{where}, that is <strong>{figures(heads / area)} heads per m²</strong>."


def _not_counted(errors: Sequence[str]) -> str:
    if not errors:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in errors)
    is_open = " open" if len(errors) <= FEW else ""
    summary = f"<summary>{photos(len(errors))} could not be counted</summary>"
    return f"<details{is_open}>{summary}<ul>\n{lines}</ul></details>\n"


def _histograms(rows: Sequence[Row]) -> str:
    columns = [name for name in CHARTED if len(_numbers(rows, name)) > 1]
    charts = [figure(_histogram(_numbers(rows, name), _title(name)), "") for name in columns]
    return f'<div class="figures">\n{"".join(charts)}</div>\n'


def _histogram(values: Sequence[float], name: str) -> str:
    counts, edges = _binned(np.array(values))
    spans = [
        (float(low), float(high), float(n))
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    x = Axis(name, float(edges[0]), float(edges[-1]))
    y = Axis("photos", 0, float(counts.max()) * 1.05, whole=True)
    return chart(f"Histogram of {name}", x, y, [bars(spans, BLUE)])


def _binned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histogram with NumPy's automatic bins, at most MOST_BARS -> counts, edges.

    For whole numbers, each bin spans equally many of them, so that none seems rare.
    """
    bins = max(1, min(MOST_BARS, len(np.histogram_bin_edges(values, "auto")) - 1))
    if (values != np.round(values)).any():
        counts, edges = np.histogram(values, bins)
        return counts, edges
    low, span = values.min(), values.max() - values.min() + 1
    width = np.ceil(span / bins)
    counts, edges = np.histogram(values, low - 0.5 + width * np.arange(np.ceil(span / width) + 1))
    return counts, edges


def _write_table(write: Write, rows: Sequence[Row], pictures: Mapping[str, Path], folder: Path) -> None:
    side = SIDE if len(rows) <= MANY else SMALL_SIDE
    columns = _columns(rows)
    write(header(["", *map(_title, columns)], [False, *columns.values()]))
    for row in rows:
        name = str(row["image"])
        write(
            f"<tr><td>{_thumbnail(name, row, pictures.get(name), folder, side)}</td>{_cells(row, columns)}</tr>\n"
        )
    write(END_OF_TABLE)


def _interval(rows: Sequence[Row], card: "Card") -> str:
    """What the small numbers mean, if there are any."""
    if not any(row.get(f"heads{HIGH}") for row in rows):
        return ""
    where = (
        "of fields that the detector has not seen"
        if card.interval_factor > 1
        else "like the validation photos"
    )
    return f"<p><small>{INTERVAL} {where}.</small></p>\n"


def _write_places(write: Write, title: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    columns = _columns(rows)
    write(f"<h2>{title}</h2>\n" + header([*map(_title, columns)], columns.values()))
    for row in rows:
        write(f"<tr>{_cells(row, columns)}</tr>\n")
    write(END_OF_TABLE)


def _columns(rows: Sequence[Row]) -> dict[str, bool]:
    """The columns to show, which are those that are not empty, and whether each holds numbers."""
    filled = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    shown = [name for name in filled if not name.endswith(NO_COLUMNS)]
    return {name: name not in NAMES and bool(_numbers(rows, name)) for name in shown}


def _cells(row: Row, columns: Mapping[str, bool]) -> str:
    return "".join(_cell(row, column, number) for column, number in columns.items())


def _thumbnail(name: str, row: Row, picture: Path | None, folder: Path, side: int) -> str:
    if picture is None or not picture.is_file():
        return ""
    try:
        with opened(picture) as image:
            data = thumbnail(image, side)
    except InputError:  # the count is valid without it
        return ""
    near = picture.resolve().is_relative_to(folder.resolve())
    link = quote(os.fsencode(picture.resolve().relative_to(folder.resolve()).as_posix())) if near else ""
    return opening(data, f"{name}: {_text(row['heads'])} heads", link)


def _cell(row: Row, column: str, number: bool) -> str:
    value = row[column]
    if not number:
        return cell("" if value is None else str(value))
    ends = [_number(row.get(column + end)) for end in (LOW, HIGH)]
    interval = "" if None in ends else " – ".join(map(_tenths, ends))
    shown = _tenths(value) if column in MEANS else _text(value)
    return cell(shown, _number(value), number=True, small=interval)


def _settings(settings: Mapping[str, object]) -> str:
    lines = "".join(
        f"<tr>{cell(_title(name))}<td>{escape(str(value))}</td></tr>\n" for name, value in settings.items()
    )
    return f"<h2>Settings</h2>\n{SCROLL}<table><tbody>\n{lines}{END_OF_TABLE}" if lines else ""


def _card(card: "Card") -> str:
    best = f"{card.threshold_to_count():g}"
    lines = [
        f"Detector <strong>{escape(card.name)}</strong>, which counts best at a score threshold of {best}"
    ]
    lines += [escape(text) for text in (card.licence, card.citation) if text]
    everything = escape(json.dumps(card.model_dump(), indent=2, ensure_ascii=False))
    return (
        f"<h2>The model</h2>\n<p>{'<br>'.join(lines)}</p>\n{_failures(card)}"
        f"<details><summary>Its whole card</summary><pre>{everything}</pre></details>\n"
    )


def _failures(card: "Card") -> str:
    if not card.known_failures:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in card.known_failures)
    return f"<p>What it does worst on the photos that it was judged by:</p>\n<ul>\n{lines}</ul>\n"


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    return [number for row in rows if (number := _number(row.get(column))) is not None]


def _number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _text(value: Value) -> str:
    number = _number(value)
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 100_000 else f"{number:,.6g}"


def _tenths(value: Value) -> str:
    """With one decimal, as the numbers of a column are easier to compare; below 1 and above 100,000 as _text has it."""
    number = _number(value)
    return f"{number:,.1f}" if number == 0 or (number and 1 <= abs(number) < 100_000) else _text(value)


def _title(column: str) -> str:
    return TITLES.get(column, column.replace("_", " "))
