"""report.html of a run of `wheatear count`: its table, a histogram, thumbnails, the settings and the model's card."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from PIL import Image

from wheatear.page import END_OF_TABLE, Write, cell, figure, header, open_page, opening, thumbnail
from wheatear.palette import BLUE
from wheatear.svg import Axis, bars, chart

if TYPE_CHECKING:
    from wheatear.detector import Card

# Pixels of what opens: it shows each box and is 85 kB. Of many photos it is smaller, so that the page of 1,000
# still opens on a phone.
SIDE, SMALL_SIDE, MANY = 512, 256, 200
MOST_BARS = 24

Value = str | float | None
Row = Mapping[str, Value]


def write_report(
    path: str | Path,
    rows: Sequence[Row],
    pictures: Mapping[str, Path],
    card: "Card",
    settings: Mapping[str, object],
) -> None:
    """Write one HTML page that needs nothing else.

    rows: a photo each, with the columns of counts.csv ("image" and "heads" first; numbers, text or None).
    pictures: the annotated picture by image name; a photo may have none. They are read one at a time and put
    into the file as they come, so memory grows with the rows alone. settings: what the run was asked for.
    No rows give a page that says so. OSError where the page cannot be written.
    """
    with open_page(Path(path), "Wheat heads counted") as write:
        write(_summary(rows))
        if rows:
            write(_histograms(rows))
            _write_table(write, rows, pictures, Path(path).parent)
        write(_settings(settings))
        write(_card(card))


def _summary(rows: Sequence[Row]) -> str:
    heads = _numbers(rows, "heads")
    if not heads:
        return "<p>No photo was counted.</p>\n"
    photos = f"{len(heads):,} photo{'' if len(heads) == 1 else 's'}"
    spread = f"mean {np.mean(heads):,.1f}, median {np.median(heads):,.0f}, from {min(heads):,.0f} to {max(heads):,.0f}"
    return f"<p><strong>{sum(heads):,.0f} heads</strong> in {photos}: {spread} a photo.</p>\n"


def _histograms(rows: Sequence[Row]) -> str:
    columns = [name for name in rows[0] if name.startswith("heads") and len(_numbers(rows, name)) > 1]
    charts = [figure(_histogram(_numbers(rows, name), _title(name)), "") for name in columns]
    return f'<div class="figures">\n{"".join(charts)}</div>\n'


def _histogram(values: Sequence[float], name: str) -> str:
    counts, edges = _binned(np.array(values))
    spans = [
        (float(low), float(high), float(n))
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    x = Axis(name, float(edges[0]), float(edges[-1]))
    y = Axis("photos", 0, float(counts.max()) * 1.05)
    return chart(f"Histogram of {name}", x, y, [bars(spans, BLUE)])


def _binned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins of Freedman and Diaconis, at most MOST_BARS; of counts that are few, a bin for each."""
    bins = min(MOST_BARS, len(np.histogram_bin_edges(values, "auto")) - 1)
    counts, edges = np.histogram(values, max(1, bins))
    return counts, edges


def _write_table(write: Write, rows: Sequence[Row], pictures: Mapping[str, Path], folder: Path) -> None:
    columns, side = list(rows[0]), SIDE if len(rows) <= MANY else SMALL_SIDE
    numeric = [any(_numbers(rows, name)) or name == "heads" for name in columns]
    write(header(["", *map(_title, columns)], [False, *numeric]))
    for row in rows:
        name = str(row["image"])
        write(f"<tr><td>{_thumbnail(name, row, pictures.get(name), folder, side)}</td>")
        write("".join(_cell(row[column], number) for column, number in zip(columns, numeric, strict=True)))
        write("</tr>\n")
    write(END_OF_TABLE)


def _thumbnail(name: str, row: Row, picture: Path | None, folder: Path, side: int) -> str:
    if picture is None or not picture.is_file():
        return ""
    with Image.open(picture) as image:
        data = thumbnail(image, side)
    near = picture.resolve().is_relative_to(folder.resolve())
    link = quote(picture.resolve().relative_to(folder.resolve()).as_posix(), errors="replace") if near else ""
    return opening(data, f"{name}: {_text(row['heads'])} heads", link)


def _cell(value: Value, number: bool) -> str:
    if not number:
        return cell("" if value is None else str(value))
    parsed = _number(value)
    return cell("–" if parsed is None else _text(parsed), parsed, number=True)


def _settings(settings: Mapping[str, object]) -> str:
    lines = "".join(
        f"<tr>{cell(_title(name))}<td>{escape(str(value))}</td></tr>\n" for name, value in settings.items()
    )
    return f'<h2>Settings</h2>\n<div class="scroll"><table><tbody>\n{lines}{END_OF_TABLE}' if lines else ""


def _card(card: "Card") -> str:
    lines = [f"Detector <strong>{escape(card.name)}</strong>, score threshold {card.score_threshold:g}"]
    lines += [escape(text) for text in (card.licence, card.citation) if text]
    everything = escape(json.dumps(card.model_dump(), indent=2, ensure_ascii=False))
    return (
        f"<h2>The model</h2>\n<p>{'<br>'.join(lines)}</p>\n"
        f"<details><summary>Its whole card</summary><pre>{everything}</pre></details>\n"
    )


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    return [number for row in rows if (number := _number(row.get(column))) is not None]


def _number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _text(value: Value) -> str:
    number = _number(value)
    return "–" if number is None else f"{number:,.6g}"


def _title(column: str) -> str:
    return column.replace("_", " ")
