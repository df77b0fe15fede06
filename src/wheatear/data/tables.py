"""Tables of labels: a csv with a header, each row with its line number for messages."""

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from wheatear.errors import InputError
from wheatear.files import whole
from wheatear.words import composed

# GWHD has all boxes of a photo in one value; csv's own limit of 131,072 characters is reached at some 6,000.
csv.field_size_limit(2**31 - 1)

Table = list[tuple[int, dict[str, str]]]


def read_table(file: Path) -> tuple[list[str], Table]:
    """The column names of a csv, without spaces around them, and its rows as (line number, value by column).

    Values are separated by commas, or by semicolons or tabs, as some spreadsheets do, if the first line has
    no comma. Accents are composed (`composed`). Rows with only empty values, and Excel's line sep=; before the
    header, are left out. InputError if the file is missing, not in UTF-8 or not a csv, or a row has more or
    fewer values than columns.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first, skipped = text.readline(), 0
            if first.startswith("sep="):
                first, skipped = text.readline(), 1
            other = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
            reader = csv.DictReader(map(composed, chain([first], text)), delimiter=other)
            reader.fieldnames = header = [name.strip() for name in reader.fieldnames or ()]
            table = [(reader.line_num + skipped, row) for row in reader if any(row.values())]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{file.name}: not in UTF-8; save it as a csv in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file.name}: not a csv ({error})") from None
    for line, row in table:
        if None in row or None in row.values():  # csv's markers for too many and too few values
            raise InputError(f"{file.name}, line {line}: not as many values as columns")
    return header, table


def require(file: Path, header: Sequence[str], *columns: str) -> None:
    """InputError if a column is missing."""
    if missing := [column for column in columns if column not in header]:
        there = ", ".join(header) or "none"
        raise InputError(f"{file.name}, line 1: no column {', '.join(missing)}; it has {there}")


def write_table(file: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the header first, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with whole(file) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
