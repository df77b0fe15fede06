"""CSV files with a header, each row with its line number for messages: labels, detections, counts by hand."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from wheatear.errors import InputError
from wheatear.files import whole
from wheatear.words import composed

# GWHD has all boxes of a photo in one value; csv's own limit of 131,072 characters is reached at some 6,000.
csv.field_size_limit(2**31 - 1)

Row = tuple[int, list[str]]
Table = list[tuple[int, dict[str, str]]]


@contextmanager
def open_table(
    file: Path, lower: bool = False, compose: bool = True
) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Open a csv -> its column names, without spaces around them, and an iterator over (line number, values).

    Values are separated by commas, or by semicolons or tabs, as some spreadsheets do, whichever the first
    line has most of. Accents are composed (`composed`), unless compose is False. Rows with only empty values,
    and Excel's line sep=; before the header, are left out. A row may have more or fewer values than columns.
    lower: the column names in lower case. InputError, also while the rows are read, if the file cannot be
    read, is not in UTF-8 or not a csv.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first, skipped = text.readline(), 0
            if first.startswith("sep="):
                first, skipped = text.readline(), 1
            mark = max(",;\t", key=first.count)
            reader = csv.reader(map(composed if compose else str, chain([first], text)), delimiter=mark)
            header = [name.strip() for name in next(reader, [])]
            rows = ((reader.line_num + skipped, values) for values in reader if any(values))
            yield [name.lower() for name in header] if lower else header, rows
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give a csv") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not in UTF-8; save it as 'CSV UTF-8', as Excel calls it") from None
    except csv.Error as error:
        raise InputError(f"{file}: not a csv ({error})") from None


def read_table(file: Path, lower: bool = False) -> tuple[list[str], Table]:
    """All of a csv at once: its column names and its rows as (line number, value by column).

    InputError as in `open_table`, and if a row has more or fewer values than columns.
    """
    with open_table(file, lower) as (header, rows):
        table = list(rows)
    for line, values in table:
        if len(values) != len(header):
            raise InputError(f"{file}, line {line}: not as many values as columns")
    return header, [(line, dict(zip(header, values, strict=True))) for line, values in table]


def require(file: Path, header: Sequence[str], *columns: str, optional: Sequence[str] = ()) -> None:
    """InputError if a column is missing, or there several times, as it is unclear which one is meant.

    optional: further columns that are read where they are there.
    """
    if missing := [column for column in columns if column not in header]:
        there = ", ".join(header) or "none"
        raise InputError(f"{file}, line 1: no column {', '.join(missing)}; it has {there}")
    if twice := [column for column in (*columns, *optional) if header.count(column) > 1]:
        raise InputError(f"{file}, line 1: several columns '{twice[0]}'; keep one")


def write_table(file: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the header first, whole or not at all; they are not kept in memory."""
    with whole(file) as part, part.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text, lineterminator="\n").writerows(rows)
