"""The job behind `wheatear count`: photos in; counts, boxes and pictures out."""

import csv
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.errors import InputError
from wheatear.files import whole

if TYPE_CHECKING:  # numpy, Pillow and onnxruntime are loaded once there is something to count
    from PIL.Image import Image

    from wheatear.detections import Detections
    from wheatear.detector import Detector
    from wheatear.photo_names import Photo

SHOWN = 20  # photos listed on the screen, what fits without scrolling; the CSV has all
JPEG_LIMIT = 65_500  # pixels a side, libjpeg's own

Row = Sequence[str | float]


@dataclass(frozen=True)
class Count:
    """What came of one photo: its heads, or the line that says why there is no count."""

    name: str
    heads: int | None
    error: str = ""


def count_photos(
    detector: "Detector",
    photos: Sequence["Photo"],
    out: Path,
    threshold: float | None = None,
    pictures: bool = True,
) -> Generator[Count]:
    """Count the heads of each photo and write OUT/counts.csv, OUT/detections.csv and OUT/annotated/*.jpg.

    Yields one Count a photo as soon as it is done, in the order given. A photo that cannot be read or run
    yields its error and is in none of the files. The tables get their names when the iterator ends, is closed
    or is interrupted, and then hold every photo done so far; a killed process leaves them as *.csv.part.
    threshold: as in Detector.detect. OSError where OUT cannot be written.
    """
    from wheatear.detections import HEADER, rows
    from wheatear.photo_names import COUNTS, PICTURES

    folder = out / PICTURES if pictures else None
    with (
        _table(out / COUNTS, ("image", "heads")) as counts,
        _table(out / "detections.csv", HEADER) as heads,
    ):
        for photo in photos:
            try:
                detections = _count_one(detector, photo, threshold, folder)
            except InputError as error:
                yield Count(photo.name, None, str(error))
                continue
            heads(rows(photo.name, detections))
            counts([[photo.name, len(detections)]])
            yield Count(photo.name, len(detections))


def count_command(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO|DIR", help="Photos, or folders of photos.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A shipped detector, or your model.onnx.",
            show_default="the shipped one",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Lowest score that counts as a head.", show_default="the model's own"
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the boxes over each photo.")
    ] = True,
) -> None:
    """Count the wheat heads in photos.

    Writes counts.csv, detections.csv and annotated pictures into --out.
    A photo that cannot be read is named and left out.

    Exit code 0: all photos counted; 1: some were not; 2: none found.
    """
    from wheatear.photo_names import name_photos

    with friendly_errors():
        todo = name_photos(photos, out)
        if not any(photo.path.exists() for photo in todo):
            given = ", ".join(map(str, photos))
            typer.echo(f"wheatear: no photos found in {given}; give JPEG, PNG, TIFF or WebP files", err=True)
            raise typer.Exit(2)
        failed = _run(todo, out, model, threshold, pictures)
    if failed:
        raise typer.Exit(1)


def _run(photos: list["Photo"], out: Path, model: str | None, threshold: float | None, pictures: bool) -> int:
    """Count with a progress bar, print the summary, return the number of photos that failed."""
    from wheatear.detector import DEFAULT_MODEL, load

    detector = load(model or DEFAULT_MODEL)
    if threshold is None:
        threshold = detector.card.threshold_to_count()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for the results")
    out.mkdir(parents=True, exist_ok=True)
    summary = Summary()
    try:
        counts = count_photos(detector, photos, out, threshold, pictures)
        with _progress(len(photos)) as (say, step), closing(counts):
            for count in counts:
                summary.add(count)
                step()
                if count.error:
                    say(f"wheatear: {count.error}")
    except KeyboardInterrupt:
        typer.echo(f"wheatear: stopped; the photos done so far are in {out}", err=True)
        raise typer.Exit(130) from None  # what a shell expects of a program that Ctrl-C ended
    summary.show(out)
    return summary.failed


@dataclass
class Summary:
    """What the screen shows at the end; keeps the first photos and sums, however many there are."""

    first: list[Count] = field(default_factory=list)
    counted: int = 0
    failed: int = 0
    heads: int = 0

    def add(self, count: Count) -> None:
        if len(self.first) < SHOWN:
            self.first.append(count)
        self.failed += count.heads is None
        self.counted += count.heads is not None
        self.heads += count.heads or 0

    def show(self, out: Path) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("Photo", overflow="fold")
        table.add_column("Heads", justify="right")
        for count in self.first:
            # A file name may hold bytes that are no text, and brackets, which rich would take for a style.
            name = Text(os.fsencode(count.name).decode(errors="replace"))
            table.add_row(name, "not counted" if count.heads is None else f"{count.heads:,}")
        if more := self.counted + self.failed - len(self.first):
            table.add_row(f"… {more:,} more in counts.csv", "…")
        table.add_section()
        table.add_row(f"Total of {_photos(self.counted)}", f"{self.heads:,}", style="bold")
        if self.counted:
            table.add_row("Mean", f"{self.heads / self.counted:,.1f}")
        console = Console()
        console.print(table)
        console.print(f"Results in {out}", markup=False, highlight=False, soft_wrap=True)


def _photos(number: int) -> str:
    return f"{number:,} photo" if number == 1 else f"{number:,} photos"


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A bar on stderr -> (say, step): print a line above the bar, count one photo as done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("Counting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total, rate="")

        def step() -> None:
            progress.advance(bar)
            progress.update(bar, rate=f"{progress.tasks[0].speed or 0:.1f} photos/s")

        yield partial(console.print, markup=False, highlight=False, soft_wrap=True), step


def _count_one(
    detector: "Detector", photo: "Photo", threshold: float | None, pictures: Path | None
) -> "Detections":
    """Detect, and draw the picture before anything is put into the tables: what they list is whole."""
    from wheatear.images import open_photo
    from wheatear.report import annotate

    image = open_photo(photo.path)
    try:
        detections = detector.detect(image, threshold)
    except InputError as error:
        raise InputError(f"{photo.path}: {error}") from error
    if pictures:
        if max(image.shape) > JPEG_LIMIT:
            raise InputError(f"{photo.path}: too long for an annotated JPEG; count it with --no-pictures")
        _save(annotate(image, detections), pictures / photo.picture)
    return detections


def _save(picture: "Image", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        picture.save(part, "JPEG", quality=90)


@contextmanager
def _table(path: Path, header: Row) -> Iterator[Callable[[Iterable[Row]], None]]:
    """A CSV that gets its name when it is done -> a function that adds rows and puts them on disk at once."""
    part = path.with_name(f"{path.name}.part")
    # Names that are no text come back from the CSV byte for byte.
    with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(rows: Iterable[Row]) -> None:
            writer.writerows(rows)
            file.flush()

        try:
            write([header])
            yield write
        finally:
            file.close()
            os.replace(part, path)
