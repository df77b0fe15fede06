"""Many photos for a detector, behind a bar; those that it cannot do are named."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import track

from wheatear.errors import InputError

Photo = TypeVar("Photo")
Found = TypeVar("Found")


def detect_in_each(photos: Sequence[Photo], detect: Callable[[Photo], Found]) -> list[Found]:
    """What `detect` makes of each photo; those that cannot be read or run are named and left out.

    InputError where none is left.
    """
    console, found = Console(stderr=True), []
    for photo in track(photos, "Detecting", console=console, transient=True, disable=not console.is_terminal):
        try:
            found.append(detect(photo))
        except InputError as error:
            typer.echo(f"wheatear: {error}", err=True)
    if not found:
        raise InputError("none of the photos can be read; nothing is written")
    return found
