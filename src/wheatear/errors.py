"""The one exception that reaches a user: a clear line, no traceback; and one line of what libraries say in many."""

from pathlib import Path


class InputError(Exception):
    """Something the user gave us cannot be used; the message is one line naming file, row and what to do."""


def refuse_line_break(photo: Path, name: str) -> None:
    """InputError for a photo whose name, as tables and messages have it, would not stay in one line."""
    if "\r" in name or "\n" in name:
        raise InputError(f"{str(photo)!r}: has a line break in its name; rename it")


def refuse_name(photo: Path) -> None:
    """InputError for a photo whose name could not stand in a line of UTF-8, as in tables of data sets and for GDAL."""
    refuse_line_break(photo, photo.name)
    try:
        photo.name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{str(photo)!r}: its name is not in UTF-8; rename it") from None


def first_line(error: Exception) -> str:
    """Where a message begins, as onnxruntime's, which go on with details; the exception's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    """Where a message ends, as torch's, which list what does not fit; the exception's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[-1].strip()
