"""Many photos for a detector, behind a bar; those that it cannot do are named."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import track

from wheatear.errors import InputError

Photo = TypeVar("Photo")
Found = TypeVar("Found")


def detecting(photos: Sequence[Photo]) -> Iterable[Photo]:
    """The photos one by one, behind a bar where there is a terminal."""
    console = Console(stderr=True)
    return track(photos, "Detecting", console=console, transient=True, disable=not console.is_terminal)


def detect_in_each(photos: Sequence[Photo], detect: Callable[[Photo], Found]) -> list[Found]:
    """What `detect` makes of each photo; those that cannot be read or run are named and left out.

    InputError where none is left.
    """
    found = []
    for photo in detecting(photos):
        try:
            found.append(detect(photo))
        except InputError as error:
            typer.echo(f"wheatear: {error}", err=True)
    if not found:
        raise InputError("none of the photos can be read; nothing is written")
    return found
