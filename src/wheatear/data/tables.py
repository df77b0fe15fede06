"""Tables of labels: a csv with a header, each row with its line number for messages."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from wheatear.errors import InputError
from wheatear.files import whole

# GWHD has a photo's boxes in one value; csv itself stops at 131,072 characters, some 6,000 of them.
csv.field_size_limit(2**31 - 1)

Table = list[tuple[int, dict[str, str]]]


def read_table(file: Path) -> tuple[list[str], Table]:
    """The column names of a csv, without spaces around them, and its rows as (line number, value by column).

    Values are divided by commas; by semicolons or tabs, as some spreadsheets save them, where its first line has none.
    Rows of empty values and Excel's line sep=; before the header are left out.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first, skipped = text.readline(), 0
            if first.startswith("sep="):
                first, skipped = text.readline(), 1
            text.seek(0)
            for _ in range(skipped):
                text.readline()
            other = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
            reader = csv.DictReader(text, delimiter=other)
            reader.fieldnames = header = [name.strip() for name in reader.fieldnames or ()]
            table = [(reader.line_num + skipped, row) for row in reader if any(row.values())]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{file.name}: not in UTF-8; save it as a csv in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file.name}: not a csv ({error})") from None
    for line, row in table:
        if None in row or None in row.values():  # csv's marks for values too many and too few
            raise InputError(f"{file.name}, line {line}: not as many values as columns")
    return header, table


def require(file: Path, header: Sequence[str], *columns: str) -> None:
    """InputError where a column is missing."""
    if missing := [column for column in columns if column not in header]:
        there = ", ".join(header) or "none"
        raise InputError(f"{file.name}, line 1: no column {', '.join(missing)}; it has {there}")


def write_table(file: Path, rows: Iterable[Sequence[object]]) -> None:
    """Rows, the header first, written whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with whole(file) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
