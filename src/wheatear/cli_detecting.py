"""Run a detector on many photos, with a progress bar; photos on which it fails are named."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from wheatear.errors import InputError
from wheatear.words import photos

if TYPE_CHECKING:
    from wheatear.detections import Detections
    from wheatear.detector import Detector
    from wheatear.sized import HeadPx

Photo = TypeVar("Photo")
Found = TypeVar("Found")


def detecting(todo: Sequence[Photo]) -> Iterable[Photo]:
    """The photos one by one, with a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    return track(todo, "Detecting", console=console, transient=True, disable=not console.is_terminal)


class Looking:
    """A detector that runs on photos as `wheatear count` does (`detect_sized`), and how many it has resized."""

    def __init__(self, detector: "Detector", head_px: "HeadPx") -> None:
        self.detector, self.head_px, self.resized = detector, head_px, 0

    def find(self, photo: Path, score_threshold: float) -> "Detections":
        """The heads in a photo's file. InputError if it cannot be read or the model fails on it."""
        from wheatear.sized import detect_in_file

        heads, resized_by, measured = detect_in_file(self.detector, photo, score_threshold, self.head_px)
        self.resized += bool(measured and resized_by)
        return heads

    def tell(self) -> None:
        """Report how many photos were resized, if any."""
        say_resized(self.resized)


def say_resized(number: int) -> None:
    """Report how many photos were resized for the size of their heads as measured, if any."""
    if number:
        typer.echo(f"wheatear: resized, as their heads seem to call for it: {photos(number)}", err=True)


def detect_in_each(todo: Sequence[Photo], detect: Callable[[Photo], Found]) -> list[Found]:
    """The result of `detect` for each photo; those that cannot be read or run are named and left out.

    InputError if none is left.
    """
    found = []
    for photo in detecting(todo):
        try:
            found.append(detect(photo))
        except InputError as error:
            typer.echo(f"wheatear: {error}", err=True)
    if not found:
        raise InputError("none of the photos can be read; nothing is written")
    return found
