"""InputError, the one exception shown to users (one line, no traceback), and one-line forms of other errors."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(Exception):
    """Something the user provided cannot be used; the message is one line with the problem, its place and a remedy."""


def refuse_line_break(photo: Path, name: str) -> None:
    """InputError for a photo whose name, as shown in tables and messages, contains a line break."""
    if "\r" in name or "\n" in name:
        raise InputError(f"{str(photo)!r}: has a line break in its name; rename it")


def refuse_name(photo: Path) -> None:
    """InputError for a photo whose file name is not one line of UTF-8, as dataset tables and GDAL require."""
    refuse_line_break(photo, photo.name)
    if not is_utf_8(photo.name):
        raise InputError(f"{str(photo)!r}: its name is not in UTF-8; rename it")


def is_utf_8(name: str) -> bool:
    """Whether a name from the disk is text in UTF-8: if not, it has surrogates for its bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def first_line(error: Exception) -> str:
    """The first line of a message, for errors such as onnxruntime's, which continue with details.

    It is the exception's class name if the message is empty.
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    """The last line of a message, for errors such as torch's, which end with what does not fit.

    It is the exception's class name if the message is empty. Of several keys in quotes only the first is named.
    """
    line = (str(error).splitlines() or [type(error).__name__])[-1].strip()
    return re.sub(r'("[^"]*")(, "[^"]*")+', r"\1 and others", line)


def first_problem(error: "ValidationError", whole: str = "the whole file") -> str:
    """The first of pydantic's problems: its place, the keys joined by points, and what is wrong there.

    whole: the place of a problem that concerns no key.
    """
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg'].removeprefix('Value error, ')}"
