"""CSV tables that grow row by row, get their names once complete, and continue after an interruption."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from wheatear.errors import InputError
from wheatear.files import naming, part_of, whole

Row = Sequence[str | float]


@contextmanager
def table(path: Path, header: Row, resume: bool = False) -> Iterator[Callable[[Iterable[Row]], None]]:
    """Open a CSV -> a function that adds rows and writes them to disk at once.

    It grows as PATH.part and becomes PATH if the block ends well; otherwise it remains PATH.part.
    resume: add to the rows that keep_rows left, instead of starting with the header.
    """
    part = part_of(path)
    with naming(path), _opened(part, "a" if resume else "w") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(rows: Iterable[Row]) -> None:
            with naming(path):
                writer.writerows(rows)
                file.flush()

        if not resume:
            write([header])
        yield write
    os.replace(part, path)


def keep_rows(path: Path, header: Row, wanted: Callable[[str], bool]) -> None:
    """Prepare PATH.part for resuming: the header, and those of the rows so far whose first field is wanted.

    They come from PATH.part, or from PATH if that does not exist. Rows are streamed: memory does not grow
    with them.
    """
    part = part_of(path)
    with whole(part) as kept, _opened(kept, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(row for row in rows_so_far(path, header) if wanted(row[0]))


def rows_so_far(path: Path, header: Row) -> Iterator[list[str]]:
    """The complete rows of PATH.part, or of PATH if that does not exist; nothing if neither exists.

    A last row that a killed process left incomplete is dropped. InputError for columns other than the
    header's.
    """
    source = part_of(path) if part_of(path).exists() else path
    if not source.exists():
        return
    with _opened(source, "r") as file:
        reader = csv.reader(line for line in file if line.endswith("\n"))
        found = next(reader, None)
        if found is None:
            return
        if found != list(header):
            raise InputError(
                f"{source}, line 1: other columns than this run's; name another folder for --out"
            )
        yield from (row for row in reader if len(row) == len(header))


def _opened(path: Path, mode: Literal["r", "w", "a"]) -> TextIO:
    # Names that are not valid text are read back from the CSV byte for byte.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")
